"""Report, before training, on what a model will learn and where it will stop: template, mask, stop token.

Most questions of "why does it not stop?" are answered here: an end of turn that is masked from the loss, that
generation does not stop at, or that the base model never saw.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open

from steersman.terminal import safe
from steersman.text.template import DAY, Rendered, Template
from steersman.types import Conversation, Message

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "shared.weight")
Level = Literal["ok", "warn", "error"]
ALIKE, TWINS, BLOCK = 0.999, 3, 8192
PROBE = Conversation(
    "an example",
    (
        Message("user", "Where is my order? 我的订单在哪里？"),
        Message("assistant", "On its way. 在路上。"),
        Message("user", "Thank you!"),
        Message("assistant", "You are welcome."),
    ),
)


@dataclass(frozen=True)
class Lesson:
    """`rows`: the first record's training rows; `found`: (level, subject, finding, advice) for `doctor`."""

    rows: tuple[Rendered, ...]
    found: list[tuple[Level, str, str, str]]


def stops(folder: Path) -> set[int] | None:
    """Tokens at which the folder's own generation settings stop; None where they name none."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            ends = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
            if ends is not None:
                return set(ends) if isinstance(ends, list) else {ends}
    return None


def _embedding_blocks(folder: Path) -> Iterator[torch.Tensor]:
    """Rows of the input embedding, some thousand at a time; nothing where it is not found."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name.endswith(EMBEDDINGS):
                    rows = file.get_slice(name)
                    for start in range(0, rows.get_shape()[0], BLOCK):
                        yield rows[start : start + BLOCK].float()
                    return


def twins(folder: Path, token: int) -> int | None:
    """Number of other tokens with nearly the embedding of `token`: embeddings of untrained tokens look alike.

    None where the folder's weights do not show it.
    """
    mine = next(itertools.islice(_embedding_blocks(folder), token // BLOCK, None), None)
    if mine is None or token % BLOCK >= len(mine):
        return None
    own = mine[token % BLOCK]
    norm = own.norm()
    if norm == 0:
        return TWINS
    alike = sum(int((block @ own > ALIKE * block.norm(dim=1) * norm).sum()) for block in _embedding_blocks(folder))
    return alike - 1


def examine(folder: Path, template: Template, record: Conversation = PROBE) -> Lesson:
    """What the model in `folder` learns from `record`, with findings on its template and end of turn.

    Raises ValueError where the template cannot say the record.
    """
    rows = template.examples(record)
    name = template.tokenizer.convert_ids_to_tokens(template.end_of_turn)
    found: list[tuple[Level, str, str, str]] = [
        ("ok", "end of turn", f"{name} (token {template.end_of_turn}), learned with every answer", "")
    ]
    there = stops(folder)
    if there is None or template.end_of_turn not in there:
        said = "none" if there is None else ", ".join(map(str, sorted(there)))
        advice = "other software does not stop there until `steersman sft` has written both"
        found.append(("warn", "stops at", f"the model's own settings name {said}", advice))
    alike = twins(folder, template.end_of_turn)
    if alike is not None and alike >= TWINS:
        advice = "a model that learns to say it may say any of them: take a template whose end of turn the base knows"
        looks = f"{name} looks untrained: {alike} other tokens have its embedding"
        found.append(("warn", "end of turn", looks, advice))
    learned, total = sum(sum(row.learn) for row in rows), sum(len(row.ids) for row in rows)
    shape = "one row" if len(rows) == 1 else f"{len(rows)} rows, since the template renders earlier turns otherwise"
    level: Level = "ok" if learned else "error"
    found.append((level, "learned", f"{learned} of {total} tokens of '{record.id}', in {shape}", ""))
    if template.dated:
        wrote = f"the template writes a date: {DAY:%Y-%m-%d} in training, the day of asking in serve and chat"
        found.append(("ok", "date", wrote, ""))
    found += [("ok", "template", text, "") for text in template.notes]
    return Lesson(rows, found)


def pieces(template: Template, row: Rendered) -> list[tuple[str, bool]]:
    """The row's text as runs (text, whether it is learned)."""
    runs = itertools.groupby(zip(row.ids, row.learn, strict=True), key=lambda pair: pair[1])
    return [(template.tokenizer.decode([i for i, _ in run], skip_special_tokens=False), own) for own, run in runs]


def shown(template: Template, lesson: Lesson, most: int = 1200) -> Any:
    """The first record as rich text: learned text stands out, other text is dim; long rows are cut."""
    from rich.text import Text

    out = Text()
    for number, row in enumerate(lesson.rows, 1):
        out.append(f"row {number}: ", style="bold") if len(lesson.rows) > 1 else None
        for text, own in pieces(template, row):
            text = safe(text)
            cut = text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 2 :]}"
            out.append(cut, style="bold green" if own else "dim")
        out.append("\n")
        if len(out) > 3 * most:
            out.append(f"and {len(lesson.rows) - number} more rows\n", style="dim")
            break
    return out
