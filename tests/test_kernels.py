"""The door to the kernels: every argument is checked, every failure said, compilers and their failures remembered."""

from __future__ import annotations

import ctypes
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from kernels_off import restricted_to, use_kernels
from steersman.compute.vocabulary import token_logprobs
from steersman.engine.backends.local.forward import Decoder
from steersman.kernels import building, entries, ops
from steersman.kernels.capabilities import Capabilities, capabilities, decide
from steersman.kernels.entries import Argument, arguments, call
from steersman.weights.folders import load_causal

needs_kernels = pytest.mark.skipif(capabilities().library is None, reason="no C compiler here")
SIZES = {"n": 8, "d": 32, "heads": 3, "size": 48, "vocabulary": 100, "spans": 1}
SIZES |= {"rows": 8, "kv_heads": 1, "capacity": 16}
INTEGERS = {"low": -1, "high": 1, "gelu": 0, "first": 0, "start": 0, "window": 0}
TABLES = sorted(name for name, text in entries.ENTRIES.items() if not any(a.pointer for a in arguments(text)))
BREAKS: dict[str, Callable[[Tensor], Tensor]] = {
    "dtype": lambda x: x.double(),
    "dimensions": lambda x: x[None],
    "size": lambda x: torch.cat([x, x[-1:]]),
    "width": lambda x: x.new_zeros(*x.shape[:-1], x.shape[-1] + 16),
    "layout": lambda x: x.new_zeros(*x.shape, 2)[..., 0],
    "device": lambda x: x.to("meta"),
}


def fitting(wanted: Argument) -> Any:
    if wanted.reals:
        return (0.5,) * wanted.reals
    shape = [SIZES[size] if isinstance(size, str) else size for size in wanted.shape]
    return torch.ones(shape, dtype=wanted.dtype)


@needs_kernels
@pytest.mark.parametrize("entry", TABLES)
def test_a_tensor_that_does_not_fit_is_refused_by_name(entry: str) -> None:
    lib, wanted = capabilities().library, arguments(entries.ENTRIES[entry])
    values = INTEGERS | {a.name: fitting(a) for a in wanted if (a.dtype or a.reals) and not a.made}
    call(lib, entry, values)
    for a in wanted:
        if a.dtype is None or a.made:
            continue
        for name, broken in BREAKS.items():
            changed = {"size": a.shape[0], "width": a.shape[-1]}.get(name, 0)
            if isinstance(changed, str) and sum(changed in b.shape for b in wanted if not b.made) == 1:
                continue  # nothing else has a size of this name
            with pytest.raises(ValueError, match=rf"kernel '{entry}', \w+: expected torch.*; got torch"):
                call(lib, entry, values | {a.name: broken(values[a.name])})


@needs_kernels
def test_a_size_that_is_no_multiple_is_refused_by_the_kernel() -> None:
    with pytest.raises(ValueError, match=r"kernel 'norm' computed nothing: expected sizes .*n 2, d 24.*\(code 3\)"):
        ops.norm(torch.ones(2, 24).bfloat16(), torch.ones(24).bfloat16(), 0.0, 1e-6)
    with pytest.raises(RuntimeError, match="expected kernels, but there are none here"):
        call(None, "norm", {})


def bf16(*shape: int) -> Tensor:
    return torch.ones(shape).bfloat16()


@needs_kernels
@pytest.mark.parametrize(
    ("wrong", "out", "more"),
    [
        ("a: expected torch.bfloat16", bf16(4, 8), {"a": torch.ones(4, 16)}),
        ("a: expected", bf16(4, 8), {"a": bf16(4, 32)[:, ::2]}),
        ("a: expected torch.bfloat16 .4, 16.", bf16(4, 8), {"a": bf16(5, 16)}),
        ("a: expected", bf16(4, 8), {"a": bf16(4, 16).to("meta")}),
        ("b, transposed: expected", bf16(4, 8), {"b": bf16(15, 8)}),
        ("out: expected float32 or bfloat16", torch.ones(4, 8).double(), {}),
        ("out: expected", bf16(4, 16)[:, ::2], {}),
        ("out: expected", bf16(1, 8).expand(4, 8), {}),
        ("add: expected", bf16(4, 8), {"add": bf16(4, 16)[:, :8]}),
        ("add: expected", torch.ones(4, 8), {"add": bf16(4, 8)}),
        ("bias: expected", bf16(4, 8), {"bias": torch.ones(8)}),
        ("bias: expected", bf16(4, 8), {"bias": bf16(7)}),
    ],
)
def test_products_of_what_does_not_fit_are_refused(wrong: str, out: Tensor, more: dict[str, Tensor]) -> None:
    given = {"a": bf16(4, 16), "b": bf16(16, 8)} | more
    with pytest.raises(ValueError, match=f"kernel 'multiply', {wrong}"):
        ops.multiply([(given["a"], given["b"])], out, given.get("add"), given.get("bias"))


