"""Tokenizers published without a file that names the class that reads them.

SentencePiece's (`tokenizer.model` alone; transformers' general one parts words otherwise) are read by the class that
reads as sentencepiece does, and vocabularies of BERT's kind in folders of other models by BERT's.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

from steersman.progress import note
from steersman.weights import ranks

XLMR = "sentencepiece.bpe.model"
FILES = ("tokenizer.model", "spiece.model", XLMR)
GENERAL, CLASSES = "TokenizersBackend", ("LlamaTokenizer", "T5Tokenizer", "XLMRobertaTokenizer")
PLAIN = "SentencePiece"
CODE = "its tokenizer is Python code of its own"
OTHERS = ("tokenizer.json", "vocab.json", "*.model", "*.spm")
"""Files beside vocab.txt of tokenizers that are no BERT's."""
PROBES = ("Where is my order?", "您好，我的订单😀", "def f(x):\n    return 12345", "a b")


def from_files(folder: Path) -> Any:
    """The folder's tokenizer. ValueError where it is SentencePiece's and no class reads it as that; other errors are
    transformers' own."""
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", "")  # tiktoken keeps a copy of each file by its path, and reads that
    if known := ranks.ranked(folder):
        _tell(f"{folder / known.file}: {CODE}, which is not run: it is read in the way that is published of it")
        return ranks.read(folder, known)
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    pieces = None if file is None or (folder / "tokenizer.json").is_file() else _pieces(file)
    words = folder / "vocab.txt"
    if file is None and words.is_file() and not any(any(folder.glob(name)) for name in OTHERS):
        return _of_words(folder, words)
    if file is None or pieces is None:
        try:
            return _own(folder)
        except ValueError as error:
            if file is None or (folder / "tokenizer.json").is_file() or CODE in str(error):
                raise
            raise ValueError(f"{file.name} is a model of neither SentencePiece nor tiktoken") from error
    ways: dict[str, Callable[[], Any]] = {"AutoTokenizer": lambda: _own(folder)}
    for name in CLASSES if file.name == XLMR else CLASSES[:-1]:  # whose ids are one higher
        ways[name] = functools.partial(getattr(transformers, name).from_pretrained, folder)
    for name, way in (ways | {PLAIN: lambda: _plain(file)}).items():
        try:
            found: Any = way()
            if name == "AutoTokenizer" and type(found).__name__ != GENERAL:
                return found
            if _reads_alike(found, pieces):
                if name != "AutoTokenizer":
                    _tell(f"{file}: no file beside it names its class; it is read as {name} does")
                return found
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            continue
    raise ValueError(
        f"{file.name} is SentencePiece's, and no class of transformers that was tried reads a text as sentencepiece "
        "does; expected tokenizer.json beside it, or tokenizer_config.json with its tokenizer_class"
    )


def _plain(file: Path) -> Any:
    """As transformers converts what spm_train makes where no class says otherwise; of pairs (BPE) its own way ends in
    an error."""
    from tokenizers import decoders
    from transformers.convert_slow_tokenizer import SpmConverter
    from transformers.tokenization_utils_base import generate_merges

    pieces = _pieces(file)
    numbers = {"unk_token": pieces.unk_id(), "bos_token": pieces.bos_id(), "eos_token": pieces.eos_id()}
    special = {name: pieces.id_to_piece(i) for name, i in numbers.items() if i >= 0}
    has_bytes = any(map(pieces.is_byte, range(len(pieces))))

    class Way(SpmConverter):  # type: ignore[misc, unused-ignore]
        handle_byte_fallback = has_bytes

        class SpmExtractor:
            def __init__(self, _: str) -> None: ...

            def extract(self, scores: list[tuple[str, float]]) -> tuple[None, list[tuple[str, str]]]:
                names = {name: i for i, (name, _) in enumerate(scores)}
                return None, generate_merges(names, scores)

    made = Way(SimpleNamespace(vocab_file=str(file))).converted()
    if has_bytes:
        made.decoder = decoders.Sequence([decoders.ByteFallback(), made.decoder])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **special)


