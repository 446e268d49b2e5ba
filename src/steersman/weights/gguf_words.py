"""A tokenizer as GGUF holds it: entries, their kinds, merges or scores, and the name of llama.cpp's way to cut words.

llama.cpp cuts a text into words by one of a few patterns that it knows by name, so a pattern of one's own cannot be
written down. Any pattern that cuts at fewer places gives the same tokens, as long as no merge joins what the
tokenizer's own pattern keeps apart. Which name does so is found by trying: PROBES are tokenised both ways.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

Json = Mapping[str, Any]
_END = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*" + _SPACES
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
WAYS: dict[str, tuple[str, ...]] = {
    "gpt-2": (_END,),
    "smollm": (r"\p{N}", _END),
    "llama-bpe": (_SHORT + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST,),
    "dbrx": (_SHORT + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST,),
    "qwen2": (_SHORT + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST,),
    "qwen35": (_SHORT + r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _SPACES,),
    "tekken": ("|".join(_CASED) + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _SPACES,),
}
"""llama.cpp's name -> the patterns by which it cuts, one after the other. llama-bpe also takes words whole."""
ALIASES = {
    **dict.fromkeys(("phi-2", "jina-es", "jina-de", "roberta-bpe", "mpt", "olmo", "jais", "trillion"), "gpt-2"),
    **dict.fromkeys(("starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), "smollm"),
    **dict.fromkeys(("llama3", "llama-v3", "falcon3", "smaug-bpe"), "llama-bpe"),
    **dict.fromkeys(("stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan"), "qwen2"),
    **dict.fromkeys(("pixtral", "mistral-nemo"), "tekken"),
}
"""Other names that llama.cpp has for the same ways."""
PROBES = (
    "Where is my order no. 12345678? It hasn't come; I've waited 3 days, and we'll leave on 2026-11-28.",
    "您好，我的订单号是20261128，什么时候发货？请在3天内（最迟周五）回复，谢谢！",
    "def f(x):\n    if x == 10:\n\t\treturn 'done'  # 100 %\n\n\nprint(f(10))",
    "价格：¥1,299.00元/件，买2送1……“真的吗？”——他问道：（不！）",
    "HELLO World iPhone15Pro 第3代AirPods Don't STOP! I'M here; YOU'LL see",
    "  两个空格 and  two\u3000全角空格，end.\r\nNew line\n \n  x",
    "a,b;c|d{e}[f]<g>/h\\i~j`k!l@m#n$o%p^q&r*s(t)u_v+w=x",
    "Café naïve façade Ångström Привет мир こんにちは 안녕하세요 สวัสดี मानक",
    "😀👍🏽 emoji🙂text ❤️ 1️⃣ ①②③ Ⅳ ½ x² H₂O",
    "https://example.com/a?b=1&c=%E4%B8%AD 127.0.0.1:8080 user@example.com",
    "(the)“quoted”'single' —dash– …dots… $5.99 #tag @name -3.14e-10",
    "1 12 123 1234 12345 123456 1234567",
    "我們在臺灣，天氣很好。他说:“OK,没问题!”A股上涨2.5%。",
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n* item\n* item\n",
)


LOOKS = re.compile(r"<\|.*\|>|<｜.*｜>|<unused.*>|<pad>|<mask>|<2mass>|\[@BOS@\]")
"""Names that llama.cpp's converter takes for control tokens whatever the tokenizer says; DeepSeek's says no of most."""


class Kind(IntEnum):
    """llama.cpp's kinds of entries."""

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Words:
    """What a file says of its tokenizer."""

    model: str
    """'gpt2': byte-level merges; 'llama': merges of characters, bytes where there is none; 't5': unigram."""
    pre: str
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    prefix: bool | None = None
    """Whether a space is put before a text and behind every special token."""
    charsmap: bytes = b""
    """Of a unigram tokenizer: what characters are changed into, as SentencePiece compiles it."""
    trims: bool | None = None
    """Whether white space that is repeated, or at a text's ends, is left out."""
    at_first: bool = False
    """Whether this tokenizer puts the space before a text alone, which llama.cpp cannot."""
    differ: int = 0
    """Probes, of `len(PROBES)`, that llama.cpp would cut into other tokens."""


def words_of(tokenizer: Any, rows: int) -> Words:
    """The tokenizer of transformers for a model with `rows` embeddings.

    Raises ValueError for one that llama.cpp has no counterpart for.
    """
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens, kinds = _entries(parts, tokenizer, rows)
    model = parts["model"]
    steps = [step["type"] for step in _flat(parts.get("pre_tokenizer"))]
    first, behind = _puts_a_space(tokenizer)
    prefix = behind if tokenizer.chat_template else first
    if model["type"] == "BPE" and "ByteLevel" in steps:
        pre, differ = _way(tokenizer, parts)
        return Words("gpt2", pre, tokens, kinds, merges=_merges(model), differ=differ)
    if model["type"] == "BPE" and model.get("byte_fallback"):
        ranks = _ranks(model, tokens)
        return Words(
            *("llama", "default", tokens, kinds),
            scores=ranks,
            prefix=prefix,
            at_first=first != behind,
            differ=_changed(tokenizer, parts),
        )
    if model["type"] == "Unigram" and "ByteLevel" not in steps:
        scores, changes = dict(model["vocab"]), _flat(parts.get("normalizer"))
        compiled = next((step["precompiled_charsmap"] for step in changes if step["type"] == "Precompiled"), "")
        return Words(
            "t5",
            "default",
            tokens,
            kinds,
            scores=tuple(scores.get(t, 0.0) for t in tokens),
            prefix=prefix,
            charsmap=base64.b64decode(compiled),
            trims="WhitespaceSplit" in steps or any(step["type"] == "Strip" for step in changes),
            at_first=first != behind,
        )
    raise ValueError(
        f"the tokenizer ({model['type']} with {', '.join(steps) or 'no cutting'}): llama.cpp has none like it; "
        "expected byte-level BPE, BPE with bytes, or unigram of characters. A safetensors folder can still be exported"
    )


def _flat(node: Json | None) -> list[Json]:
    if not node:
        return []
    inside = node.get("pretokenizers", node.get("normalizers"))
    return [step for part in inside for step in _flat(part)] if inside is not None else [node]


def _entries(parts: Json, tokenizer: Any, rows: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    vocabulary = tokenizer.get_vocab()
    if (need := max(vocabulary.values()) + 1) > rows:
        raise ValueError(f"the tokenizer has entries up to {need - 1}, the model only {rows} embeddings")
    names = {number: text for text, number in vocabulary.items()}
    added = {token["id"]: token for token in parts.get("added_tokens", ())}
    tokens, kinds = [], []
    for number in range(rows):
        text = names.get(number)
        kind = Kind.NORMAL if text is not None else Kind.UNUSED
        if number in added:
            control = added[number]["special"] or LOOKS.fullmatch(str(text))
            kind = Kind.CONTROL if control else Kind.USER_DEFINED
            text = str(text) if kind == Kind.CONTROL else str(text).replace("▁", " ")
        elif text is not None and parts["model"].get("byte_fallback") and _is_byte(text):
            kind = Kind.BYTE
        if number == tokenizer.unk_token_id and parts["model"]["type"] != "BPE":
            kind = Kind.UNKNOWN
        tokens.append(f"[PAD{number}]" if text is None else text)
        kinds.append(int(kind))
    return tuple(tokens), tuple(kinds)


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _puts_a_space(tokenizer: Any) -> tuple[bool, bool]:
    """Whether it does before a text, and behind a special token."""
    marks = tokenizer.all_special_tokens[:1]
    found = []
    for before in ("", *marks):
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(f"{before}a", add_special_tokens=False).input_ids)
        found.append(str(tokens[1 if before else 0]).startswith("▁"))
    return found[0], found[-1]


def _merges(model: Json) -> tuple[str, ...]:
    return tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])


