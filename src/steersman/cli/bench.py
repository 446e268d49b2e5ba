"""`steersman bench | regressions`: ask models questions that code scores, and keep what must not come back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman import config as configs
from steersman import config_file, plugins
from steersman.artifact.files import file_sha256, hash_json
from steersman.artifact.workspace import Workspace, renamed
from steersman.cli.framework import MODELS, Makes, Reads, add, open_workspace, say
from steersman.progress import activity
from steersman.rounds import registry
from steersman.rounds.inputs import artifact_hash, base_model, model_hash, need, resolved

if TYPE_CHECKING:
    from steersman.eval.suites.asking import Model

KEY_VARIABLE = "STEERSMAN_ENDPOINT_KEY"
REGRESSIONS = Path("regressions") / "feedback.jsonl"


def bench(
    call: Makes,
    tasks: Annotated[
        list[str],
        typer.Argument(
            metavar="TASK...",
            help="instructions, refusals, closed, dialogues, repetition, needles, sums, a FILE of test questions, or "
            "module:function. Options follow a file's name: FILE,shots=5,examples=FILE,by=generation,style=text,cot=1.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to make.")],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME=MODEL",
            help="A folder or a name as model.base takes it, or an endpoint: NAME=http://HOST/v1@ITS-NAME. In a "
            "workspace also base, sft and other stages. The others are compared with the first.",
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Most tokens of an answer.")] = 256,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0: always the likeliest.")] = 0.0,
    endpoint_key: Annotated[
        str, typer.Option("--endpoint-key", envvar=KEY_VARIABLE, help="The key that endpoints want.")
    ] = "",
) -> None:
    """Ask models suites of questions that code scores, each result with its interval, and compare the models.

    A form of file is known by its fields: C-Eval, CMMLU, MMLU, GSM8K, CMath, TruthfulQA, pCLUE, ARC and relatives,
    IFEval, XSTest, or a regression suite of your own (docs/EVALUATION.md).
    """
    space = found_space(call.workspace, call.settings or [])
    config = space.config if space else config_file.with_overrides(configs.Config(), call.settings or [])
    root = space.root if space else Path.cwd()
    plugins.admit_named([t for t in tasks if not plugins.is_file(t)], root)
    from steersman.eval.suites import benching
    from steersman.eval.suites.asking import Manner
    from steersman.eval.suites.bench_text import text
    from steersman.eval.suites.forms import files_of
    from steersman.eval.tasks import tasks_of

    named = models_of(models or [], space, config, endpoint_key)
    suites = tasks_of(tasks, root)
    inputs = {f"model {model.name}": digest for model, digest in named}
    inputs |= {f"{t} {f.name}": file_sha256(f) for t in tasks if plugins.is_file(t) for f in files_of(t, root)}
    manner = Manner(max_tokens, temperature, config.eval.batch_prompts, config.project.seed)
    result = benching.run(suites, [m for m, _ in named], output, manner, inputs, config.eval.bootstrap)
    call.emit({**result, "output": str(output)}, f"{text(result)}\n{output / benching.RESULT}")


def found_space(workspace: Path | None, settings: Sequence[str]) -> Workspace | None:
    """The workspace that is named, or the nearest; None where there is none."""
    try:
        root = Workspace.find(workspace)
    except ValueError:
        if workspace is not None:
            raise
        return None
    return open_workspace(root, settings).pin()


def models_of(
    given: Sequence[str], space: Workspace | None, config: configs.Config, key: str
) -> list[tuple[Model, str]]:
    """Each model that is asked, with the hash of what it is; without any, all of the round."""
    from steersman.eval.suites.asking import Folder
    from steersman.eval.suites.endpoint import Endpoint

    if not given and space is None:
        raise ValueError("bench: expected --model NAME=FOLDER where there is no workspace")
    stages = [stage.name for stage in registry.models()]
    present = ["base", *(name for name in stages if space and space.has(name))]
    out: list[tuple[Model, str]] = []
    for text in given or present:
        name, equals, what = text.partition("=")
        if not equals and space and renamed(text) in stages:
            stage = renamed(text)
            out.append((Folder(stage, need(space, stage), config.model), artifact_hash(space, stage)))
        elif not equals and space and text == "base":
            folder = base_model(space)
            out.append((Folder("base", folder, config.model), model_hash(folder)))
        elif what.startswith(("http://", "https://")):
            url, _, model = what.rpartition("@")
            if not url:
                raise ValueError(f"--model {text}: expected the model's name there too: {name}={what}@MODEL")
            out.append((Endpoint(name, url, model, key), hash_json([url, model])))
        else:
            folder = resolved(space.named(what or name) if space else what or name)
            with activity(f"hashing {folder.name}"):
                digest = model_hash(folder)
            out.append((Folder(name if equals else folder.name, folder, config.model), digest))
    names = [model.name for model, _ in out]
    if len(set(names)) < len(names):
        raise ValueError(f"--model: expected a different name for each, got {', '.join(names)}; give them: NAME=FOLDER")
    return out


def regressions(
    call: Reads,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="The suite; default: regressions/feedback.jsonl.")
    ] = None,
) -> None:
    """Put the answers that people disliked into a regression suite: a later model must not give them more often.

    Name the suite in eval.tasks, and every report and the gate ask it. Lines can also be written by hand; a model may
    fail none that is without "compared": true.
    """
    from steersman.eval.suites.regressions import add as add_lines
    from steersman.rounds.export import open_store

    space = call.open()
    path = to or space.root / REGRESSIONS
    with open_store(space) as store:
        disliked = [f for f in store.feedback({"dislike"}) if f.answer.strip()]
    items: list[dict[str, Any]] = [
        {
            "id": f.id,
            "messages": [m.to_json() for m in f.prompt.messages],
            "not_like": [f.answer],
            "source": f"feedback {f.id}",
            "compared": True,
        }
        for f in disliked
    ]
    new = add_lines(path, items)
    named = str(path.relative_to(space.root)) if path.is_relative_to(space.root) else str(path)
    result = {"file": str(path), "disliked": len(items), "new": new, "task": named}
    known = named in [name.partition(",")[0] for name in space.config.eval.tasks]
    if not known:
        say(f'ask it in every report: eval.tasks = ["{named}"] in steersman.toml')
    call.emit(result, f"{path}: {new} new of {len(items)} disliked answers")


def register(app: typer.Typer) -> None:
    examples = [
        "steersman bench instructions refusals --model sft --model ppo -o bench/safety",
        "steersman bench ceval_val.jsonl.xz,shots=5,examples=ceval_dev.jsonl.xz --model a=out/sft -o bench/ceval",
        "steersman bench dialogues --model ours=out/sft --model other=http://127.0.0.1:8000/v1@name -o bench/talk",
    ]
    add(app, bench, panel=MODELS, examples=examples, slow=True)
    add(app, regressions, panel=MODELS, examples=["steersman regressions", "steersman regressions --to mine.jsonl"])
