"""Answers of any system, read from files: what `steersman compare-answers` compares.

Forms, known by their fields: lines of `steersman bench` (items.jsonl) and of a report's answers; samples that
lm-evaluation-harness logged (--log_samples); MT-Bench's answers and judgments; what `run_forms` knows; records with a
prompt and an answer, under the names that systems give.
A run may be several files, one for each seed of training.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from steersman.artifact.files import hash_json
from steersman.data.formats import as_fields
from steersman.data.reading import Reading
from steersman.data.sources import scan
from steersman.eval.run_forms import ANSWERS, NO_WORDS, apart, is_score, opened, said, scores_in, turns
from steersman.eval.suites.measures import words
from steersman.messages import Conversation, Message
from steersman.progress import note

PROMPTS = ("messages", "prompt", "instruction", "question", "input", "query", "chat_history")
IDS = (
    *("id", "prompt_id", "question_id", "key", "idx", "custom_id", "task_id", "uid", "session_id", "sample_id"),
    "index",
)
NAMES = ("model", "generator", "model_id")
"""Fields of the system that gave an answer."""
SAMPLES = ("samples_*.jsonl", "display_predictions.json", "scenario_state.json", "*_*.jsonl")
"""What is read in a folder: the first of these that it holds (lm-evaluation-harness, HELM, lm-evaluation-harness to
version 0.4.2)."""
LOGGED = frozenset(("doc_id", "doc", "resps"))
"""Fields of a sample that lm-evaluation-harness logged."""
NO_METRIC = ("doc_id", "doc", "target", "index", "arguments", "resps", "filtered_resps")
"""Fields of a logged sample that score nothing."""
TAKEN = "answers are taken from "
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
        if n:
            note(f"{name}: {why} ({n} records)" if why.startswith(TAKEN) else f"{name}: left out {n} {why}")
    left = Counter({why: n for why, n in left.items() if n and not why.startswith(TAKEN)})
    if empty := sum(not one.answer.strip() for one in seeds[0].values() if not one.scores):
        note(f"{name}: {empty} of {len(seeds[0])} answers are empty")
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
    files = next(filter(None, (sorted(path.rglob(name)) for name in SAMPLES)), []) if path.is_dir() else [path]
    if path.is_dir() and not files:
        raise ValueError(
            f"{path}: expected samples_*.jsonl, as lm_eval --log_samples writes them, or HELM's scenario_state.json, "
            "found neither"
        )
    out: dict[Key, Answered] = {}
    models = set()
    for file in files:
        for where, value in ((f"{file}:{line}", one) for line, item in _objects(file) for one in _apart(item, left)):
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
        if path.suffix == ".eval" and "samples/" not in record.file:
            continue  # Inspect's archive: beside the samples a header, a journal and summaries
        value = opened(record.value) if isinstance(record.value, list) else record.value
        if record.error or not isinstance(value, dict):
            raise ValueError(f"{path}:{record.line}: {record.error or 'expected an object'}")
        yield record.line, value


def _apart(value: dict[str, Any], left: Counter[str]) -> list[dict[str, Any]]:
    """The record, or what is told apart of another system's."""
    own = isinstance(value.get("completions"), list) and isinstance(value.get("prompt"), dict)
    return [value] if own or value.keys() >= LOGGED or _is_bench(value) else apart(value, left)


def _is_bench(value: Mapping[str, Any]) -> bool:
    if {"question_id", "judgment", "score", "turn"} <= value.keys():
        return True
    return {"question_id", "answer_id", "choices"} <= value.keys()


def _bench(value: Mapping[str, Any], left: Counter[str]) -> Iterator[tuple[Key, Answered]]:
    """MT-Bench: an answer of several turns, or a judgment of one; a judge who gave no score wrote -1."""
    name = str(value["question_id"])
    if "choices" in value:
        turns = value["choices"][0]["turns"] if value["choices"] else []
        for i, turn in enumerate(turns, 1):
            said = turn.get("content", "") if isinstance(turn, Mapping) else turn
            yield (f"turn {i}", name), Answered(None, str(said), {})
    elif is_score(value["score"]) and value["score"] >= 0:
        key = (f"turn {value['turn']}", name)
        yield key, Answered(None, "", {"score": float(value["score"])})
    else:
        left["judgments without a score"] += 1


