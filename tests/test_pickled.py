"""Pickled weights become safetensors once, with the numbers of the original; a pickle with more in it is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny as t
from seq2seq import make_folder
from steersman.compute.packing import Tree, build_row
from steersman.families.outputs import response_logprobs
from steersman.weights.folders import load_causal, save_model, use_packed_rows
from steersman.weights.resolve import resolve
from steersman.weights.sentence_files import behind, save_pooling

ROW = build_row([Tree((5, 6, 7, 8), ((9, 10, 11), (12, 13)))])
UMT5 = {
    **{"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4},
    **{"architectures": ["UMT5ForConditionalGeneration"], "feed_forward_proj": "gated-gelu", "is_gated_act": True},
    **{
        "dense_act_fn": "gelu_new",
        "scalable_attention": True,
        "tie_word_embeddings": False,
        "is_encoder_decoder": True,
    },
    **{"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
}
"""As google/umt5-small has it, smaller: without a model_type."""


def pickle_weights(folder: Path, parts: int) -> None:
    """The folder's weights as they were published before safetensors."""
    state = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    if parts == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return
    places = {name: f"pytorch_model-0000{1 + i % parts}-of-0000{parts}.bin" for i, name in enumerate(state)}
    for file in set(places.values()):
        torch.save({name: x for name, x in state.items() if places[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))


@pytest.mark.parametrize("parts", [1, 2])
def test_pickled_weights_are_converted_once(parts: int, tmp_path: Path) -> None:
    folder, said = make_folder("BART", t.tokenizer(), tmp_path / "bart"), list[str]()
    expected, _ = response_logprobs(use_packed_rows(load_causal(folder, "float32")), ROW)
    pickle_weights(folder, parts)
    save_pooling(folder, 32, "cls", 8)
    with pytest.raises(ValueError, match=r"no \.safetensors weights"):
        load_causal(folder)
    made = resolve(str(folder), cache=tmp_path / "cache", say=said.append)
    found, _ = response_logprobs(use_packed_rows(load_causal(made, "float32")), ROW)
    assert torch.equal(found, expected)
    assert resolve(str(folder), cache=tmp_path / "cache", say=said.append) == made
    assert behind(made).pooling == "cls", "what is in folders below was lost"
    assert said == ["bart: pickled weights, converted to safetensors (once)"]
    assert (len(list(made.glob("*.safetensors"))), len(list(made.glob("*.bin*")))) == (parts, 0)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dropout": 0.2}))
    assert resolve(str(folder), cache=tmp_path / "cache") != made, "its other files are part of what it is"


class Runs:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code of a pickle must not run')",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged, or more than tensors"),
        (pickle.dumps({"w": Runs()}), "none of it was run"),
        ({"w": Runs()}, "none of it was run"),
        ({"epoch": 3}, "'epoch': expected a tensor, got int"),
        ([torch.ones(2)], "expected tensors by their names, got list"),
    ],
)
def test_a_pickle_of_more_than_tensors_is_refused(content: Any, said: str, tmp_path: Path) -> None:
    folder, cache = tmp_path / "m", tmp_path / "cache"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    if isinstance(content, bytes):
        (folder / "pytorch_model.bin").write_bytes(content)
    else:
        torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=said):
        resolve(str(folder), cache=cache)
    assert not list(cache.iterdir())


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    folder = make_folder("T5", t.tokenizer(), tmp_path / "t5")
    pickle_weights(folder, 2)
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(ValueError, match=r"00002-of-00002\.bin: missing, but pytorch_model\.bin\.index\.json lists it"):
        resolve(str(folder), cache=tmp_path / "cache")


def test_umt5_as_published_has_a_head_of_its_own_and_no_scale(tmp_path: Path) -> None:
    """transformers 5 forces tied weights' scale on it, which flattens what is said by the square root of the width."""
    tokenizer, folder, said = t.tokenizer(), tmp_path / "umt5", list[str]()
    torch.manual_seed(0)
    plain: Any = transformers.UMT5ForConditionalGeneration(
        transformers.UMT5Config(**{**UMT5, "vocab_size": len(tokenizer)})
    ).eval()
    state = {name: torch.randn(x.shape) * 0.3 for name, x in plain.state_dict().items()}
    for name in state:
        if "embed_tokens" in name:
            state[name] = state["shared.weight"]
    tokenizer.save_pretrained(folder)
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({**UMT5, "vocab_size": len(tokenizer)}))
    made = resolve(str(folder), cache=tmp_path / "cache", say=said.append)
    assert "it is umt5, as architectures names UMT5ForConditionalGeneration" in said[-1]
    plain = transformers.UMT5Model.from_pretrained(made, dtype=torch.float32)
    head = state["lm_head.weight"]
    expected = []
    for target in ((9, 10, 11), (12, 13)):
        encoded = plain.get_encoder()(input_ids=torch.tensor([[5, 6, 7, 8]])).last_hidden_state
        read = torch.tensor([[0, *target[:-1]]])
        states = plain.get_decoder()(input_ids=read, encoder_hidden_states=encoded).last_hidden_state[0]
        expected.append((states @ head.T).log_softmax(-1).gather(1, torch.tensor(target)[:, None])[:, 0])
    model = use_packed_rows(load_causal(made, "float32"))
    torch.testing.assert_close(response_logprobs(model, ROW)[0], torch.cat(expected), atol=1e-4, rtol=1e-5)
    save_model(model, tokenizer, tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["tie_word_embeddings"] is False
    again = use_packed_rows(load_causal(tmp_path / "saved", "float32"))
    assert torch.equal(response_logprobs(again, ROW)[0], response_logprobs(model, ROW)[0])


def test_a_token_that_is_never_said_has_no_share(tmp_path: Path) -> None:
    """Marian's padding, whose logit is 0 however unlikely the rest is."""
    folder = make_folder("Marian", t.tokenizer(), tmp_path)
    model = load_causal(folder, "float32")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "bad_words_ids": [[9], [3, 4]]}))
    given = {"input_ids": torch.tensor([[5, 6]]), "decoder_input_ids": torch.tensor([[0]])}
    free, bound = (one(**given).logits[0, 0].softmax(-1) for one in (model, load_causal(folder, "float32")))
    assert bound[9] == 0
    rest = [i for i in range(len(free)) if i != 9]
    torch.testing.assert_close(bound[rest], free[rest] / free[rest].sum(), atol=1e-5, rtol=1e-3)
    row = build_row([Tree((5, 6), ((9, 4),))])
    logprobs, entropy = response_logprobs(use_packed_rows(load_causal(folder, "float32")), row)
    assert logprobs[0] < -1000
    assert entropy.isfinite().all()


def test_models_that_generate_otherwise_than_they_compute_are_refused(tmp_path: Path) -> None:
    config = transformers.ProphetNetConfig(vocab_size=50, hidden_size=32, num_encoder_layers=1, num_decoder_layers=1)
    config.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(ValueError, match="'prophetnet': transformers generates other text of it than it computes"):
        load_causal(tmp_path)
