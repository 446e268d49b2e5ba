"""Images in a dialogue's turns: whether model and chat template support them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

from steersman.parts import CannotTake, Image, Part, Text
from steersman.types import Conversation, Message

PIXEL = Image("0" * 64, "image/png")
WORDS = "Zqseen"


def places(conversation: Conversation) -> Iterator[tuple[int, int, Image]]:
    """(index of the turn, index of the part in the turn's content, image)."""
    for i, turn in enumerate(conversation.messages):
        for j, part in enumerate(turn.said):
            if isinstance(part, Image):
                yield i, j, part


class Images:
    """Checks dialogues with images against one chat template and the model's ability to take images (`sees`)."""

    def __init__(self, tokenizer: Any, sees: bool, attempt: Callable[[tuple[Message, ...]], str | None]) -> None:
        name = PurePath(str(getattr(tokenizer, "name_or_path", ""))).name
        # the name of the tokenizer's folder; not its path, since people who chat may read it
        self._model = f"the model '{name}'" if name else "this model"
        self._sees, self._attempt = sees, attempt

    @functools.cached_property
    def _drawn(self) -> bool:
        """Whether the template writes a placeholder for an image in a user's turn, and the words beside it."""
        turns: list[list[Part]] = [[Text(WORDS)], [PIXEL, Text(WORDS)]]
        plain, seen = (self._attempt((Message("user", parts),)) for parts in turns)
        # a template without support for parts may write the list's Python repr
        return seen is not None and WORDS in seen and "'type'" not in seen and seen != plain

    def check(self, conversation: Conversation) -> None:
        """Raises CannotTake, naming the first image, where the model or its template does not support images."""
        for i, j, _ in places(conversation):
            where = f"conversation '{conversation.id}': messages[{i}].content[{j}] is an image"
            if not self._sees:
                raise CannotTake(f"{where}; {self._model} takes text alone")
            if not self._drawn:
                raise CannotTake(f"{where}; the chat template of {self._model} has no place for images")


def without(conversation: Conversation, i: int, j: int) -> Conversation:
    """The dialogue without part `j` of turn `i`'s content."""
    turns = list(conversation.messages)
    turns[i] = turns[i].saying(part for k, part in enumerate(turns[i].said) if k != j)
    return Conversation(conversation.id, tuple(turns), conversation.meta, conversation.tools)
