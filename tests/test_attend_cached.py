"""Attention of a chunk of a prompt over the cache, by every kind of kernel against a plain loop in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from steersman.engine.backends.local.cache import quantised
from steersman.engine.backends.local.forward import Decoder
from steersman.kernels import ops
from steersman.kernels.capabilities import Capabilities, capabilities
from steersman.weights.folders import load_causal

pytestmark = pytest.mark.skipif(capabilities().library is None, reason="no C compiler here")
by_every_product = pytest.mark.usefixtures("products")
SHAPES = [
    # sequences, tokens, query heads, key heads, head size, start, capacity, window
    (1, 40, 9, 3, 64, 1100, 1216, None),
    (2, 8, 4, 1, 256, 300, 320, 100),
    (1, 1, 3, 1, 16, 31, 32, None),
    (3, 24, 2, 2, 80, 40, 64, 5),
    (1, 48, 2, 1, 32, 1500, 1600, 600),
]


def plain(q: Tensor, keys: Tensor, values: Tensor, start: int, scale: float, window: int | None) -> Tensor:
    """Query by query and head by head."""
    out = torch.empty_like(q, dtype=torch.float64)
    size, group = len(q) // len(keys), q.shape[1] // keys.shape[1]
    for row in range(len(q)):
        sequence, place = row // size, start + row % size
        first = max(0, place - window + 1) if window else 0
        for head in range(q.shape[1]):
            seen = (x[sequence, head // group, first : place + 1].double() for x in (keys, values))
            key, value = seen
            out[row, head] = (key @ q[row, head].double() * scale).softmax(0) @ value
    return out


@by_every_product
@pytest.mark.parametrize("int8", [False, True], ids=["bfloat16", "int8"])
@pytest.mark.parametrize(("n", "size", "heads", "kv_heads", "d", "start", "capacity", "window"), SHAPES)
def test_against_a_plain_loop(
    n: int, size: int, heads: int, kv_heads: int, d: int, start: int, capacity: int, window: int | None, int8: bool
) -> None:
    torch.manual_seed(0)
    q = torch.randn(n * size, heads, d).bfloat16()
    keys, values = (torch.randn(n, kv_heads, capacity, d) for _ in range(2))
    keys[:, :, start // 2] *= 6  # a largest score in the midst, and another later
    for x in (keys, values):
        x[:, :, start + size :] = float("nan")  # what lies beyond is not looked at
    kept = [x.nan_to_num().bfloat16() if int8 else x.bfloat16() for x in (keys, values)]
    if int8:
        (keys, key_scales), (values, value_scales) = map(quantised, kept)
        kept = [keys, values, key_scales, value_scales]
        keys, values = ((x * s[..., None]).bfloat16() for x, s in ((keys, key_scales), (values, value_scales)))
    else:
        keys, values = kept
    out = torch.full_like(q, float("nan"))
    ops.attend_cached(q, out, kept, start, 0.3, window)
    expected = plain(q, keys, values, start, 0.3, window)
    assert float((out.double() - expected).norm() / expected.norm()) < 0.01
    assert float((out.double() - expected).abs().max()) < 0.03 * float(expected.abs().max())


@by_every_product
def test_a_row_does_not_depend_on_how_its_prompt_is_cut() -> None:
    torch.manual_seed(1)
    q, kept = torch.randn(48, 6, 64).bfloat16(), [torch.randn(1, 2, 704, 64).bfloat16() for _ in range(2)]
    for window in (None, 90):
        whole, parts = torch.empty_like(q), torch.empty_like(q)
        ops.attend_cached(q, whole, kept, 640, 0.1, window)
        for first, size in ((0, 8), (8, 32), (40, 8)):
            ops.attend_cached(q[first : first + size], parts[first : first + size], kept, 640 + first, 0.1, window)
        assert torch.equal(whole, parts)


@by_every_product
@pytest.mark.parametrize("int8", [False, True], ids=["bfloat16", "int8"])
def test_a_prompt_does_not_depend_on_how_it_is_cut(tiny: Path, int8: bool) -> None:
    """The logits and all that is cached, to the bit: of prompts prefilled together, and of one in chunks."""
    model: Any = load_causal(tiny, "bfloat16")
    decoder = Decoder(model.config, torch.bfloat16, torch.device("cpu"), cache_int8=int8, native=False)
    decoder.load(model.state_dict().items())
    prompt = torch.randint(3, 300, (90,), generator=torch.Generator().manual_seed(1)).tolist()
    decoder.reserve(3, 128)
    whole = decoder.prefill([prompt, prompt[:17]], 0, [0, 0])[0]
    for first, end in ((0, 8), (8, 48), (48, 90)):
        last = decoder.prefill([prompt[first:end]], 2, [first])[0]
    assert torch.equal(whole, last)
    for part in decoder.cache.parts.values():
        assert all(torch.equal(layer[0, :, :90], layer[2, :, :90]) for layer in part)


def test_the_room_of_threads_is_what_plans_say(products: Capabilities) -> None:
    """Counted apart: of 384 rows (8 tokens of 48 heads to a key head, dealt to the threads) and blocks of 512 keys of
    64 numbers."""
    size, keys, threads = 4 if "float32" in products.products else 2, 512, torch.get_num_threads()
    rows = 384 // threads * (64 * 2 + 64 * 4 + 8 + 64 * size)
    blocks = 2 * keys * 64 * size + 32 * keys * (4 + 2 + (size if size == 4 else 0))
    least = threads * (rows + blocks)
    assert least <= ops.cached_room(8, 48, 1, 64, int8=False) <= 1.2 * least
    assert ops.cached_room(8, 48, 1, 64, int8=True) > ops.cached_room(8, 48, 1, 64, int8=False)


def test_what_does_not_fit_is_refused() -> None:
    q, keys = torch.zeros(8, 4, 32).bfloat16(), torch.zeros(2, 2, 64, 32).bfloat16()
    values, scales, eight = keys.clone(), torch.ones(2, 2, 64), keys.to(torch.int8)
    ops.attend_cached(q, q.clone(), [keys, values], 60, 1.0)
    for kept, name in (
        ([keys, values[:, :1]], "values"),
        ([keys.transpose(1, 2), values], "keys"),
        ([keys.float(), values], "keys"),
        ([eight, eight, scales, scales[:1]], "value_scales"),
        ([keys, values, scales, scales], "keys"),
    ):
        with pytest.raises(ValueError, match=rf"kernel 'attend_cached(_int8)?', {name}: expected"):
            ops.attend_cached(q, q.clone(), kept, 0, 1.0)
    for start in (-1, 61):
        with pytest.raises(ValueError, match="expected positions within the cache"):
            ops.attend_cached(q, q.clone(), [keys, values], start, 1.0)
    with pytest.raises(ValueError, match="expected sizes that it computes"):
        ops.attend_cached(q[:7], q[:7].clone(), [keys, values], 0, 1.0)
