"""Restricts an answer to one of a few texts, by a trie over their token ids; works with any tokenizer."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steersman.types import SamplingParams

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Trie = dict[int, Any]
END = -1
"""Key of a node where a text is complete."""


class Choice:
    """The state of one answer: a place in the trie. It has the interface of `Grammar`."""

    def __init__(self, node: Trie, ends: Collection[int], texts: Mapping[tuple[int, ...], str]) -> None:
        self._node, self._ends, self.texts = node, ends, texts

    def copy(self) -> Choice:
        return Choice(self._node, self._ends, self.texts)

    def allowed(self, vocabulary: int, device: torch.device) -> Tensor:
        """bool [vocabulary]: tokens that may come next; the end of turn where a text is complete."""
        import torch

        following = [token for token in self._node if token != END]
        following += [token for token in self._ends if END in self._node and token < vocabulary]
        mask = torch.zeros(vocabulary, dtype=torch.bool)
        mask[following] = True
        return mask.to(device)

    def accept(self, token: int) -> None:
        self._node = self._node.get(token, {END: {}})  # after an end that is ignored: ends alone


def choice_of(texts: Mapping[tuple[int, ...], str], ends: Collection[int]) -> Choice:
    """The state before the first token. `texts`: each text by its token ids, without an end, which may decode to
    another (small letters, nothing for what is unknown); `ends`: ids that end a turn."""
    root: Trie = {}
    for ids in texts:
        node = root
        for token in ids:
            node = node.setdefault(token, {})
        node[END] = {}
    return Choice(root, ends, texts)


def expression(choices: Sequence[str]) -> str:
    """A regular expression that matches these texts and nothing else."""
    return "|".join(re.escape(text).replace("\\ ", " ") for text in sorted(choices, key=len, reverse=True))


def regex_of(params: SamplingParams) -> str | None:
    """The regular expression to send to an engine that supports them: of `params.choices` or its own; None for
    neither."""
    return expression(params.choices) if params.choices else params.regex