def _ranks(model: Json, tokens: Sequence[str]) -> tuple[float, ...]:
    """Scores that let earlier merges go first: minus the number of the first merge that makes an entry."""
    first: dict[str, int] = {}
    for number, merge in enumerate(model["merges"]):
        first.setdefault("".join(merge.split(" ", 1) if isinstance(merge, str) else merge), number)
    return tuple(-float(first.get(token, len(first))) for token in tokens)


def _way(tokenizer: Any, parts: Json) -> tuple[str, int]:
    """(llama.cpp's name of the way to cut that gives the tokenizer's tokens, probes of which it does not)."""
    whole = bool(parts["model"].get("ignore_merges"))
    fit = {name: _differs(tokenizer, ways) for name, ways in WAYS.items() if (name == "llama-bpe") == whole or whole}
    best = min(fit, key=lambda name: fit[name])
    return best, fit[best]


def cut_as_said(tokenizer: Any, pre: str) -> Any:
    """A byte-level tokenizer that was read from a GGUF file, cutting words in the way that the file names.

    transformers does not read the name and takes a way by the kind of model. None where it is not known here.
    """
    ways = WAYS.get(ALIASES.get(pre, pre))
    if ways is None:
        return None
    if _differs(tokenizer, ways):
        tokenizer.backend_tokenizer.pre_tokenizer = _cutter(ways)
    elif type(tokenizer) is PreTrainedTokenizerFast:
        return tokenizer
    # a family's class would make its own way of cutting again when it is loaded
    return _plain(tokenizer, tokenizer.backend_tokenizer)


