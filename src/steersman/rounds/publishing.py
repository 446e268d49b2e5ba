"""A model made ready for other programs: which one, its files, its card; whole or absent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steersman.artifact.files import write_json
from steersman.artifact.manifest import MANIFEST_NAME, identity, read_manifest, verify
from steersman.artifact.workspace import Workspace
from steersman.rounds import model_card
from steersman.rounds.inputs import base_model, model_hash, resolved
from steersman.rounds.opened import opened
from steersman.rounds.registry import artifact_of, models

if TYPE_CHECKING:
    from steersman.rounds.provenance import Entry

ABOUT = "export.json"
CONTEXT = 8192
"""Most tokens that a Modelfile asks Ollama for, whose memory is taken at once."""
FOLDER_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt")
OTHERS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMaskedLM")
"""Ends of the names of classes that write no answers."""
OWN_FILES = (MANIFEST_NAME, ABOUT, "training.json")


@dataclass(frozen=True)
class Chosen:
    """The model to export."""

    folder: Path
    name: str
    entry: Entry | None
    """Its round, stage and path, where this workspace made it."""
    asked: str = ""
    """What it was asked for by, where no stage made it."""


@dataclass(frozen=True)
class Wanted:
    """What to write."""

    gguf: tuple[str, ...] = ()
    safetensors: bool = True
    adapter: bool = False
    """The LoRA adapter in place of whole weights."""
    name: str = ""
    licence: str = ""
    base: str = ""


def chosen(space: Workspace | None, named: str) -> Chosen:
    """'' is the promoted model, sft or 2/ppo a stage's of this or another round, else a folder or a model's name.

    ValueError where there is none.
    """
    if space is not None and not named:
        history = space.history()
        if not history:
            raise ValueError("no model is promoted; expected a MODEL such as sft, 2/ppo or a folder")
        return _of_round(space, dict(history[-1]))
    if space is not None and (own := space.named(named)) != named:
        return Chosen(Path(own), named, None)
    if space is not None and (of := artifact_of(named)) is not None and not Path(named, "config.json").is_file():
        if of[1] not in models():
            raise ValueError(f"{named}: no model that answers; expected one of {', '.join(s.name for s in models())}")
        round_, stage = of[0] or space.round, of[1].name
        folder = space.stage_dir(stage, round_)
        if not space.has(stage, round_):
            raise ValueError(f"{folder}: not there yet; make it with: steersman {of[1].verb}")
        return _of_round(space, {"round": round_, "stage": stage, "path": str(folder.relative_to(space.root))})
    if not named:
        raise ValueError("expected a MODEL: a folder, a .gguf file or an id such as org/name")
    folder = resolved(named)
    called = Path(named).name.removesuffix(".gguf") or folder.resolve().name
    return Chosen(folder, called, None, asked=named)


def _of_round(space: Workspace, entry: dict[str, Any]) -> Chosen:
    folder = space.root / entry["path"]
    verify(folder)
    return Chosen(folder, f"{space.root.name}-{entry['round']:03d}-{entry['stage']}", entry)


def write(
    space: Workspace | None, model: Chosen, wanted: Wanted, into: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Fill the folder `into`, which is to take its place as a whole; returns what was written."""
    from steersman.weights.folders import check_folder, read_config

    name = wanted.name or model.name
    base = wanted.base or _base(space, model)
    check_folder(model.folder)
    config = read_config(model.folder)
    if str((config.architectures or [""])[0]).endswith(OTHERS) or (model.folder / "modules.json").is_file():
        raise ValueError(f"{model.folder}: no model that answers; its folder can be handed on as it is")
    files: list[tuple[str, int, str]] = []
    notes: list[str] = []
    if wanted.adapter:
        files += _copy_adapter(model.folder, into, base)
    elif wanted.safetensors:
        files += _copy_folder(model.folder, into, str(config.dtype or "").removeprefix("torch."))
    made = _write_gguf(model.folder, into, name, wanted.gguf, tell)
    notes += made["notes"]
    files += made["files"]
    languages = _languages(model.folder)
    told = model_card.Told(
        name,
        base,
        wanted.licence or _licence(base or model.asked),
        _context(config),
        languages,
        tuple(files),
        tuple(notes),
    )
    if not told.licence:
        notes.append("no licence is known; give it with --licence: the card says that it is not recorded")
    (into / "README.md").write_text(model_card.card(told, space, model.entry), encoding="utf-8")
    listed = {path.name: path.stat().st_size for path in sorted(into.rglob("*")) if path.is_file()}
    source = identity_of(model.folder)
    about = {"name": name, "model": source, "files": listed, "notes": notes, **made["measured"]}
    write_json(into / ABOUT, about)
    return about


def identity_of(folder: Path) -> str:
    """A hash of a stage's model, or of its weights alone."""
    from steersman.weights.lora import weights_hash

    return identity(read_manifest(folder)) if (folder / MANIFEST_NAME).is_file() else weights_hash(folder)


