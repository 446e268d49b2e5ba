"""How far back a model reads: needles found by depth and length, and the loss of tokens by their position.

Every model is asked the same: needles at ten depths of haystacks of each length, and windows of text of the longest
length. A unit (one haystack or window, one pass) is kept as it is done, so an interrupted measurement goes on.

    context.json    the results
    context.html    the same as pictures
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steersman import stopping
from steersman.artifact.files import read_object, write_json
from steersman.artifact.stage_folder import StageFolder
from steersman.compute.packing import Tree, build_row, to_device
from steersman.config import ModelConfig
from steersman.corpus.tokenizing import beginning
from steersman.distributed import parallel
from steersman.eval import context_page
from steersman.eval.context_texts import Texts, window
from steersman.eval.context_verdict import results
from steersman.eval.needles import Haystack, haystack, ids_of, least, sentences
from steersman.families.known import family_of
from steersman.families.longer import extend, lengthen
from steersman.families.outputs import context_of, response_logprobs
from steersman.progress import note, progress
from steersman.weights.folders import (
    load_causal,
    load_tokenizer,
    pick_device,
    read_config,
    text_config,
    use_packed_rows,
)

RESULT, PAGE, UNITS = "context.json", "context.html", "units.json"


@dataclass(frozen=True)
class Asked:
    """One model, as it is or with its positions scaled."""

    name: str
    folder: Path
    rope: str = ""


@dataclass(frozen=True)
class Manner:
    lengths: tuple[int, ...]
    haystacks: int
    """Of each length and language."""
    windows: int
    """Of each language."""
    seed: int


@dataclass(frozen=True)
class Unit:
    """One pass: a haystack, or a window of text."""

    kind: str
    language: str
    length: int
    number: int

    def key(self, model: str) -> str:
        return f"{model}/{self.kind}/{self.language}/{self.length}/{self.number}"


def units_of(manner: Manner, languages: Sequence[str]) -> list[Unit]:
    longest = manner.lengths[-1]
    found = [Unit("window", of, longest, n) for n in range(manner.windows) for of in languages]
    return found + [
        Unit("needles", of, length, n) for length in manner.lengths for n in range(manner.haystacks) for of in languages
    ]


def edges(longest: int) -> list[int]:
    """Bounds of positions, doubling, the last at the longest."""
    return [0, *(longest >> k for k in range(6, -1, -1))]


def least_of(folders: Sequence[Path], languages: Sequence[str]) -> int:
    """Tokens that a text must have, so that all needles and a question find room by every model's tokenizer."""
    return max(least(load_tokenizer(folder), language) for folder in folders for language in languages)


def check(asked: Sequence[Asked], manner: Manner, languages: Sequence[str] = ()) -> dict[str, int]:
    """Each model's own context. ValueError where one cannot be read so far, or ten needles find no room."""
    found = {}
    for model in asked:
        if languages and manner.lengths[0] < (room := least_of([model.folder], languages)):
            raise ValueError(
                f"{model.name}: ten needles and a question may take {room} tokens of its tokenizer; expected --length "
                f"from that on, got {manner.lengths[0]}"
            )
        config = text_config(read_config(model.folder))
        found[model.name] = context_of(config)
        rotary = getattr(config, "rope_parameters", None)
        if model.rope:
            try:
                extend(config, manner.lengths[-1], model.rope)
            except ValueError as error:
                raise ValueError(f"{model.name}: {error}") from None
        elif manner.lengths[-1] > found[model.name] and not rotary:
            raise ValueError(
                f"{model.name}: reads {found[model.name]} tokens at most; expected --length up to that, got "
                f"{manner.lengths[-1]}"
            )
        elif manner.lengths[-1] > found[model.name]:
            note(f"{model.name}: its context is {found[model.name]}; longer texts are read beyond it, to compare")
    return found


