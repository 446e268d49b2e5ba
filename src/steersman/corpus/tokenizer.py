"""Training a tokenizer on a corpus, and measuring tokenizers: bytes per token by language and source."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steersman.stats import Interval

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

KINDS, DIGITS, SPACES = ("bpe", "unigram"), ("one", "three", "any"), ("runs", "single")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""The end of a text (and padding), and the marks of turns in CHAT."""
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LETTERS = r"[^\r\n\p{L}\p{N}\u3000-\u303f\uff00-\uffef]?[\p{L}&&[^\p{Han}]]+|\p{Han}+"
WORDS = {
    # words with the sign before them, runs of Chinese characters (no token joins them with letters of another script
    # or with punctuation), digits, runs of other signs, white space
    "runs": rf"'(?i:[sdmt]|ll|ve|re)|{_LETTERS}|DIGITS| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "single": rf"'(?i:[sdmt]|ll|ve|re)|{_LETTERS}|DIGITS| ?[^\s\p{{L}}\p{{N}}]+|\s",
}
DIGIT_RUNS = {"one": r"\p{N}", "three": r"\p{N}{1,3}", "any": r"\p{N}+"}
BYTES = 256


@dataclass(frozen=True)
class Wanted:
    """What a tokenizer shall be."""

    vocabulary: int = 32_768
    kind: str = "bpe"
    """'bpe': of bytes, so that every text can be written; 'unigram': of characters, bytes where it knows none."""
    digits: str = "three"
    """How many digits one token may hold: 'one', 'three' at most, or 'any' number."""
    spaces: str = "runs"
    """White space in 'runs' (indentation is few tokens), or each sign by itself: 'single'."""
    special: tuple[str, ...] = SPECIAL
    """The first ends a text; the marks of turns must be there for the chat template."""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kind", self.kind, KINDS),
            ("digits", self.digits, DIGITS),
            ("spaces", self.spaces, SPACES),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value}")
        least = BYTES + len(self.special) + 1
        if self.vocabulary < least:
            raise ValueError(
                f"vocabulary: expected at least {least} (all bytes and special tokens), got {self.vocabulary}"
            )
        if not self.special or len(set(self.special)) < len(self.special) or not all(self.special):
            raise ValueError("special: expected different tokens, the first of which ends a text")


def train(texts: Iterable[str], wanted: Wanted) -> PreTrainedTokenizerFast:
    """A tokenizer of exactly the wanted size, or of fewer entries where the texts do not give as many.

    Deterministic: the same texts in the same order give the same entries.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=_built(texts, wanted),
        eos_token=wanted.special[0],
        pad_token=wanted.special[0],
        additional_special_tokens=list(wanted.special[1:]),
        chat_template=CHAT if set(SPECIAL[1:]) <= set(wanted.special) else None,
        clean_up_tokenization_spaces=False,
    )


def _built(texts: Iterable[str], wanted: Wanted) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    model, trainer = {
        "bpe": (models.BPE, trainers.BpeTrainer),
        "unigram": (models.Unigram, trainers.UnigramTrainer),
    }[wanted.kind]
    tokenizer = Tokenizer(model())
    words = Regex(WORDS[wanted.spaces].replace("DIGITS", DIGIT_RUNS[wanted.digits]))
    by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(words, "isolated"), by_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    training = trainer(
        vocab_size=wanted.vocabulary,
        special_tokens=list(wanted.special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_short(texts), training)
    return tokenizer


def _short(texts: Iterable[str], most: int = 10_000) -> Iterator[str]:
    """Documents in pieces of lines, so that the trainer never holds a whole book as one sequence."""
    for text in texts:
        for start in range(0, len(text), most):
            yield text[start : start + most]


@dataclass(frozen=True)
class Measured:
    """Bytes per token of one tokenizer on texts of one source."""

    bytes: int
    tokens: int
    per_token: Interval
    """With an interval over documents."""
    lossless: bool
    """Whether every text came back as it was."""

    def to_json(self) -> dict[str, Any]:
        return {
            "bytes": self.bytes,
            "tokens": self.tokens,
            "bytes_per_token": self.per_token.value,
            "interval": [self.per_token.low, self.per_token.high],
            "lossless": self.lossless,
        }


def measure(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], seed: int = 0) -> Measured:
    """Bytes of UTF-8 per token (no special tokens), the ratio of sums, with a bootstrap interval over texts."""
    import numpy as np

    sizes = np.array([len(text.encode()) for text in texts], float)
    counts = np.empty(len(texts))
    lossless = True
    for start in range(0, len(texts), 64):
        batch = list(texts[start : start + 64])
        rows = tokenizer(batch, add_special_tokens=False, verbose=False).input_ids
        for i, ids in enumerate(rows):
            counts[start + i] = len(ids)
            lossless = lossless and tokenizer.decode(ids, clean_up_tokenization_spaces=False) == batch[i]
    picks = np.random.default_rng(seed).integers(0, len(texts), (1000, len(texts)))
    ratios = sizes[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    found = Interval(float(sizes.sum() / counts.sum()), float(low), float(high), len(texts))
    return Measured(int(sizes.sum()), int(counts.sum()), found, lossless)


def sample(texts: Iterable[str], count: int, characters: int = 4000) -> list[str]:
    """The beginnings of the first `count` texts."""
    return [text[:characters] for text in itertools.islice(texts, count)]


def compared(named: Mapping[str, PreTrainedTokenizerBase], texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Source or language -> tokenizer -> what `measure` found."""
    return {
        where: {name: measure(tokenizer, some).to_json() for name, tokenizer in named.items()}
        for where, some in texts.items()
        if some
    }
