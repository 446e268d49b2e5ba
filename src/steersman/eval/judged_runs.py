"""Scores of runs by a judge: a function or the domain's rules, a reward model, or a language model on pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steersman.config import Config
from steersman.eval.judges import Judge
from steersman.eval.rubric import Asked, Judged, Pair
from steersman.eval.rubric import judge as ask_pairs
from steersman.eval.runs import Answered, Key, Run
from steersman.types import Completion, Conversation


def _prompt(of: Answered, key: Key) -> Conversation:
    if of.prompt is None:
        raise ValueError(
            f"prompt {'/'.join(filter(None, key))}: the file has an id alone; a judge needs the prompt's words: "
            "--prompts FILE"
        )
    return of.prompt


def by_judge(judge: Judge, run: Run, keys: Sequence[Key]) -> dict[str, dict[Key, list[float]]]:
    """Each axis of the judge, and `overall`."""
    out: dict[str, dict[Key, list[float]]] = {}
    for key in keys:
        for of in run.answers[key]:
            prompt = _prompt(of, key)
            try:
                scores = judge.score(prompt, of.answer)
            except ValueError as error:
                named, asked = "/".join(filter(None, key)), prompt.last_user[:40]
                why = f"{judge.name} cannot judge it: {error}"
                raise ValueError(f"{run.name}: prompt {named} ({asked!r}): {why}") from None
            axes = scores.axes if len(scores.axes) > 1 else {}  # one axis is the overall score, and one comparison
            for axis, value in {"overall": scores.overall, **axes}.items():
                out.setdefault(f"{judge.name} {axis}", {}).setdefault(key, []).append(float(value))
    return out


def by_reward(
    folder: Path, run: Run, keys: Sequence[Key], config: Config, known: dict[Any, Any]
) -> dict[str, dict[Key, list[float]]]:
    """The reward model's score of each answer. `known`: scores of other runs, which the same answers have too."""
    from steersman.eval.run import alike, rewards
    from steersman.weights.folders import load_template

    template = load_template(folder, config.model)
    prompts = [_prompt(run.answers[key][0], key) for key in keys]
    seeds = len(run.answers[keys[0]])
    answers = [
        [Completion(of.answer, template.answer_ids(of.answer), (), "stop", "") for of in at]
        for at in zip(*(run.answers[key] for key in keys), strict=True)
    ]
    found = alike(answers, rewards(folder, prompts, answers, config.model)[0], known)
    return {"reward": {key: [found[seed][i] for seed in range(seeds)] for i, key in enumerate(keys)}}


def by_language_model(
    engine: Asked, a: Run, b: Run, keys: Sequence[Key]
) -> tuple[dict[str, dict[Key, float]], dict[str, Any]]:
    """(axis -> prompt -> 1 where a's answer is better, the judge's bias); prompts without a word are left out."""
    pairs = [Pair(_prompt(a.answers[k][0], k), a.answers[k][0].answer, b.answers[k][0].answer) for k in keys]
    judged: Judged = ask_pairs(engine, pairs)
    votes = {
        f"model {axis}": {key: win for key, win in zip(keys, wins, strict=True) if win is not None}
        for axis, wins in judged.wins.items()
    }
    if not any(votes.values()):
        raise ValueError(
            "the judge said nothing of the form that the rubric asks for; expected lines such as 'intent: 1'"
        )
    return {axis: of for axis, of in votes.items() if of}, dict(judged.bias)
