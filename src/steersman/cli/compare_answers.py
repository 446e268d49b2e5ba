"""`steersman compare-answers | power`: a verdict on answers of any systems, and how many prompts it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman import config as configs
from steersman import config_file, plugins
from steersman.cli.framework import MODELS, JsonOption, SetOption, add, emit, say

if TYPE_CHECKING:
    from steersman.eval.runs import Key, Run

KEY_VARIABLE = "STEERSMAN_ENDPOINT_KEY"
PromptsOption = Annotated[
    Path | None,
    typer.Option("--prompts", metavar="FILE", help="The prompts' words by id, for answers that have ids alone."),
]
PeopleOption = Annotated[
    list[Path] | None, typer.Option("--people", metavar="FILE.csv", help="A sheet that somebody filled in.")
]


def compare_answers(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="NAME=FILE or FILE: JSON lines with prompt and answer, bench's items.jsonl@MODEL, a folder or file of "
            "another system (lm-evaluation-harness, HELM, Inspect, a batch ...). FILE,FILE: one run's seeds.",
        ),
    ],
    judge: Annotated[str, typer.Option("--judge", help="module:function, or shop: scores each answer by itself.")] = "",
    reward: Annotated[str, typer.Option("--reward", metavar="MODEL", help="A reward model scores each answer.")] = "",
    api: Annotated[
        str,
        typer.Option(
            "--api", metavar="URL@MODEL", help="A language model judges each pair on three axes, in both orders."
        ),
    ] = "",
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE.csv", help="Write a blind sheet for people, and end.")
    ] = None,
    people: PeopleOption = None,
    prompts: PromptsOption = None,
    cluster: Annotated[str, typer.Option("--cluster", help="The field whose prompts belong together.")] = "",
    lower: Annotated[
        list[str] | None, typer.Option("--lower-is-better", metavar="MEASURE", help="May be repeated.")
    ] = None,
    endpoint_key: Annotated[
        str, typer.Option("--endpoint-key", envvar=KEY_VARIABLE, help="The key that the endpoint wants.")
    ] = "",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare answers of any systems, prompt by prompt: which run is better, and how sure that is.

    Without a judge the scores in the files decide. Later runs are compared with earlier ones.
    """
    from steersman.eval import between
    from steersman.eval.between_text import text
    from steersman.eval.runs import aligned, matched, read, with_prompts

    if sheet is not None and (judge or reward or api or people or lower):
        raise ValueError("--sheet writes a sheet and ends; expected it without --people, judges and --lower-is-better")
    config = config_file.with_overrides(configs.Config(), settings or [])
    read_runs = [read(run, cluster) for run in runs]
    read_runs = aligned([with_prompts(run, prompts) for run in read_runs] if prompts else read_runs)
    if len({run.name for run in read_runs}) < max(2, len(runs)):
        raise ValueError(f"expected two runs or more of different names, got {', '.join(r.name for r in read_runs)}")
    keys, alone = matched(read_runs)
    if sheet is not None:
        _write_sheet(sheet, read_runs, keys, config.project.seed, as_json)
        return
    scores = _scores(read_runs, keys, (judge, reward), config, lower or ())
    votes, about = _votes(read_runs, keys, api, endpoint_key, people or [])
    margin, opposite = config.eval.tie_margin if judge else 0.0, frozenset(lower or ())
    options = between.Settings(margin, config.eval.bootstrap, config.project.seed, lower_is_better=opposite)
    result = between.compare(read_runs, keys, scores, votes, options)
    result |= {"answered_by_one_alone": alone, **about}
    if people:
        result["agreement"] = _agreement(read_runs, keys, scores, votes)
    emit(as_json, result, text(result))