def _read(
    value: Mapping[str, Any], file: Path, where: str, cluster: str, left: Counter[str]
) -> Iterator[tuple[Key, Answered]]:
    if value.keys() >= LOGGED:
        yield _logged(value, file, cluster, left)
    elif _is_bench(value):
        yield from _bench(value, left)
    elif isinstance(value.get("completions"), list):
        prompt = Conversation.from_json(value.get("prompt"), where)
        for one in value["completions"][:1]:
            yield ("", prompt.id or _hash(prompt)), Answered(prompt, str(one["text"]), {})
    elif (found := _plain(value, where, cluster, left)) is not None:
        yield found


def _metrics(value: Mapping[str, Any], left: Counter[str]) -> dict[str, float]:
    """The numbers by which a logged sample is scored: of several (an instruction each) their mean, of a likelihood and
    its units their quotient; others are counted."""
    out: dict[str, float] = {}
    given = value.get("metrics")
    for name in given if isinstance(given, list) and given else [n for n in value if n not in NO_METRIC]:
        found = value.get(name)
        if is_score(found):
            out[name] = float(found)
        elif isinstance(found, list) and found and all(isinstance(one, bool) for one in found):
            out[f"{name} (mean a prompt)"] = sum(found) / len(found)
        elif isinstance(found, list) and len(found) == 2 and all(map(is_score, found)) and found[1] >= 1:
            out[f"{name}{LIKELIHOOD}"] = found[0] / found[1]
        elif given:
            left[f"metrics that are no number of one answer ({name})"] += 1
    return out


def _logged(value: Mapping[str, Any], file: Path, cluster: str, left: Counter[str]) -> tuple[Key, Answered]:
    """A sample of lm-evaluation-harness: its metrics are the scores; several answers are shown as one text."""
    task = _task(file)
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


@functools.cache
def _task(file: Path) -> str:
    """The task of a file of logged samples: to version 0.4.2 the model's arguments come before it, and it is known by
    the results beside the file, or is the only one."""
    name = file.name.removesuffix(".jsonl")
    if name.startswith("samples_") or not (beside := file.parent / "results.json").exists():
        return re.sub(r"^samples_|_\d{4}-\d\d-\d\dT.*$", "", name) if name.startswith("samples_") else ""
    tasks = json.loads(beside.read_text(encoding="utf-8")).get("results") or {}
    return max((task for task in tasks if name.endswith(f"_{task}")), key=len, default="")


def _plain(value: Mapping[str, Any], where: str, cluster: str, left: Counter[str]) -> tuple[Key, Answered] | None:
    """A prompt and its answer; None where the field of the answer holds null, which is counted."""
    fields = as_fields(value)
    there = [k for k in ANSWERS if isinstance(value.get(k), str)]
    given = there[0] if there else fields.find("answer")
    asked = next((k for k in PROMPTS if value.get(k) and k != given), None) or fields.find("question")
    name = next((str(value[k]) for k in IDS if value.get(k) is not None), "")
    answer = None if given is None else said(value[given], left)
    if (asked is None and not name) or (answer is None and not any(k in value for k in ANSWERS)):
        raise ValueError(
            f"{where}: fields {', '.join(map(str, value))}: expected an answer ({', '.join(ANSWERS)}) and a prompt "
            f"({', '.join(PROMPTS)}) or an id"
        )
    if answer is None:
        left[NO_WORDS] += 1
        return None
    if len(there) > 1 or not there:
        others = f", not from {', '.join(there[1:])}" if there else ""
        left[f"{TAKEN}'{given}'{others}"] += 1
    words = value.get(asked) if asked else None
    if asked == "instruction" and isinstance(words, str) and isinstance(value.get("input"), str) and value["input"]:
        words = f"{words}\n\n{value['input']}"
    prompt = _conversation(words, name, where) if asked else None
    key = (str(value.get("task", "")), name or _hash(prompt))
    return key, Answered(prompt, answer, scores_in(value, left), str(value.get(cluster or "cluster", "")))


def _conversation(value: Any, name: str, where: str) -> Conversation:
    if isinstance(value, str):
        return Conversation(name, (Message("user", value),))
    texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
    given = value if isinstance(value, Mapping) else {"messages": turns(value, Counter()) if texts else value}
    return Conversation.from_json({**given, "id": name}, where)


def _hash(prompt: Conversation | None) -> str:
    assert prompt is not None
    return hash_json([m.to_json() for m in prompt.messages])[:16]


