"""8 and 4 bits for models that only transformers computes: what is stored, and what an encoder-decoder then says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from seq2seq import make_folder, sentences
from steersman import config_file
from steersman.cli.serving_plan import serving_memory
from steersman.config import Config
from steersman.engine.backends.rounded import GROUP, Rounded, round_layers
from steersman.engine.load import load_engine
from steersman.types import Conversation, Message, SamplingParams
from tiny import make_model


@pytest.mark.parametrize(("bits", "columns"), [(8, 70), (4, 70), (4, 64)])
def test_a_layer_is_its_matrix_rounded_by_the_formula(bits: int, columns: int) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(columns, 5)
    layer.weight.data[2] = 0
    most, wide = 2 ** (bits - 1) - 1, Rounded(layer, bits).wide()
    for row, found in zip(layer.weight.tolist(), wide.tolist(), strict=True):
        size = columns if bits == 8 else GROUP
        for start in range(0, columns, size):
            part = row[start : start + size]
            scale = max(map(abs, part)) / most
            assert found[start : start + size] == pytest.approx(part, abs=scale * 0.51 + 1e-6)
            assert len({round(value / scale) for value in part} if scale else {0}) <= 2 * most + 1


@pytest.mark.parametrize("kind", ["T5 1.1, Flan-T5", "BART"])
def test_an_encoder_decoder_in_8_and_4_bits(kind: str, tmp_path: Path) -> None:
    folder = make_folder(kind, sentences(), tmp_path / "model")
    turns = Conversation("x", (Message("user", "您好"), Message("assistant", "请问"), Message("user", "订单")))
    sizes, scores = {}, {}
    for dtype in ("float32", "bfloat16", "int8", "int4"):
        engine: Any = load_engine(folder, dtype=dtype, template="chatyuan")
        held = [*engine.model.parameters(), *engine.model.buffers()]
        sizes[dtype] = sum(tensor.nbytes for tensor in held)
        planned = config_file.with_overrides(Config(), [f"serve.dtype={dtype}"])
        facts, said = serving_memory(planned, folder, None)
        assert facts["weights_bytes"] == sizes[dtype]
        assert ("while they are read" in said) is dtype.startswith("int")
        answer = engine.generate([turns], SamplingParams(max_tokens=3, temperature=0, top_logprobs=20))[0][0]
        scores[dtype] = dict(answer.top_logprobs[0])
    assert sizes["int4"] < sizes["int8"] < sizes["bfloat16"]
    right = scores["float32"]
    for dtype, most in (("int8", 0.15), ("int4", 0.8)):
        both = right.keys() & scores[dtype].keys()
        assert len(both) >= 10
        assert max(abs(right[t] - scores[dtype][t]) for t in both) < most
    engine.load_weights(((name, t + 0) for name, t in engine.model.state_dict().items() if "norm" in name), "2")
    rounded = next(m for m in engine.model.modules() if isinstance(m, Rounded))
    name = next(n for n, m in engine.model.named_modules() if m is rounded)
    engine.load_weights([(f"{name}.weight", torch.ones(len(rounded.weight), rounded.columns))], "3")
    assert torch.allclose(rounded.wide().float(), torch.ones(1), atol=1e-2)


def test_what_has_no_linear_layers_is_refused() -> None:
    config = transformers.GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=9, bos_token_id=0, eos_token_id=0)
    with pytest.raises(ValueError, match="dtype 'int8': 0% of this model's layers are linear"):
        round_layers(transformers.GPT2LMHeadModel(config), 8)


def test_a_decoder_is_not_served_in_4_bits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="int4 is for models that only the reference engine computes"):
        load_engine(make_model(tmp_path / "model"), dtype="int4")
