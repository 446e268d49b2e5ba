"""`steersman export`: a model for other programs and for hubs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steersman import locks
from steersman.cli.bench import found_space
from steersman.cli.cleaning import listed
from steersman.cli.framework import MODELS, Reads, add, say


def export(
    call: Reads,
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="sft, 2/ppo, a folder or a name; default: the promoted model.")
    ] = "",
    gguf: Annotated[
        str,
        typer.Option("--gguf", metavar="KINDS", help="GGUF: f32, bf16, f16, q8_0, q4_k; or none. Default: q8_0."),
    ] = "",
    adapter: Annotated[bool, typer.Option("--adapter", help="The LoRA adapter in place of merged weights.")] = False,
    safetensors: Annotated[
        bool, typer.Option("--safetensors/--no-safetensors", help="The folder for transformers and vLLM.")
    ] = True,
    into: Annotated[Path | None, typer.Option("--into", help="Folder to make; default: exports/NAME.")] = None,
    name: Annotated[str, typer.Option("--name", help="What the model is called.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Licence for the card, such as apache-2.0.")] = "",
    base: Annotated[str, typer.Option("--base", help="The base model's id, for the card and for the adapter.")] = "",
    push: Annotated[
        list[str] | None, typer.Option("--push", help="hf:OWNER/NAME or modelscope:OWNER/NAME; may be repeated.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="A pushed model is for all; default: private.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier export in that folder.")] = False,
) -> None:
    """A model for vLLM and transformers (a folder), llama.cpp and Ollama (GGUF and Modelfile), with a model card.

    The card says what it learned from, with which settings, and what its report found. With --push it goes to a hub.
    """
    from steersman.corpus.folder import whole_folder
    from steersman.data.dataset import check_name
    from steersman.rounds import publishing
    from steersman.weights.hubs import push as send
    from steersman.weights.hubs import target_of, token_for

    kinds = _kinds(gguf, adapter, safetensors)
    for target in push or ():
        token_for(target_of(target)[0])
    space = found_space(call.workspace, ())
    found = publishing.chosen(space, model)
    called = name or found.name
    check_name(called)
    folder = into or (space.root / "exports" / called if space else Path(called))
    _check_free(folder, replace, publishing.ABOUT)
    wanted = publishing.Wanted(kinds, safetensors, adapter, called, licence, base)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locks.making(folder), whole_folder(folder) as partial:
        about = publishing.write(space, found, wanted, partial, say)
    for note in about["notes"]:
        say(f"note: {note}")
    sent = [send(folder, target, public) for target in push or ()]
    lines = [f"{folder}: {sum(about['files'].values()) / 1e6:.1f} MB"]
    lines += [f"  {file}: {size / 1e6:.1f} MB" for file, size in about["files"].items() if size > 1e5]
    call.emit({"folder": str(folder), **about, "pushed": sent}, "\n".join([*lines, *(f"sent: {at}" for at in sent)]))


def _kinds(gguf: str, adapter: bool, safetensors: bool) -> tuple[str, ...]:
    """Kinds of GGUF to write. ValueError for unknown ones, and where nothing at all would be written."""
    from steersman.weights.quantise import KINDS

    kinds = () if gguf == "none" or (adapter and not gguf) else tuple(listed(gguf or "q8_0"))
    if odd := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"--gguf {odd[0]}: expected some of {', '.join(KINDS)}, or none")
    if adapter and kinds:
        raise ValueError("--adapter and --gguf: expected one of them; a GGUF file holds merged weights")
    if not (kinds or safetensors or adapter):
        raise ValueError("--gguf none and --no-safetensors: leave nothing to write; expected one of them, or --adapter")
    return kinds


def _check_free(folder: Path, replace: bool, about: str) -> None:
    """ValueError where the folder is there; with --replace only where it is no export (`about` is missing)."""
    if folder.exists() and not replace:
        raise ValueError(f"{folder}: is there already; --replace it, or take another --into")
    if folder.exists() and not (folder / about).is_file() and any(folder.iterdir()):
        raise ValueError(f"{folder}: is no export; expected a folder to make, or one that steersman export made")


def register(app: typer.Typer) -> None:
    examples = [
        "steersman export --gguf q8_0,q4_k --licence apache-2.0",
        "steersman export 2/sft --adapter --gguf none",
        "steersman export smollm2-135m --gguf f16 --push hf:me/mine",
    ]
    add(app, export, panel=MODELS, examples=examples, slow=True)
