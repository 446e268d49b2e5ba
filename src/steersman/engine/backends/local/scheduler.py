"""Decides which sequences run: each step admits, prefills, decodes one token for every running sequence, and frees.

Requests wait in a fair queue: the k-th request of one call, or of one person, stands beside the k-th of another, so a
short question does not wait behind a thousand prompts of a batch. Prompts are prefilled once, however many answers are
asked for; their beginnings are copied from running sequences that begin alike, by the same system message perhaps.
While a stream is being read, long prompts are prefilled in chunks between the steps of the others. Where keys and
values outgrow their budget, the youngest sequence is paused: it gives its memory back, and its prompt and words so far
are prefilled again when there is room.

Why so: decisions 28, 29, 30, 34 and 36 in docs/LOG.md.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from steersman.engine.adjust import adjust, adjusts
from steersman.engine.backends.local.adapters import Adapter
from steersman.engine.backends.local.cache import rounded
from steersman.engine.backends.local.drawing import draw
from steersman.engine.backends.local.forward import ALIGN, Decoder, room
from steersman.engine.backends.local.prefixes import BLOCK, Hit, Prefixes, lent
from steersman.engine.protocol import Refused
from steersman.engine.sequence import Answer, Request

AHEAD = 512
"""Tokens reserved in the cache for an answer from the start, at most; for longer answers the cache grows."""
DEEP = 1024
"""Tokens of a prompt, the attention to which takes about as long as the rest of a layer; twice as many by kernels."""


@dataclass
class Partial:
    """A prompt that is prefilled in chunks, in the slot after the running sequences."""

    request: Request
    done: int


class Scheduler:
    """`max_slots` sequences at most run together. The caller ensures that only one method runs at a time."""

    def __init__(
        self,
        decoder: Decoder,
        ends: Collection[int],
        prefixes: Prefixes,
        *,
        max_slots: int,
        prefill_tokens: int,
        chunk_tokens: int,
        independent: bool = False,
    ) -> None:
        self.decoder, self.ends, self.prefixes = decoder, ends, prefixes
        self.max_slots, self.prefill_tokens, self.chunk_tokens = max_slots, prefill_tokens, chunk_tokens
        self.independent = independent
        self.version = ""
        self.adapters: dict[str, Adapter] = {}
        self.active: list[Answer] = []
        self.partial: Partial | None = None
        self._waiting: list[tuple[int, int, Request]] = []
        self._arrivals, self._admissions = itertools.count(), itertools.count()
        self._turn = 0
        """Position, within its call, of the request admitted last."""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        return bool(self.active or self._waiting or self.partial)

    def add(self, requests: Iterable[Request]) -> None:
        """Queue one call's requests, in the order in which they should run."""
        for place, request in enumerate(requests):
            if request.adapter is not None and request.adapter not in self.adapters:
                for answer in request.answers:
                    answer.fail(Refused(f"sampling.adapter: '{request.adapter}' was unloaded meanwhile"))
                continue
            mine = sum(entry[2].party == request.party for entry in self._waiting) if request.party else 0
            heapq.heappush(self._waiting, (self._turn + place + mine, next(self._arrivals), request))

    def cancel(self, answers: Iterable[Answer]) -> None:
        """End these answers, and free their slots at once."""
        for answer in answers:
            if not answer.finished:
                answer.finish("cancelled")
        self._waiting = [entry for entry in self._waiting if not entry[2].done]
        heapq.heapify(self._waiting)
        if self.partial is not None and self.partial.request.done:
            self.partial = None
        self.settle()

    def clear(self) -> None:
        """Drop all running and waiting sequences and the cache, after a step failed midway."""
        self.active, self._waiting, self.partial = [], [], None
        self.decoder.cache.clear()

    def uses(self, adapter: str) -> bool:
        """Whether any running or waiting request uses the adapter."""
        waiting = (entry[2].adapter for entry in self._waiting)
        begun = self.partial is not None and self.partial.request.adapter == adapter
        return begun or adapter in waiting or any(a.params.adapter == adapter for a in self.active)

    def step(self) -> None:
        self.settle()
        if self.partial is None:
            self._begin()
        if self.partial is not None:
            self._continue(self.partial)
        self._renew_long()
        if self.active:
            self._grow()
            self._use_adapter(self.active[0])
            self._advance(self.active)
            self._free(keeping=False)  # whoever reads those hears of their end before they are copied

    # admission

    def _begin(self) -> None:
        """Admit waiting prompts, in order, while slots, memory and the token budget of a step last."""
        if not self._waiting:
            return
        free = self.max_slots - len(self.active)
        first = self._waiting[0][2]
        backlog = sum(len(entry[2].answers) for entry in self._waiting)
        if self.active and not first.answers[0].streamed and backlog > free and free < self.max_slots // 4:
            return  # prefilling prompts singly, as slots become free, would waste most of the matrix products
        budget = self._budget()
        group: list[tuple[Request, Hit]] = []
        rows = 0
        while self._waiting:
            request = self._waiting[0][2]
            if not self._may_run([r for r, _ in group], request):
                break
            hit = self._find(request, [r for r, _ in group])
            new = len(request.prompt) - hit.length
            if self.independent or new > budget:
                if not group:
                    self._begin_partial(self._pop(hit), hit)
                break
            rows += room(new)
            if group and rows > budget:
                break
            group.append((self._pop(hit), hit))
        if group:
            # a lender comes before those who borrow from it, which begin later: decision 30; lengths that agree side
            # by side share calls of attention
            self._prefill(*zip(*sorted(group, key=lambda e: (e[1].length, len(e[0].prompt))), strict=True))

    def _budget(self) -> int:
        """Most tokens to prefill in this step. Who reads along waits for a chunk at most, but where many more readers
        wait for their first word than read, these count too."""
        if not any(a.streamed for a in self.active):
            return self.prefill_tokens
        waiting = sum(entry[2].answers[0].streamed for entry in self._waiting)
        return min(self.prefill_tokens, self.chunk_tokens * max(1, waiting - len(self.active) // 4))

    def _find(self, request: Request, group: Sequence[Request]) -> Hit:
        """The longest beginning that is kept, or that a running sequence or one of `group` has too."""
        long = self._is_long(len(request.prompt))
        found = self.prefixes.find(request.prompt, (request.adapter, long)) if request.reuse else None
        hit = Hit() if found is None else Hit(found[1] - found[1] % ALIGN, found[0].blocks)
        exact = self.decoder.tiled and request.adapter is None  # an adapter's products are PyTorch's
        if self.independent or not (exact or request.reuse):
            return hit
        running = zip(self.active, self.decoder.cache.turns.tolist(), strict=False)
        fresh = ((r.answers[0], self._is_long(len(r.prompt))) for r in group)
        return lent(hit, request.prompt, (a for a, turn in (*running, *fresh) if bool(turn) == long), ALIGN)

    def _pop(self, hit: Hit) -> Request:
        """The request that is next, which begins from `hit`."""
        turn, _, request = heapq.heappop(self._waiting)
        self._turn = max(self._turn, turn)
        for answer in request.answers:
            answer.lends = not hit.kept
        return request

    def _may_run(self, group: list[Request], request: Request) -> bool:
        """Whether slots and memory hold this request beside the running ones and `group`, and adapters agree."""
        running = [*self.active, *(a for r in group for a in r.answers)]
        together = [*running, *request.answers]
        if running and running[0].params.adapter != request.adapter:
            return False
        fits = self.decoder.cache.fits(len(together), max(map(_first_capacity, together)))
        return len(together) <= self.max_slots and fits

    def _reserve(self, answers: Iterable[Answer], live: int) -> None:
        together = [*self.active, *answers]
        self.decoder.reserve(len(together), max(map(_first_capacity, together)), live, self.max_slots)

    def _is_long(self, tokens: int) -> bool:
        return 0 < self.decoder.shape.switch < tokens

    def _take_over(self, request: Request, hit: Hit, slot: int) -> None:
        """What is kept of the request's beginning into its slot."""
        self.decoder.cache.turn(slot, len(request.prompt))
        for saved, at in zip(hit.kept, range(0, hit.length, BLOCK), strict=False):
            self.decoder.cache.write(slot, saved, min(BLOCK, hit.length - at), at)

    def _prefill(self, group: Sequence[Request], hits: Sequence[Hit]) -> None:
        """Prefill together the rest of each prompt, and start its answers."""
        first = len(self.active)
        self._reserve((a for r in group for a in r.answers), first)
        self._use_adapter(group[0].answers[0])
        slots = {a: slot for slot, a in enumerate((*self.active, *(r.answers[0] for r in group)))}
        for request, hit in zip(group, hits, strict=True):
            self._take_over(request, hit, slots[request.answers[0]])
        known = [hit.length for hit in hits]
        lenders = [slots[hit.lender] if hit.lender is not None else None for hit in hits]
        rests = [r.prompt[k:] for r, k in zip(group, known, strict=True)]
        logits = self.decoder.prefill(rests, first, known, lenders)
        # prompt g was prefilled into slot first + g; spread it to its answers' slots, the last group first so
        # that no prompt is overwritten before it was copied
        starts = list(itertools.accumulate((len(r.answers) for r in group), initial=first))
        for g in reversed(range(len(group))):
            for copy in range(len(group[g].answers)):
                if starts[g] + copy != first + g:
                    self.decoder.cache.move(first + g, starts[g] + copy, len(group[g].prompt))
        rows = [g for g, r in enumerate(group) for _ in r.answers]
        self._start([a for r in group for a in r.answers], logits[rows])

    def _begin_partial(self, request: Request, hit: Hit) -> None:
        slot = len(self.active)
        self._reserve(request.answers, slot)
        if hit.lender is not None:
            self.decoder.cache.move(self.active.index(hit.lender), slot, hit.length)
        self._take_over(request, hit, slot)
        self.partial = Partial(request, hit.length)

    def _continue(self, partial: Partial) -> None:
        """Prefill one chunk of a prompt; after the last chunk, start its answers."""
        request, slot = partial.request, len(self.active)
        budget = self.prefill_tokens
        if self.independent:
            budget = self.chunk_tokens
        elif any(a.streamed for a in self.active):  # the deeper in a prompt, the longer a token takes
            depth = partial.done // (DEEP << self.decoder.tiled)
            budget = max(ALIGN, room(self.chunk_tokens // (1 + depth)))
        self._use_adapter(request.answers[0])
        chunk = request.prompt[partial.done : partial.done + budget]
        logits = self.decoder.prefill([chunk], slot, [partial.done])
        partial.done += len(chunk)
        if partial.done == len(request.prompt):
            self.partial = None
            for copy in range(1, len(request.answers)):
                self.decoder.cache.move(slot, slot + copy, partial.done)
            self._start(list(request.answers), logits.expand(len(request.answers), -1))

    def _start(self, answers: list[Answer], logits: Tensor) -> None:
        for answer in answers:
            answer.admitted = next(self._admissions)
            answer.version = answer.version or self.version
        self.active.extend(answers)
        self._extend(answers, logits)
        self.settle()

    # a step

    def _renew_long(self) -> None:
        """Sequences that have become long turn by other rotations from their first token on: prefill them again."""
        if switch := self.decoder.shape.switch:
            turns = self.decoder.cache.turns
            for slot in [i for i, a in enumerate(self.active) if a.length > switch and not turns[i]][::-1]:
                self._put_back(slot)

    def _grow(self) -> None:
        """Make room for one more token of every running sequence; out of memory, pause the youngest."""
        cache = self.decoder.cache
        while (needed := max(a.length for a in self.active)) > cache.capacity:
            slots = len(self.active) + (len(self.partial.request.answers) if self.partial else 0)
            most = rounded(max(a.longest for a in self.active))
            for capacity in (min(most, needed + needed // 2), needed):
                if cache.fits(slots, capacity):
                    live = len(self.active) + (self.partial is not None)
                    self.decoder.reserve(slots, capacity, live, self.max_slots)
                    break
            else:
                self._pause()

    def _pause(self) -> None:
        """Free the memory of the youngest sequence, which goes on when there is room."""
        if self.partial is not None:
            request, self.partial = self.partial.request, None
        else:
            assert len(self.active) > 1, "a request that cannot run alone is refused"
            youngest = max(self.active, key=lambda a: a.admitted)
            self._put_back(self.active.index(youngest))
            return
        # in front of the waiting requests: it came earlier
        heapq.heappush(self._waiting, (-1, next(self._arrivals), request))

    def _put_back(self, slot: int) -> None:
        """Take out a running sequence, which is prefilled again before any waiting request."""
        answer = self.active[slot]
        self._leave(slot)
        request = Request((*answer.prompt, *answer.ids), [answer])
        heapq.heappush(self._waiting, (-1, next(self._arrivals), request))

    def _use_adapter(self, answer: Answer) -> None:
        name = answer.params.adapter
        self.decoder.adapter = None if name is None else self.adapters[name]

    def _advance(self, answers: Sequence[Answer]) -> None:
        """Decode one more token of each running sequence."""
        ids, positions = [a.ids[-1] for a in answers], [a.length - 1 for a in answers]
        native = self.decoder.native_for(len(answers))
        if native is not None and all(a.plain for a in answers):
            temperature, uniform = [a.params.temperature for a in answers], [a.rng.random() for a in answers]
            sampled = native.advance(ids, positions, temperature, uniform)
            for answer, token, logprob in zip(answers, *sampled, strict=True):
                try:
                    answer.take(token, logprob, self.ends)
                except Exception as error:
                    answer.fail(error)
        else:
            self._extend(answers, self.decoder.decode(torch.tensor(ids), torch.tensor(positions)))

    def _extend(self, answers: Sequence[Answer], logits: Tensor) -> None:
        """Sample one token for each answer and end those that are complete. An error ends only its own answer."""
        device = logits.device
        params = [a.params for a in answers]
        special = [row for row, p in enumerate(params) if adjusts(p)]
        if special:
            # never in place: the logits may be a step's own buffer, or made in inference mode
            logits = logits.to(torch.float32, copy=True)
            for row in special:
                a = answers[row]
                try:
                    allowed = a.grammar.allowed(logits.shape[1], device) if a.grammar is not None else None
                    adjust(logits[row], a.params, a.prompt, a.ids, allowed)
                except Exception as error:
                    a.fail(error)
        uniform = torch.tensor([a.rng.random() for a in answers], device=device)
        ids, logprobs, tops = draw(self.decoder.native, logits, params, uniform)
        # the list may be self.active, which is not changed by ending an answer
        for row, (answer, token, logprob) in enumerate(zip(answers, ids.tolist(), logprobs.tolist(), strict=True)):
            if answer.finished:
                continue
            try:
                if row in tops:
                    answer.tops.append(tops[row])
                answer.take(token, logprob, self.ends)
                if answer.grammar is not None and not answer.finished:
                    answer.grammar.accept(token)
            except Exception as error:
                answer.fail(error)

    def settle(self) -> None:
        """Drop finished sequences, keeping the cache where a next turn may continue."""
        self._free(keeping=True)

    def _free(self, keeping: bool) -> None:
        """Drop finished sequences; without `keeping`, only those whose cache no next turn needs."""
        cache = self.decoder.cache
        for slot, answer in enumerate(self.active):
            if keeping and answer.finished and answer.keep and answer.ids:
                tokens = (*answer.prompt, *answer.ids[:-1])
                kind = answer.params.adapter, bool(cache.turns[slot])
                self.prefixes.put(tokens, kind, cache.token_bytes, partial(cache.read, slot))
        for slot in reversed(range(len(self.active))):
            if self.active[slot].finished and (keeping or not self.active[slot].keep):
                self._leave(slot)

    def _leave(self, slot: int) -> None:
        """Take a sequence out and close the gap: the last one moves into it, and a partial prompt after it."""
        last = self.active.pop()
        end = len(self.active)
        if slot < end:
            if not last.finished or last.keep:
                self.decoder.cache.move(end, slot, last.length - 1)
            self.active[slot] = last
        if self.partial is not None:
            self.decoder.cache.move(end + 1, end, self.partial.done)


def _first_capacity(answer: Answer) -> int:
    """Capacity in tokens that a sequence needs when it is admitted."""
    return min(answer.longest, answer.length + AHEAD)
