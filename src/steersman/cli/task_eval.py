"""`steersman tasks eval`: models on sets of tasks, each beside the best answer that costs nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.bench import KEY_VARIABLE, found_space, models_of
from steersman.cli.framework import Makes, say
from steersman.cli.page_language import LanguageOption, checked_language
from steersman.progress import activity

if TYPE_CHECKING:
    from steersman.eval.suites.suite import Suite
    from steersman.eval.task_verdicts import Beside

StyleOption = Annotated[
    str, typer.Option("--style", help="chat, or text: to be continued, for models never taught to chat.")
]
CotOption = Annotated[bool, typer.Option("--cot", help="Ask for reasons first; the answer is what follows 'Answer:'.")]
RESULT, PAGE = "tasks.json", "tasks.html"


def tasks_eval(
    call: Makes,
    sets: Annotated[
        list[str], typer.Argument(metavar="SET...", help="Names of steersman tasks build (their test split), or files.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to make.")],
    models: Annotated[
        list[str] | None, typer.Option("--model", metavar="NAME=MODEL", help="As in steersman bench.")
    ] = None,
    shots: Annotated[
        str, typer.Option("--shots", help="Solved examples in a prompt: one number or several, 0,1,4.")
    ] = "0",
    by: Annotated[
        str, typer.Option("--by", help="Closed kinds by logprob, generation, or constrained to the label set.")
    ] = "logprob",
    norm: Annotated[
        str, typer.Option("--norm", help="Log-probabilities of labels: none, per characters, or batch: by their mean.")
    ] = "none",
    style: StyleOption = "chat",
    cot: CotOption = False,
    count: Annotated[int, typer.Option("-n", "--count", min=0, help="Questions of each set; 0: all.")] = 0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Most tokens of a generated answer.")] = 128,
    endpoint_key: Annotated[
        str, typer.Option("--endpoint-key", envvar=KEY_VARIABLE, help="The key that endpoints want.")
    ] = "",
    language: LanguageOption = "",
) -> None:
    """Score models on sets of tasks, with intervals, beside the best of the baselines: the most frequent answer of
    training, a copy, the first sentence.

    Held-out kinds are sets that were not trained on. Several numbers of --shots give curves in tasks.html.
    """
    from steersman import config as configs
    from steersman import config_file
    from steersman.artifact.files import file_sha256
    from steersman.eval.suites import benching, forms
    from steersman.eval.suites.asking import Manner

    space = found_space(call.workspace, call.settings or [])
    config = space.config if space else config_file.with_overrides(configs.Config(), call.settings or [])
    numbers = _numbers(shots)
    options = f"by={by},norm={norm},style={style},cot={int(cot)}" + (f",n={count}" if count else "")
    asked = [
        (name, n, f"{_file(name, space.data if space else None)},shots={n},{options}") for name in sets for n in numbers
    ]
    with activity(f"reading {len(asked)} sets"):
        suites = [forms.read(text) for _, _, text in asked]
    named = models_of(models or [], space, config, endpoint_key)
    inputs = {f"model {model.name}": digest for model, digest in named}
    inputs |= {f"{f}": file_sha256(f) for _, _, text in asked for f in forms.files_of(text)}
    manner = Manner(max_tokens, 0.0, config.eval.batch_prompts, config.project.seed)
    benching.run(suites, [m for m, _ in named], output, manner, inputs, config.eval.bootstrap)
    found = _found(suites, asked, output / benching.ITEMS, config)
    spoken = checked_language(language) or config.project.language
    call.emit(*_kept(output, found, spoken, {"options": options, **{k: v[:16] for k, v in inputs.items()}}))


def _kept(output: Path, found: Sequence[Beside], language: str, facts: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Write the result and its page; returns what is printed."""
    from steersman.artifact.files import now, write_json
    from steersman.eval import task_page, task_words
    from steersman.eval.task_verdicts import together

    told = together(found)
    data: dict[str, Any] = {"tasks": [of.to_json() | {"adjusted": w} for of, w in zip(found, told, strict=True)]}
    write_json(output / RESULT, data)
    task_page.draw(output / PAGE, found, told, language, {"made": now(), **facts})
    return data | {"output": str(output)}, "\n".join([*task_words.lines(found, told), str(output / PAGE)])


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise ValueError(f"--shots {text}: expected whole numbers, such as 0,1,4")
    return sorted({int(part) for part in parts})


def _file(name: str, data: Path | None) -> Path:
    """The file of a set: its test split, or the file that is named."""
    if data is not None:
        for path in (data / f"{name}-test.jsonl", data / f"{name}.jsonl"):
            if path.is_file():
                return path
    if Path(name).is_file():
        return Path(name)
    raise ValueError(f"{name}: no such set; expected one of steersman tasks build, or a file")


def _found(suites: Sequence[Suite], asked: Sequence[tuple[str, int, str]], path: Path, config: Any) -> list[Beside]:
    """Every set and model with its baseline, from the answers that the bench wrote."""
    import dataclasses

    from steersman.eval.task_verdicts import beside

    answers: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    with open(path, encoding="utf-8") as file:
        for line in map(json.loads, file):
            answers.setdefault((line["task"], line["model"]), {})[line["id"]] = line
    out = []
    for suite, (name, shots, text) in zip(suites, asked, strict=True):
        for (task, model), of in answers.items():
            if task != text:
                continue
            items = tuple(item for item in suite.items if item.id in of)  # without those that were too long
            texts = [of[item.id].get("answer", "") for item in items]
            scores = [float(of[item.id]["score"]) for item in items]
            if cut := sum(of[item.id].get("finish") == "length" for item in items):
                say(f"note: {name}: {cut} of {len(items)} answers of {model} were cut at --max-tokens")
            called = (Path(name).stem.removesuffix("-test"), model, shots)
            left = dataclasses.replace(suite, items=items)
            out.append(beside(left, called, texts, scores, config.eval.bootstrap, config.project.seed))
    return out
