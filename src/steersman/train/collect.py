"""Sampling the answers of an iteration by all processes, in groups after each of which a resume point may be kept."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import torch

from steersman import stopping
from steersman.config import PpoConfig
from steersman.distributed import parallel
from steersman.engine.backends.local.engine import LocalEngine
from steersman.engine.backends.reference import ReferenceEngine
from steersman.engine.protocol import Engine
from steersman.progress import activity
from steersman.train.session import Origin
from steersman.types import Completion, Conversation, SamplingParams


def collect(
    engine: Engine,
    prompts: Sequence[Conversation],
    answers: list[list[Completion]],
    origin: Origin[PpoConfig],
    iteration: int,
    keep: Callable[[], None],
) -> Iterator[slice]:
    """Sample the missing answers and add them to `answers`; yields each minibatch's prompts as a slice, in order, once
    all its prompts are answered: with `overlap` while others are being sampled. `keep` is called between groups.
    """
    size = -(-len(prompts) // origin.config.minibatches)
    ready, seed = 0, origin.seed * 1_000_003 + iteration
    for _ in _sampled(engine, prompts, answers, origin.config, seed, keep):
        while ready < len(prompts) and len(answers) >= min(ready + size, len(prompts)):
            yield slice(ready, ready + size)
            ready += size


def _sampled(
    engine: Engine,
    prompts: Sequence[Conversation],
    answers: list[list[Completion]],
    config: PpoConfig,
    seed: int,
    keep: Callable[[], None],
) -> Iterator[None]:
    """Sample, and yield after every arrival of answers; the first yield is for the answers of a resume point."""
    sampling, size = config.rollouts, -(-len(prompts) // config.minibatches)
    together = sampling.rollout_prompts or len(prompts)
    yield
    for first in range(len(answers), len(prompts), together):
        params = SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            n=sampling.answers_per_prompt,
            seed=seed + (first << 32),
        )
        end = min(first + together, len(prompts))
        cuts = [first, *(i for i in range(first + 1, end) if sampling.overlap and i % size == 0), end]
        parts = generate(engine, [prompts[i:j] for i, j in itertools.pairwise(cuts)], params)
        while True:
            try:
                with activity("answers", end - first, "prompt") as shown:
                    shown.probe = getattr(engine, "answered", None)
                    new = upcoming(parts)
            except stopping.Stop:
                del answers[first:]  # a group has one seed: it is answered as a whole
                raise
            if new is None:
                break
            answers += new
            yield
        keep()


def generate(
    engine: Engine, parts: Sequence[Sequence[Conversation]], params: SamplingParams
) -> Iterator[list[list[Completion]]]:
    """As `LocalEngine.generate_parts`. Each of several processes generates a block of the answers, and every process
    yields all answers together.
    """
    assert isinstance(engine, LocalEngine | ReferenceEngine)  # as `engine_of` makes it
    if parallel.size() == 1:
        yield from engine.generate_parts(parts, params)
        return
    prompts = [p for part in parts for p in part]
    size = -(-len(prompts) // parallel.size())
    first = parallel.rank() * size
    mine: list[list[Completion]] | None = []
    try:
        with stopping.deferred(False):
            assert isinstance(engine, LocalEngine)
            mine = engine.generate(prompts[first : first + size], params, first) if first < len(prompts) else []
    except stopping.Stop:
        mine = None  # the other processes hear of the stop before any goes on
    shares = parallel.gather(mine)
    parallel.halt()
    yield [answers for part in shares for answers in part or ()]


def upcoming(parts: Iterator[list[list[Completion]]]) -> list[list[Completion]] | None:
    """The next answers from `generate`, None at the end. In a lone process a signal ends the wait at once."""
    with stopping.deferred(parallel.size() > 1):
        return next(parts, None)


@contextlib.contextmanager
def beside_the_engine(device: torch.device, wanted: bool) -> Iterator[None]:
    """If `wanted`, GPU work inside the context runs on its own stream, beside the engine's steps, not between."""
    if device.type != "cuda" or not wanted:
        yield
        return
    stream, usual = torch.cuda.Stream(device), torch.cuda.current_stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(usual)
    with torch.cuda.stream(stream):
        yield
    usual.wait_stream(stream)
