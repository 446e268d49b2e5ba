"""Kernels of training against PyTorch in float64, and a whole model's gradients against float32."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import tiny as t
from kernels_off import use_kernels
from steersman.compute.gradients import sum_of
from steersman.compute.layers import FAMILIES, use_checkpointing
from steersman.compute.packing import Row, Tree, build_row
from steersman.compute.vocabulary import token_logprobs
from steersman.families.outputs import response_logprobs
from steersman.kernels import ops
from steersman.kernels.capabilities import Capabilities, capabilities
from steersman.train.update import Updater
from steersman.weights.folders import load_causal, use_packed_rows

pytestmark = pytest.mark.skipif(capabilities().library is None, reason="no C compiler here")
by_every_product = pytest.mark.usefixtures("products")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(shape).bfloat16()


def assert_near(got: Tensor, exact: Tensor, tolerance: float = 0.01) -> None:
    """Relative to the whole: bfloat16 rounds to 1/256, so a sum of rounded numbers is off by some thousandths."""
    assert got.shape == exact.shape
    assert float((got.double() - exact.double()).norm() / exact.double().norm()) < tolerance


@by_every_product
@pytest.mark.parametrize(("m", "n", "k"), [(64, 96, 128), (77, 33, 40), (1, 192, 31), (130, 5, 64), (33, 65, 513)])
def test_products_of_any_size_and_orientation(m: int, n: int, k: int) -> None:
    a, b, add, bias = random(m, k), random(k, n), random(m, n), random(n)
    for first in (a, a.T.contiguous().T):
        for second in (b, b.T.contiguous().T):
            exact = 2 * (a.double() @ b.double())
            terms = [(first, second), (first, second)]
            narrow = ops.multiply(terms, torch.full((m, n), torch.nan).bfloat16(), add, bias)
            assert_near(narrow, exact + add.double() + bias.double())
            start = torch.randn(m, n)
            wide = ops.multiply(terms, start.clone())
            assert_near(wide, exact + start.double(), 1e-6)


@by_every_product
def test_products_of_nothing() -> None:
    bias, start = random(5), torch.randn(3, 5)
    assert torch.equal(ops.multiply([(random(3, 0), random(0, 5))], start.clone()), start)
    assert torch.equal(ops.multiply([(random(3, 0), random(0, 5))], random(3, 5), bias=bias), bias.expand(3, 5))
    assert ops.multiply([(random(0, 4), random(4, 5))], random(0, 5)).shape == (0, 5)
    hidden = random(0, 64).requires_grad_()
    token_logprobs(hidden, random(176, 64), torch.zeros(0, dtype=torch.long))[0].sum().backward()
    assert hidden.grad is not None


@by_every_product
def test_a_row_of_a_product_is_the_same_however_many_rows_there_are() -> None:
    a, b = random(64, 72), random(72, 49)
    for first in (a, a.T.contiguous().T):
        whole = ops.multiply([(first, b)], random(64, 49))
        for rows in (1, 5, 8, 12, 17, 31, 33, 47):
            assert torch.equal(ops.multiply([(first[:rows], b)], random(rows, 49)), whole[:rows])


@by_every_product
def test_a_product_leaves_what_lies_beside_it_alone() -> None:
    out = torch.zeros(40, 64)
    ops.multiply([(random(40, 32), random(32, 33))], out[:, :33])
    assert out[:, :33].all()
    assert not out[:, 33:].any()


def exact_attention(q: Tensor, k: Tensor, v: Tensor, row: Row, window: int | None) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    mask = row.mask[0, 0]
    if window:
        mask = mask & ((row.positions[:, None] - row.positions[None]) < window)
    scores = torch.einsum("ihd,jhd->hij", q, k) * 0.2
    return torch.einsum("hij,jhd->ihd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v)


@by_every_product
@pytest.mark.parametrize(
    ("heads", "kv_heads", "d", "window"),
    [(9, 3, 64, None), (4, 1, 32, 11), (2, 2, 128, None), (3, 1, 16, 5), (2, 1, 80, None), (1, 1, 256, 40)],
)
def test_attention_over_documents_and_branches(heads: int, kv_heads: int, d: int, window: int | None) -> None:
    def ids(n: int) -> tuple[int, ...]:
        return (1,) * n

    row = build_row([Tree(ids(70)), Tree(ids(33), (ids(20), ids(1), ids(40))), Tree(ids(1)), Tree(ids(31), (ids(33),))])
    tokens = len(row.ids)
    q, k, v = random(tokens, heads, d), random(tokens, kv_heads, d), random(tokens, kv_heads, d)
    out, lse, grad = torch.empty_like(q), torch.empty(tokens, heads), random(tokens, heads, d)
    attention = ops.Attention((q, k, v, out, lse), row.places, 0.2, window)
    attention.forward()
    exact = [x.double().requires_grad_() for x in (q, k, v)]
    expected = exact_attention(*exact, row, window)
    expected.backward(grad.double())
    assert_near(out, expected.detach())
    for mine, theirs in zip(attention.backward(grad), exact, strict=True):
        assert theirs.grad is not None
        assert_near(mine, theirs.grad)


@pytest.mark.parametrize("gelu", [False, True])
def test_gated_activation(gelu: bool) -> None:
    gate, up, grad = (random(40, 48) * 3 for _ in range(3))
    exact = [x.double().requires_grad_() for x in (gate, up)]
    act = transformers.activations.ACT2FN["gelu_pytorch_tanh" if gelu else "silu"]
    expected = act(exact[0]) * exact[1]
    expected.backward(grad.double())
    assert_near(ops.gated(gate, up, gelu), expected.detach())
    for mine, theirs in zip(ops.gate_backward(grad, gate, up, gelu), exact, strict=True):
        assert theirs.grad is not None
        assert_near(mine, theirs.grad)


@by_every_product
def test_logprobs_and_entropy_over_a_vocabulary_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.compute.vocabulary.PART", 64)
    hidden, weight, targets = random(37, 64) * 0.5, random(176, 64) * 0.5, torch.randint(0, 176, (37,))
    small = [x.clone().requires_grad_() for x in (hidden, weight)]
    logprobs, entropy = token_logprobs(*small, targets, 0.7)
    factors = torch.randn(2, 37)
    ((logprobs * factors[0]).sum() + (entropy * factors[1]).sum()).backward()
    exact = [x.double().requires_grad_() for x in (hidden, weight)]
    log_p = (exact[0] @ exact[1].T / 0.7).log_softmax(-1)
    chosen, spread = log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)
    ((chosen * factors[0]).sum() + (spread * factors[1]).sum()).backward()
    torch.testing.assert_close(logprobs.double(), chosen, atol=0.06, rtol=0)
    torch.testing.assert_close(entropy.double(), spread, atol=0.06, rtol=0)
    for mine, theirs in zip(small, exact, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert_near(mine.grad, theirs.grad, 0.02)


def wide_model(folder: Path, family: str) -> Path:
    """A tiny model of sizes that every kernel takes."""
    config = t.config(family)
    config.update({"hidden_size": 128, "intermediate_size": 160, "head_dim": 32, "vocab_size": 352})
    torch.manual_seed(1)
    model: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    t.tokenizer().save_pretrained(folder)
    return folder


def gradients(model: Any, row: Row) -> tuple[Tensor, dict[str, Tensor]]:
    logprobs, entropy = response_logprobs(use_packed_rows(model), row)
    (logprobs.mean() + 0.1 * entropy.mean()).backward()
    return logprobs.detach(), {name: p.grad for name, p in model.named_parameters()}


@by_every_product
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_model_by_kernels_is_as_near_to_float32_as_by_pytorch(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = wide_model(tmp_path / "model", family)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 300, (n,)).tolist())

    row = build_row([Tree(ids(29), (ids(4), ids(37))), Tree(ids(64), learn=(False,) + (True,) * 63)])
    exact, exact_grads = gradients(load_causal(folder, "float32"), row)
    mine, my_grads = gradients(load_causal(folder, "bfloat16"), row)
    use_kernels(monkeypatch, Capabilities("none", off="turned off"))
    plain, plain_grads = gradients(load_causal(folder, "bfloat16"), row)
    assert (mine != plain).any()  # else the kernels were not used

    def off(x: Tensor, y: Tensor) -> float:
        return float((x.float() - y).norm() / y.norm())

    assert off(mine, exact) < 1.3 * off(plain, exact)
    for name, grad in exact_grads.items():
        assert off(my_grads[name], grad) < max(1.3 * off(plain_grads[name], grad), 0.01), name


@by_every_product
def test_checkpointing_changes_no_bit(tmp_path: Path) -> None:
    folder = wide_model(tmp_path, "gemma3_text")
    row = build_row([Tree(tuple(range(3, 90)), learn=(False,) + (True,) * 86)])
    model = load_causal(folder, "bfloat16")
    use_checkpointing(model)
    peer = load_causal(folder, "bfloat16")
    (logprobs, grads), (again, same) = gradients(peer, row), gradients(model, row)
    assert torch.equal(logprobs, again)
    assert all(torch.equal(grad, same[name]) for name, grad in grads.items())
    for one in (model, peer):  # and where gradients are summed in float32
        updater = Updater(one, lr=0.01, weight_decay=0.0, grad_clip=1.0)
        gradients(one, row)
        updater.gather()
        updater.step(1.0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), peer.parameters(), strict=True))


@by_every_product
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_gradients_are_summed_in_float32_over_rows(family: str, tmp_path: Path) -> None:
    model: Any = use_packed_rows(load_causal(wide_model(tmp_path, family), "bfloat16"))
    row = build_row([Tree((5, 6, 7, 0, 9), learn=(False, True, True, True, True))])  # 0 is the padding token
    peer = copy.deepcopy(model)
    updater = Updater(model, lr=0.01, weight_decay=0.0, grad_clip=0.0)
    for _ in range(3):
        response_logprobs(model, row)[0].sum().backward()
        updater.gather()
    response_logprobs(peer, row)[0].sum().backward()
    assert {id(p) for p in updater.parameters if p.dim() == 2} == {id(wide.parameter) for wide, _ in updater.wide}
    for mine, theirs in zip(model.parameters(), peer.parameters(), strict=True):
        if mine.dim() == 2:
            assert mine.grad is None
            assert_near(sum_of(mine), 3 * theirs.grad.double())


NEAR = 0.12
"""How far one step's gradients may be from float32's, relative to their norm: on every path a random model's states,
rounded to bfloat16, are up to 0.10 away."""
AGREE = 0.04
"""How far from one another kernels may be that multiply otherwise."""


def one_step(folder: Path, dtype: str, rows: list[Row]) -> tuple[Tensor, Tensor]:
    """Gradients of all weights summed over rows, and masters after one step."""
    model: Any = use_packed_rows(load_causal(folder, dtype))
    for parameter in model.parameters():  # the same weights
        parameter.data.copy_(parameter.data.bfloat16())
    updater = Updater(model, lr=0.001, weight_decay=0.1, grad_clip=0.0)
    for row in rows:
        response_logprobs(model, row)[0].sum().backward()
        updater.gather()
    assert dtype == "float32" or not any(p.grad is not None for p in model.parameters()), "rounded on the way"
    pairs = list(zip(updater.parameters, updater.masters, strict=True))
    sums = [m.grad if sum_of(p) is None else sum_of(p) for p, m in pairs]
    flat = torch.cat([x.clone().flatten() for x in sums if x is not None])
    updater.step(1.0)
    return flat, torch.cat([m.flatten() for m in updater.masters])


def step_near_float32(folder: Path) -> Tensor:
    torch.manual_seed(2)
    documents = [tuple(torch.randint(3, 300, (n,)).tolist()) for n in (70, 33, 64)]
    rows = [build_row([Tree(ids, learn=(False,) + (True,) * (len(ids) - 1))]) for ids in documents]
    exact, moved = one_step(folder, "float32", rows)
    got, masters = one_step(folder, "bfloat16", rows)
    assert_near(got, exact, NEAR)
    assert float((masters - moved).abs().mean()) < 0.1 * 0.001  # of the rate: a first step of Adam is a sign
    return got


@by_every_product
@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text"])
def test_one_training_step_is_that_of_float32_on_every_path(
    family: str, products: Capabilities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = step_near_float32(wide_model(tmp_path, family))
    use_kernels(monkeypatch, capabilities())
    usual = step_near_float32(tmp_path)
    if {products.products, capabilities().products} <= {"matrix tiles (AMX)", "bfloat16 vectors (AVX512-BF16)"}:
        assert torch.equal(mine, usual) or capabilities().tiles, "emulated tiles and vectors round alike"
    assert_near(mine, usual, AGREE)


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text"])
def test_one_training_step_is_that_of_float32_without_kernels(family: str, tmp_path: Path) -> None:
    step_near_float32(wide_model(tmp_path, family))


@by_every_product
def test_steps_are_those_of_pytorchs_adamw(tmp_path: Path) -> None:
    model: Any = load_causal(wide_model(tmp_path, "llama"), "bfloat16")
    updater = Updater(model, lr=0.01, weight_decay=0.1, grad_clip=5.0)
    masters = [p.detach().float().clone().requires_grad_() for p in updater.parameters]
    decayed, others = ([m for m in masters if (m.dim() == 2) == matrix] for matrix in (True, False))
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=0.005, betas=(0.9, 0.95), eps=1e-8)
    for scale in (1.0, 0.001, 0.1):  # clipped, not clipped, clipped
        for parameter, master in zip(updater.parameters, masters, strict=True):
            master.grad = (torch.randn_like(master) * scale).bfloat16().float()
            sum_of(parameter).copy_(master.grad)
        updater.gather()
        norm = float(torch.nn.utils.clip_grad_norm_(masters, 5.0))
        assert updater.step(0.5) == pytest.approx(norm, rel=1e-5)
        adamw.step()
    for parameter, mine, expected in zip(updater.parameters, updater.masters, masters, strict=True):
        torch.testing.assert_close(mine, expected.detach(), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(parameter.detach(), mine.bfloat16(), atol=0, rtol=0)
    assert not any(wide.gradient.any() for wide, _ in updater.wide)