def _scores(
    runs: Sequence[Run], keys: Sequence[Key], judges: tuple[str, str], config: configs.Config, lower: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Each run's scores, of its file and of the judges (a function, a reward model).

    ValueError for a name in `lower` that no score has: that score would count the wrong way round.
    """
    from steersman.eval import between

    before: dict[Any, Any] = {}
    scores = {run.name: {**between.scores_of(run, keys), **_judged(run, keys, *judges, config, before)} for run in runs}
    scores, lacking = between.in_all(scores)
    for measure, n in lacking.items():
        say(f"{measure}: {n} prompts left out that not every run has a score for")
    measured = sorted({measure.rpartition(": ")[2] for of in scores.values() for measure in of})
    if odd := [measure for measure in lower if measure not in measured]:
        there = ", ".join(measured) or "the scores of files or judges; there are none"
        raise ValueError(f"--lower-is-better {odd[0]}: expected one of {there}")
    return scores


def _write_sheet(sheet: Path, runs: Sequence[Run], keys: Sequence[Key], seed: int, as_json: bool) -> None:
    from steersman.eval import blind

    if len(runs) != 2:
        raise ValueError("--sheet: expected two runs")
    n = blind.write(sheet, runs[1], runs[0], keys, seed)
    told = f"{sheet}: {n} pairs; write 1, 2 or = into its last columns, then: --people {sheet}"
    emit(as_json, {"sheet": str(sheet), "pairs": n, "equal": len(keys) - n}, told)


def _judged(
    run: Run, keys: Sequence[Key], judge: str, reward: str, config: configs.Config, before: dict[Any, Any]
) -> dict[str, Any]:
    from steersman.eval import judged_runs
    from steersman.eval.judges import judge_for, judge_of

    out: dict[str, Any] = {}
    if judge:
        plugins.admit_named([judge] if ":" in judge else [], Path.cwd())
        known = ":" not in judge and judge in ("shop",)
        named = config_file.with_overrides(configs.Config(), [f"project.judge={judge}"]).project if not known else None
        found = judge_for(judge) if named is None else judge_of(named)
        assert found is not None
        out |= judged_runs.by_judge(found, run, keys)
    if reward:
        from steersman.rounds.inputs import resolved

        out |= judged_runs.by_reward(resolved(reward), run, keys, config, before)
    return out


def _votes(
    runs: Sequence[Run], keys: Sequence[Key], api: str, key: str, people: Sequence[Path]
) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[str, Any]]:
    """What judges of pairs say of each pair, and what is to be known of these judges."""
    from steersman.eval import blind, judged_runs
    from steersman.eval.suites.endpoint import Endpoint

    votes: dict[tuple[str, str], dict[str, Any]] = {}
    about: dict[str, Any] = {}
    if people and len(runs) != 2:
        raise ValueError("--people: expected two runs")
    for j, a in enumerate(runs):
        for b in runs[:j]:
            given: dict[str, Any] = {}
            if api:
                url, _, model = api.rpartition("@")
                if not url.startswith(("http://", "https://")):
                    raise ValueError(f"--api {api}: expected http://HOST/v1@MODEL")
                found, bias = judged_runs.by_language_model(Endpoint("judge", url, model, key).engine(), a, b, keys)
                given |= found
                about.setdefault("bias", {})[f"{a.name} against {b.name}"] = bias
            if people:
                found, between_people = blind.read(people, a, b)
                given |= {f"people {column}": of for column, of in found.items()}
                about["people"] = between_people
            if given:
                votes[a.name, b.name] = given
    return votes, about


def _agreement(
    runs: Sequence[Run], keys: Sequence[Key], scores: Mapping[str, Any], votes: Mapping[tuple[str, str], Any]
) -> dict[str, Any]:
    """Each judge against people: on people's own axis where they have it, else on `better`."""
    from steersman.eval.judges import prefers
    from steersman.eval.rubric import agreement

    b, a = runs
    said = votes[a.name, b.name]
    judges: dict[str, Mapping[Key, float]] = {m: of for m, of in said.items() if not m.startswith("people ")}
    for measure in scores[a.name]:
        ours, theirs = scores[a.name][measure], scores[b.name].get(measure, {})
        both = [key for key in ours if key in theirs]
        judges[measure] = {k: prefers(sum(ours[k]) - sum(theirs[k]), 0.0) / 2 + 0.5 for k in both}
    out = {}
    for measure, of in judges.items():
        axis = f"people {measure.split()[-1]}"
        theirs = said.get(axis) or said.get("people better")
        if theirs:
            out[measure] = agreement([of.get(k) for k in keys], [theirs.get(k) for k in keys])
    return out


def power(
    points: Annotated[
        float | None, typer.Option("--points", help="The difference to be shown, in points of 100.")
    ] = None,
    prompts: Annotated[int | None, typer.Option("--prompts", min=2, help="So many prompts: what do they show?")] = None,
    of: Annotated[
        list[Path] | None,
        typer.Option("--of", metavar="FILE", help="Two files of answers with scores: their spread is taken."),
    ] = None,
    deviation: Annotated[
        float | None, typer.Option("--deviation", help="Standard deviation of the differences, in points of 100.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds of training on each side.")] = 1,
    seed_deviation: Annotated[
        float, typer.Option("--seed-deviation", min=0, help="What seeds differ by, in points of 100.")
    ] = 0.0,
    chance: Annotated[float, typer.Option("--power", min=0.05, max=0.99, help="How sure it is to be shown.")] = 0.8,
    as_json: JsonOption = False,
) -> None:
    """How many prompts show a difference, or which difference so many prompts show, at 95 % and in 8 cases of 10.

    Without --of or --deviation the spread of right-or-wrong answers is taken that differ on 3 of 10 prompts.
    """
    from steersman.eval.power import Spread, of_wins, power_at, prompts_needed, smallest_shown

    if (points is None) == (prompts is None):
        raise ValueError("power: expected --points (how many prompts?) or --prompts (which difference?)")
    spread, said = _spread(of or [], deviation)
    if spread is None:
        spread, said = Spread(2 * of_wins(0.15, 0.15).prompts), "assumed: right or wrong, different on 3 of 10 prompts"
    spread = Spread(spread.prompts, max(spread.seeds, seed_deviation / 100), spread.left)
    result: dict[str, Any] = {"spread": {"prompts": spread.prompts, "seeds": spread.seeds, "left": spread.left}}
    result |= {"said": said, "seeds": seeds, "power": chance}
    told = f"spread of a prompt's difference {100 * spread.prompts:.1f} points ({said})"
    if points is not None:
        needed = prompts_needed(points / 100, spread, chance, seeds)
        result |= {"points": points, "prompts": needed}
        answer = f"{points:g} points show on {needed} prompts {round(100 * chance)} times in 100"
        if needed is None:
            answer = f"no number of prompts shows {points:g} points with {seeds} seeds, which vary by more"
    else:
        assert prompts is not None
        least = smallest_shown(spread, prompts, chance, seeds)
        result |= {"prompts": prompts, "points": 100 * least if math.isfinite(least) else None}
        at = ", ".join(f"{d} points {round(100 * power_at(d / 100, spread, prompts, seeds))}" for d in (1, 2, 3, 5, 10))
        answer = f"{prompts} prompts show {100 * least:.1f} points {round(100 * chance)} times in 100 ({at})"
    emit(as_json, result, f"{answer}\n{told}")


def _spread(of: Sequence[Path], deviation: float | None) -> tuple[Any, str]:
    """The spread that is measured or given; (None, '') where neither."""
    from steersman.eval.between import in_all, scores_of
    from steersman.eval.power import Spread, spread_of
    from steersman.eval.runs import aligned, matched, read

    if deviation is not None:
        return Spread(deviation / 100), "given"
    if not of:
        return None, ""
    if len(of) != 2:
        raise ValueError(f"--of: expected two files of answers, got {len(of)}")
    runs = aligned([read(str(path)) for path in of])
    keys, _ = matched(runs)
    given, lacking = in_all({str(i): scores_of(run, keys) for i, run in enumerate(runs)})
    measured, names = [*given.values()], [*given["0"]]
    if not names:
        raise ValueError("--of: the files have no score in common")
    first = names[0]
    left = f"; {lacking[first]} have none in one of the files" if first in lacking else ""
    say(f"power: the spread of {first} on {len(measured[0][first])} prompts{left}")
    return spread_of([measured[1][first][k][0] - v[0] for k, v in measured[0][first].items()]), f"measured: {first}"


def register(app: typer.Typer) -> None:
    examples = [
        "steersman compare-answers report/answers/sft.jsonl report/answers/ppo.jsonl --judge shop",
        "steersman compare-answers theirs=lm_eval_out/a ours=lm_eval_out/b",
        "steersman compare-answers a.jsonl b.jsonl --api http://127.0.0.1:8000/v1@judge --people sheet.csv",
    ]
    add(app, compare_answers, panel=MODELS, examples=examples, slow=True)
    shown = ["steersman power --points 3", "steersman power --prompts 200 --of a.jsonl --of b.jsonl"]
    add(app, power, panel=MODELS, examples=shown)
