"""What GPUs compute, in doubles on a CPU, and on a GPU where there is one; the script of `make gpu-check`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.compute import attention
from steersman.compute.packing import Row, Tree, build_row, to_device

CHECK = Path(__file__).parents[1] / "bench" / "gpu_check.py"


def varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    """torch.nn.attention.varlen.varlen_attn as documented: queries are aligned with the last keys of their sequence."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert enable_gqa or q.shape[1] == k.shape[1]
    assert window_size[1] == 0
    out, longest = [], (0, 0)
    for i in range(len(cu_seq_q) - 1):
        a, b = slice(*cu_seq_q[i : i + 2].tolist()), slice(*cu_seq_k[i : i + 2].tolist())
        own, keys, values = (x.transpose(0, 1)[None] for x in (q[a], k[b], v[b]))
        n, m = own.shape[2], keys.shape[2]
        longest = max(longest[0], n), max(longest[1], m)
        back = torch.arange(n)[:, None] + m - n - torch.arange(m)[None]
        seen = (back >= 0) & ((back <= window_size[0]) if window_size[0] >= 0 else True)
        gqa = own.shape[1] != keys.shape[1]
        out.append(F.scaled_dot_product_attention(own, keys, values, seen, scale=scale, enable_gqa=gqa)[0])
    assert longest == (max_q, max_k)
    return torch.cat(out, 1).transpose(0, 1)


def older(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int, *, scale: Any, window_size: Any
) -> Tensor:
    """As torch 2.11 has it: without grouped heads."""
    return varlen(q, k, v, cu_q, cu_k, max_q, max_k, scale=scale, window_size=window_size)


def rows() -> list[Row]:
    one, two, three = tuple(range(9)), tuple(range(5)), tuple(range(30))
    return [
        build_row([Tree(one), Tree(three), Tree(two)]),
        build_row([Tree(one, (two, one, (3,))), Tree(three), Tree(two, (three, two))]),
        build_row([Tree(three * 2, (one, two), (True,) * 60), Tree((1,) * 4)]),  # no padding
    ]


def of_row(row: Row, dtype: torch.dtype, device: str = "cpu") -> list[Tensor]:
    g = torch.Generator().manual_seed(1)
    shapes = [(len(row.ids), heads, 16) for heads in (4, 2, 2, 4)]
    return [torch.randn(shape, generator=g, dtype=torch.float64).to(device, dtype) for shape in shapes]


def gradients(function: Any, row: Row, given: list[Tensor], window: int | None) -> list[Tensor]:
    *qkv, weight = given
    qkv = [x.clone().requires_grad_() for x in qkv]
    out = function(*qkv, row, 0.3, window)
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), qkv)]


@pytest.mark.parametrize("window", [None, 1, 4, 100])
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("function", [varlen, older])
def test_sequences_say_what_the_row_says(
    number: int, window: int | None, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.nn.attention import varlen as module

    monkeypatch.setattr(module, "varlen_attn", function)
    row = rows()[number]
    given = of_row(row, torch.float64)
    expected = gradients(attention.attend, row, given, window)
    for mine, theirs in zip(gradients(attention.flash, row, given, window), expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-10)
    assert not attention.flashes(given[0]), "never on a CPU"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("number", range(3))
def test_flash_attention_says_what_the_row_says(number: int, window: int | None) -> None:
    row = rows()[number]
    expected = gradients(attention.attend, row, of_row(row, torch.float64), window)
    there = to_device(row, torch.device("cuda"))
    given = of_row(row, torch.bfloat16, "cuda")
    assert attention.flashes(given[0])
    for mine, theirs in zip(gradients(attention.attend, there, given, window), expected, strict=True):
        torch.testing.assert_close(mine.double().cpu(), theirs, atol=0.06, rtol=0.06)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_check_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "path", [str(CHECK.parent), *sys.path])
    import gpu_check

    out = ["--json", str(tmp_path / "gpu.json"), "--table", str(tmp_path / "gpu.md")]
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", *out])
    assert gpu_check.main() == 2
    assert "no GPU" in capsys.readouterr().err
    assert not (tmp_path / "gpu.json").exists()
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", *out, "--device", "cpu", "--quick", "--only", "attention;tests"])
    assert gpu_check.main() == 0, "what cannot run here is left out and is no failure"
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--seconds", "0"])
    assert gpu_check.main() == 0
    assert "0 s were over" in (tmp_path / "gpu.md").read_text()


@pytest.mark.slow
def test_the_check_runs_whole_on_a_cpu_and_a_failure_hides_no_other(tmp_path: Path) -> None:
    out = ["--json", str(tmp_path / "gpu.json"), "--table", str(tmp_path / "gpu.md")]
    command = [sys.executable, str(CHECK), "--device", "cpu", "--quick", "--fail", "attention", *out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    told = json.loads((tmp_path / "gpu.json").read_text())
    states = {check["name"]: check["state"] for check in told["checks"]}
    assert states == {
        "products": "ok",
        "attention": "failed",
        "graphs": "left out",
        "training, tiny": "ok",
        "generation": "ok",
        "one process": "ok",
        "quantised LoRA": "left out",
        "tests": "left out",
    }, told
    assert "| attention | failed | AssertionError: as asked for by --fail |" in (tmp_path / "gpu.md").read_text()