def attention(**other: Any) -> ops.Attention:
    q, kv, lse = bf16(40, 4, 32), bf16(40, 2, 32), torch.zeros(40, 4)
    given = {"q": q, "k": kv, "v": kv, "out": torch.zeros_like(q), "lse": lse} | other
    bounds = other.get("bounds", torch.tensor([[0, 33], [33, 40]]))
    places = bounds, other.get("branch"), torch.arange(40, dtype=torch.int32)
    return ops.Attention(tuple(given[name] for name in ("q", "k", "v", "out", "lse")), places, 1.0, None)  # type: ignore[arg-type]


@needs_kernels
def test_attention_over_what_does_not_fit_is_refused() -> None:
    attention().forward()
    for name, wrong in {
        "k": bf16(39, 2, 32),
        "out": bf16(40, 4, 64)[..., :32],
        "lse": torch.zeros(40, 4).bfloat16(),
        "branch": torch.zeros(40, dtype=torch.long),
        "bounds": torch.zeros(2, 3, dtype=torch.long),
    }.items():
        with pytest.raises(ValueError, match=f"kernel 'attend', {name}: expected"):
            attention(**{name: wrong})
    for bounds in ([[0, 41]], [[-1, 3]], [[5, 4]]):
        with pytest.raises(ValueError, match="expected documents within the row"):
            attention(bounds=torch.tensor(bounds)).forward()
    with pytest.raises(ValueError, match="expected sizes that it computes"):
        attention(q=bf16(40, 3, 32), out=bf16(40, 3, 32), lse=torch.zeros(40, 3)).forward()
    with pytest.raises(ValueError, match="kernel 'attend_backward', grad: expected"):
        attention().backward(bf16(40, 4, 16))


@needs_kernels
def test_targets_beyond_the_vocabulary_are_refused() -> None:
    for target in (-1, 64):
        with pytest.raises(ValueError, match=r"token ids: expected 0 to 63, got"):
            token_logprobs(bf16(2, 32), bf16(64, 32), torch.tensor([3, target]))


@needs_kernels
def test_a_step_of_tokens_positions_or_sequences_that_there_are_not_is_refused(tiny: Path) -> None:
    model = load_causal(tiny, "bfloat16")
    decoder = Decoder(model.config, torch.bfloat16, torch.device("cpu"))
    decoder.load(model.state_dict().items())
    step, vocabulary = decoder.native, decoder.shape.vocabulary
    assert step is not None
    decoder.reserve(2, 64)
    decoder.prefill([[3, 4], [5]], 0, [0, 0])
    for ids, positions, said in (
        ([3, vocabulary], [2, 1], rf"token ids within the vocabulary; got 2 sequences, token ids \[3, {vocabulary}\]"),
        ([-1, 3], [2, 1], "token ids within"),
        ([3, 3], [2, 64], r"positions within the cache; got .* 2 slots of 64 positions"),
        ([3, 3], [-1, 1], "positions within"),
        ([3, 3, 3], [1, 1, 1], "sizes that it computes"),
    ):
        with pytest.raises(ValueError, match=f"kernel 'step' computed nothing: expected {said}"):
            step.decode(torch.tensor(ids), torch.tensor(positions))
        with pytest.raises(ValueError, match=f"kernel 'step' computed nothing: expected {said}"):
            step.advance(ids, positions, [0.0] * len(ids), [0.5] * len(ids))
    with pytest.raises(ValueError, match=r"kernel 'step', ids: expected torch.int64"):
        step.decode(torch.tensor([3, 3], dtype=torch.int32), torch.tensor([2, 1]))
    decoder.weights.final_norm = decoder.weights.final_norm.float()
    with pytest.raises(ValueError, match=r"kernel 'step', final_norm: expected torch.bfloat16 \[hidden\]"):
        step.point()


