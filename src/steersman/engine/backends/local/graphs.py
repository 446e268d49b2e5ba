"""Captured decode steps: on a GPU the operators of one step are launched together, as a CUDA graph.

For few sequences a GPU computes faster than Python launches its operators. A graph launches everything at once,
but always at the same addresses and in the same shapes. So ids, positions and logits have fixed buffers, and a step
is captured when a new size is first met: sequences and tokens are rounded up to one of a few sizes (`Cache.sizes`), and
the results of rows beyond the running sequences are ignored. Weights are replaced in place and need no new graph;
code that replaces the cache calls `clear`.

Why so: decision 33 in docs/LOG.md.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.engine.backends.local.adapters import Adapter

if TYPE_CHECKING:
    from steersman.engine.backends.local.forward import Decoder

log = logging.getLogger(__name__)

LARGEST = 128
"""Most sequences of a captured step; with more, computing takes longer than launching."""
MOST = 64
"""Graphs kept; the least recently used goes first. They share one memory pool for intermediate results."""

Step = Callable[[], None]
Record = Callable[[Step], Step]
"""Records a step, which it may run several times; returns a function that repeats it over the same memory."""


def cuda_recorder(device: torch.device) -> Record:
    """Captures steps as CUDA graphs over one pool of memory."""
    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(step: Step) -> Step:
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            step()  # libraries choose kernels and allocate workspaces on first use, which must not be captured
        graph = torch.cuda.CUDAGraph()
        # other threads may use the GPU meanwhile
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            step()
        torch.cuda.current_stream(device).wait_stream(stream)
        return graph.replay

    return record


class Graphs:
    """Decodes with recorded steps over a decoder's own weights and cache. `recorder` makes the `Record` function."""

    def __init__(self, decoder: Decoder, recorder: Callable[[torch.device], Record]) -> None:
        self._decoder, self._recorder = decoder, recorder
        decoder.cache.buckets = LARGEST
        self._recorded: OrderedDict[tuple[int, int, Adapter | None], Step] = OrderedDict()
        self.clear()

    @staticmethod
    def of(decoder: Decoder) -> Graphs | None:
        """Graphs for a decoder; None where its device cannot capture."""
        return Graphs(decoder, cuda_recorder) if decoder.device.type == "cuda" else None

    def __len__(self) -> int:
        return len(self._recorded)

    def clear(self) -> None:
        """Forget every graph, after the cache or a weight was replaced by another tensor."""
        d = self._decoder
        self._recorded.clear()
        self._record = self._recorder(d.device)  # a pool without graphs cannot be used again
        rows = min(LARGEST, d.cache.slots)
        self._ids = torch.zeros(rows, dtype=torch.long, device=d.device)
        self._positions = torch.zeros_like(self._ids)
        self._logits = torch.zeros(rows, d.shape.vocabulary, dtype=d.dtype, device=d.device)

    def decode(self, ids: Tensor, positions: Tensor, longest: int) -> Tensor | None:
        """As `Decoder.decode`; the logits are valid until the next step. None where no step can be captured."""
        d, n = self._decoder, len(ids)
        rows, tokens = d.cache.sizes(n, longest)
        key = (rows, tokens, d.adapter)
        # rows beyond the sequences write into positions that a slot's next owner overwrites before reading
        self._ids[:n].copy_(ids)
        self._positions[:rows].copy_(F.pad(positions, (0, rows - n), value=d.cache.capacity - 1))
        if key not in self._recorded:
            try:
                self._recorded[key] = self._record(lambda: self._step(rows, tokens))
            except RuntimeError as error:
                log.warning("decode steps cannot be captured, so operators run one by one: %s", error)
                return None
            if len(self._recorded) > MOST:
                self._recorded.popitem(last=False)
        self._recorded.move_to_end(key)
        self._recorded[key]()
        return self._logits[:n]

    def _step(self, rows: int, tokens: int) -> None:
        self._logits[:rows].copy_(self._decoder.step(self._ids[:rows], self._positions[:rows], tokens))
