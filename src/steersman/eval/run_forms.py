"""What other systems write of an answer -> a plain record: `id`, `prompt`, `answer`, `model`, `task`, `scores`.

Known: files of batch interfaces (OpenAI and those like it, Anthropic, Gemini), answers as an API or vLLM gives them,
logs of Inspect and of OpenAI's evals, HELM's states, predictions and statistics, OpenCompass's predictions, promptfoo's
results, AlpacaEval's annotations, dialogues that end with the answer. A record without an answer is counted.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from steersman.data.formats.fields import parsed_json
from steersman.data.formats.turns import ROLES

Record = Mapping[str, Any]
SEVERAL = ("choices", "completions", "outputs", "candidates", "generations", "sampled")
"""Fields of the answers to one request, of which the first is compared."""
OPTIONS = ("choices", "candidates")
"""Those that hold objects; texts there are what a question offers."""
WITHIN = (
    *("message", "content", "parts", "output", "text", "output_text", "generated_text", "response", "body", "answer"),
    *("completion", "result", "raw", "value"),
)
"""Fields of an answer in which its words are."""
ASKED = (
    *("messages", "contents", "conversations", "chat_history", "input", "prompt", "question", "instruction", "body"),
    *("params", "request"),
)
ANSWERS = (
    *("model_output", "prediction", "predict", "generated_text", "generation", "model_answer", "response", "output"),
    *("completion", "answer", "solution", "text"),
)
"""Fields of an answer, of several the first: beside a model's output `answer` is often the right one."""
RIGHT = ("answer", "solution", "text")
"""Those that, beside a dialogue which the model ends, hold the right answer or the whole."""
GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""Inspect's grades: correct, incorrect, in part, no answer."""
SCORES = (
    *("correct", "is_correct", "acc", "accuracy", "exact_match", "em", "f1", "passed", "pass", "success", "score"),
    *("reward", "rating"),
)
"""Fields of a record that score its answer, beside objects of scores."""
SHARES = ("correct", "is_correct", "passed", "pass", "success")
"""Those that are 0 to 1."""
NO_WORDS = "records without an answer (null, or an error)"
FURTHER = "further answers of one request"
PARTS = "images and sounds in prompts, whose words alone are compared"