def _own(folder: Path) -> Any:
    """By the class that the folder names. Python code in the folder is not run, nor is anybody asked whether to: where
    tokenizer.json is beside it, that is read. ValueError where it is not."""
    try:
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        if not (folder / "tokenizer.json").is_file():
            raise ValueError(f"{CODE}, which is not run; expected tokenizer.json beside it") from None
    _tell(f"{folder}: {CODE}, which is not run: tokenizer.json is read without it")
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


def with_unknown(tokenizer: Any) -> Any:
    """The same tokenizer. A unigram that names no unknown token ends with an error at the first character it lacks: its
    `<unk>` is that token, or any where bytes stand for such characters; over bytes there are none (`tokenizer train`).
    ValueError where there is neither."""
    if not tokenizer.is_fast or not isinstance(tokenizer.backend_tokenizer.model, models.Unigram):
        return tokenizer
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = [token for token, _ in core["model"]["vocab"]]
    if core["model"]["unk_id"] is not None or {*pre_tokenizers.ByteLevel.alphabet()} <= {*vocabulary}:
        return tokenizer
    if (name := tokenizer.unk_token or "<unk>") in vocabulary:
        core["model"]["unk_id"] = vocabulary.index(name)
    elif core["model"]["byte_fallback"] and {f"<0x{i:02X}>" for i in range(256)} <= {*vocabulary}:
        core["model"]["unk_id"] = 0
    else:
        raise ValueError(
            "its unigram has no token for characters that it lacks; expected model.unk_id in tokenizer.json"
        )
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(core))
    return tokenizer


def only_tokens(tokenizer: Any) -> Any:
    """The same tokenizer, for which ids without a token (of spare rows of an embedding) are no text, as for those in
    Rust. Those in Python end with an error there, or make up a character."""
    if not tokenizer.is_fast:
        ids = frozenset(tokenizer.get_vocab().values()) | frozenset(tokenizer.added_tokens_decoder)
        tokenizer.convert_ids_to_tokens = functools.partial(_names, tokenizer.convert_ids_to_tokens, ids)
    return tokenizer


def _names(convert: Any, known: frozenset[int], ids: Any, *given: Any, **named: Any) -> Any:
    """Of one id None, of several the names of those that there are."""
    if isinstance(ids, int):
        return convert(ids, *given, **named) if ids in known else None
    return convert([i for i in map(int, ids) if i in known], *given, **named)


def _of_words(folder: Path, words: Path) -> Any:
    """A vocabulary of BERT's kind. Of Chinese BARTs, T5s, Pegasus' and GPTs the folder may be silent of the class, and
    their model type's own reads none of it."""
    known = words.read_text(encoding="utf-8").rstrip("\n").split("\n")
    try:
        found = _own(folder)
        if "[UNK]" not in known or found.get_vocab().get(known[-1]) == len(known) - 1:
            return found
    except Exception:
        if "[UNK]" not in known:
            raise
    _tell(f"{words}: no file beside it names its class; it is read as BertTokenizer does")
    return transformers.BertTokenizer.from_pretrained(str(folder))


@functools.cache
def _tell(said: str) -> None:
    note(said)


def _pieces(file: Path) -> Any:
    """None where the file is of another kind, as Llama 3's is tiktoken's."""
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(str(file))
    except (RuntimeError, OSError):
        return None


def _reads_alike(tokenizer: Any, pieces: Any) -> bool:
    if type(tokenizer).__name__ == CLASSES[-1]:  # its ids are others
        return all(tokenizer.tokenize(text) == pieces.encode(text, out_type=str) for text in PROBES)
    return all(tokenizer(text, add_special_tokens=False)["input_ids"] == pieces.encode(text) for text in PROBES)
