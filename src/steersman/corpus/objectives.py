"""Training objectives made from a row of tokens: span corruption, denoising, prefix LM, masked words.

Every draw follows from (seed, row), so a row always gets the same objective and the same spans.

Why so: decision 81 in docs/LOG.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Numbers = np.ndarray[Any, np.dtype[Any]]
SHARE, SPAN = 0.15, 3.0
"""Share of the tokens that span corruption removes, and the mean length of a span in tokens (Raffel et al. 2020)."""
INFILL = 0.3
"""Share of the tokens that denoising removes, with a single mask for each span (Lewis et al. 2020)."""
MASKED, AS_MASK, AT_RANDOM = 0.15, 0.8, 0.1
"""Words that are asked for; of their tokens masked, exchanged (the others are left as they are; Devlin et al. 2019)."""
SENTINELS = tuple(f"<extra_id_{i}>" for i in range(100))
MASKS = {"mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
WORD = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]+|[^\W\d_\u3400-\u9fff]+|\d+|\s+|.", re.DOTALL)
HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")


class Asked(NamedTuple):
    """Token ids: what the encoder reads, and what the decoder must write."""

    source: list[int]
    target: list[int]


def spans_of(length: int, share: float, mean: float, draw: np.random.Generator) -> list[tuple[int, int]]:
    """[start, end) of random spans, in order, never touching: `share` of the tokens, `mean` long on average."""
    taken = min(max(1, round(length * share)), length - 1)
    count = max(1, min(round(taken / mean), length - taken))

    def divided(total: int, parts: int) -> list[int]:
        cuts = np.sort(draw.choice(total - 1, parts - 1, replace=False)) + 1 if parts > 1 else np.zeros(0, np.int64)
        return [int(n) for n in np.diff(np.concatenate([[0], cuts, [total]]))]

    found, at = [], 0
    for gap, size in zip(divided(length - taken, count), divided(taken, count), strict=True):
        found.append((at + gap, at + gap + size))
        at += gap + size
    return found


def fill_spans(tokens: Sequence[int], sentinels: Sequence[int], end: int, draw: np.random.Generator) -> Asked:
    """Span corruption (T5): the source has a numbered sentinel for each span, the target each sentinel and its span.

    Where a row would have more spans than there are sentinels, they are longer, so that all of it is corrupted."""
    source: list[int] = []
    target: list[int] = []
    at = 0
    mean = max(SPAN, SHARE * len(tokens) / len(sentinels))
    for sentinel, (start, stop) in zip(sentinels, spans_of(len(tokens), SHARE, mean, draw), strict=False):
        source += [*tokens[at:start], sentinel]
        target += [sentinel, *tokens[start:stop]]
        at = stop
    return Asked([*source, *tokens[at:], end], [*target, end])


def put_right(tokens: Sequence[int], mask: int, end: int, draw: np.random.Generator) -> Asked:
    """Denoising (BART): the source has one mask for each span, the target is the whole text."""
    source: list[int] = []
    at = 0
    for start, stop in spans_of(len(tokens), INFILL, SPAN, draw):
        source += [*tokens[at:start], mask]
        at = stop
    return Asked([*source, *tokens[at:], end], [*tokens, end])


def go_on(tokens: Sequence[int], end: int, draw: np.random.Generator) -> Asked:
    """Prefix LM: the text is cut at a random place, the target is what comes after."""
    cut = int(draw.integers(1, len(tokens)))
    return Asked([*tokens[:cut]], [*tokens[cut:], end])


class Masked(NamedTuple):
    """Token ids with masks; `places`: indices of the tokens to predict, `targets`: those tokens."""

    tokens: Numbers
    places: Numbers
    targets: Numbers


def mask_words(
    tokens: Numbers, words: Numbers, mask: int, vocabulary: int, keep: set[int], draw: np.random.Generator
) -> Masked:
    """Masks whole words until MASKED of the tokens are chosen (BERT, whole word masking).

    `tokens`, `words` [L]: token ids, and the number of each token's word; `mask`: the mask's id; `vocabulary`: ids
    below it may be drawn at random; `keep`: ids that are never chosen.
    """
    free = ~np.isin(tokens, list(keep))
    wanted = max(1, round(MASKED * int(free.sum())))
    chosen = np.zeros(len(tokens), bool)
    for word in draw.permutation(np.unique(words[free])):
        chosen |= (words == word) & free
        if int(chosen.sum()) >= wanted:
            break
    (places,) = chosen.nonzero()
    targets, shown = tokens[places].copy(), tokens.copy()
    fate = draw.random(len(places))
    shown[places[fate < AS_MASK]] = mask
    random = places[(fate >= AS_MASK) & (fate < AS_MASK + AT_RANDOM)]
    shown[random] = draw.integers(0, vocabulary, len(random))
    return Masked(shown, places, targets)


class Words:
    """Finds the word of each token of a row: Chinese words by a dictionary, others by letters, digits and spaces."""

    def __init__(self, tokenizer: Any) -> None:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        self.tokenizer = tokenizer
        self._bytes = {sign: byte for byte, sign in bytes_to_unicode().items()}

    def __call__(self, tokens: Numbers) -> Numbers:
        """[L]: numbers that are equal where tokens are of one word. A token belongs to the word of its last byte."""
        pieces = self.tokenizer.convert_ids_to_tokens(tokens.tolist())
        special = set(self.tokenizer.all_special_tokens)
        raw = [b"\n" if p in special else bytes(self._bytes.get(sign, 0x3F) for sign in p) for p in pieces]
        text = b"".join(raw).decode("utf-8", "surrogateescape")
        ends = np.cumsum([len(w.encode("utf-8", "surrogateescape")) for w in _words(text)])
        return np.searchsorted(ends, np.cumsum([len(r) for r in raw]) - 1, "right")


def _words(text: str) -> list[str]:
    found: list[str] = []
    for run in WORD.findall(text):
        found += _cut(run) if HAN.match(run) and len(run) > 1 else [run]
    return found


def _cut(run: str) -> list[str]:
    """Chinese words."""
    import rjieba

    return list(rjieba.cut(run))


def shares_of(text: str, known: Sequence[str], setting: str = "objectives") -> dict[str, float]:
    """'span=0.7,prefix=0.3' -> shares that add up to 1. ValueError, naming the setting, where a name is not known."""
    out = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            out[name] = float(value or 1)
        except ValueError:
            out[name] = -1.0
        if name not in known or not out[name] >= 0:
            expected = f"some of {', '.join(known)}, such as {known[0]}=1"
            raise ValueError(f"pretrain.{setting}: expected {expected}, got {part!r}")
    total = sum(out.values())
    if not total:
        raise ValueError(f"pretrain.{setting}: expected a share above 0")
    return {name: value / total for name, value in out.items()}


def pick(first: Mapping[str, float], last: Mapping[str, float], done: float, draw: np.random.Generator) -> str:
    """An objective, at its share after `done` (0 to 1) of the run, on the line from `first` to `last`."""
    names = sorted({*first, *last})
    shares = np.array([(1 - done) * first.get(n, 0.0) + done * last.get(n, 0.0) for n in names])
    return names[int(np.searchsorted(np.cumsum(shares), draw.random() * shares.sum(), "right").clip(0, len(names) - 1))]


Ask = Callable[[str, Sequence[int], np.random.Generator], Asked]


def asker(tokenizer: Any) -> Ask:
    """Objectives for encoder-decoders by name: span, denoise and prefix, over a tokenizer that `prepare` has seen."""
    sentinels = tokenizer.convert_tokens_to_ids(list(SENTINELS))
    end, mask = tokenizer.eos_token_id, sentinels[0]

    def ask(name: str, tokens: Sequence[int], draw: np.random.Generator) -> Asked:
        if name == "span":
            return fill_spans(tokens, sentinels, end, draw)
        return put_right(tokens, mask, end, draw) if name == "denoise" else go_on(tokens, end, draw)

    return ask


def prepare(tokenizer: Any, masked: bool) -> None:
    """Give a tokenizer the tokens that the objectives need, behind its own: ids of shards stay what they are."""
    if masked:
        tokenizer.add_special_tokens({role: name for role, name in MASKS.items() if getattr(tokenizer, role) is None})
    else:
        known = tokenizer.get_vocab()
        tokenizer.add_tokens([name for name in SENTINELS if name not in known], special_tokens=True)
