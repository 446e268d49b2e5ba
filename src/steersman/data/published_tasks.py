"""Forms in which public sets publish tasks: what is asked and answered in them, and which choice an answer is.

Ready prompts of pCLUE and Firefly (input, target), P3 (prompt, completion), FLAN and xP3 (inputs, targets; P3 on hubs:
inputs_pretokenized), instructions with an input (Alpaca, BELLE, COIG, Super-NaturalInstructions), and scores of
choices (BIG-bench). Documents of SQuAD's form and C3's are their questions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.data.example_files import flat

ASKED = (
    *(("input", "target"), ("prompt", "completion"), ("inputs", "targets")),
    *(("inputs_pretokenized", "targets_pretokenized"), ("input", "output")),
)
"""Fields of a ready prompt and its answer, the first pair that is there."""
KINDS = ("type", "template", "kind", "task_name", "task", "task_type")
"""Fields that say what kind of task a ready record is of."""
READY = ("input", "target", "instruction", "choices", "type")
"""What --field may name of a ready record."""
LETTERS = "ABCDEFGHIJ"
COLUMNS = (
    tuple(LETTERS),
    tuple(f"answer{letter}" for letter in LETTERS),
    *(tuple(f"{name}{i}" for i in range(1, 10)) for name in ("option", "choice", "ending", "sol")),
)
"""Columns of which each holds a choice, as tables of questions have them."""


@dataclass(frozen=True)
class Ready:
    """A prompt as it is asked, with all right answers."""

    prompt: str
    answers: tuple[str, ...]
    choices: Any
    kind: str


def ready(value: Mapping[str, Any], at: Mapping[str, Any]) -> Ready | None:
    """The record's prompt; None where it has none. `at`: of READY, what fields that the user named hold."""
    pairs = [(value.get(a), value.get(b)) for a, b in ASKED]
    if "input" in at or "target" in at:
        pairs = [(at.get("input", value.get("input")), at.get("target", value.get("target")))]
    choices = at.get("choices", value.get("answer_choices"))
    scores = value.get("target_scores")
    if isinstance(scores, Mapping) and scores and all(isinstance(n, int | float) for n in scores.values()):  # BIG-bench
        choices = [*scores]
        pairs.append((value.get("input"), [name for name in scores if scores[name] == max(scores.values())]))
    defined = value.get("definition") if "inputs" in value else None  # Super-NaturalInstructions on hubs
    told = at.get("instruction", value.get("instruction", defined))
    if isinstance(told, str) and told.strip():
        pairs += [("", value.get("output"))]
    asked, target = next(((a, b) for a, b in pairs if isinstance(a, str) and b is not None), (None, None))
    if asked is None:
        return None
    prompt = "\n".join(part.strip() for part in (told, asked) if isinstance(part, str) and part.strip())
    answers = [*(target if isinstance(target, list | tuple) else [target]), *(value.get("also_right") or ())]
    kinds = (at.get("type"), *(value.get(name) for name in KINDS))
    kind = next((said for one in kinds if (said := _kind(one))), "")
    return Ready(prompt, tuple(str(answer).strip() for answer in answers), choices, kind)


def _kind(value: Any) -> str:
    """COIG's is {"major": ["问答"], "minor": [...]}."""
    if isinstance(value, Mapping):
        value = value.get("major")
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""


def documents(value: Any, left_out: Counter[str]) -> Iterator[Mapping[str, Any]]:
    """A record, or the questions of a document: SQuAD's nested objects, C3's [sentences, questions, id]."""
    if isinstance(value, list) and len(value) in (2, 3) and all(isinstance(part, list) for part in value[:2]):
        texts, asked = value[:2]
        if all(isinstance(text, str) for text in texts) and all(isinstance(one, Mapping) for one in asked):
            for one in asked:
                yield {"context": "\n".join(texts), **one}
            return
    if isinstance(value, Mapping) and (blanks := _blanks(value)) is not None:
        yield from blanks
        if not blanks:
            left_out["texts with more or fewer blanks than answers"] += 1
        return
    passage = value.get("passage") if isinstance(value, Mapping) else None
    if isinstance(passage, Mapping) and isinstance(passage.get("questions"), list):
        yield from _checked(passage, left_out)
        return
    inner = value.get("examples") if isinstance(value, Mapping) and "input" not in value else None
    if isinstance(inner, list) and inner and all(isinstance(one, Mapping) and "input" in one for one in inner):
        yield from inner  # BIG-bench's
        return
    for row in flat(value, left_out):
        if "answer" in row or "answers" not in row:
            yield row
            continue
        answers = row["answers"]  # {"text": [...], "answer_start": [...]} on hubs
        yield {**row, "answer": answers.get("text") if isinstance(answers, Mapping) else answers}


