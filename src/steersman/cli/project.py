"""`steersman init`: make a workspace."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from steersman import config as configs
from steersman import config_file, config_rewrite, locks
from steersman.artifact.files import atomic_write, rewrite
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.cli.framework import PROJECT, JsonOption, SetOption, add, emit
from steersman.elsewhere.adopt import STAGES, Adopted, adopt, applied, together
from steersman.elsewhere.counterparts import LOST, NO_METHOD, TOKENS

FromOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="A configuration of TRL or LLaMA-Factory (YAML, JSON, a script of arguments) to take over; one a stage.",
    ),
]
StageOption = Annotated[str, typer.Option("--stage", help=f"What --from is of: {', '.join(STAGES)}.")]
DevicesOption = Annotated[
    int, typer.Option("--devices", min=0, help="Devices that --from was meant for; 0: as its command says, else one.")
]
TokensOption = Annotated[
    int, typer.Option("--tokens-per-dialogue", min=1, help="Mean of your data, to turn dialogues a step into tokens.")
]


def init(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Folder to make; it may exist, but must not be a workspace yet."),
    ] = None,
    language: Annotated[
        str, typer.Option("--language", help="en, zh or both: of the page and of generated data.")
    ] = "en",
    base: Annotated[
        str, typer.Option("--base", help="Base model: a folder, a .gguf file, a hub id or a known name.")
    ] = "",
    name: Annotated[str, typer.Option("--name", help="Name of the assistant, shown on the page.")] = "",
    upgrade: Annotated[
        bool,
        typer.Option(
            "--upgrade",
            help="Of a workspace that is there (default: the nearest): bring steersman.toml into the form of this "
            "version; values and comments stay, the file as it was lies beside it.",
        ),
    ] = False,
    sources: FromOption = None,
    stage: StageOption = "",
    devices: DevicesOption = 0,
    tokens: TokensOption = TOKENS,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a workspace: a folder with steersman.toml, data and rounds.

    --from takes over what a configuration of TRL or LLaMA-Factory says, and tells line by line what became of it.
    """
    if upgrade:
        if name or base or settings or sources:
            raise ValueError("--upgrade changes no setting; expected it without --name, --base, --from and --set")
        _upgrade(Workspace.find(folder), as_json)
        return
    folder = _free_folder(folder)
    start = {"project": {"language": language}, "model": {"dtype": "auto"}}
    config = config_file.from_dict(start, "--language")
    taken = _taken(sources or (), stage, devices, tokens)
    for found in taken:
        config = applied(config, found)
    if name:
        config = config_file.from_dict({"project": {"name": name}}, "--name", config)
    if base:
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, base=base))
    space = Workspace.create(folder, config_file.with_overrides(config, settings or ()))
    lines = [line for found in taken for line in _came(found)]
    lines += [f"made {folder / CONFIG_NAME}: every setting is in it, with its meaning", "next:"]
    lines += [f"  cd {shlex.quote(str(folder))}"] if folder.resolve() != Path.cwd() else []
    shop = "  steersman data import shop    # or your own file: steersman data import FILE"
    lines += [shop if space.config.project.domain == "shop" else "  steersman data import FILE", "  steersman status"]
    lines += _of_base(space, base)
    result = {"workspace": str(space.root), "config": configs.to_dict(space.config)}
    emit(as_json, result | ({"from": [f.to_json() for f in taken]} if taken else {}), "\n".join(lines))


def _of_base(space: Workspace, base: str) -> list[str]:
    """What to know of the base model; `base`: as --base named it."""
    if space.config.project.language == "zh" and not base:
        known = space.config.model.base
        return [f"note: the base {known} knows little Chinese; name another with --base or in {CONFIG_NAME}"]
    there = any((at / Path(base).expanduser()).exists() for at in (space.root, Path()))
    named = base.startswith((".", "/", "~"))
    return [f"caution: --base {base}: there is no such folder or file now"] if named and not there else []


def _free_folder(folder: Path | None) -> Path:
    if folder is None:
        raise ValueError("init: expected DIR, the folder to make")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder or a name that is free, found a file")
    return folder


def _taken(sources: Sequence[Path], stage: str, devices: int, tokens: int) -> list[Adopted]:
    """What --from says, file by file. ValueError for its options where there is no file that they could be of."""
    if not sources and (stage or devices or tokens != TOKENS):
        raise ValueError(
            "--stage, --devices and --tokens-per-dialogue: expected --from FILE, whose settings they are of"
        )
    return together([adopt(source, stage, devices, tokens) for source in sources])


def _came(found: Adopted) -> list[str]:
    """What became of each line of another trainer's file."""
    n = found.counts
    return [
        f"{found.path}: {found.program}, {found.stage}: {n['lines']} settings, {n['converted']} taken over, "
        f"{n['same']} so here anyway, {n['no_counterpart']} without a counterpart",
        *(
            f"caution: line {t.line}: {t.key}: {t.value}: {t.why}"
            for t in found.lines
            if LOST in t.why or NO_METHOD in t.why
        ),
        *map(str, found.lines),
    ]


def _upgrade(root: Path, as_json: bool) -> None:
    """steersman.toml of the old form, with one flat section per stage, rewritten as sections nested by component."""
    path = root / CONFIG_NAME
    if (who := locks.holder(root)) is not None:
        raise locks.Busy(f"{root}: in use by {who}; expected nobody to work in it while its settings are rewritten")
    with locks.brief(path):
        text, tree = path.read_text(encoding="utf-8-sig"), config_file.read_tree(path)
        config, old = config_file.from_dict(tree, str(path)), config_file.old_names(tree)
        if not old:
            emit(as_json, {"workspace": str(root), "moved": [], "kept": ""}, f"{path}: is of this version's form")
            return
        new = config_rewrite.upgraded(text)
        followed = new is not None
        kept = _free(path.with_name(f"{CONFIG_NAME}.old"))
        with atomic_write(kept, "wb", like=path) as file:
            file.write(path.read_bytes())
        rewrite(path, new if followed and new else config_file.to_toml(config))
    said = f"{path}: {len(old)} settings moved into sections of their own; the file as it was: {kept.name}"
    if not followed:
        said += "; comments could not be followed and are only there"
    emit(as_json, {"workspace": str(root), "moved": old, "kept": str(kept), "comments_kept": followed}, said)


def _free(path: Path) -> Path:
    number = 1
    while (free := path if number == 1 else path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return free


def register(app: typer.Typer) -> None:
    examples = [
        "steersman init my-assistant",
        "steersman init shop-zh --language zh --name 小舵 --base gemma3-270m",
        "steersman init my-assistant --from sft.yaml --from dpo.yaml",
        "steersman init --upgrade",
    ]
    add(app, init, panel=PROJECT, examples=examples)