def with_marks(tokenizer: Any, tokens: Sequence[str], kinds: Sequence[int]) -> Any:
    """A byte-level tokenizer that was read from a GGUF file, with the control and added tokens whose names are not of
    its alphabet, as all of DeepSeek's: transformers spells them in it, so that no text is read as one of them, and
    begins and ends texts with entries of its own beyond the model's."""
    alphabet = set(bytes_to_unicode().values())
    lost = {
        number: text
        for number, (text, kind) in enumerate(zip(tokens, kinds, strict=False))
        if kind in (Kind.CONTROL, Kind.USER_DEFINED) and not set(text) <= alphabet
    }
    parts = json.loads(tokenizer.backend_tokenizer.to_str()) if lost else {}
    if not lost:
        return tokenizer
    names = {number: text for text, number in parts["model"]["vocab"].items()}
    texts, flags = {*lost.values()}, dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    known = [token for token in parts["added_tokens"] if token["content"] not in texts]
    for number, text in lost.items():
        parts["model"]["vocab"].pop(names.get(number, text), None)
        parts["model"]["vocab"][text] = number
        known.append({"id": number, "content": text, "special": kinds[number] == Kind.CONTROL, **flags})
    parts["added_tokens"] = sorted(known, key=lambda token: token["id"])
    return _plain(tokenizer, Tokenizer.from_str(json.dumps(parts)))


def _plain(tokenizer: Any, core: Any) -> Any:
    """A general tokenizer over `core` with the names of another's special tokens, and its template."""
    names = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    plain = PreTrainedTokenizerFast(tokenizer_object=core, **names)
    plain.chat_template = tokenizer.chat_template
    return plain


def _cutter(patterns: Sequence[str]) -> Any:
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _differs(tokenizer: Any, patterns: Sequence[str]) -> int:
    other = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    other.pre_tokenizer = _cutter(patterns)
    other.normalizer = None
    return _unlike(tokenizer, other)


def _changed(tokenizer: Any, parts: Json) -> int:
    """PROBES that other characters stand in before they are cut; llama.cpp writes spaces alone in another way there."""
    steps = _flat(parts.get("normalizer"))
    spaces = [s for s in steps if s["type"] == "Prepend" or (s["type"] == "Replace" and "String" in s["pattern"])]
    kept = {"type": "Sequence", "normalizers": spaces}
    return _unlike(tokenizer, Tokenizer.from_str(json.dumps({**parts, "normalizer": kept})))


def _unlike(tokenizer: Any, other: Any) -> int:
    own = tokenizer.backend_tokenizer
    return sum(
        other.encode(text, add_special_tokens=False).ids != own.encode(text, add_special_tokens=False).ids
        for text in PROBES
    )
