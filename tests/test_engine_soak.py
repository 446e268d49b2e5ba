"""Ten thousand requests of mixed lengths through one engine: memory stays where it was."""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path
from typing import Any

import pytest

from steersman.engine.load import load_engine
from steersman.types import SamplingParams

pytestmark = pytest.mark.slow
REQUESTS = 10_000


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="resident memory is read from /proc")
def test_memory_does_not_grow_over_ten_thousand_requests(tiny: Path) -> None:
    engine: Any = load_engine(tiny, dtype="bfloat16", max_slots=64, cache_mib=8)
    rng = random.Random(0)
    words = ["where", "is", "my", "order", "the", "blue", "kettle", "我想退货", "please"]
    done, sizes = 0, []
    while done < REQUESTS:
        prompts = [" ".join(rng.choices(words, k=rng.choice((1, 5, 20, 70)))) for _ in range(200)]
        params = SamplingParams(max_tokens=rng.choice((1, 4, 16)), seed=done, n=rng.choice((1, 2)))
        engine.generate(prompts, params)
        for prompt in prompts[:4]:
            stream = engine.stream(prompt, params)
            next(stream, None)
            stream.close()
        done += len(prompts) + 4
        gc.collect()
        sizes.append(resident_mib())
    assert not engine.scheduler.active
    assert not engine.scheduler.waiting
    # the first half meets every size of matrix product, whose compiled kernels are kept
    warm, last = max(sizes[: len(sizes) // 2]), sum(sizes[-5:]) / 5
    print(f"{done} requests: {warm:.0f} MiB after half of them, {last:.0f} MiB at the end")
    assert last < warm + 16
