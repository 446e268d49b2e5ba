"""Encoder-decoders against transformers, a text at a time, in float32; and every stage with the same files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny as t
from seq2seq import KINDS, make_folder
from steersman.compute.packing import Tree, build_row
from steersman.families import encoder_decoder
from steersman.families.outputs import (
    branch_heads,
    branch_scores,
    init_score_head,
    layer_count,
    response_logprobs,
    response_values,
    train_last_layers,
    use_checkpointing,
)
from steersman.weights.folders import load_causal, load_scalar, save_model, use_packed_rows
from test_models import trees

ALL = pytest.mark.parametrize("kind", KINDS)
FOREST = trees()
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Kind -> folder of its random model; made once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = make_folder(kind, t.tokenizer(), tmp_path_factory.mktemp("seq2seq") / "base")
        return made[kind]

    return folder


def pairs(forest: Sequence[Tree]) -> list[tuple[tuple[int, ...], tuple[int, ...], bool]]:
    """(source, target, whether it is a branch) as a reader of the docs would expect them."""
    out = []
    for tree in forest:
        out += [(tree.trunk, branch, True) for branch in tree.branches]
        for i, own in enumerate(tree.learn):
            if own and not tree.learn[i - 1]:
                end = next((j for j in range(i, len(tree.learn)) if not tree.learn[j]), len(tree.learn))
                out.append((tree.trunk[:i], tree.trunk[i:end], False))
    return out


def states(model: Any, source: tuple[int, ...], read: Sequence[int]) -> torch.Tensor:
    """[T, hidden] of transformers' base model."""
    return model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([read])).last_hidden_state[0]


@ALL
def test_rows_equal_texts_one_at_a_time(kind: str, folders: Any) -> None:
    """Log-probabilities, entropies, gradients: position biases, scaled and biased logits, forced first tokens."""
    plain = transformers.AutoModelForSeq2SeqLM.from_pretrained(folders(kind), dtype=torch.float32)
    ours = use_packed_rows(load_causal(folders(kind), "float32"))
    opening = {"BART": [2, 1]}.get(kind, [0])
    logprobs, entropy = response_logprobs(ours, build_row(FOREST), 0.7)
    theirs, spread = [], []
    for source, target, _ in pairs(FOREST):
        given = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([[*opening, *target]])}
        log_p = (plain(**given).logits[0, len(opening) - 1 : -1] / 0.7).log_softmax(-1)
        theirs.append(log_p.gather(1, torch.tensor(target)[:, None])[:, 0])
        spread.append(-(log_p.exp() * log_p).sum(-1))
    expected = torch.cat(theirs)
    torch.testing.assert_close(logprobs, expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(entropy, torch.cat(spread), atol=2e-5, rtol=1e-5)
    assert float(expected.detach().std()) > 0.2, "a flat model would hide what is left out"
    logprobs.mean().backward()
    expected.mean().backward()
    for (name, mine), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, atol=2e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


@ALL
def test_heads_stand_on_the_decoders_states(kind: str, folders: Any, tmp_path: Path) -> None:
    """Scores behind the last token, values before each; saved, loaded again, and over a causal model's weights."""
    model = use_packed_rows(load_scalar(folders(kind), "float32", heads=2))
    assert not model.score.weight.any(), "new heads are zero"
    init_score_head(model, 5)
    plain = transformers.AutoModel.from_pretrained(folders(kind), dtype=torch.float32)
    opening, row = {"BART": [2, 1]}.get(kind, [0]), build_row(FOREST)
    read = [(states(plain, source, [*opening, *target]), branch) for source, target, branch in pairs(FOREST)]
    weight = model.score.weight
    ends = torch.stack([s[-1] for s, branch in read if branch]) @ weight.T
    torch.testing.assert_close(branch_heads(model, row), ends, atol=2e-5, rtol=1e-4)
    before = torch.cat([s[len(opening) - 1 : -1] for s, _ in read]) @ weight.T
    torch.testing.assert_close(response_values(model, row), before.sum(1), atol=4e-5, rtol=1e-4)
    save_model(model, t.tokenizer(), tmp_path / "reward")
    again = use_packed_rows(load_scalar(tmp_path / "reward", "float32", heads=2))
    assert torch.equal(branch_scores(again, row), branch_scores(model, row))
    over = encoder_decoder.scalar_over(load_causal(folders(kind), "float32"), 2)
    over.score.weight.data.copy_(weight.data)
    assert torch.equal(branch_heads(over, row), branch_heads(model, row))


@ALL
def test_checkpointing_changes_no_gradient(kind: str, folders: Any) -> None:
    one, two = (use_packed_rows(load_causal(folders(kind), "float32")) for _ in range(2))
    use_checkpointing(two)
    for model in (one, two):
        response_logprobs(model, build_row(FOREST))[0].mean().backward()
    for mine, other in zip(one.parameters(), two.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, atol=0, rtol=0)


def test_answers_share_their_prompts_encoder_pass(folders: Any) -> None:
    """And texts of similar length a pass; padding is a quarter at most."""
    model = use_packed_rows(load_causal(folders("T5"), "float32"))
    seen: list[tuple[int, ...]] = []
    model.get_encoder().register_forward_hook(
        lambda _, given, kept, __: seen.append(tuple(kept["input_ids"].shape)), with_kwargs=True
    )
    forest = [Tree(tuple(range(3, 3 + n)), ((5, 6), (7, 8, 9), (4,))) for n in (20, 19, 18, 6)]
    response_logprobs(model, build_row(forest))
    assert seen == [(3, 20), (1, 6)]


def test_the_last_layers_are_the_decoders(folders: Any) -> None:
    model = load_causal(folders("T5"), "float32")
    assert layer_count(model) == 5
    train_last_layers(model, 2)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(n.startswith(("decoder.block.1.", "decoder.block.2.", "decoder.final_layer_norm.")) for n in names)
    train_last_layers(model, 4)
    assert any(n.startswith("encoder.block.1.") for n, p in model.named_parameters() if p.requires_grad)


def test_what_is_not_tested_is_served_and_not_trained() -> None:
    config = transformers.ProphetNetConfig(vocab_size=50, hidden_size=32, num_encoder_layers=1, num_decoder_layers=1)
    with torch.device("meta"):
        model = transformers.AutoModelForSeq2SeqLM.from_config(config)
    with pytest.raises(ValueError, match=r"'prophetnet'.*served but not trained.*bart"):
        use_packed_rows(model)


def test_longer_than_learned_positions_is_said(folders: Any) -> None:
    model = use_packed_rows(load_causal(folders("BART"), "float32"))
    with pytest.raises(ValueError, match=r"600 tokens.*max_position_embeddings = 512"):
        response_logprobs(model, build_row([Tree((5,) * 600, ((6,),))]))
