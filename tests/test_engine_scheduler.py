"""Scheduling, prefix reuse, the memory budget: what runs when must not change what is said."""

from __future__ import annotations

import dataclasses
import itertools
import random
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny as t
from steersman.engine.backends.local import engine as local
from steersman.engine.backends.local import prefixes as prefixed
from steersman.engine.backends.local.cache import Cache
from steersman.engine.backends.local.prefixes import Hit, Prefixes, common
from steersman.engine.load import load_engine
from steersman.engine.protocol import DoesNotFit, party
from steersman.families.shape import shape_of
from steersman.types import Completion, Conversation, Message, SamplingParams
from steersman.weights.folders import load_causal

LONG = t.conversation("Where is the blue kettle that I ordered on 3 May? " * 6)
PLAIN = (None, False)
SHORT = [t.conversation("Hi"), t.conversation("Where is my order?"), t.conversation("我想退货")]


def ids(answers: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[c.token_ids for c in group] for group in answers]


def small(engine: Any, chunk: int, prefill: int) -> Any:
    engine.scheduler.chunk_tokens, engine.scheduler.prefill_tokens = chunk, prefill
    return engine


def test_chunks_of_a_prompt_give_what_the_whole_gives(family: Path) -> None:
    params = SamplingParams(max_tokens=12, seed=1, n=2)
    whole = load_engine(family, dtype="float32").generate([LONG, *SHORT], params)
    for chunk in (7, 16, 33):
        engine = small(load_engine(family, dtype="float32"), chunk, chunk)
        assert ids(engine.generate([LONG, *SHORT], params)) == ids(whole)


