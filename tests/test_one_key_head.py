"""One key head and sliding windows, as Gemma 3 270M has: training in bfloat16 against transformers in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

import tiny as t
from kernels_off import use_kernels
from steersman.compute.gradients import sum_of
from steersman.compute.packing import Row, Tree, build_row
from steersman.families.outputs import branch_scores, response_logprobs, response_values, share_trunk, train_last_layers
from steersman.kernels import ops
from steersman.kernels.capabilities import Capabilities, capabilities
from steersman.train.update import Updater
from steersman.weights.folders import load_causal, load_scalar, use_packed_rows

WINDOW, TRAINED = 24, 2


@pytest.fixture(params=["kernels", "tiles", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As a machine computes that has no matrix tiles, that has them, and that has no compiler."""
    if request.param == "tiles":
        request.getfixturevalue("tiles")
    elif request.param == "plain":
        use_kernels(monkeypatch, Capabilities("none", off="turned off"))
    elif capabilities().library is None or capabilities().tiles:
        pytest.skip("no kernels here" if capabilities().library is None else "a machine with matrix tiles")
    return str(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gains as uneven as a trained Gemma's, sizes that every kernel takes."""
    config = t.config("gemma3_text")
    config.update({"hidden_size": 128, "intermediate_size": 160, "head_dim": 32, "vocab_size": 352})
    config.update({"num_hidden_layers": 4, "sliding_window": WINDOW, "query_pre_attn_scalar": 32})
    config.layer_types = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
    assert config.num_key_value_heads == 1
    assert config.tie_word_embeddings
    torch.manual_seed(3)
    model: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(0.5) if parameter.dim() == 2 else parameter.add_(torch.rand_like(parameter))
            if name.endswith(("post_attention_layernorm.weight", "post_feedforward_layernorm.weight")):
                parameter.add_(-0.7)  # so that layers do not drown each other
            parameter.copy_(parameter.bfloat16())  # so that float32 has the same weights
    path = tmp_path_factory.mktemp("one_head")
    model.save_pretrained(path)
    t.tokenizer().save_pretrained(path)
    return path


def ids(n: int) -> tuple[int, ...]:
    return tuple(torch.randint(3, 300, (n,)).tolist())


@pytest.fixture(scope="module")
def trees() -> list[Tree]:
    """Several windows long, some with answers that share their prompt."""
    torch.manual_seed(4)
    lone = [Tree(ids(n), learn=(False,) * (n // 2) + (True,) * (n - n // 2)) for n in (150, 31, 90)]
    return [lone[0], Tree(ids(70), (ids(40), ids(5), ids(61))), lone[1], Tree(ids(9), (ids(30), ids(1))), lone[2]]


def dialogues(trees: list[Tree]) -> list[tuple[Tensor, Tensor]]:
    """(token ids, indices of its targets) of each dialogue alone, in the order of a row's targets."""
    out = []
    for tree in trees:
        if any(tree.learn):
            out.append((torch.tensor(tree.trunk), torch.tensor([i for i, own in enumerate(tree.learn) if own])))
        first = len(tree.trunk)
        out += [(torch.tensor(tree.trunk + b), torch.arange(first, first + len(b))) for b in tree.branches]
    return out


def exact_logprobs(model: Any, trees: list[Tree]) -> Tensor:
    parts = []
    for tokens, targets in dialogues(trees):
        log_p = model(tokens[None]).logits[0].float().log_softmax(-1)
        parts.append(log_p[targets - 1].gather(1, tokens[targets][:, None])[:, 0])
    return torch.cat(parts)


def exact_values(model: Any, trees: list[Tree]) -> Tensor:
    """Before each target, then at each answer's last token."""
    heads = [(model.score(model.model(x[None]).last_hidden_state[0])[:, 0], at) for x, at in dialogues(trees)]
    answers = [v for v, at in heads if len(v) == int(at[-1]) + 1]
    ends = [v[-1:] for (v, _), branch in zip(heads, _branches(trees), strict=True) if branch]
    assert len(answers) == len(heads)
    return torch.cat([*(v[at - 1] for v, at in heads), *ends])


def _branches(trees: list[Tree]) -> list[bool]:
    return [branch for tree in trees for branch in [False] * any(tree.learn) + [True] * len(tree.branches)]


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    loss.backward()
    return {name: p.grad.float() for name, p in model.named_parameters() if p.grad is not None}


def eager(model: Any) -> Any:
    model.set_attn_implementation("eager")
    return model


def assert_alike(mine: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    assert mine.keys() == exact.keys()
    for name, grad in exact.items():
        near = float(F.cosine_similarity(mine[name].flatten(), grad.flatten(), dim=0))
        assert near > 0.98, f"{name}: {near}"
        assert 0.9 < float(mine[name].norm() / grad.norm()) < 1.1, name


def shared(model: Any, row: Row, layers: int) -> Row:
    """The row behind the frozen layers, as PPO's four models share them."""
    trunk = share_trunk([model, model], layers)
    assert trunk is not None
    behind = trunk(row)
    assert behind.below is not None
    assert behind.below.layers == layers
    return behind


def test_logprobs_and_gradients_of_long_rows(way: str, folder: Path, trees: list[Tree]) -> None:
    row = build_row(trees)
    assert len(row.ids) > 10 * WINDOW
    assert int(row.positions.max()) > 4 * WINDOW
    exact, model = eager(load_causal(folder, "float32")), use_packed_rows(load_causal(folder, "bfloat16"))
    for one in (exact, model):
        train_last_layers(one, TRAINED)
    pull = torch.linspace(-1, 2, len(row.targets))  # advantages: some tokens up, some down
    logprobs, _ = response_logprobs(model, shared(model, row, 4 - TRAINED))
    expected = exact_logprobs(exact, trees)
    error = (logprobs - expected).detach().abs()
    assert float(error.mean()) < 0.05
    assert float(error.max()) < 0.3
    assert_alike(gradients(model, -(pull * logprobs).mean()), gradients(exact, -(pull * expected).mean()))


def test_values_scores_and_their_gradients(way: str, folder: Path, trees: list[Tree]) -> None:
    row = build_row(trees)
    models = eager(load_scalar(folder, "float32")), use_packed_rows(load_scalar(folder, "bfloat16"))
    torch.manual_seed(5)
    head = torch.randn(models[0].score.weight.shape).bfloat16() / 11
    for one in models:
        train_last_layers(one, TRAINED)
        one.score.weight.data.copy_(head)
    exact, model = models
    mine = torch.cat([response_values(model, row), branch_scores(model, row)])
    expected = exact_values(exact, trees)
    assert float(((mine - expected).norm() / expected.norm()).detach()) < 0.03
    assert_alike(gradients(model, (mine - 1).square().mean()), gradients(exact, (expected - 1).square().mean()))


def test_the_whole_model_with_its_tied_embedding(way: str, folder: Path, trees: list[Tree]) -> None:
    """Gradients where `Updater` gathers them: from the head and from the input, several rows in one step."""
    exact, model = eager(load_causal(folder, "float32")), use_packed_rows(load_causal(folder, "bfloat16"))
    updater = Updater(model, lr=1e-3, weight_decay=0.0, grad_clip=0.0)
    for group in (trees[:2], trees[2:]):
        (-response_logprobs(model, build_row(group))[0].sum() / 100).backward()
        updater.gather()
    found = {}
    for name, parameter, master in zip(updater.names, updater.parameters, updater.masters, strict=True):
        wide = sum_of(parameter)
        found[name] = (master.grad if wide is None else wide).clone()
    expected = gradients(exact, -exact_logprobs(exact, trees).sum() / 100)
    assert_alike(found, expected)
    updater.step(1.0)
    for name, master in zip(updater.names, updater.masters, strict=True):  # the first step of Adam: by the sign
        moved = master - dict(exact.named_parameters())[name].detach()
        large = found[name].abs() > 1e-5
        torch.testing.assert_close(moved[large], -1e-3 * found[name][large].sign(), atol=2e-5, rtol=0)


def test_what_has_one_place_may_have_any_stride_in_every_kernel(way: str) -> None:
    """PyTorch leaves strides across sizes of 1 as they come; kernels must read the same numbers."""
    if way == "plain":
        pytest.skip("kernels alone read strides")
    torch.manual_seed(6)

    def odd(x: Tensor) -> Tensor:
        strides = [s if size > 1 else 7919 for s, size in zip(x.stride(), x.shape, strict=True)]
        return x.as_strided(x.shape, strides)

    def same(compute: Any, *tensors: Tensor) -> None:
        usual, other = compute(*tensors), compute(*map(odd, tensors))
        for a, b in zip(usual, other, strict=True):
            assert torch.equal(a, b)

    for n, heads in ((1, 1), (1, 4), (6, 1)):
        x, table = torch.randn(n, heads, 64).bfloat16(), torch.randn(n, 1, 64).bfloat16()
        same(lambda x, c, s: (ops.rotate(x, c, s, (-1, 1)),), x, table, table.flip(0))
        flat, weight = x[:, 0], torch.randn(64).bfloat16()
        same(lambda x, w: ops.norm(x, w, 1.0, 1e-6), flat, weight)
        same(lambda g, x, w, i: ops.norm_backward(g, x, w, i, 1.0), flat, flat.flip(1), weight, torch.rand(n))
        same(lambda g, u: (ops.gated(g, u, True),), flat, flat.flip(1))
        same(lambda r, g, u: ops.gate_backward(r, g, u, True), *(flat.flip(1).contiguous() for _ in range(3)))
        if ops.multiplies(x):
            b = torch.randn(64, 32).bfloat16()
            add = torch.randn(n, 32).bfloat16()
            same(lambda a, b, r: (ops.multiply([(a, b)], a.new_empty(len(a), 32), r),), flat.contiguous(), b, add)
            column = torch.randn(n, 1).bfloat16()
            same(lambda a, b: (ops.multiply([(a, b)], a.new_empty(len(a), 32)),), column, b[:1])
