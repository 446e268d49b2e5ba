"""Answers of any system, read from files: what `steersman compare-answers` compares.

Forms, known by their fields: lines of `steersman bench` (items.jsonl) and of a report's answers; samples that
lm-evaluation-harness logged (--log_samples); MT-Bench's answers and judgments; AlpacaEval's outputs and annotations;
JSON lines with a prompt and an answer, under the names that systems give.
A run may be several files, one for each seed of training.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from steersman.artifact.files import hash_json
from steersman.data.reading import Reading
from steersman.data.sources import scan
from steersman.eval.suites.measures import words
from steersman.messages import Conversation, Message
from steersman.progress import note

PROMPTS = ("messages", "prompt", "instruction", "question", "input", "query")
ANSWERS = ("answer", "output", "response", "completion", "generation", "prediction", "model_output", "text")
IDS = ("id", "prompt_id", "question_id", "key", "idx")
NAMES = ("model", "generator", "model_id")
"""Fields of the system that gave an answer."""
NO_METRIC = ("doc_id", "doc", "target", "index", "arguments", "resps", "filtered_resps")
"""Fields of a logged sample that score nothing."""
LIKELIHOOD = " (log-likelihood a unit)"
Key = tuple[str, str]
"""(task, id of the prompt)"""


@dataclass(frozen=True)
class Answered:
    """One answer, and the scores that its file gives it."""

    prompt: Conversation | None
    answer: str
    scores: Mapping[str, float]
    cluster: str = ""
    """What the prompt belongs to (a passage, a subject), for resampling whole clusters."""

    @property
    def length(self) -> int:
        return len(words(self.answer))


@dataclass(frozen=True)
class Run:
    """One system's answers: by prompt, one for each file (seed)."""

    name: str
    answers: Mapping[Key, tuple[Answered, ...]]
    left_out: Mapping[str, int] = field(default_factory=dict)


def read(text: str, cluster: str = "") -> Run:
    """`text` is NAME=FILE, or FILE; several files of one run after each other with commas. FILE@MODEL takes one model's
    lines of a file of several. ValueError names file and line."""
    name, equals, what = text.partition("=")
    paths = (what if equals else name).split(",")
    name = name if equals else _name(paths[0])
    left: Counter[str] = Counter()
    seeds = [_one(path, cluster, left) for path in paths]
    keys = [key for key in seeds[0] if all(key in seed for seed in seeds)]
    if gone := sum(len(seed) for seed in seeds) - len(keys) * len(seeds):
        left["answers to prompts that not every file of the run has"] += gone
    if not keys:
        raise ValueError(f"{text}: the files of the run have no prompt in common")
    for why, n in left.items():
        note(f"{name}: left out {n} {why}")
    return Run(name, {key: tuple(seed[key] for seed in seeds) for key in keys}, dict(left))


def _name(path: str) -> str:
    file, at, model = path.rpartition("@")
    return model if at and file else Path(path).name.partition(".")[0]


def _one(text: str, cluster: str, left: Counter[str]) -> dict[Key, Answered]:
    """The answers of one file, or of a folder's logged samples; of answers to the same prompt the first."""
    place, at, model = text.rpartition("@")
    place = place if at and place else text
    path = Path(place)
    if not path.exists():
        raise ValueError(f"{place}: no such file; expected answers as JSON lines")
    files = sorted(path.rglob("samples_*.jsonl")) if path.is_dir() else [path]
    if path.is_dir() and not files:
        raise ValueError(f"{path}: expected samples_*.jsonl, as lm_eval --log_samples writes them, found none")
    out: dict[Key, Answered] = {}
    models = set()
    for file in files:
        for where, value in ((f"{file}:{line}", one) for line, item in _objects(file) for one in _apart(item)):
            models.add(next((str(value[k]) for k in NAMES if value.get(k)), ""))
            if at and place != text and model not in [value.get(k) for k in NAMES]:
                continue
            for key, answered in _read(value, file, where, cluster, left):
                if key in out:
                    left["further answers to a prompt that has one"] += 1
                else:
                    out[key] = answered
    if place == text and len(models) > 1:
        raise ValueError(f"{place}: holds answers of {', '.join(sorted(models))}; expected {place}@MODEL")
    if not out:
        raise ValueError(f"{text}: no answers; those in the file are of {', '.join(sorted(models)) or 'nobody'}")
    return out


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for record in scan(path, Reading(encoding="auto", tell=note)):
        if record.error or not isinstance(record.value, dict):
            raise ValueError(f"{path}:{record.line}: {record.error or 'expected an object'}")
        yield record.line, record.value


