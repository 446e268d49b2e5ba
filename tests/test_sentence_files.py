"""Files of sentence-transformers: what stands behind a model's states is computed as they say, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from encoder_folders import SIZES, encoder_folder, tokenizer
from steersman.config import EncoderConfig
from steersman.data.examples import Example
from steersman.engine.backends.labelling import VectorEngine, headed_engine
from steersman.engine.protocol import PromptTooLong
from steersman.families import encoded
from steersman.families import encoder as family
from steersman.text.marked import Marked, Marks
from steersman.train import encoding, head_start
from steersman.train.label_task import LabelTask
from steersman.weights.headed import load_headed, saved_names
from steersman.weights.sentence_files import behind, save_pooling

TEXTS = ["Where is MY order", "我要退款", "how much is the card"]


def written(folder: Path, modules: list[tuple[str, str]], **limits: Any) -> Path:
    named = [
        {"idx": i, "name": str(i), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, place) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(named))
    (folder / "sentence_bert_config.json").write_text(json.dumps(limits))
    return folder


def dense(folder: Path, activation: str, bias: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    folder.mkdir()
    torch.manual_seed(0)
    weight, own = torch.randn(12, 32), torch.randn(12) if bias else None
    save_file({"linear.weight": weight, **({} if own is None else {"linear.bias": own})}, folder / "model.safetensors")
    told = {
        "in_features": 32,
        "out_features": 12,
        "bias": bias,
        "activation_function": f"torch.nn.modules.{activation}",
    }
    (folder / "config.json").write_text(json.dumps(told))
    return weight, own


def engine(folder: Path) -> VectorEngine:
    made = headed_engine(folder, "float32", "cpu", False, "m", "1")
    assert isinstance(made, VectorEngine)
    return made


@pytest.mark.parametrize(("activation", "bias"), [("activation.Tanh", True), ("linear.Identity", False)])
def test_layers_behind_the_pooling_are_computed(activation: str, bias: bool, tmp_path: Path) -> None:
    """LaBSE, distiluse and EmbeddingGemma have such layers; without them a vector is another one of another length."""
    folder = written(
        encoder_folder(tmp_path / "m"),
        [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Normalize", "3_Normalize")],
    )
    weight, own = dense(folder / "2_Dense", activation, bias)
    found = torch.tensor([vector for vector, _ in engine(folder).embed(TEXTS)])
    model, words = AutoModel.from_pretrained(folder).eval(), tokenizer()
    with torch.no_grad():
        states = [model(words(text, return_tensors="pt").input_ids).last_hidden_state[0].mean(0) for text in TEXTS]
    made = F.linear(torch.stack(states), weight, own)
    made = torch.tanh(made) if "Tanh" in activation else made
    torch.testing.assert_close(found, F.normalize(made, dim=-1), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="layers behind the pooling"):
        encoding.task_for("embedding", encoding.Parts([], [], []), folder, words, EncoderConfig(), False)


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ([("Transformer", ""), ("WeightedLayerPooling", "1_W")], "'WeightedLayerPooling' is not computed here"),
        ([("StaticEmbedding", "")], "'StaticEmbedding' is not computed here"),
        ([("Transformer", ""), ("Dense", "1_Dense")], "expected Transformer, Pooling, Dense layers and Normalize"),
        ([("Transformer", ""), ("Pooling", "../1_Pooling")], "expected a folder beside it"),
        ([("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")], "cannot be read"),
    ],
)
def test_what_would_give_other_vectors_is_refused(modules: list[tuple[str, str]], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        behind(written(tmp_path, modules))


def test_texts_are_as_long_and_as_small_as_the_files_say(tmp_path: Path) -> None:
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    folder = written(encoder_folder(tmp_path / "m"), modules, max_seq_length=8, do_lower_case=True)
    made = engine(folder)
    assert made.max_context == 8
    with pytest.raises(PromptTooLong, match="expected 1 to 8"):
        made.embed(["我要退款" * 8])
    assert made.vectors(["我要退款" * 8]) == made.vectors(["我要退款" * 9]), "cut, as sentence-transformers cuts them"
    assert Marks(tokenizer(), 8, lower=True).texts(["ORDER"]) == Marks(tokenizer(), 8).texts(["order"])
    task = encoding.task_for("embedding", encoding.Parts([], [], []), folder, tokenizer(), EncoderConfig(), False)
    save_pooling(tmp_path / "m", 32, "mean", 8, task.marks.lower)
    assert behind(tmp_path / "m").lower, "learned from it, vectors read texts as it did"
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": "all"}')
    with pytest.raises(ValueError, match="max_seq_length: expected a number"):
        engine(folder)


@pytest.mark.parametrize("kind", ["mpnet", "xmod", "longformer"])
def test_positions_that_begin_behind_the_paddings_leave_less_room(kind: str, tmp_path: Path) -> None:
    more = {"attention_window": 16} if kind == "longformer" else {}
    more |= {"languages": ["zh_CN"], "default_language": "zh_CN"} if kind == "xmod" else {}
    words = tokenizer()
    config = AutoConfig.for_model(
        kind, **SIZES, **more, vocab_size=len(words), max_position_embeddings=34, pad_token_id=1
    )
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    made = engine(tmp_path)
    assert made.max_context == 32
    assert len(made.vectors(["我要退款" * 30])[0]) == 32, "it had positions that are not there"


@pytest.mark.parametrize("kind", ["convbert", "fnet", "mobilebert", "yoso"])
def test_texts_are_not_changed_by_padding_beside_them(kind: str, tmp_path: Path) -> None:
    """Convolutions, Fourier transforms and sampled attention reach over it."""
    words, more = tokenizer(), {"embedding_size": 32} if kind == "convbert" else {}
    if kind == "mobilebert":
        more = {"embedding_size": 16, "true_hidden_size": 32, "intra_bottleneck_size": 32}
    if kind == "yoso":
        more = {"use_expectation": True}
    config = AutoConfig.for_model(kind, **SIZES, **more, vocab_size=len(words), pad_token_id=0)
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    made = engine(tmp_path)
    torch.testing.assert_close(
        torch.tensor(made.vectors(TEXTS)),
        torch.tensor([made.vectors([text])[0] for text in TEXTS]),
        atol=1e-6,
        rtol=1e-5,
    )


def test_a_head_is_fitted_on_each_texts_own_state_where_texts_go_one_by_one(tmp_path: Path) -> None:
    words = tokenizer()
    config = AutoConfig.for_model("fnet", **SIZES, vocab_size=len(words), pad_token_id=0)
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    names = ["a", "b"]
    model = load_headed(tmp_path, "single_label", "float32", names, seed=1).eval()
    task = LabelTask("single_label", names, Marks(words, 64), EncoderConfig())
    items = task.items([Example(t, t, labels=("a",)) for t in TEXTS], False)
    states = head_start._states(model, task, items, lambda _: None)
    with torch.no_grad():
        wanted = [model.fnet(torch.tensor([item.marked.ids])).pooler_output for item in items]
    torch.testing.assert_close(states, torch.cat(wanted))


def test_a_classifier_that_knows_its_pooling_averages_once(tmp_path: Path) -> None:
    words = tokenizer()
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "mask_token_id": 4}
    config = AutoConfig.for_model("eurobert", **SIZES, **ends, vocab_size=len(words), num_key_value_heads=4)
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / "base")
    words.save_pretrained(tmp_path / "base")
    model = load_headed(tmp_path / "base", "single_label", "float32", ["a", "b"], seed=1)
    for pooling in ("cls", "mean"):
        family.set_pooling(model, pooling)
        given = words(TEXTS, padding=True, return_tensors="pt")
        with torch.no_grad():
            found = encoded.logits(model, Marks(words, 64).texts(TEXTS))
            states = model.model(given.input_ids, attention_mask=given.attention_mask).last_hidden_state
            mask = given.attention_mask[..., None].float()
            pooled = states[:, 0] if pooling == "cls" else (states * mask).sum(1) / mask.sum(1)
            wanted = model.classifier(model.activation(model.dense(pooled)))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
        assert saved_names(model) is None, "transformers' own class reads the folder"
    model.save_pretrained(tmp_path / "made")
    assert encoding._pooling(tmp_path / "made") == "mean", "gone on with, it reads as it did"
    assert encoding._pooling(tmp_path / "base") == "cls"


def test_texts_shorter_than_canine_pools_are_computed() -> None:
    """One character ended a training run with an error of the pooling."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = AutoModel.from_config(AutoConfig.for_model("canine", **sizes, num_hash_buckets=32)).eval()
    rows = [Marked(ids, None, False) for ids in ((9, 100, 8), (9, 100, 101, 102, 103, 8), (9, 8))]
    with torch.no_grad():
        found = encoded.vectors(model, rows, "mean")
        alone = [encoded.vectors(model, [row], "mean") for row in rows]
    assert torch.equal(found, torch.cat(alone))
