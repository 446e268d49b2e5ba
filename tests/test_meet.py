"""Threads share loops and jobs: every task is done once, whoever is late, and results do not depend on it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from steersman.engine.backends.local.forward import Decoder
from steersman.kernels import building, ops
from steersman.kernels.capabilities import capabilities
from steersman.weights.folders import load_causal

LOOPS = r"""
#define _GNU_SOURCE
#include <omp.h>
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
        Place p = come_to(&m, omp_get_thread_num(), omp_get_num_threads());
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


JOBS = r"""
#include "crew.c"
#include <string.h>
#include <stdlib.h>
#include <sys/wait.h>

typedef struct { Tasks tasks; int slow; unsigned char did[256]; } Job;

static void work(void *all, int who) {
    Job *job = all;
    if (job->slow == 1 && who) usleep(20000);
    for (int64_t until = nanoseconds() + 3000000; job->slow == 2 && who && nanoseconds() < until;) {}
    TAKE(&job->tasks, i) __atomic_add_fetch(job->did + i, 1, __ATOMIC_RELAXED);
}

static int wrong(int threads, int tasks, int slow) { /* whether a task was not done, or not once */
    Job job = {.tasks = rows_in_chunks(tasks, 1, threads), .slow = slow};
    together(threads, work, &job);
    for (int i = 0; i < 256; i++)
        if (job.did[i] != (i < tasks)) return 1;
    return 0;
}

static void *many(void *threads) {
    long bad = 0;
    for (int i = 0; i < 2000; i++) bad += wrong((int)(intptr_t)threads, 1 + i % 256, 0);
    return (void *)bad;
}

/* 0 where all is well, else what is not */
int run(int threads) {
    int late = 1;
    for (int i = 0; i < 20 && late; i++) { /* who computes is not late, but where others take its core */
        steersman_beside(0);
        if (wrong(threads, 7, 2)) return 6;
        late = steersman_beside(-1) > 0;
    }
    if (late && threads == 2) return 7;
    steersman_beside(0);
    if (wrong(threads, 7, 1)) return 1;
    if (steersman_beside(-1) < (threads > 1 ? 64 : 0)) return 2; /* a late region */
    steersman_beside(1000000);
    pthread_t others[3];
    for (int i = 0; i < 3; i++) pthread_create(others + i, NULL, many, (void *)(intptr_t)threads);
    if (many((void *)(intptr_t)threads)) return 3;
    for (int i = 0; i < 3; i++) {
        void *bad;
        pthread_join(others[i], &bad);
        if (bad) return 4;
    }
    pid_t child = fork();
    if (!child) _exit(wrong(threads, 200, 0)); /* it has no helpers of its parent's */
    int status;
    waitpid(child, &status, 0);
    return status ? 5 : 0;
}
"""


def built(source: str, folder: Path) -> ctypes.CDLL:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    file = folder / "tried.c"
    file.write_text(source)
    include = f"-I{Path(building.__file__).parent}"
    made = [compiler, "-O2", "-std=gnu11", "-fopenmp", "-pthread", "-fPIC", "-shared", include, str(file), "-o"]
    subprocess.run([*made, str(folder / "tried.so")], check=True)
    return ctypes.CDLL(str(folder / "tried.so"))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_tasks_of_a_job_are_done_once_by_a_region_and_by_the_crew(threads: int, tmp_path: Path) -> None:
    assert built(JOBS, tmp_path).run(threads) == 0


@pytest.mark.parametrize("threads", [2, 5])
def test_what_the_crew_computes_is_the_same_to_the_bit(threads: int) -> None:
    library = capabilities().library
    if library is None:
        pytest.skip("no kernels")
    torch.manual_seed(1)
    x, w = (torch.randn(n, 96).bfloat16() for n in (201, 160))
    weight, (cos, sin) = torch.randn(96).bfloat16(), torch.randn(2, 201, 1, 32).bfloat16()

    def results(jobs: int) -> list[torch.Tensor]:
        library.steersman_beside(ctypes.c_int64(jobs))
        normed, inverse = ops.norm(x, weight, 0.0, 1e-5)
        back = ops.norm_backward(x.flip(0), x, weight, inverse, 0.0)
        turned = ops.rotate(x.view(201, 3, 32), cos, sin, (-1, 1))
        pulled = ops.gate_backward(x, normed, x.flip(1).contiguous(), False)
        product = ops.multiply([(x, w.T)], torch.empty(201, 160, dtype=torch.bfloat16))
        summed = ops.multiply([(x.T, normed)], torch.ones(96, 96))
        attended, places = torch.empty(201, 3, 32).bfloat16(), (torch.tensor([[0, 201]]), None, torch.arange(201).int())
        q, k, lse = x.view(201, 3, 32), x[:, :32].contiguous().view(201, 1, 32), torch.empty(201, 3)
        attention = ops.Attention((q, k, k, attended, lse), places, 0.2, None)
        attention.forward()
        gradients = attention.backward(turned)
        numbers = [torch.ones(64, 96), w[:64].clone(), torch.ones(64, 96), torch.ones(64, 96), torch.ones(64, 96)]
        ops.adamw(tuple(numbers), (0.1, 0.1, 0.9, 0.99, 1e-8, 1.0, 0.1, 0.01))
        return [normed, *back, turned, *pulled, product, summed, attended, lse, *gradients, *numbers]

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        region, crew = results(0), results(1000)
    finally:
        torch.set_num_threads(before)
        library.steersman_beside(ctypes.c_int64(0))
    assert all(torch.equal(a, b) for a, b in zip(region, crew, strict=True))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_task_of_a_loop_is_done_once_before_the_next_loop_begins(threads: int, tmp_path: Path) -> None:
    run = built(LOOPS, tmp_path).run
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
