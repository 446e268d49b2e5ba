"""Training's forward products by others' small kernels: ATen's brgemm and libxsmm, beside ours.

    apt-get install libxsmm-dev
    .venv/bin/python bench/product_peers.py                        # SmolLM2-135M's sizes, one thread
    .venv/bin/python bench/product_peers.py --clock cpu            # on a machine with other work

x w^T in bfloat16, rounded to bfloat16; TFLOP/s, the best of as many calls as fit into --seconds. The others multiply
blocks of float32 sums; the loops around them are written here, in the block sizes that are best for each (tried first),
with the weight brought into pairs once before ("packed") or in every call, as ours and oneDNN do ("whole").
Only libxsmm 1.17 (Debian's) was tried; it names its target in `LIBXSMM_TARGET`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths

from harness import machine, machine_line, table, write_json
from products import ROWS, SIZES, best
from steersman.kernels import ops
from steersman.kernels.capabilities import capabilities

SOURCE = r"""
#include <ATen/native/CPUBlas.h>
#include <immintrin.h>
#include <libxsmm.h>
#include <vector>
using at::BFloat16;

// (n, k) rows -> for each block of `wide` columns (k / 2, wide, 2)
extern "C" void pack(const uint16_t *w, int64_t n, int64_t k, int64_t wide, uint32_t *out) {
    for (int64_t b = 0; b < n; b += wide)
        for (int64_t p = 0; p < k / 2; p++)
            for (int64_t j = 0; j < wide; j++) *out++ = *(const uint32_t *)(w + (b + j) * k + 2 * p);
}

static void round_block(const float *c, int64_t high, int64_t wide, uint16_t *out, int64_t n) {
    for (int64_t i = 0; i < high; i++)
        for (int64_t j = 0; j < wide; j += 16)
            _mm256_storeu_si256((__m256i *)(out + i * n + j),
                                (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(c + i * wide + j)));
}

extern "C" int product(int which, const uint16_t *x, const uint16_t *w, uint16_t *out, int64_t m, int64_t n, int64_t k,
                       int64_t high, int64_t wide) {
    static thread_local std::vector<float> sums;
    sums.resize(high * wide);
    float *c = sums.data();
    libxsmm_bsmmfunction kernel = nullptr;
    if (which == 1) {
        float alpha = 1, beta = 0;
        libxsmm_blasint a = wide, b = k, d = wide;
        int flags = LIBXSMM_GEMM_FLAGS('N', 'N') | LIBXSMM_GEMM_FLAG_VNNI_A, prefetch = LIBXSMM_GEMM_PREFETCH_NONE;
        kernel = libxsmm_bsmmdispatch(wide, high, k, &a, &b, &d, &alpha, &beta, &flags, &prefetch);
        if (!kernel) return 1;
    }
    for (int64_t j = 0; j < n; j += wide)
        for (int64_t i = 0; i < m; i += high) {
            if (which == 0)
                at::native::cpublas::brgemm(high, wide, k, k, wide, wide, false, (const BFloat16 *)(x + i * k),
                                            (const BFloat16 *)(w + j * k), c, true);
            else
                kernel((const libxsmm_bfloat16 *)(w + j * k), (const libxsmm_bfloat16 *)(x + i * k), c);
            round_block(c, high, wide, out + i * n + j, n);
        }
    if (which == 0) at::native::cpublas::brgemm_release(true);
    return 0;
}
extern "C" const char *target() { libxsmm_init(); return libxsmm_get_target_arch(); }
"""
BLOCKS = [(high, wide) for high in (16, 32, 64, 128) for wide in (32, 48, 64)]


def build(folder: Path) -> ctypes.CDLL:
    source, built = folder / "peers.cpp", folder / "peers.so"
    source.write_text(SOURCE, encoding="utf-8")
    lib = str(Path(torch.__file__).parent / "lib")
    flags = ["-O3", "-march=native", "-std=c++20", "-shared", "-fPIC", *(f"-I{path}" for path in include_paths())]
    links = [f"-L{lib}", "-ltorch_cpu", "-lc10", "-lxsmm", "-lxsmmnoblas", "-ldl", "-lpthread", f"-Wl,-rpath,{lib}"]
    subprocess.run(["g++", *flags, str(source), "-o", str(built), *links], check=True)
    found = ctypes.CDLL(str(built))
    found.target.restype = ctypes.c_char_p
    return found


def measured(lib: ctypes.CDLL, k: int, n: int, seconds: float, clock: Callable[[], float]) -> list[str]:
    """TFLOP/s of ours, oneDNN, and of each peer whole and packed with its best blocks."""
    torch.manual_seed(0)
    x, w, out = torch.randn(ROWS, k).bfloat16(), torch.randn(n, k).bfloat16(), torch.empty(ROWS, n).bfloat16()
    expected, packed = x.float() @ w.float().T, torch.empty_like(w)
    size = 2.0 * ROWS * k * n

    def pack(wide: int) -> None:
        lib.pack(
            *map(ctypes.c_void_p, (w.data_ptr(),)),
            *map(ctypes.c_int64, (n, k, wide)),
            ctypes.c_void_p(packed.data_ptr()),
        )

    def multiply(which: int, high: int, wide: int) -> None:
        places = map(ctypes.c_void_p, (x.data_ptr(), packed.data_ptr(), out.data_ptr()))
        if lib.product(which, *places, *map(ctypes.c_int64, (ROWS, n, k, high, wide))):
            raise SystemExit("libxsmm has no kernel for this machine and size")

    def both(which: int, high: int, wide: int) -> None:
        pack(wide)
        multiply(which, high, wide)

    found = [best(lambda: ops.multiply([(x, w.T)], out), size, seconds, clock)]
    found.append(best(lambda: torch.mm(x, w.T, out=out), size, seconds, clock))
    cells = [f"{value:.3f}" for value in found]
    for which in (0, 1):
        tried = {}
        for high, wide in BLOCKS:
            if n % wide == 0:
                pack(wide)
                tried[high, wide] = best(lambda: multiply(which, high, wide), size, seconds / 4, clock)  # noqa: B023
        high, wide = max(tried, key=lambda block: tried[block])
        whole = best(lambda: both(which, high, wide), size, seconds, clock)  # noqa: B023
        worst = ((out.float() - expected).abs().max() / expected.abs().max()).item()
        if worst > 0.01:
            raise SystemExit(f"peer {which} computed something else: {worst}")
        only = best(lambda: multiply(which, high, wide), size, seconds, clock)  # noqa: B023
        cells.append(f"{whole:.3f}, {only:.3f} ({high} x {wide})")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each number")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    arguments = parser.parse_args()
    os.environ.setdefault("LIBXSMM_TARGET", "cpx" if "bf16" in capabilities().products else "")
    torch.set_num_threads(1)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    with tempfile.TemporaryDirectory() as name:
        lib = build(Path(name))
        target = lib.target().decode()
        print(f"{machine_line(machine())}\n{capabilities().products}; libxsmm for {target}; {arguments.clock} time")
        rows = [[f"{k}, {n}", *measured(lib, k, n, arguments.seconds, clock)] for k, n in SIZES]
    print(
        table(
            [
                "terms, columns",
                "ours",
                "oneDNN",
                "ATen brgemm: whole, packed (block)",
                "libxsmm: whole, packed (block)",
            ],
            rows,
        )
    )
    write_json(arguments.json, {"machine": machine(), "libxsmm": target, "rows": rows})


if __name__ == "__main__":
    main()
