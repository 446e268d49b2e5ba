"""Packed rows, log-probabilities and scores against transformers and plain formulas, in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from steersman.compute import vocabulary
from steersman.compute.packing import Tree, build_row, fill_rows
from steersman.compute.vocabulary import token_logprobs
from steersman.families.outputs import (
    branch_scores,
    init_score_head,
    response_logprobs,
    response_values,
    share_trunk,
    train_last_layers,
)
from steersman.weights.folders import check_folder, load_causal, load_scalar, load_tokenizer, use_packed_rows

GENERATOR = torch.Generator().manual_seed(3)


def ids(n: int) -> tuple[int, ...]:
    return tuple(torch.randint(3, 300, (n,), generator=GENERATOR).tolist())


def trees() -> list[Tree]:
    """The same ones at every call, whatever ran before: a row of 128, of which the last layer computes 64 places."""
    GENERATOR.manual_seed(3)
    dialogue = ids(14)
    return [
        Tree(ids(80), (ids(4), ids(7), ids(1))),
        Tree(dialogue, learn=tuple(i in (3, 4, 9, 13) for i in range(14))),
        Tree(ids(5), (ids(6),)),
    ]


def test_packed_logprobs_equal_separate_dialogues(family: Path) -> None:
    """Prompt sharing, packing, document boundaries change nothing; the peer is transformers, a dialogue at a time."""
    plain = load_causal(family, "float32")
    packed = use_packed_rows(load_causal(family, "float32"))
    forest = trees()
    logprobs, entropy = response_logprobs(packed, build_row(forest))
    expected, expected_entropy = [], []
    for tree in forest:
        paths = [(tree.trunk + b, [False] * len(tree.trunk) + [True] * len(b)) for b in tree.branches]
        for whole, learn in paths or [(tree.trunk, list(tree.learn))]:
            logits = plain(torch.tensor([whole])).logits[0].log_softmax(-1)
            for i, own in enumerate(learn):
                if own:
                    expected.append(logits[i - 1, whole[i]])
                    expected_entropy.append(-(logits[i - 1].exp() * logits[i - 1]).sum())
    torch.testing.assert_close(logprobs, torch.stack(expected), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(entropy, torch.stack(expected_entropy), atol=2e-5, rtol=1e-5)


def test_a_family_without_its_own_layers_takes_transformers_path(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = use_packed_rows(load_causal(tiny, "float32"))
    row = build_row(trees())
    ours, _ = response_logprobs(packed, row)
    monkeypatch.setattr("steersman.compute.layers.FAMILIES", frozenset())
    theirs, _ = response_logprobs(packed, row)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)
    assert share_trunk([packed, packed], 1) is None


def test_rows_are_padded_to_a_few_lengths() -> None:
    for size in (1, 63, 64, 65):
        row = build_row([Tree(ids(size), learn=(False,) * (size - 1) + (True,))])
        assert len(row.ids) % 64 == 0
        assert len(row.ids) - row.padding == size
        assert not row.mask[0, 0, :size, size:].any()


def test_packed_gradients_equal_the_plain_loss(family: Path) -> None:
    forest = trees()
    packed = use_packed_rows(load_causal(family, "float32"))
    (-response_logprobs(packed, build_row(forest))[0].mean()).backward()
    plain = load_causal(family, "float32")
    losses = []
    for tree in forest:
        if tree.branches:
            for branch in tree.branches:
                logits = plain(torch.tensor([tree.trunk + branch])).logits[0, len(tree.trunk) - 1 : -1]
                losses.append(F.cross_entropy(logits, torch.tensor(branch), reduction="none"))
        else:
            at = [i for i, own in enumerate(tree.learn) if own]
            logits = plain(torch.tensor([tree.trunk])).logits[0, [i - 1 for i in at]]
            losses.append(F.cross_entropy(logits, torch.tensor([tree.trunk[i] for i in at]), reduction="none"))
    torch.cat(losses).mean().backward()
    for (name, a), b in zip(packed.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_chunked_logprobs_and_entropy_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that do not divide the rows, a temperature, and both outputs in the loss."""
    monkeypatch.setattr(vocabulary, "CHUNK", 3)
    torch.manual_seed(0)
    hidden = torch.randn(8, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(30, 16, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 30, (8,))
    logprobs, entropy = token_logprobs(hidden, weight, targets, 0.7)
    (logprobs * torch.arange(8) + 0.3 * entropy).sum().backward()
    got = hidden.grad.clone(), weight.grad.clone()
    hidden.grad = weight.grad = None
    log_p = (hidden @ weight.T / 0.7).log_softmax(-1)
    plain = log_p.gather(1, targets[:, None])[:, 0]
    plain_entropy = -(log_p.exp() * log_p).sum(-1)
    (plain * torch.arange(8) + 0.3 * plain_entropy).sum().backward()
    torch.testing.assert_close(logprobs.double(), plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got[0], hidden.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(got[1], weight.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kept_logits_and_those_made_again_are_the_same(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    given = [torch.randn(shape, generator=draw).to(dtype) for shape in ((600, 64), (2100, 64))]
    targets = torch.randint(0, 2100, (600,), generator=draw)
    found = []
    for kept in (1 << 28, 0):
        monkeypatch.setattr(vocabulary, "KEPT", kept)
        hidden, weight = (x.clone().requires_grad_() for x in given)
        logprobs, entropy = token_logprobs(hidden, weight, targets, 0.7)
        (logprobs + 0.1 * entropy).sum().backward(retain_graph=True)
        (logprobs * 0.5).sum().backward()
        found.append((logprobs.detach(), entropy.detach(), hidden.grad, weight.grad))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_scores_are_those_of_the_last_real_token(tiny: Path) -> None:
    """Against transformers' own sequence classification, one answer at a time."""
    model = load_scalar(tiny, "float32")
    init_score_head(model, 5)
    forest = trees()
    whole = [t.trunk + b for t in forest for b in t.branches]
    expected = [model.score(model.model(torch.tensor([w])).last_hidden_state)[0, -1, 0] for w in whole]
    use_packed_rows(model)
    row = build_row(forest)
    torch.testing.assert_close(branch_scores(model, row), torch.stack(expected), atol=2e-5, rtol=1e-5)
    model.config.reward_shift = 0.5
    torch.testing.assert_close(branch_scores(model, row), torch.stack(expected) - 0.5, atol=2e-5, rtol=1e-5)


def test_values_are_at_the_state_before_each_token(tiny: Path) -> None:
    model = load_scalar(tiny, "float32")
    init_score_head(model, 5)
    prompt, answer = ids(6), ids(4)
    states = model.score(model.model(torch.tensor([prompt + answer])).last_hidden_state)[0, :, 0]
    use_packed_rows(model)
    values = response_values(model, build_row([Tree(prompt, (answer,))]))
    torch.testing.assert_close(values, states[5:9], atol=2e-5, rtol=1e-5)


def test_rows_are_filled_without_splitting() -> None:
    rows = fill_rows([5, 9, 3, 4, 20], 10)
    assert sorted(i for row in rows for i in row) == [0, 1, 2, 3, 4]
    sizes = [5, 9, 3, 4, 20]
    assert all(sum(sizes[i] for i in row) <= 10 or len(row) == 1 for row in rows)
    assert len(rows) == 4


def test_train_last_layers_freezes_the_rest(tiny: Path) -> None:
    model = load_causal(tiny, "float32")
    train_last_layers(model, 1)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert names
    assert all(n.startswith(("model.layers.1.", "model.norm.")) for n in names)
    with pytest.raises(ValueError, match="0 to 2"):
        train_last_layers(model, 3)


def test_pad_token_is_not_the_end_of_turn(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_damaged_checkpoint_is_named(tiny: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(tiny, copy)
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors.*truncated"):
        check_folder(copy)
    tensors = load_file(tiny / "model.safetensors")
    dropped = sorted(tensors)[3]
    del tensors[dropped]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="missing from the checkpoint"):
        load_causal(copy, "float32")
    weights.unlink()
    with pytest.raises(ValueError, match=r"no \.safetensors"):
        check_folder(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json.*JSON"):
        check_folder(copy)
    with pytest.raises(ValueError, match="no such model folder"):
        check_folder(tmp_path / "nowhere")


def test_a_shared_trunk_changes_nothing(family: Path) -> None:
    """Lowest layers computed once for two models: same outputs and gradients as each model on its own."""
    one, two = (use_packed_rows(load_causal(family, "float32")) for _ in range(2))
    total = len(one.model.layers)
    with torch.no_grad():
        for parameter in two.model.layers[total - 1].parameters():
            parameter.add_(0.01)
    for model in (one, two):
        train_last_layers(model, 1)
    trunk = share_trunk([one, two], total - 1)
    assert trunk is not None
    row = build_row(trees())
    behind = trunk(row)
    assert behind.below.layers == total - 1
    for model in (one, two):
        alone, alone_entropy = response_logprobs(model, row)
        (-alone.mean()).backward()
        expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        shared, entropy = response_logprobs(model, behind)
        (-shared.mean()).backward()
        torch.testing.assert_close(shared, alone)
        torch.testing.assert_close(entropy, alone_entropy)
        for name, gradient in expected.items():
            torch.testing.assert_close(dict(model.named_parameters())[name].grad, gradient)
        assert set(model.state_dict()) == set(load_causal(family, "float32").state_dict())
    assert share_trunk([one, two], total)(row).below.layers == total - 1, "the layer that differs is not shared"
    whole = share_trunk([one, one], total)(behind)
    assert whole.below.layers == total, "a trunk goes on where another one ended"
    torch.testing.assert_close(response_logprobs(one, whole)[0], response_logprobs(one, row)[0])
