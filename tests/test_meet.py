"""Threads of a step share each loop: every task is done once, whoever is late, and results do not depend on it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from steersman.engine.backends.local.forward import Decoder
from steersman.kernels import building
from steersman.weights.folders import load_causal

LOOPS = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "meet.h"

/* did [loops, 256] counts each task; gives how often a loop was entered before the one before it was done */
long run(int threads, int loops, int late, unsigned char *did) {
    Share shares[threads];
    memset(shares, 0, sizeof shares);
    Meeting m = {.share = shares};
    long early = 0;
#pragma omp parallel num_threads(threads)
    {
        Place p = come_to(&m);
        for (int loop = 0; loop < loops; loop++) {
            for (int i = 0; loop && i < 1 + (loop - 1) * 37 % 256; i++)
                if (__atomic_load_n(did + (loop - 1) * 256L + i, __ATOMIC_RELAXED) != 1)
                    __atomic_add_fetch(&early, 1, __ATOMIC_RELAXED);
            if (p.thread == late && loop % 50 == 0) usleep(3000);
            EACH(&p, i, 1 + loop * 37 % 256) {
                if (p.thread == late && i % 97 == 5 && loop % 20 == 7) usleep(500);
                __atomic_add_fetch(did + loop * 256L + i, 1, __ATOMIC_RELAXED);
            }
            meet(&p);
        }
    }
    return early;
}
"""


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_task_of_a_loop_is_done_once_before_the_next_loop_begins(threads: int, tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    source = tmp_path / "loops.c"
    source.write_text(LOOPS)
    include = f"-I{Path(building.__file__).parent}"
    made = [compiler, "-O2", "-std=gnu11", "-fopenmp", "-fPIC", "-shared", include, str(source), "-o"]
    subprocess.run([*made, str(tmp_path / "loops.so")], check=True)
    run = ctypes.CDLL(str(tmp_path / "loops.so")).run
    run.restype = ctypes.c_long
    loops, did = 600, torch.zeros(600, 256, dtype=torch.uint8)
    assert run(threads, loops, threads - 1, ctypes.c_void_p(did.data_ptr())) == 0
    for loop in range(loops):
        tasks = 1 + loop * 37 % 256
        assert did[loop, :tasks].eq(1).all()
        assert did[loop, tasks:].eq(0).all()


@pytest.mark.parametrize("sequences", [1, 3, 20])
def test_a_step_does_not_depend_on_the_number_of_threads(tiny: Path, sequences: int) -> None:
    model = load_causal(tiny, "bfloat16")

    def logits(threads: int) -> torch.Tensor:
        decoder = Decoder(model.config, torch.bfloat16, torch.device("cpu"))
        decoder.load(model.state_dict().items())
        if decoder.native is None:
            pytest.skip("no kernels")
        torch.set_num_threads(threads)
        try:
            decoder.reserve(sequences, 64)
            decoder.native._threads = decoder.native.sharing.threads = threads
            decoder.native.point()
            decoder.prefill([[3 + i, 4, 5] for i in range(sequences)], 0, [0] * sequences)
            return decoder.decode(torch.arange(sequences) + 5, torch.full((sequences,), 3)).clone()
        finally:
            torch.set_num_threads(1)

    alone = logits(1)
    for threads in (2, 3, 7):
        assert torch.equal(logits(threads), alone)