def _apart(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The two answers of AlpacaEval's annotation, with the share in which each was preferred; else the value."""
    if not {"output_1", "output_2", "generator_1", "generator_2"} <= value.keys():
        return [value]
    liked = value.get("preference")
    shares = (2.0 - liked, liked - 1.0) if _is_score(liked) and 1 <= liked <= 2 else (None, None)
    return [
        {"instruction": value.get("instruction"), "output": value[f"output_{i}"], "generator": value[f"generator_{i}"]}
        | ({} if share is None else {"scores": {"preferred": share}})
        for i, share in enumerate(shares, 1)
    ]


def _bench(value: Mapping[str, Any], left: Counter[str]) -> Iterator[tuple[Key, Answered]]:
    """MT-Bench: an answer of several turns, or a judgment of one; a judge who gave no score wrote -1."""
    name = str(value["question_id"])
    if "choices" in value:
        turns = value["choices"][0]["turns"] if value["choices"] else []
        for i, turn in enumerate(turns, 1):
            said = turn.get("content", "") if isinstance(turn, Mapping) else turn
            yield (f"turn {i}", name), Answered(None, str(said), {})
    elif _is_score(value["score"]) and value["score"] >= 0:
        key = (f"turn {value['turn']}", name)
        yield key, Answered(None, "", {"score": float(value["score"])})
    else:
        left["judgments without a score"] += 1


def _read(
    value: Mapping[str, Any], file: Path, where: str, cluster: str, left: Counter[str]
) -> Iterator[tuple[Key, Answered]]:
    if {"doc_id", "doc", "resps"} <= set(value):
        yield _logged(value, file, cluster, left)
    elif {"question_id", "answer_id", "choices"} <= set(value) or {"question_id", "judgment", "score", "turn"} <= set(
        value
    ):
        yield from _bench(value, left)
    elif isinstance(value.get("completions"), list):
        prompt = Conversation.from_json(value.get("prompt"), where)
        for one in value["completions"][:1]:
            yield ("", prompt.id or _hash(prompt)), Answered(prompt, str(one["text"]), {})
    else:
        yield _plain(value, where, cluster)


def _metrics(value: Mapping[str, Any], left: Counter[str]) -> dict[str, float]:
    """The numbers by which a logged sample is scored: of several (an instruction each) their mean, of a likelihood and
    its units their quotient; others are counted."""
    out: dict[str, float] = {}
    given = value.get("metrics")
    for name in given if isinstance(given, list) and given else [n for n in value if n not in NO_METRIC]:
        found = value.get(name)
        if _is_score(found):
            out[name] = float(found)
        elif isinstance(found, list) and found and all(isinstance(one, bool) for one in found):
            out[f"{name} (mean a prompt)"] = sum(found) / len(found)
        elif isinstance(found, list) and len(found) == 2 and all(map(_is_score, found)) and found[1] >= 1:
            out[f"{name}{LIKELIHOOD}"] = found[0] / found[1]
        elif given:
            left[f"metrics that are no number of one answer ({name})"] += 1
    return out


def _logged(value: Mapping[str, Any], file: Path, cluster: str, left: Counter[str]) -> tuple[Key, Answered]:
    """A sample of lm-evaluation-harness: its metrics are the scores; several answers are shown as one text."""
    task = re.sub(r"^samples_|_\d{4}-\d\d-\d\dT.*$", "", file.name.removesuffix(".jsonl"))
    said = value.get("filtered_resps") or value["resps"]
    answer = said[0] if len(said) == 1 else said
    answer = answer if isinstance(answer, str) else str(answer)
    # the document's own hash where there is one, since ids of different versions of a task are not the same prompts
    name = f"{value['doc_id']}/{str(value.get('doc_hash', ''))[:12]}"
    if filtered := value.get("filter"):
        task += "" if filtered == "none" else f" ({filtered})"
    doc = value["doc"] if isinstance(value["doc"], dict) else {}
    text = next((str(doc[k]) for k in PROMPTS if isinstance(doc.get(k), str)), str(value["doc"]))
    scores = _metrics(value, left)
    prompt = Conversation(name, (Message("user", text),))
    return (task, name), Answered(prompt, answer, scores, str(doc.get(cluster, "")) if cluster else "")


def _plain(value: Mapping[str, Any], where: str, cluster: str) -> tuple[Key, Answered]:
    given = next((k for k in ANSWERS if isinstance(value.get(k), str)), None)
    asked = next((k for k in PROMPTS if value.get(k) and k != given), None)
    name = next((str(value[k]) for k in IDS if value.get(k) is not None), "")
    if given is None or (asked is None and not name):
        raise ValueError(
            f"{where}: fields {', '.join(map(str, value))}: expected an answer ({', '.join(ANSWERS)}) and a prompt "
            f"({', '.join(PROMPTS)}) or an id"
        )
    prompt = _conversation(value[asked], name, where) if asked else None
    scores = {"score": float(value["score"])} if _is_score(value.get("score")) else {}
    scores |= {str(k): float(v) for k, v in (value.get("scores") or value.get("parts") or {}).items() if _is_score(v)}
    key = (str(value.get("task", "")), name or _hash(prompt))
    return key, Answered(prompt, str(value[given]), scores, str(value.get(cluster or "cluster", "")))


def _conversation(value: Any, name: str, where: str) -> Conversation:
    if isinstance(value, str):
        return Conversation(name, (Message("user", value),))
    given = value if isinstance(value, Mapping) else {"messages": value}
    return Conversation.from_json({**given, "id": name}, where)


def _hash(prompt: Conversation | None) -> str:
    assert prompt is not None
    return hash_json([m.to_json() for m in prompt.messages])[:16]


def _is_score(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and value == value and abs(value) != float("inf")


def matched(runs: Sequence[Run]) -> tuple[list[Key], dict[str, int]]:
    """Prompts that every run answers, and how many of each run's are not among them. ValueError without any."""
    keys = [key for key in runs[0].answers if all(key in run.answers for run in runs)]
    if not keys:
        shown = "; ".join(f"{run.name}: {', '.join('/'.join(k) for k in list(run.answers)[:2])}" for run in runs)
        raise ValueError(f"the runs have no prompt in common ({shown}); expected the same ids, or the same prompts")
    return keys, {run.name: len(run.answers) - len(keys) for run in runs}
