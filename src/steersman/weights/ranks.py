"""Tokenizers in tiktoken's form (a token in base64 and its rank a line) whose class is Python code in their folder.

The code is not run. How each parts words and which tokens of its own follow the ranks is published; transformers'
converter makes the rest of it.
"""

from __future__ import annotations

import ast
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from steersman.artifact.files import read_object

_ENDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = (r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+")
_UPPER, _LOWER = (rf"[\p{{{case}}}\p{{Lm}}\p{{Lo}}\p{{M}}&&[^\p{{Han}}]]" for case in (r"Lu}\p{Lt", "Ll"))
_KIMI = (
    *(r"[\p{Han}]+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDS}?"),
    *(rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDS}?", r"\p{N}{1,3}"),
    *_REST,
)
_EXTRA = tuple(f"<|extra_{i}|>" for i in range(205))


def _words(digits: str) -> tuple[str]:
    return ("|".join((_ENDS, r"[^\r\n\p{L}\p{N}]?\p{L}+", digits, *_REST)),)


@dataclass(frozen=True)
class Ranked:
    """A published tokenizer. `pattern`: of its words, in the pieces that its code writes it in; `own`: its tokens that
    follow the ranks; `reserved`: how many there are at least, those without a name as `<|reserved_token_ID|>`; `start`:
    tokens before each text."""

    file: str
    pattern: tuple[str, ...]
    own: tuple[str, ...] = ()
    end: str = ""
    reserved: int = 0
    start: tuple[str, ...] = ()
    composed: bool = False
    """Whether texts are brought into Unicode's composed form (NFC) first."""


KNOWN = {
    "QWenTokenizer": Ranked(
        "qwen.tiktoken",
        _words(r"\p{N}"),
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *_EXTRA),
        "<|endoftext|>",
        composed=True,
    ),
    "HYTokenizer": Ranked(
        "hy.tiktoken",
        _words(r"\p{N}"),
        ("<|endoftext|>", "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>", *_EXTRA),
        "<|eos|>",
        composed=True,
    ),
    "TikTokenTokenizer": Ranked("tiktoken.model", _KIMI, reserved=256),
    "ChatGLM4Tokenizer": Ranked(
        "tokenizer.model",
        _words(r"\p{N}{1,3}"),
        (
            *("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>"),
            *("<|assistant|>", "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>"),
            "<|end_of_video|>",
        ),
        "<|endoftext|>",
        start=("[gMASK]", "<sop>"),
    ),
}
"""By the name of their class: Qwen 1, Hunyuan, Kimi and Moonlight, GLM-4."""
FILES = ("qwen.tiktoken", "hy.tiktoken")
"""Those that say by their name of whom they are."""
BEYOND = 4096
"""Most tokens that follow the ranks."""
BESIDE = ("chat_template.jinja", "special_tokens_map.json")


def ranked(folder: Path) -> Ranked | None:
    """Of whom a folder's file of ranks is, where that is known. ValueError where the code beside it parts words in
    another way."""
    said = _said(folder)
    name = said.get("tokenizer_class") if (folder / "tokenizer_config.json").is_file() else None
    found = KNOWN.get(str(name)) or next(
        (k for k in KNOWN.values() if k.file in FILES and (folder / k.file).is_file()), None
    )
    if found is None or not (folder / found.file).is_file() or (folder / "tokenizer.json").is_file():
        return None
    if found.reserved and not said.get("added_tokens_decoder"):
        return None
    codes = [set(_constants(path)) for path in sorted(folder.glob("tokenization*.py"))]
    if codes and not any(code.issuperset(found.pattern) for code in codes):
        raise ValueError(
            f"{found.file}: its Python code parts words in a way that is not known; expected tokenizer.json"
        )
    return found


def _said(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return read_object(path, "a tokenizer's settings") if path.is_file() else {}


def _constants(path: Path) -> Iterator[str]:
    try:
        found = ast.walk(ast.parse(path.read_bytes()))
        yield from (n.value for n in found if isinstance(n, ast.Constant) and isinstance(n.value, str))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return


def read(folder: Path, of: Ranked) -> Any:
    """The tokenizer, with the folder's chat template and what its settings say of special tokens."""
    from tokenizers import normalizers, processors
    from transformers.convert_slow_tokenizer import TikTokenConverter

    made = TikTokenConverter(str(folder / of.file), "|".join(of.pattern)).converted()
    said = _said(folder)
    _add(made, of, said.pop("added_tokens_decoder", None) or {})
    if of.composed:
        made.normalizer = normalizers.NFC()
    if of.start:
        ids = [(token, made.token_to_id(token)) for token in of.start]
        made.post_processor = processors.TemplateProcessing(single=[*of.start, "$A"], special_tokens=ids)
    with tempfile.TemporaryDirectory() as place:
        made.save(f"{place}/tokenizer.json")
        ends = {"eos_token": of.end} if of.end else {}
        settings = {k: v for k, v in said.items() if k not in ("auto_map", "tokenizer_class") and v is not None}
        Path(place, "tokenizer_config.json").write_text(json.dumps(ends | settings), encoding="utf-8")
        for name in BESIDE:
            if (folder / name).is_file():
                shutil.copy(folder / name, place)
        found = transformers.PreTrainedTokenizerFast.from_pretrained(place)
    found.name_or_path = str(folder)
    return found


def _add(made: Any, of: Ranked, decoder: Any) -> None:
    """The tokens that follow the ranks, each under its id. ValueError where one cannot have the id that is declared."""
    from tokenizers import AddedToken

    first = made.get_vocab_size()
    if set(made.get_vocab().values()) != set(range(first)):
        raise ValueError(f"{of.file}: expected ranks from 0 to {first - 1}, each once; some are left out or twice")
    try:
        declared = {int(i): str(token["content"]) for i, token in decoder.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError("added_tokens_decoder: expected an id and content for each token") from None
    outside = [i for i in declared if not first <= i < first + BEYOND]
    if outside:
        told = f"expected ids from {first} (the number of ranks) to {first + BEYOND - 1}, got {outside[0]}"
        raise ValueError(f"added_tokens_decoder: {told}")
    names = dict(enumerate(of.own, first)) | declared
    last = max([first + of.reserved - 1, *names])
    own = {i: names.get(i, f"<|reserved_token_{i}|>") for i in range(first, last + 1)}
    made.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in own.values()])
    for i, token in own.items():
        if made.token_to_id(token) != i:
            raise ValueError(f"added_tokens_decoder: token {i} is {token[:100]!r}, which is another id's token too")