def run(
    asked: Sequence[Asked], texts: Texts, manner: Manner, model: ModelConfig, output: Path, inputs: Mapping[str, str]
) -> dict[str, Any]:
    """Measure all, into the folder `output`; returns the result. The same call goes on where it was interrupted."""
    contexts = check(asked, manner, tuple(texts.documents))
    recorded = dataclasses.asdict(manner) | {
        "models": [f"{a.name}@{a.rope}" for a in asked],
        "text": texts.name,
        "dtype": model.dtype,
    }
    folder = StageFolder(output, "context", recorded, inputs)
    file = folder.path / UNITS
    done: dict[str, Any] = read_object(file, "units of a measurement") if file.is_file() else {}
    units = units_of(manner, tuple(texts.documents))
    with stopping.deferred(), progress("context", sum(u.length for _ in asked for u in units), unit="token") as shown:
        read = sum(u.length for a in asked for u in units if u.key(a.name) in done)
        shown.update(read)
        for each in asked:
            left = [u for u in units if u.key(each.name) not in done]
            if not left:
                continue
            loaded = _Loaded.of(each, manner.lengths[-1], model)
            for unit in left:
                parallel.halt()
                done[unit.key(each.name)] = loaded.measured(unit, texts, manner.seed)
                write_json(file, done)
                read += unit.length
                shown.update(read)
    result = results([a.name for a in asked], contexts, units, done, edges(manner.lengths[-1]), manner.seed)
    result |= {"text": texts.name, "settings": recorded}
    write_json(folder.path / RESULT, result)
    context_page.draw(folder.path / PAGE, result, texts.page)
    file.unlink(missing_ok=True)
    folder.finish({"models": len(asked), "units": len(units)})
    return result


@dataclass(frozen=True)
class _Loaded:
    model: Any
    tokenizer: Any

    @staticmethod
    def of(asked: Asked, longest: int, config: ModelConfig) -> _Loaded:
        model = load_causal(asked.folder, config.dtype, config.trust_remote_code)
        if asked.rope:
            model = lengthen(model, longest, asked.rope)
        return _Loaded(use_packed_rows(model).to(pick_device(config.device)), load_tokenizer(asked.folder))

    def measured(self, unit: Unit, texts: Texts, seed: int) -> Any:
        """Of a haystack: whether each needle is found and at which depth; of a window: nats summed between edges."""
        rng = random.Random(f"{seed} {unit.kind} {unit.language} {unit.length} {unit.number}")
        documents = texts.documents[unit.language]
        begin = beginning(self.tokenizer)
        length = unit.length - len(begin)
        if unit.kind == "window":
            ids = window(documents, lambda text: ids_of(self.tokenizer, text), length, rng)
            return losses(self.model, [*begin, *ids], edges(unit.length))
        text = window(
            documents,
            lambda text: [ids_of(self.tokenizer, piece) for piece in sentences(text, unit.language)],
            length,
            rng,
            len,
        )
        made = haystack(self.tokenizer, text, unit.language, length, rng)
        made = dataclasses.replace(made, trunk=(*begin, *made.trunk))
        return {"found": found(self.model, made), "depths": [round(depth, 4) for depth in made.depths]}


@torch.no_grad()
def losses(model: Any, ids: Sequence[int], bounds: Sequence[int]) -> list[float]:
    """Nats per token between consecutive bounds of position; the first token is not predicted."""
    row = to_device(build_row([Tree(tuple(ids), learn=(False, *[True] * (len(ids) - 1)))]), model.device)
    logprobs, _ = response_logprobs(model, row, entropy=False)
    nats = -logprobs.double().cpu()
    return [float(nats[max(0, low - 1) : high - 1].mean()) for low, high in itertools.pairwise(bounds)]


@torch.no_grad()
def found(model: Any, made: Haystack) -> list[bool]:
    """Whether each answer would be written by greedy decoding: every token of it is the likeliest."""
    row = to_device(build_row([made.tree()]), model.device)
    states = family_of(model).target_states(model, row)
    head = model.get_output_embeddings()
    best = torch.cat([head(part).argmax(-1) for part in torch.split(states, 256)])
    right = (best == row.target_ids).tolist()
    out, at = [], 0
    for question, answer in made.branches:
        out.append(all(right[at + len(question) : at + len(question) + len(answer)]))
        at += len(question) + len(answer)
    return out