def _copy_folder(folder: Path, into: Path, dtype: str) -> list[tuple[str, int, str]]:
    found = sorted(
        {path for pattern in FOLDER_FILES for path in folder.glob(pattern)} - {folder / n for n in OWN_FILES}
    )
    for path in found:
        shutil.copyfile(path, into / path.name)
    what = f"weights in {dtype or 'their own type'}, adapters merged" if (folder / "adapter").is_dir() else dtype
    return [(p.name, p.stat().st_size, what or "weights") for p in found if p.suffix == ".safetensors"]


def _copy_adapter(folder: Path, into: Path, base: str) -> list[tuple[str, int, str]]:
    """The adapter as peft reads it; vLLM takes it with --enable-lora --lora-modules NAME=FOLDER."""
    adapter = folder / "adapter"
    if not (adapter / "adapter_config.json").is_file():
        raise ValueError(f"{folder}: has no adapter; expected a model trained with lora_rank above 0, or no --adapter")
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    write_json(into / "adapter_config.json", settings | {"base_model_name_or_path": base or None})
    shutil.copyfile(adapter / "adapter_model.safetensors", into / "adapter_model.safetensors")
    for path in (p for pattern in ("tokenizer*", "*.jinja") for p in folder.glob(pattern)):
        shutil.copyfile(path, into / path.name)
    return [("adapter_model.safetensors", (into / "adapter_model.safetensors").stat().st_size, f"LoRA of {base}")]


def _write_gguf(
    folder: Path, into: Path, name: str, kinds: Sequence[str], tell: Callable[[str], None]
) -> dict[str, Any]:
    if not kinds:
        return {"files": [], "notes": [], "measured": {}}
    from steersman.text.ollama import modelfile
    from steersman.weights.folders import load_tokenizer, read_config
    from steersman.weights.gguf_write import write_gguf

    files, notes, tensors = [], [], {}
    for kind in dict.fromkeys(kinds):
        done = write_gguf(folder, into / f"{name}.{kind}.gguf", kind, name)
        tell(f"{done.path.name}: {done.bytes / 1e6:.1f} MB")
        types = ", ".join(f"{n} {t}" for t, n in sorted(done.types.items()))
        files.append((done.path.name, done.bytes, f"GGUF, tensors: {types}"))
        notes += [f"{kind}: {note}" for note in done.notes]
        tensors[kind] = dict(done.types)
    config, tokenizer = read_config(folder), load_tokenizer(folder)
    text, missing = modelfile(tokenizer, files[0][0], min(_context(config), CONTEXT), _sampling(folder))
    (into / "Modelfile").write_text(text, encoding="utf-8")
    notes += [f"Modelfile: {what}" for what in missing]
    return {"files": files, "notes": notes, "measured": {"tensors": tensors}}


def _sampling(folder: Path) -> dict[str, float]:
    """What the model's own generation settings say, where they sample."""
    path = folder / "generation_config.json"
    said: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    names = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "repetition_penalty": "repeat_penalty"}
    return {to: float(said[key]) for key, to in names.items() if said.get("do_sample") and said.get(key)}


def _context(config: Any) -> int:
    from steersman.families.outputs import context_of

    return int(context_of(config.get_text_config()))


def _languages(folder: Path) -> tuple[str, ...]:
    said = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("language")
    return (said,) if isinstance(said, str) else ()


def _base(space: Workspace | None, model: Chosen) -> str:
    """The base as the settings name it, where the model began from that one: a known name's address on the hub; of a
    folder its name alone. '' where the settings name another now."""
    if space is None or model.entry is None or not _began_from_base(space, model.entry, model.folder):
        return ""
    from steersman.weights.resolve import KNOWN

    named = space.config.model.base
    if named in KNOWN:
        return next((s.partition(":")[2] for s in KNOWN[named].sources if s.startswith("hf:")), named)
    return Path(named).name if Path(named).exists() else named.removeprefix("hf:").removeprefix("modelscope:")


def _began_from_base(space: Workspace, entry: Mapping[str, Any], folder: Path) -> bool:
    """Whether the first round behind a model began from the base; a round begins from it or from a promoted model."""
    made = (read_manifest(of).inputs for _, of in model_card.stages_of(space, entry["round"], folder, set()))
    recorded = next((inputs["base"] for inputs in made if "base" in inputs), None)
    began = opened(space, entry["round"])
    before = began.start if began else None
    try:
        if recorded is None or recorded != model_hash(space.root / before["path"] if before else base_model(space)):
            return False
    except (ValueError, OSError):  # the base is gone
        return False
    return before is None or _began_from_base(space, before, space.root / before["path"])


def _licence(base: str) -> str:
    from steersman.weights.resolve import KNOWN

    for name, known in KNOWN.items():
        if base == name or any(source.partition(":")[2] == base for source in known.sources):
            return known.licence.lower() if " " not in known.licence else known.licence
    return ""
