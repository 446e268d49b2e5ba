"""`tokenizer extend`: new merges keep old texts as they were, and a model's new rows are what the entry stands for."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

import tiny
from steersman.cli.framework import build as command_line
from steersman.corpus.extension import extend
from steersman.corpus.tokenizer import Wanted, train
from steersman.weights.folders import load_causal, load_tokenizer
from steersman.weights.gguf_words import words_of
from steersman.weights.new_rows import grow, multiple_of

CHINESE = "您好，您的订单已经发货，预计明天送达，请耐心等待。退款会在三天内到账，谢谢您的理解。"
OTHERS = (
    "Where is my order? It hasn't come; I've waited 3 days.",
    "您好，我的订单什么时候发货？退款呢？",
    "def f(x):\n    return 'done'  # 100 %\n",
    "iPhone15Pro 第3代AirPods，订单号20261128 Café naïve 😀",
    "<|im_start|>user\n您的订单<|im_end|>",
    "",
)


def by_bytes() -> Any:
    return copy.deepcopy(tiny.tokenizer())


def with_added() -> Any:
    """As Qwen's: special tokens behind the entries, and not among them."""
    plain = train(tiny.CORPUS, Wanted(340, special=("<|end|>",)))
    parts = json.loads(plain.backend_tokenizer.to_str())
    core = Tokenizer.from_str(json.dumps(parts))
    core.add_special_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>")])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", pad_token="<|im_end|>")


def with_spaces() -> Any:
    """As Gemma's and Llama's: characters and bytes, spaces as ▁, no cutting into words."""
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3} | {f"<0x{i:02X}>": 4 + i for i in range(256)}
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e"), ("订", "单")]
    for piece in ("▁", *map(chr, range(33, 127)), *"您订单，。", *(a + b for a, b in merges)):
        vocabulary.setdefault(piece, len(vocabulary))
    core = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    core.normalizer = normalizers.Replace(" ", "▁")
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens(["<pad>", "<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


@pytest.mark.parametrize("make", [by_bytes, with_added, with_spaces])
def test_new_entries_stand_for_the_old_tokens(make: Any, tmp_path: Path) -> None:
    old = make()
    found = extend(old, lambda: [CHINESE] * 9, 16)
    assert len(found.pieces) == 16
    assert min(found.pieces) == max(old.get_vocab().values()) + 1
    new, before = found.tokenizer, old.get_vocab()
    assert {name: new.get_vocab()[name] for name in before} == before
    assert new.all_special_ids == old.all_special_ids
    new.save_pretrained(tmp_path)
    new = AutoTokenizer.from_pretrained(tmp_path)
    for text in (CHINESE, *OTHERS):
        for options in ({}, {"split_special_tokens": True}):
            ids, as_was = (t(text, add_special_tokens=False, **options).input_ids for t in (new, old))
            assert [j for i in ids for j in found.pieces.get(i, (i,))] == as_was, text
            assert new.decode(ids) == old.decode(as_was)
    assert len(new(CHINESE).input_ids) < len(old(CHINESE).input_ids)
    assert not any(text.isascii() for text in found.entries if "\ufffd" not in text)
    more = extend(old, lambda: [OTHERS[0]] * 9, 10, ascii_too=True)
    assert more.pieces
    assert len(more.tokenizer(OTHERS[0]).input_ids) < len(old(OTHERS[0]).input_ids)


def test_unigram_entries() -> None:
    old = train([*tiny.CORPUS, CHINESE] * 3, Wanted(330, kind="unigram"))
    found = extend(old, lambda: [CHINESE] * 9, 20)
    assert max(old.get_vocab().values()) + 1 == min(found.pieces)
    assert len(found.tokenizer(CHINESE).input_ids) < len(old(CHINESE).input_ids)
    for text in (CHINESE, *OTHERS):
        assert found.tokenizer.decode(found.tokenizer(text).input_ids) == old.decode(old(text).input_ids)
    old.add_tokens(["<extra>"])
    with pytest.raises(ValueError, match=r"<extra>.*would move their ids"):
        extend(old, lambda: [CHINESE] * 9, 20)


def test_what_cannot_be_extended_is_said() -> None:
    pieces = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match="WordPiece: expected BPE or unigram"):
        extend(PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="[UNK]"), lambda: [CHINESE], 9)
    ends = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    ends.train_from_iterator(["a b"], trainers.BpeTrainer(end_of_word_suffix="</w>", show_progress=False))
    with pytest.raises(ValueError, match="marks the ends of words"):
        extend(PreTrainedTokenizerFast(tokenizer_object=ends), lambda: [CHINESE], 9)
    alone = Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0)]))
    with pytest.raises(ValueError, match="neither an unknown token nor bytes"):
        extend(PreTrainedTokenizerFast(tokenizer_object=alone), lambda: [CHINESE], 9)
    with pytest.raises(ValueError, match="at least 1"):
        extend(by_bytes(), lambda: [CHINESE], 0)


