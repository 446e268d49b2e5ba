"""Objectives beside the causal one: what is asked is the text, and each is learned."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM, BertConfig, ModernBertConfig

import tiny
from steersman.config import PretrainConfig, ShapeConfig, UpdatesConfig
from steersman.corpus import objectives
from steersman.families.fresh import other_config
from steersman.families.outputs import context_of
from steersman.rounds.pretrained import ready
from steersman.train import dial, pretrain, pretraining_plan
from steersman.train.denoising import MaskedRows, masked_logprobs, objectives_of
from test_pretrain import config, origin, text_of

TOKENS = list(range(1000, 1064))


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(5))
def test_spans_are_apart_and_of_the_wanted_share(seed: int) -> None:
    found = objectives.spans_of(200, 0.15, 3.0, draw(seed))
    assert sum(end - start for start, end in found) == 30
    assert len(found) == 10
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))
    assert found[-1][1] == 200  # the last span ends the text, as in T5


@pytest.mark.parametrize("length", [1900, 2048, 4096, 8192])
def test_long_rows_are_corrupted_to_their_end(length: int) -> None:
    """T5 has a hundred sentinels; more spans of three tokens than those leave the end of a row as it was."""
    sentinels = [*range(50_000, 50_100)]
    asked = objectives.fill_spans(range(length), sentinels, 1, draw())
    removed = [t for t in asked.target[:-1] if t < 50_000]
    assert len(removed) == round(0.15 * length)
    assert removed[-1] == length - 1
    assert set(asked.source) & set(sentinels) == set(asked.target) & set(sentinels)


def test_a_corrupted_text_and_its_target_are_the_text() -> None:
    sentinels = [5000 + i for i in range(100)]
    asked = objectives.fill_spans(TOKENS, sentinels, 1, draw())
    spans = {}
    for token in asked.target[:-1]:
        if token >= 5000:
            spans[token] = []
        else:
            spans[[*spans][-1]].append(token)
    whole = [t for token in asked.source[:-1] for t in spans.get(token, [token])]
    assert whole == TOKENS
    assert asked.source[-1] == asked.target[-1] == 1
    assert 0.1 < sum(map(len, spans.values())) / len(TOKENS) < 0.2

    right = objectives.put_right(TOKENS, 7, 1, draw())
    assert right.target == [*TOKENS, 1]
    assert [t for t in right.source if t != 7] == [t for t in [*TOKENS, 1] if t in right.source]
    assert 0.6 < sum(t != 7 for t in right.source) / len(TOKENS) < 0.8
    on = objectives.go_on(TOKENS, 1, draw())
    assert [*on.source, *on.target] == [*TOKENS, 1]


def test_a_t5_has_the_context_that_it_was_trained_at() -> None:
    """It was 512 however long the rows were, so SFT cut its dialogues and the server refused prompts at that."""
    sizes = {"layers": 1, "width": 64, "heads": 1, "intermediate": 64, "vocabulary": 384}
    made = [other_config("t5", sizes, length, tiny.tokenizer()) for length in (64, 2048)]
    assert [context_of(config) for config in made] == [512, 2048]


def test_whole_words_are_masked() -> None:
    tokenizer = tiny.tokenizer()
    text = "您的包裹明天送达，请耐心等待。 Your parcel was shipped on 3 May."
    tokens = np.array(tokenizer(text, add_special_tokens=False).input_ids)
    words = objectives.Words(tokenizer)(tokens)
    said = [tokenizer.decode(tokens[words == w]) for w in dict.fromkeys(words.tolist())]
    assert "".join(said) == text
    assert {"包裹", "明天", "送达", "等待"} <= set(said)
    assert {" parcel", " shipped", " May"} <= set(said) or {"parcel", "shipped", "May"} <= {s.strip() for s in said}
    masked = objectives.mask_words(tokens, words, 9999, 350, set(), draw(3))
    chosen = set(words[masked.places].tolist())
    assert {int(w) for w in words if w in chosen} == chosen
    assert np.isin(words, list(chosen)).sum() == len(masked.places)  # never a part of a word
    assert (tokens[masked.places] == masked.targets).all()
    untouched = np.delete(np.arange(len(tokens)), masked.places)
    assert (masked.tokens[untouched] == tokens[untouched]).all()


def test_of_many_words_most_are_masked_some_exchanged_some_left() -> None:
    tokens, words = np.arange(20_000) % 300, np.arange(20_000) // 2
    masked = objectives.mask_words(tokens, words, 9999, 300, {0, 1}, draw())
    shown = masked.tokens[masked.places]
    assert len(masked.places) / 20_000 == pytest.approx(0.15, abs=0.005)
    assert (shown == 9999).mean() == pytest.approx(0.8, abs=0.03)
    assert (shown == masked.targets).mean() == pytest.approx(0.1, abs=0.03)
    assert not np.isin(masked.targets, [0, 1]).any()


def test_shares_move_over_the_run() -> None:
    first, last = objectives.shares_of("span=3,prefix=1", ("span", "prefix")), {"prefix": 1.0}
    assert first == {"span": 0.75, "prefix": 0.25}
    picked = [[objectives.pick(first, last, done, draw(i)) for i in range(400)] for done in (0.0, 0.5, 1.0)]
    spans = [names.count("span") / 400 for names in picked]
    assert spans == [pytest.approx(0.75, abs=0.08), pytest.approx(0.375, abs=0.08), 0.0]
    for wrong in ("causal", "span=-1", "span=x", "span=0"):
        with pytest.raises(ValueError, match=r"pretrain\.objectives: expected"):
            objectives.shares_of(wrong, ("span", "prefix"))
    with pytest.raises(ValueError, match="expected some of causal"):
        objectives_of(PretrainConfig(objectives="mask"))


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_masked_logprobs_are_those_of_transformers(kind: str) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    made = (BertConfig if kind == "bert" else ModernBertConfig)(vocab_size=128, pad_token_id=0, **sizes)
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(made).eval()
    ids = torch.randint(3, 128, (2, 64))
    places, targets = torch.tensor([3, 17, 64, 100]), torch.tensor([5, 6, 7, 8])
    with torch.no_grad():
        wanted = F.log_softmax(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, -1)
        found = masked_logprobs(model, MaskedRows(ids, places, targets))
    expected = wanted.flatten(0, 1)[places].gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "asked", "last"),
    [("t5", "span=2,prefix=1", "prefix"), ("bart", "denoise", ""), ("bert", "", ""), ("modernbert", "", "")],
)
def test_each_is_learned_and_saved_as_transformers_reads_it(kind: str, asked: str, last: str, tmp_path: Path) -> None:
    settings = config(
        shape=ShapeConfig(kind=kind), objectives=asked, last_objectives=last, evals=0, updates=UpdatesConfig(lr=0.005)
    )
    text = text_of(tmp_path / "shards")
    text = replace(text, tokenizer=ready(copy.deepcopy(tiny.tokenizer()), settings))
    sizes = replace(dial.of_depth(1, 512, True, kind), layers=2)
    metrics = pretrain.run(origin(tmp_path / "out", settings), text, dial.recipe(settings, sizes), sizes)
    assert metrics["loss"] < metrics["loss_before"] - 0.3
    auto = AutoModelForMaskedLM if kind in ("bert", "modernbert") else AutoModelForSeq2SeqLM
    loaded = auto.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert sum(p.numel() for p in loaded.parameters()) == metrics["parameters"]
    for base in (sizes, tmp_path / "out"):
        assert pretraining_plan.parameters(settings, base, text.tokenizer) == metrics["parameters"]
    if last:
        assert {"loss_prefix", "loss_span"} <= set(metrics)