def _checked(passage: Mapping[str, Any], left_out: Counter[str]) -> Iterator[Mapping[str, Any]]:
    """A record for each answer to MultiRC's questions."""
    for asked in passage["questions"]:
        answers = asked.get("answers") if isinstance(asked, Mapping) else None
        if not isinstance(answers, list) or not all(isinstance(one, Mapping) for one in answers):
            left_out["questions without a list of answers"] += 1
            continue
        for one in answers:
            of = {"context": passage.get("text"), "question": asked.get("question")}
            yield {**of, "answer": one.get("text"), "label": one.get("label")}


BLANK = re.compile(r"#idiom\d+#")


def _blanks(value: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """A record for each blank of ChID's texts on hubs, whose answers are in the blanks' order; none where their numbers
    differ. In a text the blank that is asked for is `#idiom#`, others are `____`."""
    texts, answers = value.get("content"), value.get("answers")
    if not isinstance(texts, list) or not isinstance(answers, Mapping) or "candidates" not in value:
        return None
    asked = [(str(text), blank) for text in texts for blank in BLANK.finditer(str(text))]
    if len(asked) != len(right := answers.get("text") or []):
        return []
    return [
        {
            "content": f"{BLANK.sub('____', text[: m.start()])}#idiom#{BLANK.sub('____', text[m.end() :])}",
            "candidates": value["candidates"],
            "answer": answer,
        }
        for (text, m), answer in zip(asked, right, strict=True)
    ]


OF_TESTS = frozenset(("paragraphs", "qas", "data", "examples"))
"""Fields around the questions of a document."""
OF_QUESTION = frozenset(("id", "question", "context", "answers", "answer"))
"""What `flat` makes of a question."""


def is_document(value: Any) -> bool:
    """Whether a record is a document with its questions, or BIG-bench's examples: `tasks build` reads these."""
    if isinstance(value, Mapping) and value.keys().isdisjoint(OF_TESTS):
        return False
    found = next(iter(documents(value, Counter())), None)
    if found is None or found is value:
        return False
    return found.keys() == OF_QUESTION or "target_scores" in found or (isinstance(value, list) and "question" in found)


def choices_of(record: Mapping[str, Any], raw: Any) -> Any:
    """The record's choices: a list as it is, {"text": [...], "label": [...]} of hubs, or columns A, B, C, D."""
    if isinstance(raw, Mapping) and isinstance(raw.get("text"), list):
        return raw["text"]
    if isinstance(raw, list) and raw and all(isinstance(one, Mapping) and "text" in one for one in raw):
        return [one["text"] for one in raw]
    if raw is not None:
        return raw
    for names in COLUMNS:
        there = [name for name in names if record.get(name) is not None and str(record[name]).strip()]
        if len(there) > 1 and there == list(names[: len(there)]):
            return [record[name] for name in there]
    return None


def labels_of_choices(raw: Any) -> tuple[str, ...]:
    """What a record calls its choices, where it says so."""
    if isinstance(raw, Mapping) and isinstance(raw.get("label"), list):
        return tuple(str(label).strip() for label in raw["label"])
    if isinstance(raw, list) and raw and all(isinstance(one, Mapping) and "label" in one for one in raw):
        return tuple(str(one["label"]).strip() for one in raw)
    return ()


def choice(answer: str, choices: Sequence[str], labels: Sequence[str]) -> str | None:
    """The choice that an answer is by its label, its words or its letter; None where it is none, or a number."""
    if answer in labels and len(labels) == len(choices):
        return choices[labels.index(answer)]
    if answer in choices:
        return answer
    letter = answer.strip("().（）．、 ").upper()
    if len(letter) == 1 and letter in LETTERS[: len(choices)]:
        return choices[LETTERS.index(letter)]
    return None