def test_a_long_prompt_does_not_stall_a_stream(tiny: Path) -> None:
    engine = small(load_engine(tiny, dtype="float32"), 16, 4096)
    stream = engine.stream(SHORT[0], SamplingParams(max_tokens=400, seed=1, ignore_end=True))
    next(stream)
    before = len(engine.scheduler.active[0].ids)
    late = threading.Thread(target=lambda: engine.generate([LONG], SamplingParams(max_tokens=2, seed=1)))
    late.start()
    late.join()
    chunks = -(-engine.count_tokens(LONG) // 16)
    assert chunks > 5
    assert len(engine.scheduler.active[0].ids) - before >= chunks, "a token of the stream beside every chunk"
    stream.close()


def test_the_next_turn_prefills_only_what_is_new(family: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh: Any = load_engine(family, dtype="float32", reuse="off")
    engine: Any = load_engine(family, dtype="float32")
    seen: list[int] = []
    prefill = engine.decoder.prefill
    monkeypatch.setattr(engine.decoder, "prefill", lambda p, *a: (seen.append(sum(map(len, p))), prefill(p, *a))[1])
    turns = [Message("user", "Where is the blue kettle that I ordered on 3 May, please?")]
    params = SamplingParams(max_tokens=10, temperature=0)
    for words in ("And the red one?", "谢谢"):
        prompt = Conversation("c", tuple(turns))
        mine = list(engine.stream(prompt, params))[-1]
        assert mine.token_ids == list(fresh.stream(prompt, params))[-1].token_ids
        turns += [Message("assistant", mine.text), Message("user", words)]
    last = Conversation("c", tuple(turns))
    final = list(engine.stream(last, params))[-1]
    assert final.token_ids == list(fresh.stream(last, params))[-1].token_ids
    # an answer's text may be tokenised otherwise than it was generated, so some of it may be new again
    assert seen[-1] < engine.count_tokens(last) - 30
    engine.load_weights([], "new")
    assert not len(engine.prefixes), "new weights make what was kept worthless"


def prefilled(engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Numbers of tokens of the prompts of each prefill, from now on."""
    seen: list[list[int]] = []
    prefill = engine.decoder.prefill
    monkeypatch.setattr(engine.decoder, "prefill", lambda p, *a: (seen.append([*map(len, p)]), prefill(p, *a))[1])
    return seen


@pytest.mark.parametrize("cache_int8", [False, True])
def test_what_prompts_have_in_common_is_prefilled_once(
    family: Path, cache_int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = load_engine(family, max_slots=16, cache_int8=cache_int8)
    if not engine.decoder.tiled:
        pytest.skip("no kernels here: what PyTorch computes of a prompt depends on its chunks")
    first = Message("system", "You answer for a shop that sells kettles. 你为一家卖水壶的商店回答问题。")
    asked = ("Hi", "Where is the blue kettle that I ordered?", "Where is the blue kettle?", "我想退货", "Hi")
    prompts = [Conversation("", (first, Message("user", text))) for text in asked] + SHORT
    params = SamplingParams(max_tokens=6, seed=1, n=2)
    with monkeypatch.context() as patch:
        patch.setattr(engine.scheduler, "_find", lambda *_: Hit())
        apart = engine.generate(prompts, params)
    seen = prefilled(engine, monkeypatch)
    together = engine.generate(prompts, params)
    assert [[(c.token_ids, c.logprobs) for c in group] for group in together] == [
        [(c.token_ids, c.logprobs) for c in group] for group in apart
    ], "to the bit"
    assert len(seen) == 1
    assert sum(seen[0]) < sum(map(engine.count_tokens, prompts)) - 4 * 30


def test_a_running_sequence_lends_its_beginning_but_not_one_of_old_weights(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = load_engine(tiny, dtype="float32")
    engine.scheduler.chunk_tokens = 64
    seen, params = prefilled(engine, monkeypatch), SamplingParams(max_tokens=500, ignore_end=True)
    running = engine.stream(LONG, params)
    next(running)
    whole, before = engine.count_tokens(LONG), len(seen)
    assert list(engine.stream(LONG, SamplingParams(max_tokens=2)))[-1].token_ids
    assert sum(map(sum, seen[before:])) <= 8
    engine.load_weights([], "new")
    before = len(seen)
    assert list(engine.stream(LONG, SamplingParams(max_tokens=2)))[-1].token_ids
    assert sum(map(sum, seen[before:])) == whole
    running.close()


def test_a_prompt_half_read_when_new_weights_come_is_read_again(tiny: Path, tmp_path: Path) -> None:
    other = t.make_model(tmp_path / "other", "llama", seed=1)
    engine = small(load_engine(tiny, dtype="float32", version="a"), 16, 16)
    begun: list[int] = []

    def weights() -> Any:
        begun.append(engine.scheduler.partial.done)
        yield from load_causal(other, "float32").state_dict().items()

    go_on, loading = engine.scheduler._continue, threading.Thread(target=lambda: engine.load_weights(weights(), "b"))

    def watch(partial: Any) -> None:
        go_on(partial)
        if partial.done == 32 and not begun:
            loading.start()
            while not engine._driver._next.locked():
                pass

    engine.scheduler._continue = watch
    params = SamplingParams(max_tokens=12, temperature=0)
    answer: Any = list(engine.stream(LONG, params))[-1]
    expected: Any = list(load_engine(other, dtype="float32").stream(LONG, params))[-1]
    assert begun == [32]
    assert (answer.policy_version, answer.token_ids) == ("b", expected.token_ids)
    with engine._driver.between_steps():  # what has ended is kept by then
        assert len(engine.prefixes) == 1, "all that is kept is the new weights'"


def test_prompts_of_mixed_lengths_are_prefilled_together_with_little_padding(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = load_engine(tiny, dtype="float32")
    rows: list[int] = []
    embed = engine.decoder._embed
    monkeypatch.setattr(engine.decoder, "_embed", lambda i: (rows.append(i.numel()), embed(i))[1])
    prompts = [t.conversation("order " * (20 + 37 * i % 33)) for i in range(16)]
    tokens = [engine.count_tokens(p) for p in prompts]
    assert max(tokens) > 1.8 * min(tokens)
    engine.generate(prompts, SamplingParams(max_tokens=1))
    assert len(rows) == 1
    assert sum(tokens) <= rows[0] < 1.1 * sum(tokens)


def test_prompts_that_begin_as_others_did_are_begun_together(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = SamplingParams(max_tokens=8, seed=1)
    prompts = [LONG, t.conversation(LONG.last_user + " Please!"), LONG, LONG]
    expected = load_engine(tiny, dtype="float32", reuse="off").generate(prompts, params)
    engine: Any = load_engine(tiny, dtype="float32", reuse="all")
    engine.generate([LONG], params)
    groups: list[list[int]] = []
    prefill = engine.decoder.prefill
    monkeypatch.setattr(engine.decoder, "prefill", lambda p, *a: (groups.append([*map(len, p)]), prefill(p, *a))[1])
    assert ids(engine.generate(prompts, params)) == ids(expected)
    ((*new,),) = groups
    assert len(new) == 4
    assert max(new) < 32 < engine.count_tokens(LONG)


def test_prefixes_are_the_longest_and_the_least_recent_goes() -> None:
    assert [common((1, 2, 3), x) for x in ((1, 2, 3), (1, 2), (1, 9, 3), (9,), ())] == [3, 2, 1, 0, 0]
    saved = 1, lambda _start, _end: (torch.zeros(10),)
    prefixes = Prefixes(budget=3 * 42)
    keys = [tuple(range(i, i + 40)) for i in range(0, 400, 100)]
    for key in keys[:3]:
        prefixes.put(key, PLAIN, *saved)
    assert prefixes.find((*keys[0], 1), PLAIN)[1] == 40  # type: ignore[index]
    assert prefixes.find(keys[0], PLAIN)[1] == 39, "one token is left to compute"  # type: ignore[index]
    assert prefixes.find(keys[0], ("adapter", False)) is None
    prefixes.put(keys[3], PLAIN, *saved)
    assert len(prefixes) == 3
    assert prefixes.find(keys[1], PLAIN) is None
    prefixes.put((*keys[0], 5, 6), PLAIN, *saved)
    assert len(prefixes) == 3, "the shorter turn is replaced"


def test_a_turn_copies_its_own_tokens_alone() -> None:
    copied: list[tuple[int, int]] = []

    def read(start: int, end: int) -> tuple[torch.Tensor, ...]:
        copied.append((start, end))
        return (torch.arange(start, end),)

    prefixes = Prefixes(budget=3000)
    prefixes.put(tuple(range(600)), PLAIN, 1, read)
    copied.clear()
    prefixes.put(tuple(range(1000)), PLAIN, 1, read)
    assert copied == [(512, 768), (768, 1000)]
    assert torch.equal(
        torch.cat([part for (part,) in prefixes.find((*range(1000), 1), PLAIN)[0].blocks]), torch.arange(1000)
    )  # type: ignore[index]
    assert (len(prefixes), prefixes.nbytes) == (1, 1000)
    prefixes.put(tuple(range(5000)), PLAIN, 1, read)
    assert copied == [(512, 768), (768, 1000)], "what is more than may be kept is not copied"


def test_dialogues_that_share_a_system_message_alone_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each compared whole, a turn among 300 dialogues would hold all streams up for 40 ms."""
    compared: list[int] = []
    monkeypatch.setattr(prefixed, "common", lambda a, b: (compared.append(1), common(a, b))[1])
    prefixes, system = Prefixes(budget=10**9), tuple(range(300))
    read = lambda start, end: (torch.arange(start, end),)  # noqa: E731
    for i in range(50):
        prefixes.put((*system, 1000 + i, *range(i, 60)), PLAIN, 1, read)
    for tokens, most in (((*system, 2000, 5, 6), 300), ((*system, 1030, 30, 9), 302), ((5, *system), 0)):
        compared.clear()
        found = prefixes.find(tokens, PLAIN)
        assert (found[1] if found else 0) == most
        assert len(compared) <= 2


@pytest.mark.parametrize("int8", [False, True])
def test_a_turn_goes_on_from_blocks_of_two_dialogues(tiny: Path, int8: bool) -> None:
    """Prompts of one, two and three turns, of which another dialogue has the first 280 tokens."""
    tokens = [3 + i * i % 300 for i in range(480)]
    prompts = [tokens[:300], [*tokens[:280], *[7] * 60], tokens[:400], tokens]
    kept, anew = (load_engine(tiny, dtype="float32", reuse=reuse, cache_int8=int8) for reuse in ("streams", "off"))
    greedy = SamplingParams(max_tokens=8, temperature=0)
    said = [[*engine.stream(prompt, greedy)][-1] for engine in (kept, anew) for prompt in prompts]
    assert [c.token_ids for c in said[:4]] == [c.token_ids for c in said[4:]]  # type: ignore[union-attr]
    with kept._driver.between_steps():  # type: ignore[attr-defined]  # what has ended is kept by then
        found = kept.prefixes.find((*tokens, 1), PLAIN)  # type: ignore[attr-defined]
    other = kept.prefixes.find((*prompts[1], 1), PLAIN)  # type: ignore[attr-defined]
    assert found[1] >= 480
    assert all(one is two for one, two in zip(found[0].blocks[0], other[0].blocks[0], strict=True))


def test_chunks_get_smaller_the_deeper_they_are(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a step takes as long at the end of a long prompt as at its beginning; alone a prompt comes in whole."""
    monkeypatch.setattr("steersman.engine.backends.local.scheduler.DEEP", 64)
    engine = small(load_engine(tiny, dtype="float32"), 64, 512)
    chunks: list[int] = []
    prefill = engine.decoder.prefill
    monkeypatch.setattr(engine.decoder, "prefill", lambda p, *a: (chunks.append(len(p[0])), prefill(p, *a))[1])
    stream = engine.stream(SHORT[0], SamplingParams(max_tokens=400, ignore_end=True, seed=1))
    next(stream)
    chunks.clear()
    one = SamplingParams(max_tokens=4, temperature=0)
    beside = engine.generate([[5] * 300], one)
    stream.close()
    assert chunks[:2] == [64, 32]
    assert chunks[2:] == sorted(chunks[2:], reverse=True)
    assert sum(chunks) == 300
    chunks.clear()
    assert ids(engine.generate([[5] * 300], one)) == ids(beside)
    assert chunks == [300]


def test_what_cannot_fit_is_refused_and_what_can_waits_or_pauses(tiny: Path) -> None:
    """A budget for some 300 tokens: sequences wait for each other, grow, are paused, and say the same."""
    params = SamplingParams(max_tokens=60, seed=5, ignore_end=True)
    prompts = [t.conversation(f"order {i} " * (1 + i % 3)) for i in range(12)]
    expected = ids(load_engine(tiny, dtype="float32").generate(prompts, params))
    engine: Any = load_engine(tiny, dtype="float32")
    engine.decoder.cache.budget = 5 * 64 * engine.decoder.cache.token_bytes
    paused = []
    pause = engine.scheduler._pause
    engine.scheduler._pause = lambda: (paused.append(1), pause())
    import steersman.engine.backends.local.scheduler as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "AHEAD", 8)
        assert ids(engine.generate(prompts, params)) == expected
    assert paused
    with pytest.raises(DoesNotFit, match=r"MiB; the budget is .* MiB"):
        engine.generate([LONG], SamplingParams(max_tokens=300))
    cache = engine.decoder.cache
    assert sum(x.numel() * x.element_size() for part in cache.parts.values() for x in part) <= cache.budget


def same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


@pytest.mark.parametrize("int8", [False, True])
def test_the_cache_keeps_what_it_holds_when_it_grows(int8: bool) -> None:
    shape = dataclasses.replace(shape_of(t.config("llama")), layers=2, kv_heads=2, head_dim=4)
    cache = Cache(shape, torch.float32, torch.device("cpu"), 10**9, int8)
    cache.reserve(1, 10, 0, 8)
    torch.manual_seed(0)
    cache.put(1, (0, slice(None), slice(10)), torch.randn(2, 10, 4), torch.randn(2, 10, 4))
    before = cache.read(0, 0, 10)
    assert cache.reserve(3, 200, 1, 8)
    assert (cache.slots, cache.capacity) == (4, 256)
    assert same(cache.read(0, 0, 10), before)
    assert not cache.reserve(4, 256, 1, 8)
    cache.move(0, 2, 10)
    cache.write(3, before, 10)
    assert same(cache.read(2, 0, 10), before)
    assert same(cache.read(3, 0, 10), before)
    cache.budget = 2 * 512 * cache.token_bytes
    cache.reserve(2, 512, 1, 8)
    assert (cache.slots, cache.capacity) == (2, 512), "slots are given up for length where the budget demands it"


def test_a_question_does_not_wait_behind_a_batch(tiny: Path) -> None:
    engine: Any = load_engine(tiny, dtype="float32", max_slots=2)
    params = SamplingParams(max_tokens=8, seed=1, ignore_end=True)
    order: list[str] = []
    start = engine.scheduler._start

    def watch(answers: Any, logits: Any) -> None:
        order.extend("stream" if a.streamed else "batch" for a in answers)
        start(answers, logits)

    engine.scheduler._start = watch
    batch = threading.Thread(target=lambda: engine.generate([SHORT[0]] * 40, params))
    batch.start()
    while len(order) < 6:
        pass
    list(engine.stream(SHORT[1], params))
    batch.join()
    assert "stream" in order[:20]
    assert order.count("batch") == 40


def test_what_one_person_asks_waits_in_one_line(tiny: Path) -> None:
    engine: Any = load_engine(tiny, dtype="float32")
    for whose in ("a", "a", "a", "b", "", ""):
        party.set(whose)
        call = engine._call(SamplingParams(max_tokens=2))
        engine.scheduler.add([engine._request(SHORT[0], call, "1", streamed=True)])
    party.set("")
    assert [engine.scheduler._pop(Hit()).party for _ in range(6)] == ["a", "b", "", "", "a", "a"]


def test_cancelled_answers_free_everything(tiny: Path) -> None:
    engine = small(load_engine(tiny, dtype="float32", max_slots=3), 8, 8)
    params = SamplingParams(max_tokens=300, seed=1, ignore_end=True)
    streams = [engine.stream(prompt, params) for prompt in (*SHORT, LONG, *SHORT)]
    for stream in streams[:3]:
        next(stream)
    for stream in streams[3:]:
        # waiting ones too: a generator that never started has queued nothing
        stream.close()
    kept = [a.ids[:] for a in engine.scheduler.active]
    assert all(kept)
    streams[0].close()
    assert len(engine.scheduler.active) == 2
    streams[1].close()
    streams[2].close()
    assert not engine.scheduler.active
    assert not engine.scheduler.waiting
    assert engine.scheduler.partial is None


def test_random_traffic_says_what_each_says_alone(tiny: Path) -> None:
    """Streams come, go and are cancelled at random over a small cache, beside batches; nothing leaks."""
    rng = random.Random(3)
    alone = load_engine(tiny, dtype="float32", reuse="off")
    engine: Any = small(load_engine(tiny, dtype="float32", max_slots=4), 16, 64)
    engine.decoder.cache.budget = 8 * 128 * engine.decoder.cache.token_bytes
    prompts = [*SHORT, LONG, t.conversation("order " * 30)]
    cases = [
        (rng.choice(prompts), SamplingParams(max_tokens=rng.randint(1, 40), seed=i, top_k=rng.choice((0, 5))))
        for i in range(60)
    ]
    expected = [list(alone.stream(*case))[-1].token_ids for case in cases]  # type: ignore[union-attr]
    running: dict[int, Any] = {}
    pending, got = iter(range(len(cases))), {}
    while True:
        for i in itertools.islice(pending, 7 - len(running)):
            running[i] = engine.stream(*cases[i])
        if not running:
            break
        i = rng.choice(list(running))
        item = next(running[i])
        if isinstance(item, Completion):
            got[i] = item.token_ids
            running.pop(i).close()
        elif rng.random() < 0.02:
            running.pop(i).close()
    assert len(got) > 40
    assert all(got[i] == expected[i] for i in got)
    with engine._driver.between_steps():
        assert not engine.scheduler.busy


def test_streams_are_read_while_a_batch_is_driven(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch's thread steps all the time; a stream's reader still gets every second turn."""
    monkeypatch.setattr(local, "PIECE_SECONDS", 0.0)
    monkeypatch.setattr(local, "PIECES", 10**9)
    engine: Any = load_engine(tiny, dtype="float32", max_slots=4)
    params = SamplingParams(max_tokens=60, seed=1, ignore_end=True)
    batch = threading.Thread(target=lambda: engine.generate([SHORT[0]] * 30, params))
    batch.start()
    pieces = [p for p in engine.stream(SHORT[1], params) if isinstance(p, str)]
    assert batch.is_alive(), "the batch was still running"
    assert len(pieces) > 8, "random bytes come in few pieces, but not in one"
    batch.join()


def test_many_who_wait_for_their_first_word_are_prefilled_together(tiny: Path) -> None:
    """A chunk a step would begin the last of them after as many steps; who reads alone keeps a chunk a step."""
    engine = small(load_engine(tiny, dtype="float32", max_slots=64), 16, 512)
    begun = engine.stream(t.conversation("Hi"), SamplingParams(max_tokens=400, ignore_end=True, seed=1))
    next(begun)
    scheduler = engine.scheduler
    with engine._driver.between_steps():
        assert scheduler._budget() == 16
        calls = engine._call(SamplingParams(max_tokens=4))
        waiting = [engine._request(t.conversation(f"Hi {i}"), calls, f"{i}", streamed=True) for i in range(40)]
        scheduler.add(waiting)
        assert scheduler._budget() == 512
        scheduler.cancel(a for r in waiting[3:] for a in r.answers)
        assert scheduler._budget() == 3 * 16
    begun.close()
