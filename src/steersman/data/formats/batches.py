"""Files of batch interfaces: requests of one file and answers of another, joined by `custom_id` (OpenAI and those like
it, Anthropic)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from steersman.data.formats.exports import DESK
from steersman.data.formats.fields import ONE_KEPT, alternatives
from steersman.data.shelves import Numbers, Shelf

Record = Mapping[str, Any]


def is_batch_line(value: Any) -> bool:
    if not isinstance(value, Mapping) or "custom_id" not in value:
        return False
    return any(isinstance(value.get(k), Mapping) for k in ("body", "params", "response", "result", "error"))


class Batches:
    """The lines of such files, on disk until all have come."""

    def __init__(self, notes: Counter[str]) -> None:
        self._notes, self._lines, self._answers = notes, Shelf[tuple[int, Record]](), Numbers[str]()

    def add(self, line: int, value: Record) -> None:
        if any(isinstance(value.get(k), Mapping) for k in ("body", "params")):
            self._lines.append((line, value))
        elif (answer := _answer(value)) is None:
            self._notes[_without_words(value)] += 1
        else:
            name = str(value["custom_id"])
            self._notes[ONE_KEPT] += len(alternatives(_body(value))) > 1
            self._notes["earlier answers to the same request of a batch left out"] += name in self._answers
            self._answers[name] = len(self._lines)
            self._lines.append((line, {"answer": answer}))

    def gathered(self) -> Iterator[tuple[int, Record]]:
        """(line, dialogue) of each request; ValueError where there are answers alone, or one id of two requests."""
        used = asked = 0
        first = Numbers[str]()
        for number, (line, value) in enumerate(self._lines):
            if "answer" in value:
                continue
            asked += 1
            name = str(value["custom_id"])
            if (before := first.get_or(name, number)) != number:
                if _asked(self._lines[before][1]) != _asked(value):
                    raise ValueError(
                        f"custom_id '{name}' is that of two different requests, so their answers cannot be told apart; "
                        "import each batch by itself, its requests with its answers"
                    )
                self._notes["requests of a batch that are there twice left out"] += 1
                continue
            place = self._answers.get(name)
            used += place is not None
            answer = [] if place is None else [self._lines[place][1]["answer"]]
            turns = [*_asked(value), *answer]
            yield line, {"id": name} | ({"messages": turns, DESK: True} if self._answers else {"prompt": turns})
        lost = len(self._answers) - used
        if lost and not asked:
            raise ValueError(
                f"{lost} answers of a batch without their requests; expected the file that was sent too, which has the "
                "prompts: name both files, or their folder"
            )
        self._notes["answers of a batch whose request is in no file left out"] += lost


def _asked(value: Record) -> list[Any]:
    """The turns of a request."""
    body: Record = next(found for k in ("body", "params") if isinstance(found := value.get(k), Mapping))
    said = body.get("messages", body.get("input", body.get("prompt")))
    first = body.get("instructions", body.get("system"))
    before = [{"role": "system", "content": first}] if first else []
    turns = said if isinstance(said, list) else [{"role": "user", "content": said}] if said else []
    return [*before, *turns]


def _without_words(value: Record) -> str:
    """Why there is no turn: the request failed, or asked for something else."""
    if _body(value) is not None:
        return "requests of a batch answered without words (embeddings, calls alone) left out"
    return "requests of a batch that failed left out"


def _body(value: Record) -> Record | None:
    """What OpenAI's interface answered; None where the request failed."""
    response = value.get("response")
    if not isinstance(response, Mapping) or response.get("status_code", 200) != 200:
        return None
    return body if isinstance(body := response.get("body"), Mapping) else None


def _answer(value: Record) -> Any:
    """The turn of an answer; None where the request failed."""
    result = value.get("result")
    if isinstance(result, Mapping):  # Anthropic's
        message = result.get("message")
        return message if result.get("type") == "succeeded" and isinstance(message, Mapping) else None
    if (body := _body(value)) is None:
        return None
    choices, output = alternatives(body), body.get("output")
    if choices and isinstance(choice := choices[0], Mapping):
        return choice.get("message") or {"role": "assistant", "content": choice.get("text")}
    output = output if isinstance(output, list) else []
    return next((o for o in output if isinstance(o, Mapping) and o.get("type") == "message"), None)
