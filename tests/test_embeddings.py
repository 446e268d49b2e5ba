"""An embedding is the mean of transformers' last states, of length 1, whichever engine makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

import tiny
from steersman.engine.load import load_engine
from steersman.engine.protocol import Embeds, PromptTooLong

TEXTS = ["Where is my order?", "您好，请问我的订单什么时候到？", "a", "Your parcel was shipped on 3 May. " * 30]


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
@pytest.mark.parametrize("backend", ["local", "reference"])
def test_embeddings_are_transformers_mean_states(tmp_path: Path, family: str, backend: str) -> None:
    folder = tiny.make_model(tmp_path / "m", family)
    engine = load_engine(folder, dtype="float32", device="cpu", backend=backend)
    assert isinstance(engine, Embeds)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)
    tokenizer = tiny.tokenizer()
    told = engine.embed([*TEXTS, [5, 6, 7]])
    for (vector, count), text in zip(told, [*TEXTS, [5, 6, 7]], strict=True):
        ids = tokenizer(text)["input_ids"] if isinstance(text, str) else text
        assert count == len(ids)
        with torch.inference_mode():
            mean = model(input_ids=torch.tensor([ids])).last_hidden_state[0].double().mean(0)
        assert torch.tensor(vector, dtype=torch.double) == pytest.approx(mean / mean.norm(), abs=2e-6)
    with pytest.raises(PromptTooLong):
        engine.embed([[5] * 600])