@needs_kernels
def test_memory_that_cannot_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    side = entries.Side(None, 1 << 44, 0)
    term, result = entries.Term(side, side, (1 << 44) + 1), entries.Result(None, 64, None, None, 32)
    values = {"terms": ctypes.byref(term), "count": 1, "m": 32, "n": 32, "result": ctypes.byref(result)}
    with pytest.raises(MemoryError, match="kernel 'multiply' computed nothing: expected memory"):
        call(capabilities().library, "multiply", values)
    x = bf16(2, 32)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1 << 40)
    with pytest.raises(MemoryError, match="kernel 'norm_backward' computed nothing"):
        ops.norm_backward(x, x, bf16(32), torch.ones(2), 0.0)


@needs_kernels
def test_threads_that_end_leave_no_memory_behind() -> None:
    """Of SmolLM2's width and vocabulary each kept 1.25 MiB."""
    hidden, head = bf16(1, 576), bf16(2048, 576)

    def multiply() -> None:
        ops.multiply([(hidden, head.T)], hidden.new_empty(1, 2048))

    sizes = []
    for _ in range(60):
        thread = threading.Thread(target=multiply)
        thread.start()
        thread.join()
        sizes.append(psutil.Process().memory_info().rss)
    assert sizes[-1] - sizes[9] < 20 << 20


def test_a_library_that_sees_structs_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = capabilities()
    if found.library is None:
        pytest.skip("no C compiler here")
    assert entries.layout_differs(found.library) == ""

    class Gradients(ctypes.Structure):
        _fields_ = [(name, ctypes.c_void_p) for name in ("grad", "q", "k", "v", "more")]

    monkeypatch.setattr(building, "COMPILERS", building.COMPILERS[:1])
    structs = tuple(Gradients if s is entries.Gradients else s for s in entries.STRUCTS)
    monkeypatch.setattr(entries, "STRUCTS", structs)
    assert entries.layout_differs(found.library) == "Gradients"
    assert "do not agree where the fields of 'Gradients' are" in decide().off
    monkeypatch.setattr(entries, "STRUCTS", entries.STRUCTS[:-1])
    assert entries.layout_differs(found.library)


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that says what it is and compiles nothing; `runs` holds a line for each attempt."""
    path = tmp_path / "mycc"
    path.write_text(
        f"""#!/bin/sh