def with_prompts(run: Run, path: Path) -> Run:
    """The run with the words of its prompts, which a file gives by id; answers of later turns, whose prompts hold the
    model's own earlier answers, are left out. ValueError where the file has none of the ids."""
    asked: dict[str, Conversation] = {}
    for line, value in _objects(path):
        name = next((str(value[k]) for k in (*IDS, "instance_id") if value.get(k) is not None), "")
        given = value["turns"][:1] if isinstance(value.get("turns"), list) else value
        if name and (found := turns(given, Counter())):
            asked[name] = Conversation.from_json({"id": name, "messages": found}, f"{path}:{line}")
    out: dict[Key, tuple[Answered, ...]] = {}
    left = Counter(run.left_out)
    for (task, name), answers in run.answers.items():
        if task.startswith("turn ") and task != "turn 1":
            left["answers of later turns"] += 1
        elif (known := next((one.prompt for one in answers if one.prompt), asked.get(name))) is None:
            left[f"answers whose prompt is not in {path.name}"] += 1
        else:
            out[task, name] = tuple(replace(one, prompt=one.prompt or known) for one in answers)
    if not out:
        raise ValueError(
            f"{path}: has none of the prompts of {run.name}, such as {', '.join(k[1] for k in [*run.answers][:2])}"
        )
    for why, n in (left - Counter(run.left_out)).items():
        note(f"{run.name}: left out {n} {why}")
    return replace(run, answers=out, left_out=dict(left))


def aligned(runs: Sequence[Run]) -> list[Run]:
    """The runs with their prompts' words as ids where no id is in all of them, but words are."""
    if any(all(key in run.answers for run in runs) for key in runs[0].answers):
        return list(runs)
    unsure = {key for run in runs for key in _ambiguous(run)}
    by_words = max(
        ([_by_words(run, keys) for run in runs] for keys in (set[Key](), unsure)),
        key=lambda keyed: len(set.intersection(*map(set, keyed))),
    )
    if not set.intersection(*map(set, by_words)):
        return list(runs)
    note("note: the runs have no id in common; prompts are matched by their words")
    for run, keyed in zip(runs, by_words, strict=True):
        worded = sum(bool(_words(of[0].prompt)) for of in run.answers.values())
        if less := worded - len(keyed):
            note(f"{run.name}: left out {less} further answers to a prompt that has one")
        if less := len(run.answers) - worded:
            note(f"{run.name}: left out {less} answers without the words of their prompt")
    return [replace(run, answers=keyed) for run, keyed in zip(runs, by_words, strict=True)]


def _ambiguous(run: Run) -> set[Key]:
    """What people say in several prompts, which the system's turn tells apart."""
    found: dict[Key, set[str]] = {}
    for (task, _), of in run.answers.items():
        found.setdefault((task, _words(of[0].prompt)), set()).add(_words(of[0].prompt, (*PEOPLE, "system")))
    return {key for key, told in found.items() if len(told) > 1}


def _by_words(run: Run, unsure: Collection[Key]) -> dict[Key, tuple[Answered, ...]]:
    """The answers by what people say in their prompts, with the system's turn where that is among `unsure`; of several
    to one prompt the first."""
    out: dict[Key, tuple[Answered, ...]] = {}
    for (task, _), of in run.answers.items():
        if words := _words(of[0].prompt):
            whole = _words(of[0].prompt, (*PEOPLE, "system")) if (task, words) in unsure else words
            out.setdefault((task, whole), of)
    return out


PEOPLE = ("user",)


def _words(prompt: Conversation | None, roles: Sequence[str] = PEOPLE) -> str:
    """What people say in a prompt, and what else of `roles`: a model's own earlier turns differ."""
    said = [" ".join(m.text.split()) for m in prompt.messages if m.role in roles] if prompt else []
    return "\n".join(said) if any(said) else ""


def matched(runs: Sequence[Run]) -> tuple[list[Key], dict[str, int]]:
    """Prompts that every run answers, and how many of each run's are not among them. ValueError without any.

    Ids that agree while the words do not are told."""
    keys = [key for key in runs[0].answers if all(key in run.answers for run in runs)]
    worded = [{_words(run.answers[key][0].prompt) for run in runs} - {""} for key in keys]
    if other := sum(len(words) > 1 for words in worded):
        note(f"note: {other} of {len(keys)} prompts have the same id and other words in the runs")
    if not keys:
        shown = "; ".join(f"{run.name}: {', '.join('/'.join(k) for k in list(run.answers)[:2])}" for run in runs)
        raise ValueError(f"the runs have no prompt in common ({shown}); expected the same ids, or the same prompts")
    return keys, {run.name: len(run.answers) - len(keys) for run in runs}
