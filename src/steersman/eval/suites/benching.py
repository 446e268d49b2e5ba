"""`steersman bench`: runs suites on models in folders or behind endpoints. Each result has its interval, by group and
part; each model is compared with the first, with a verdict corrected for all comparisons of the call (Holm).

    items.jsonl     every prompt, answer and score: what `steersman compare-answers` reads too
    bench.json      the results
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.artifact.files import atomic_write, read_object, write_json
from steersman.artifact.stage_folder import StageFolder
from steersman.eval.many import holm, sign_flip_p
from steersman.eval.power import smallest_shown, spread_of
from steersman.eval.suites.asking import Answers, Manner, Model, ask, fitting
from steersman.eval.suites.repetition import repeated_share
from steersman.eval.suites.suite import Suite
from steersman.eval.tasks import held_to, kept_from, paired
from steersman.eval.verdict import MIN_PROMPTS
from steersman.stats import Interval, bootstrap_mean, proportion_interval

RESULT, ITEMS = "bench.json", "items.jsonl"
LEVEL = 0.95


@dataclass(frozen=True)
class Measured:
    """A suite with the items that were asked, and every model's answers to them."""

    suite: Suite
    answers: Mapping[str, Answers]


def run(
    suites: Sequence[Suite],
    models: Sequence[Model],
    output: Path,
    manner: Manner,
    inputs: Mapping[str, str],
    resamples: int = 10_000,
) -> dict[str, Any]:
    """Let every model answer every suite and write the folder `output`; returns the content of bench.json.

    The same call goes on where it was interrupted.
    """
    recorded = dataclasses.asdict(manner) | {"suites": [s.name for s in suites], "models": [m.name for m in models]}
    folder = StageFolder(output, "bench", recorded, inputs)
    fitted = [fitting(suite, models, manner) for suite in suites]
    answers: list[dict[str, Answers]] = [{} for _ in fitted]
    for model in models:
        for i, suite in enumerate(fitted):
            answers[i][model.name] = ask(suite, model, folder.path / "answers" / str(i) / model.name, manner)
        getattr(model, "close", lambda: None)()
    measured = [Measured(suite, given) for suite, given in zip(fitted, answers, strict=True)]
    result = results(measured, resamples, manner.seed)
    with atomic_write(folder.path / ITEMS, words=True) as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines(measured))
    write_json(folder.path / RESULT, result)
    folder.finish({"tasks": len(suites), "models": len(models)})
    return result


def read(folder: Path) -> dict[str, Any]:
    """The result in a folder that `bench` made."""
    return read_object(folder / RESULT, "a result of steersman bench")


def lines(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """A line per prompt and model."""
    out = []
    for of in measured:
        for name, answers in of.answers.items():
            for i, item in enumerate(of.suite.items):
                line = {
                    "task": of.suite.name,
                    "id": item.id,
                    "model": name,
                    "messages": [m.to_json() for m in item.prompt.messages],
                    "turns": list(item.turns),
                    "group": item.group,
                    "expected": item.expected,
                    "answer": answers.texts[i][-1],
                    "answers": answers.texts[i] if item.turns else None,
                    "score": answers.scores[i],
                    "parts": answers.parts[i],
                    "finish": answers.finish[i],
                    "tokens": answers.tokens[i],
                    "logprobs": answers.logprobs[i],
                }
                out.append({key: value for key, value in line.items() if value not in (None, [], {}, "")})
    return out


def results(measured: Sequence[Measured], resamples: int = 10_000, seed: int = 17) -> dict[str, Any]:
    """What `bench.json` holds."""
    tasks = [_task(of, resamples, seed) for of in measured]
    pairs = [pair for task in tasks for pair in task["pairs"]]
    for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = adjusted
        sure = adjusted < 1 - LEVEL and pair["word"] != "no evidence"
        pair["word_adjusted"] = pair["word"] if sure else "no evidence"
    return {"format": 1, "level": LEVEL, "comparisons": len(pairs), "tasks": tasks}


def _task(of: Measured, resamples: int, seed: int) -> dict[str, Any]:
    suite, names = of.suite, list(of.answers)
    out: dict[str, Any] = {
        "name": suite.name,
        "kind": suite.kind,
        "n": len(suite.items),
        "margin": suite.margin,
        "left_out": dict(suite.left_out),
        "models": {name: _model(suite, of.answers[name], resamples, seed) for name in names},
        "failed": {},
        "pairs": [_pair(of, name, names[0], resamples, seed) for name in names[1:]],
    }
    if suite.kind == "regression":
        scored = {name: zip(suite.items, of.answers[name].scores, strict=True) for name in names}
        out["failed"] = {name: [item.id for item, s in given if s < 1] for name, given in scored.items()}
        out["compared"] = [item.id for item in suite.items if item.compared]
        for pair in out["pairs"]:
            pair["held"] = kept_from(out["failed"][pair["a"]], out["compared"], pair["held"])
    return out


def mean_of(scores: Sequence[float], resamples: int, seed: int) -> Interval:
    """The mean with its interval: a proportion's where all scores are 0 or 1, else by bootstrap."""
    if all(s in (0.0, 1.0) for s in scores):
        return proportion_interval(scores, None, resamples, seed)
    return bootstrap_mean(scores, None, resamples, seed, expanded=True)


def _model(suite: Suite, answers: Answers, resamples: int, seed: int) -> dict[str, Any]:
    groups: dict[str, list[float]] = {}
    for item, score in zip(suite.items, answers.scores, strict=True):
        groups.setdefault(item.group, []).append(score)
    parts: dict[str, list[float]] = {}
    for given in answers.parts:
        for name, value in given.items():
            parts.setdefault(name, []).append(value)
    said = [text for texts, end in zip(answers.texts, answers.finish, strict=True) if end != "chosen" for text in texts]
    out: dict[str, Any] = {
        "score": mean_of(answers.scores, resamples, seed).to_json(),
        "groups": {k: {"value": sum(v) / len(v), "n": len(v)} for k, v in sorted(groups.items()) if len(groups) > 1},
        "parts": {k: mean_of(v, resamples, seed).to_json() for k, v in parts.items()},
    }
    if said:
        ends = [end for end in answers.finish if end != "chosen"]
        out |= {
            "unfinished": sum(end != "stop" for end in ends) / len(ends),
            "empty": sum(not text.strip() for text in said) / len(said),
            "repeated": sum(map(repeated_share, said)) / len(said),
        }
    return out | ({"cut_dialogues": answers.cut} if answers.cut else {})


def _pair(of: Measured, a: str, b: str, resamples: int, seed: int) -> dict[str, Any]:
    """`a` against `b`: difference, verdict, p-value, and the smallest difference that this number of prompts shows."""
    ours, theirs = of.answers[a].scores, of.answers[b].scores
    difference = paired(ours, theirs, None, resamples, seed)
    word = "better" if difference.low > 0 else "worse" if difference.high < 0 else "no evidence"
    by_prompt = [x - y for x, y in zip(ours, theirs, strict=True)]
    return {
        "a": a,
        "b": b,
        "difference": difference.to_json(),
        "word": word if len(ours) >= MIN_PROMPTS else "no evidence",
        "held": held_to(difference, of.suite.margin),
        "p": sign_flip_p(by_prompt),
        "smallest_shown": smallest_shown(spread_of(by_prompt), len(ours)) if len(ours) > 1 else None,
    }