case "$*" in
*-dM*) cat {tmp_path}/macros;;
*) echo once >> {tmp_path}/runs; echo 'x.c:1: error: no OpenMP here' >&2; exit 1;;
esac
"""
    )
    path.chmod(0o755)
    (tmp_path / "macros").write_text('#define __VERSION__ "1.0"\n')
    monkeypatch.setenv("CC", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STEERSMAN_KERNELS", raising=False)
    monkeypatch.setattr("steersman.kernels.capabilities.sys.platform", "linux")
    return path


def test_a_failed_build_is_said_and_remembered_until_something_changes(
    compiler: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = compiler.with_name("runs")

    def tried() -> int:
        return len(runs.read_text().splitlines())

    first = decide()
    assert (first.library, first.fault, tried()) == (None, True, 1)
    assert first.off.endswith("error: no OpenMP here")
    again = decide()
    assert "no OpenMP here (tried before; steersman doctor tries again)" in again.off
    assert tried() == 1
    decide(again=True)
    assert tried() == 2, "doctor"
    # another compiler, or another processor: on ARM too, which has no 'flags' in /proc/cpuinfo
    for macros in ('#define __VERSION__ "1.1"\n', '#define __VERSION__ "1.1"\n#define __ARM_FEATURE_BF16 1\n'):
        compiler.with_name("macros").write_text(macros)
        before = tried()
        decide()
        decide()
        assert tried() == before + 1
    monkeypatch.setattr(building, "FLAGS", [*building.FLAGS, "-O2"])
    decide()
    assert tried() == 5
    assert not list(compiler.parent.rglob("*.so"))
    with caplog.at_level(logging.WARNING):
        capabilities.__wrapped__()
    assert "no kernels, PyTorch computes instead, more slowly" in caplog.text


@pytest.mark.parametrize(
    "why", ["sleep 5", "kill -9 $$", "echo 'cc1: fatal error: Killed signal terminated program' >&2; exit 1"]
)
def test_a_machine_that_is_too_busy_to_build_is_no_failure_to_remember(
    why: str, compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "SECONDS", 0.3)
    compiler.write_text(compiler.read_text().replace("echo 'x.c:1: error: no OpenMP here' >&2; exit 1", why))
    assert decide().off
    assert "tried before" not in decide().off
    assert len(compiler.with_name("runs").read_text().splitlines()) == 2


def test_a_cache_that_cannot_be_written_leaves_pytorch_to_compute(
    compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(compiler))  # a file where a folder should be
    assert "mycc" in decide().off
    monkeypatch.setenv("CC", "no-such-compiler")
    assert decide().off == "there is no C compiler (gcc or clang)"
    monkeypatch.setattr("steersman.kernels.capabilities.sys.platform", "darwin")
    elsewhere = decide()
    assert (elsewhere.off, elsewhere.fault) == ("kernels are compiled on Linux alone", False)
    assert set(elsewhere.work.values()) == {"PyTorch: kernels are compiled on Linux alone"}


def test_one_setting_turns_them_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEERSMAN_KERNELS", "off")
    assert decide().off == "kernels are turned off (STEERSMAN_KERNELS=off)"
    monkeypatch.setenv("STEERSMAN_KERNELS", "no")
    with pytest.raises(ValueError, match=r"STEERSMAN_KERNELS: expected on, off.*, got 'no'"):
        decide()


def test_one_setting_says_what_they_may_use_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEERSMAN_KERNELS", "avx2")
    monkeypatch.setattr("steersman.kernels.capabilities.platform.machine", lambda: "aarch64")
    with pytest.raises(ValueError, match="expected on, off, got 'avx2'"):
        decide()
    monkeypatch.setattr("steersman.kernels.capabilities.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("steersman.machine.instructions", lambda: frozenset({"sse2", "avx"}))
    with pytest.raises(ValueError, match="STEERSMAN_KERNELS=avx2: this processor has no AVX2 with FMA"):
        decide()
    monkeypatch.undo()
    found = restricted_to("avx2")
    if found.library is None:
        pytest.skip(found.off)
    assert (found.tiles, found.vectors, found.products) == (False, False, "float32 vectors (AVX2)")
    assert found.no_tiles == "turned off (STEERSMAN_KERNELS=avx2)"
    assert "by float32 vectors (AVX2)" in found.work["products, attention, vocabulary, optimizer"]


def logits_by(found: Capabilities, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    use_kernels(monkeypatch, found)
    model = load_causal(folder, "bfloat16")
    decoder = Decoder(model.config, torch.bfloat16, torch.device("cpu"))
    decoder.load(model.state_dict().items())
    decoder.reserve(3, 64)
    decoder.prefill([[3, 4], [5], [9, 8, 7]], 0, [0, 0, 0])
    return decoder.decode(torch.tensor([5, 6, 7]), torch.tensor([2, 1, 3]))


@needs_kernels
@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_both_compilers_build_without_a_warning(name: str, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setenv("CC", name)
    monkeypatch.setattr(building, "FLAGS", [*building.FLAGS, "-O1", "-Wall", "-Wextra", "-Werror"])
    found = decide()
    if "omp" in found.off:
        pytest.skip(f"{name} is installed without OpenMP: {found.off}")
    assert (found.off, found.compiler.split()[0]) == ("", name)
    torch.manual_seed(0)
    x, weight = torch.randn(5, 64).bfloat16(), torch.randn(64).bfloat16()
    out, _ = call(found.library, "norm", {"x": x, "weight": weight, "how": (1.0, 1e-6)})
    expected = torch.nn.functional.rms_norm(x.float(), (64,), eps=1e-6) * (weight.float() + 1)
    torch.testing.assert_close(out.float(), expected, atol=0.02, rtol=0.01)
    mine, theirs = (logits_by(which, tiny, monkeypatch) for which in (found, capabilities()))
    torch.testing.assert_close(mine, theirs, atol=0.02, rtol=0.02)


@needs_kernels
def test_what_has_one_place_has_any_stride() -> None:
    """One key head, as in Gemma 3 270M: PyTorch's attention hands back a view whose stride across heads is another."""
    torch.manual_seed(0)
    x = torch.randn(1, 6, 64).bfloat16().transpose(0, 1)
    assert x.stride() == (64, 384, 1)
    cos, sin = torch.randn(6, 1, 64).bfloat16(), torch.randn(6, 1, 64).bfloat16()
    expected = ops.rotate(x.clone(memory_format=torch.contiguous_format), cos, sin, (-1, 1))
    assert torch.equal(ops.rotate(x, cos, sin, (-1, 1)), expected)
    one = torch.randn(2, 64).bfloat16()[:, None].transpose(0, 1)[:, :1]
    assert ops.rotate(one, cos[:1], sin[:1], (-1, 1)).shape == (1, 1, 64)