def is_score(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def number(value: Any) -> float | None:
    """A score: a number, or its text as tables have it; None of other values."""
    if isinstance(value, str):
        known = {"true": 1.0, "false": 0.0}.get(value.strip().casefold())
        try:
            value = float(value) if known is None else known
        except ValueError:
            return None
    return float(value) if is_score(value) else None


def said(value: Any, left: Counter[str]) -> str | None:
    """The words of an answer: a text, its parts joined, the first of several; None where there are none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = [text for part in value if not _is_thought(part) and (text := said(part, left)) is not None]
        if len(texts) > 1 and all(isinstance(part, str) for part in value):
            left[FURTHER] += len(texts) - 1
            return texts[0]
        return "".join(texts) if texts else None
    if not isinstance(value, Mapping):
        return None
    for name in SEVERAL:
        if isinstance(found := value.get(name), list) and found:
            left[FURTHER] += len(found) - 1
            return said(found[0], left)
    return next((text for name in WITHIN if (text := said(value.get(name), left)) is not None), None)


def _is_thought(part: Any) -> bool:
    kind = str(part.get("type")) if isinstance(part, Mapping) else ""
    return kind in ("thinking", "redacted_thinking", "reasoning") or (
        isinstance(part, Mapping) and bool(part.get("thought"))
    )


def turns(value: Any, left: Counter[str]) -> list[dict[str, str]]:
    """A prompt as turns: a text, a list of turns under the names that systems give, JSON of such a list."""
    value = parsed_json(value)
    if isinstance(value, Mapping) and not {"role", "from"} & value.keys():
        system = said(value.get("system") or value.get("systemInstruction"), left)
        before = [{"role": "system", "content": system}] if system else []
        inner = next((value[k] for k in ASKED if value.get(k)), None)
        return before + turns(inner if inner is not None else said(value, left), left)
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list):
        return []
    if value and all(isinstance(one, str) for one in value):
        sides = ("user", "assistant")
        return [{"role": sides[i % 2], "content": text} for i, text in enumerate(value)]
    out = []
    for turn in value:
        if isinstance(turn, Mapping):
            given = str(turn.get("role") or turn.get("from") or "user")
            role = ROLES.get(given.casefold(), given)
            content = next((turn[k] for k in ("content", "value", "prompt", "parts", "text") if k in turn), None)
            if isinstance(content, list):
                left[PARTS] += sum(isinstance(p, Mapping) and p.get("type") not in _TEXTS for p in content)
            out.append({"role": role, "content": said(content, left) or ""})
    return out


_TEXTS = (None, "text", "input_text", "output_text", "thinking", "reasoning")


def _grades(scores: Any) -> dict[str, float]:
    """Numbers in an object of scores; Inspect's letters as it counts them, an object of several under its names."""
    out: dict[str, float] = {}
    for name, given in scores.items() if isinstance(scores, Mapping) else ():
        value = given.get("value") if isinstance(given, Mapping) else given
        value = GRADES.get(value, value) if isinstance(value, str) else value
        if (score := number(value)) is not None:
            out[str(name)] = score
        elif isinstance(value, Mapping):
            out |= {f"{name} {inner}": score for inner, score in _grades(value).items()}
    return out


def scores_in(value: Record, left: Counter[str]) -> dict[str, float]:
    """Scores that a record gives its answer: fields that are named so, and objects of scores."""
    out = {name: score for name in SCORES if (score := number(value.get(name))) is not None}
    for name in SHARES:  # text beside them is often the right answer
        if isinstance(value.get(name), str) and not 0 <= out.get(name, 0) <= 1:
            del out[name]
            left[f"fields '{name}' with a text that is no share, taken for the right answer"] += 1
    for name in ("scores", "parts", "namedScores", "metrics"):
        out |= _grades(value.get(name))
    return out


def apart(value: Record, left: Counter[str]) -> list[dict[str, Any]]:
    """The plain records of what a system wrote; the value itself where no form is known.

    A record without an answer is none and is counted in `left`.
    """
    for known in (_annotated, _batch, _inspect, _helm, _opencompass, _promptfoo, _event, _of_api):
        if (found := known(value, left)) is not None:
            kept = [one for one in found if one.get("answer") is not None]
            left[NO_WORDS] += len(found) - len(kept)
            return kept
    return [dict(value)]


def in_words(value: Record, but: Sequence[str] = ()) -> str | None:
    """An answer that a record holds as text, of several the first of `ANSWERS`."""
    return next((value[k] for k in ANSWERS if k not in but and isinstance(value.get(k), str)), None)


def _annotated(value: Record, _left: Counter[str]) -> list[dict[str, Any]] | None:
    """AlpacaEval: two answers, with the share in which each was preferred."""
    if not {"output_1", "output_2", "generator_1", "generator_2"} <= value.keys():
        return None
    liked = value.get("preference")
    shares = (2.0 - liked, liked - 1.0) if is_score(liked) and 1 <= liked <= 2 else (None, None)
    return [
        {"prompt": value.get("instruction"), "answer": value[f"output_{i}"], "model": value[f"generator_{i}"]}
        | ({} if share is None else {"scores": {"preferred": share}})
        for i, share in enumerate(shares, 1)
    ]


def _batch(value: Record, left: Counter[str]) -> list[dict[str, Any]] | None:
    """A line of a batch: `response.body` (OpenAI, Azure, vLLM), `result.message` (Anthropic), `response` (Gemini)."""
    name = next((value[k] for k in ("custom_id", "key") if isinstance(value.get(k), str)), None)
    replies = [value.get("response"), value.get("result")]
    there = value.get("error") or any(isinstance(r, Mapping) for r in replies)
    if name is None or not there or in_words(value) is not None or any(isinstance(r, str) for r in replies):
        return None
    reply = next((r for r in replies if isinstance(r, Mapping)), {})
    body = reply.get("body") or reply.get("message") or reply
    failed = bool(value.get("error")) or reply.get("status_code", 200) != 200 or not isinstance(body, Mapping)
    return [{"id": name, "answer": None if failed or "error" in body else said(body, left)}]


def _inspect(value: Record, left: Counter[str]) -> list[dict[str, Any]] | None:
    if not {"id", "epoch", "input", "output"} <= value.keys() or not isinstance(value["output"], Mapping):
        return None
    answer = said({k: value["output"].get(k) for k in ("choices", "completion")}, left)
    asked = turns(value["input"], left)
    return [{"id": str(value["id"]), "prompt": asked, "answer": answer, "scores": _grades(value.get("scores"))}]


def _helm(value: Record, left: Counter[str]) -> list[dict[str, Any]] | None:
    """A state of scenario_state.json, a line of display_predictions.json or of per_instance_stats.json."""
    if isinstance(value.get("instance"), Mapping) and isinstance(value.get("request"), Mapping) and "result" in value:
        result, asked = value["result"] or {}, value["instance"]
        answer = said({"completions": result.get("completions")}, left) if result.get("success", True) else None
        prompt = said(asked.get("input"), left)
        return [{"id": _helm_id(asked.get("id"), asked, value), "prompt": prompt, "answer": answer}]
    if "instance_id" not in value or not {"predicted_text", "stats"} & value.keys():
        return None
    stats = value.get("stats")
    if isinstance(stats, list):
        named = [
            (s["name"], s.get("mean")) for s in stats if isinstance(s, Mapping) and isinstance(s.get("name"), Mapping)
        ]
        stats = {" ".join(str(n[k]) for k in ("name", "split") if n.get(k)): mean for n, mean in named}
    name = _helm_id(value["instance_id"], value, value)
    return [{"id": name, "answer": str(value.get("predicted_text") or ""), "scores": _grades(stats)}]


def _helm_id(name: Any, instance: Record, state: Record) -> str:
    """An instance's id with its perturbation and its trial, each of which is asked by itself."""
    disturbed = instance.get("perturbation") or {}
    parts = [str(name), disturbed.get("name"), state.get("train_trial_index") or None]
    return "/".join(str(part) for part in parts if part is not None)


def _opencompass(value: Record, left: Counter[str]) -> list[dict[str, Any]] | None:
    """{"0": {"origin_prompt": ..., "prediction": ...}, ...}; several predictions are of one prompt."""
    if not value or not all(isinstance(v, Mapping) and "prediction" in v for v in value.values()):
        return None
    return [
        {
            "id": str(name),
            "prompt": turns(one.get("origin_prompt"), left) or None,
            "answer": said(one["prediction"], left),
        }
        for name, one in value.items()
    ]


def _promptfoo(value: Record, left: Counter[str]) -> list[dict[str, Any]] | None:
    if not (isinstance(value.get("provider"), str | Mapping) and {"prompt", "response", "vars"} <= value.keys()):
        return None
    prompt, provider = value["prompt"], value["provider"]
    asked = turns(prompt.get("raw") if isinstance(prompt, Mapping) else prompt, left)
    model = (provider.get("label") or provider.get("id")) if isinstance(provider, Mapping) else provider
    reply = value["response"] or {}
    answer = said(reply.get("output") if isinstance(reply, Mapping) else reply, left)
    return [{"prompt": asked, "answer": answer, "model": model, "scores": scores_in(value, left)}]


def _event(value: Record, left: Counter[str]) -> list[dict[str, Any]] | None:
    """OpenAI's evals: events of a run, of which those of type `sampling` hold an answer."""
    if ("spec" in value and "run_id" not in value and len(value) == 1) or set(value) == {"final_report"}:
        return []
    if not {"run_id", "event_id", "sample_id", "type", "data"} <= value.keys():
        return None
    if value["type"] != "sampling" or not isinstance(value["data"], Mapping):
        left[f"events of type {value['type']}, which hold no answer"] += 1
        return []
    asked, answer = turns(value["data"].get("prompt"), left), said(value["data"].get("sampled"), left)
    return [{"id": value["sample_id"], "prompt": asked, "answer": answer}]


def _of_api(value: Record, left: Counter[str]) -> list[dict[str, Any]] | None:
    """A prompt beside what an API or vLLM gave: in the record itself, in `response` or in `model_output`; a dialogue
    that ends with the answer. Its id says nothing of the prompt where an API made it."""
    reply = next(
        (value[k] for k in ("response", "model_output", "completion") if isinstance(value.get(k), Mapping)), None
    )
    several = next((value[k] for k in SEVERAL if isinstance(value.get(k), list)), None)
    if any(several is value.get(k) and not isinstance(one, Mapping) for k in OPTIONS for one in several or ()):
        several = None
    if several is not None and in_words(value, RIGHT if several else ()) is not None:
        several = None
    talk: list[Any] = next(
        (value[k] for k in ("messages", "conversations", "generated_text") if isinstance(value.get(k), list)), []
    )
    asked = turns(talk, left)
    name = next((str(value[k]) for k in ("uid", "session_id", "index", "sample_id") if value.get(k) is not None), None)
    rest = {k: value[k] for k in ("model", "generator", "scores", "task") if k in value}
    if name is None and not re.match(r"(?:chatcmpl|cmpl|msg|resp|gen)[-_]", str(value.get("id", "chatcmpl-"))):
        name = str(value["id"])
    rest |= {} if name is None else {"id": name}
    spoken = reply is None and several is None and len(asked) > 1 and asked[-1]["role"] == "assistant"
    if (several or spoken) and (right := next((k for k in RIGHT if isinstance(value.get(k), str)), "")):
        left[f"fields '{right}' beside a model's answers, taken for the right one"] += 1
    if spoken:
        other = in_words(value, RIGHT)
        told = asked[-1]["content"] if other is None else other
        return [{**rest, "prompt": asked[:-1], "answer": told, "scores": scores_in(value, left)}]
    if reply is None and several is None:
        return None
    given = asked or next(
        (found for k in ("request", "prompt", "input", "question") if (found := turns(value.get(k), left))), []
    )
    answer = said(reply if reply is not None else {"outputs": several}, left)
    if not given and name is None:
        return None
    return [{**rest, **({"prompt": given} if given else {}), "answer": answer, "scores": scores_in(value, left)}]


def opened(values: Sequence[Any]) -> Any:
    """What a list around one record holds (pipelines of transformers); the list otherwise."""
    return values[0] if len(values) == 1 and isinstance(values[0], Mapping) else values
