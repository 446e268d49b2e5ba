"""Products of training's sizes: ours beside oneDNN's, and the machine's own peak.

    .venv/bin/python bench/products.py                            # SmolLM2-135M's sizes, a minute on two cores
    STEERSMAN_KERNELS=avx2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 .venv/bin/python bench/products.py
    .venv/bin/python bench/products.py --threads 1 --clock cpu    # on a machine with other work

TFLOP/s, the best of as many calls as fit into --seconds: forward (x w^T), the gradient of the input (g w) and of the
weight (g^T x, which ours adds to a float32 sum and oneDNN rounds to bfloat16). The peak is that of registers alone,
measured in C with the instruction that our kernels multiply with here, and beside it that of a large oneDNN product.
`--clock cpu` counts the process's own time, which other work on the machine does not lengthen; only for one thread.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from harness import machine, machine_line, table, write_json
from steersman.kernels import building, ops
from steersman.kernels.capabilities import capabilities

ROWS = 2048
SIZES = ((576, 576), (576, 960), (576, 1536), (576, 3072), (1536, 576), (576, 49152))
"""Terms and columns of SmolLM2-135M's products; the last is the vocabulary, of which ours takes parts in training."""
PEAK = """
#include <stdint.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#define WORK(s) s = _mm512_dpbf16_ps(s, x, x)
#define TYPE __m512
#define ONE __m512bh x = (__m512bh)_mm512_set1_epi32(0)
#define EACH 64
#else
#ifdef __AVX512F__
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float lanes __attribute__((vector_size(BYTES)));
#define WORK(s) s += x * x
#define TYPE lanes
#define ONE lanes x = {0}; __asm__ volatile("" : "+x"(x))
#define EACH (BYTES / 2)
#endif
int64_t peak(int64_t times, int64_t threads) {
#pragma omp parallel num_threads(threads)
    {
        TYPE s0 = {0}, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0, s9 = s0;
        ONE;
        for (int64_t i = 0; i < times; i++) {
            WORK(s0); WORK(s1); WORK(s2); WORK(s3); WORK(s4); WORK(s5); WORK(s6); WORK(s7); WORK(s8); WORK(s9);
            __asm__ volatile("" : "+x"(s0), "+x"(s1), "+x"(s2), "+x"(s3), "+x"(s4));
            __asm__ volatile("" : "+x"(s5), "+x"(s6), "+x"(s7), "+x"(s8), "+x"(s9));
        }
    }
    return times * threads * 10 * EACH;
}
"""


def best(work: Callable[[], object], operations: float, seconds: float, clock: Callable[[], float]) -> float:
    """TFLOP/s."""
    work()
    shortest, end = float("inf"), clock() + seconds
    while clock() < end:
        began = clock()
        work()
        shortest = min(shortest, clock() - began)
    return operations / shortest / 1e12


def peak(threads: int, seconds: float, clock: Callable[[], float]) -> float:
    """TFLOP/s of registers alone. Where products are in matrix tiles: of AVX512-BF16."""
    compiler = building.compiler_of(next(building.commands()), capabilities().instructions)
    with tempfile.TemporaryDirectory() as name:
        source, built = Path(name) / "peak.c", Path(name) / "peak.so"
        source.write_text(PEAK, encoding="utf-8")
        flags = [*compiler.flags, "-O2", "-fopenmp", "-shared", "-fPIC", "-o", str(built)]
        subprocess.run([*compiler.command, *flags, str(source)], check=True)
        lib = ctypes.CDLL(str(built))
        lib.peak.restype, lib.peak.argtypes = ctypes.c_int64, (ctypes.c_int64, ctypes.c_int64)
        times = 1_000_000
        return best(lambda: lib.peak(times, threads), lib.peak(times, threads), seconds, clock)


def both(k: int, n: int, seconds: float, clock: Callable[[], float]) -> list[float]:
    """TFLOP/s of ours, then oneDNN's: forward, input's gradient, weight's gradient."""
    x, w, g = (torch.randn(shape).bfloat16() for shape in ((ROWS, k), (n, k), (ROWS, n)))
    out, grad_x, grad_w, total = torch.empty_like(g), torch.empty_like(x), torch.empty_like(w), torch.zeros(n, k)
    cases: list[Callable[[], Tensor]] = [
        lambda: ops.multiply([(x, w.T)], out),
        lambda: ops.multiply([(g, w)], grad_x),
        lambda: ops.multiply([(g.T, x)], total),
        lambda: torch.mm(x, w.T, out=out),
        lambda: torch.mm(g, w, out=grad_x),
        lambda: torch.mm(g.T, x, out=grad_w),
    ]
    return [best(case, 2.0 * ROWS * k * n, seconds, clock) for case in cases]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.5, help="for each number")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and arguments.threads != 1:
        parser.error("--clock cpu adds up the time of all threads; expected --threads 1")
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    print(f"{machine_line(machine())}\n{capabilities().products}; {arguments.threads} threads, {arguments.clock} time")
    registers = peak(arguments.threads, arguments.seconds, clock)
    a = torch.randn(4096, 4096).bfloat16()
    large = best(lambda: torch.mm(a, a), 2.0 * 4096**3, arguments.seconds, clock)
    print(f"peak: {registers:.3f} TFLOP/s from registers, {large:.3f} of a large oneDNN product\n", flush=True)
    rows = [(k, n, both(k, n, arguments.seconds, clock)) for k, n in SIZES]
    head = ["terms, columns", *(f"{who} {what}" for who in ("ours", "oneDNN") for what in ("x w^T", "g w", "g^T x"))]
    print(table(head, [[f"{k}, {n}", *(f"{v:.3f} ({v / registers:.0%})" for v in found)] for k, n, found in rows]))
    found = {"products": capabilities().products, "registers": registers, "large": large, "rows": rows}
    write_json(arguments.json, {"machine": machine(), "threads": arguments.threads, "clock": arguments.clock} | found)


if __name__ == "__main__":
    main()