@pytest.mark.parametrize("family", ["llama", "mistral"])  # a tied head, and one of its own
def test_rows(family: str, tmp_path: Path) -> None:
    model = load_causal(tiny.make_model(tmp_path / "m", family), "float32")
    size, ids = len(tiny.tokenizer()), torch.tensor([[5, 6, 7]])
    before = model(ids).logits[..., :size]
    old = [t.clone() for t in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)]
    pieces = {size + i: (i, i + 1, 2 * i) for i in range(9)}
    step = multiple_of(size)
    rows = grow(model, size, pieces)
    assert rows == -(-(size + 9) // step) * step
    assert model.config.vocab_size == rows
    torch.testing.assert_close(model(ids).logits[..., :size], before, rtol=0, atol=1e-5)
    for table, was in zip((model.get_input_embeddings(), model.get_output_embeddings()), old, strict=True):
        for new, parts in pieces.items():
            torch.testing.assert_close(table.weight[new], sum(was[i] for i in parts) / 3)
    assert grow(model, size + 9, {size + 9: (0,)}, "random") == max(rows, -(-(size + 10) // step) * step)


def test_padding_is_used_and_stays_a_multiple() -> None:
    model = AutoModelForCausalLM.from_config(tiny.config("llama"))
    model.resize_token_embeddings(384)
    assert grow(model, 350, {350: (1, 2), 351: (3,)}) == 384
    assert grow(model, 352, dict.fromkeys(range(352, 400), (1,)), "average") == 512


def test_the_verb_makes_a_model_that_everything_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny.make_model(tmp_path / "base")
    monkeypatch.chdir(tmp_path)

    def run(*args: str, code: int = 0) -> str:
        result = CliRunner().invoke(command_line(), list(args))
        assert result.exit_code == code, result.output
        return result.output if code else result.stdout

    run("init", "w")
    monkeypatch.chdir(tmp_path / "w")
    texts = [f"{CHINESE}第{i}批。{CHINESE[i % 9 : 30 + i]}" for i in range(60)]
    Path("zh.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts), encoding="utf-8")
    run("corpus", "build", "zh.jsonl", "--into", "zh", "--steps", "exact", "--validation", "0.2")
    told = json.loads(run("tokenizer", "extend", str(base), "zh", "--entries", "30", "--into", "more", "--json"))
    assert told["new"] == 30
    assert told["rows"] == len(load_causal(Path("models/more"), "float32").get_input_embeddings().weight)
    by_source = told["measured"]["source zh"]
    assert by_source["extended"]["bytes_per_token"] > 1.2 * by_source["before"]["bytes_per_token"]
    assert words_of(load_tokenizer(Path("models/more")), told["rows"]).model == "gpt2"
    for wrong, said in (
        ({"vocab_size_per_layer_input": 9}, "embeddings in each layer"),
        ({}, "no .safetensors weights"),
    ):
        other = tmp_path / "other"
        shutil.copytree(base, other, dirs_exist_ok=True)
        (other / "config.json").write_text(json.dumps(json.loads((base / "config.json").read_text()) | wrong))
        if not wrong:
            (other / "model.safetensors").unlink()
        found = run("tokenizer", "extend", str(other), "zh", "--into", "other", code=2)
        assert "learning" not in found, found
        assert said in found, found
    assert "a model is there" in run("tokenizer", "extend", str(base), "zh", "--into", "more", code=2)
    settings = ["-s", "pretrain.context=64", "--tokens", "256", "-s", "pretrain.batch_tokens=64"]
    made = json.loads(
        run("pretrain", "zh", "--from", "more", "--into", "trained", *settings, "--json", "--epochs", "0")
    )
    assert made["metrics"]["from"] == "a model"
    assert len(load_tokenizer(Path("models/trained"))) == told["entries"]
