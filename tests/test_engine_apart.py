"""An engine in a process of its own answers as one in this process, with the same errors, and comes back when it dies.

The server's tests hold with `--apart` too: `pytest tests/test_server_openai.py --apart`.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import tiny as t
from apart import KEY, apart, linked
from server_double import FakeEngine
from steersman.engine.apart import wire
from steersman.engine.apart.client import ApartEngine, Link
from steersman.engine.apart.process import EngineProcess, engines, here
from steersman.engine.apart.shelf import Shelf
from steersman.engine.apart.wire import Gone, NoRoom, Unloaded, Wanted, portable
from steersman.engine.load import load_engine
from steersman.engine.protocol import DoesNotFit, EndpointError, PromptTooLong, Refused, ScoresPrompts
from steersman.types import Completion, SamplingParams
from steersman.weights.folders import load_causal
from test_engine_adapters import write_adapter
from test_engine_options import OPTIONS

PROMPT = t.conversation("Where is my order? 我想退货")
FLOAT: dict[str, Any] = {"dtype": "float32", "version": "1"}
LONG = SamplingParams(max_tokens=400, temperature=5.0, seed=1, ignore_end=True)


@pytest.fixture(scope="module")
def process() -> Iterator[EngineProcess]:
    started = EngineProcess()
    yield started
    started.stop()


def opened(process: EngineProcess, folder: Path, **options: Any) -> ApartEngine:
    return ApartEngine(process.link(), Wanted(str(folder), FLOAT | options))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_every_option_goes_through_unchanged(process: EngineProcess, tiny: Path) -> None:
    here, there = load_engine(tiny, **FLOAT), opened(process, tiny)
    for name, options in OPTIONS.items():
        if "adapter" in options:
            continue
        params = dataclasses.replace(SamplingParams(max_tokens=8, seed=5), **options)
        assert there.generate([PROMPT], params) == here.generate([PROMPT], params), name
        if params.n == 1:
            streamed = [*there.stream(PROMPT, params)]
            assert streamed[-1] == [*here.stream(PROMPT, params)][-1], name
            assert "".join(streamed[:-1]) == streamed[-1].text, name  # type: ignore[arg-type, union-attr]
    ids = [5, 200, 71]
    three = SamplingParams(max_tokens=3, seed=2, n=3)
    ended = dict(item for item in there.answers(ids, three) if isinstance(item[1], Completion))
    assert [ended[i] for i in range(3)] == here.generate([ids], three)[0]
    assert (there.model_name, there.max_context, there.policy_version) == (here.model_name, 512, "1")
    assert [there.count_tokens(p) for p in (PROMPT, "a b", ids)] == [here.count_tokens(p) for p in (PROMPT, "a b", ids)]
    size = len(t.tokenizer())
    assert [there.token_text(i) for i in range(size)] == [here.token_text(i) for i in range(size)]
    for first in (False, True):
        assert [there.token_bytes(i, first) for i in range(size)] == [here.token_bytes(i, first) for i in range(size)]
    assert isinstance(there, ScoresPrompts)
    assert isinstance(here, ScoresPrompts)
    assert there.prompt_logprobs(ids, 2) == here.prompt_logprobs(ids, 2)


def test_errors_keep_their_types_and_words(process: EngineProcess, tiny: Path) -> None:
    here, there = load_engine(tiny, cache_mib=1, **FLOAT), opened(process, tiny, cache_mib=1)
    asked: list[tuple[type[Exception], Callable[[Any], Any]]] = [
        (PromptTooLong, lambda e: e.generate([[5] * 600], SamplingParams())),
        (DoesNotFit, lambda e: e.generate([PROMPT], SamplingParams(n=100, max_tokens=400))),
        (Refused, lambda e: e.answers(PROMPT, SamplingParams(adapter="x"))),
        (Refused, lambda e: [*e.stream(PROMPT, SamplingParams(regex="("))]),
    ]
    for kind, ask in asked:
        with pytest.raises(kind) as expected:
            ask(here)
        with pytest.raises(type(expected.value)) as found:
            ask(there)
        assert str(found.value) == str(expected.value)
    busy: Any = pickle.loads(pickle.dumps(portable(EndpointError("full", busy=3.0))))
    assert (str(busy), busy.busy) == ("full", 3.0)

    class Local(ValueError):
        pass

    plain = portable(Local("words"))
    assert (type(plain), str(plain)) == (ValueError, "words")
    with pytest.raises(ValueError, match=r"could not be had"):
        opened(process, tiny / "nothing")


def test_weights_and_adapters_are_replaced_there(process: EngineProcess, tiny: Path, tmp_path: Path) -> None:
    other = t.make_model(tmp_path / "other", "llama", seed=1)
    there: Any = opened(process, tiny, name="replaced")
    greedy = SamplingParams(max_tokens=12, temperature=0)
    before = there.generate([PROMPT], greedy)[0][0]
    there.load_weights(load_causal(other, "float32").state_dict().items(), "b")
    after = there.generate([PROMPT], greedy)[0][0]
    assert (before.policy_version, after.policy_version, there.policy_version) == ("1", "b", "b")
    assert after.token_ids == load_engine(other, **FLOAT).generate([PROMPT], greedy)[0][0].token_ids
    write_adapter(tiny, tmp_path / "adapter", 0)
    there.load_adapter("x", str(tmp_path / "adapter"))
    assert there.generate([PROMPT], dataclasses.replace(greedy, adapter="x"))[0][0].text != after.text
    there.unload_adapter("x")


def test_cancelled_and_left_answers_end_there(tiny: Path) -> None:
    engine: Any = load_engine(tiny, **FLOAT)
    with linked(lambda _: engine) as link:
        there, cancelled = apart(link), threading.Event()
        answers = there.answers(PROMPT, LONG, cancelled)
        next(answers)
        cancelled.set()
        (number, last) = [*answers][-1]
        assert (number, last.finish_reason) == (0, "cancelled")  # type: ignore[union-attr]
        left = there.answers(PROMPT, LONG)
        next(left)
        left.close()
        until(lambda: not engine.scheduler.busy)
        gone = apart(link)
        kept = gone.answers(PROMPT, LONG)
        next(kept)
        link.close()  # as when a web process dies
        with pytest.raises(Gone):
            list(kept)
        until(lambda: not engine.scheduler.busy)


def test_others_go_on_where_a_client_dies() -> None:
    fakes = {"lost": FakeEngine(endless=True), "kept": FakeEngine(endless=True)}
    with linked(lambda wanted: fakes[wanted.model]) as living:
        dying = Link(living._address, KEY)
        lost = apart(dying, "lost").answers(PROMPT, SamplingParams(max_tokens=5))
        answers = apart(living, "kept").answers(PROMPT, SamplingParams(max_tokens=5))
        next(lost)
        next(answers)
        dying.close()
        assert fakes["lost"].closed.wait(10)
        assert isinstance(next(answers)[1], str)
        fakes["kept"].endless = False
        assert isinstance([*answers][-1][1], Completion)


def test_a_process_that_dies_is_started_again_and_what_waits_is_answered(tiny: Path) -> None:
    process = EngineProcess()
    try:
        there = opened(process, tiny)
        expected = there.generate([PROMPT], SamplingParams(max_tokens=6, seed=1))
        stream = there.stream(PROMPT, LONG)
        next(stream)
        found: list[Any] = []
        process.kept.process.send_signal(signal.SIGSTOP)  # so that the next request is there, and has no answer
        waiting = threading.Thread(
            target=lambda: found.extend(there.stream(PROMPT, SamplingParams(max_tokens=6, seed=1)))
        )
        waiting.start()
        until(lambda: len(there._life._pending) == 2)  # type: ignore[union-attr]
        process.kept.process.kill()
        with pytest.raises(Gone):
            list(stream)
        waiting.join(60)
        assert found[-1].token_ids == expected[0][0].token_ids
        assert there.down() == ""
    finally:
        process.stop()
    assert process.kept.process.poll() is not None


def test_a_process_ends_with_who_started_it(tiny: Path) -> None:
    code = "import os, signal\nfrom steersman.engine.apart.process import EngineProcess\np = EngineProcess()\n"
    code += "p.link().life()\nprint(p.kept.process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    parent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    pid = int(parent.stdout)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


@pytest.fixture
def uncollected(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the collector would look through is all that the tests have made: half a second each time."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


@pytest.mark.usefixtures("uncollected")
def test_the_least_recently_used_gives_way(tmp_path: Path) -> None:
    made: list[str] = []
    free = [600 << 20]

    def load(wanted: Wanted) -> Any:
        made.append(wanted.model)
        free[0] -= 100 << 20
        return FakeEngine(model_name=wanted.model)

    def folder(name: str) -> Wanted:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        (path / "model.safetensors").write_bytes(b"")
        os.truncate(path / "model.safetensors", 100 << 20)  # loading takes 220 MiB
        return Wanted(str(path))

    shelf = Shelf(load, lambda: free[0])
    a, b, c = folder("a"), folder("b"), folder("c")
    shelf.open(a, "server")
    shelf.open(b)
    assert shelf.open(b).model_name == b.model
    assert made == [a.model, b.model], "what is loaded is not loaded again"
    with pytest.raises(NoRoom, match=r"c: loading takes some 220 MiB"):
        shelf.open(c)
    assert shelf.loaded() == [a.key], "b gave way, a is held; which was not enough"
    free[0] = 600 << 20
    shelf.open(b)
    assert shelf.take(b.key) is not None
    free[0] = 300 << 20
    with pytest.raises(NoRoom):
        shelf.open(c)
    assert b.key in shelf.loaded(), "in use"
    shelf.give_back(b.key, shelf.open(b))
    free[0] = 500 << 20
    shelf.open(c)
    assert sorted(shelf.loaded()) == sorted([a.key, b.key, c.key])
    old = shelf.take(a.key)
    shelf.release("server")
    with pytest.raises(Unloaded):
        shelf.take(a.key)
    free[0] = 1000 << 20
    shelf.open(a)  # as after a rollback, while the answers of before go on
    shelf.give_back(a.key, old)
    shelf.take(b.key)
    shelf.take(c.key)
    free[0] = 300 << 20
    with pytest.raises(NoRoom):
        shelf.open(folder("d"))
    assert a.key not in shelf.loaded(), "the one answer of another engine kept it"


@pytest.mark.usefixtures("uncollected")
def test_engines_of_this_process_are_freed_when_nobody_uses_them() -> None:
    """Without a process of the engine's own every model that had been promoted or chosen stayed in memory."""
    opened = here(Shelf(lambda wanted: FakeEngine(model_name=wanted.model)))  # type: ignore[arg-type, return-value]
    served = opened(Wanted("a"), True)
    assert opened(Wanted("a"), True) is served
    gone = weakref.ref(served)
    del served
    assert gone() is None


@pytest.mark.usefixtures("uncollected")
def test_what_was_being_loaded_for_one_that_left_is_kept_for_nobody() -> None:
    loading, go_on = threading.Event(), threading.Event()

    def load(wanted: Wanted) -> Any:
        loading.set()
        assert go_on.wait(30)
        return FakeEngine(model_name=wanted.model)

    shelf = Shelf(load)
    with linked(load, shelf) as link:
        life = link.life()
        life.ask("open", Wanted("m"), 1)
        assert loading.wait(30)
        life.close()
        until(lambda: not any(thread.name == "session" for thread in threading.enumerate()))
        go_on.set()
        until(lambda: not shelf._loading.locked() and not shelf.loaded())


def test_an_engine_that_gave_way_is_loaded_again() -> None:
    made: list[str] = []

    def load(wanted: Wanted) -> Any:
        made.append(wanted.model)
        return FakeEngine(model_name=wanted.model)

    with linked(load) as link:
        held = ApartEngine(link, Wanted("side"))
        side = ApartEngine(link, Wanted("side"), pinned=False)
        del held
        until(lambda: made == ["side"] and side.count_tokens("a b") == 2 and len(made) >= 1)
        assert side.generate([PROMPT], SamplingParams(max_tokens=3))[0][0].text == "Hello, 世界!\u2028\n"


def test_who_reads_slowly_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CROWDED", 4)
    sent: list[list[wire.Item]] = []
    reading, taken = threading.Event(), threading.Event()

    class Slow:
        def send(self, items: list[wire.Item]) -> None:
            sent.append(items)
            taken.set()
            reading.wait(10)

    box = wire.Outbox(Slow(), lambda: None)  # type: ignore[arg-type]
    box.put(1, "begun", None)
    assert taken.wait(10)
    for i in range(1000):
        box.put(1 + i % 2, "piece", (0, f"{i},"))
    box.put(2, "done", None)
    reading.set()
    until(lambda: len(sent) == 2)
    assert len(sent[1]) <= 8
    texts = {id_: "".join(v[1] for i, kind, v in sent[1] if kind == "piece" and i == id_) for id_ in (1, 2)}
    assert texts == {id_: "".join(f"{i}," for i in range(1000) if 1 + i % 2 == id_) for id_ in (1, 2)}
    assert sent[1][-1] == (2, "done", None)
    box.close()


def test_who_asks_whether_it_can_answer_brings_it_back() -> None:
    """A balancer that sends nothing to a server which is not ready would else wait for ever."""
    with linked(lambda _: FakeEngine()) as link:
        there = apart(link)
        assert there._life is not None
        there._life.over = True  # as its reader finds where the process died
        assert there.down() != ""
        until(lambda: there.down() == "")


def test_engines_of_this_process_need_no_other(tiny: Path) -> None:
    with engines(apart=False) as open_:
        engine = open_(Wanted(str(tiny), FLOAT), True)
        assert engine is open_(Wanted(str(tiny), FLOAT), True)
        assert not isinstance(engine, ApartEngine)


@pytest.mark.slow
def test_two_workers_answer_and_outlive_each_other(tiny: Path, tmp_path: Path) -> None:
    """Each is killed in turn, and so is the engine; the store's words stay, and nothing is left when it ends."""
    from typer.testing import CliRunner

    from steersman.cli.framework import build

    root = tmp_path / "w"
    made = ["init", str(root), "--set", "project.domain=none", "--set", f"model.base={tiny}"]
    assert CliRunner().invoke(build(), made).exit_code == 0
    command = [sys.executable, "-m", "steersman", "serve", "-w", str(root), "--port", "0", "--json", "--workers", "2"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        parent = psutil.Process(server.pid)
        for kind in ("apart.host", "steersman serve"):
            child = next(p for p in parent.children() if kind in " ".join(p.cmdline()))
            child.kill()
            chat = _asked(f"{url}/api/conversations", {})["id"]
            body = {"model": "w", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
            body["model"] = _asked(f"{url}/v1/models")["data"][0]["id"]
            assert _asked(f"{url}/v1/chat/completions", body)["choices"][0]["finish_reason"] in ("length", "stop")
            assert chat in [c["id"] for c in _asked(f"{url}/api/conversations")]
        children = parent.children()
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        assert not [p for p in children if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    finally:
        server.kill()
        server.communicate()


def _asked(url: str, body: Any = None) -> Any:
    """A worker that is killed takes its accepted connections with it, so a lost one is asked again, as clients do."""
    data = None if body is None else json.dumps(body).encode()
    for _ in range(5):
        try:
            request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read())
        except (ConnectionError, urllib.error.URLError) as error:
            if isinstance(error, urllib.error.HTTPError):
                raise
    raise AssertionError("no answer")


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_processes_are_killed() -> None:
    script = Path(__file__).with_name("server_kills.py")
    said = subprocess.run([sys.executable, str(script), "50", "2"], capture_output=True, text=True, check=True)
    found = json.loads(said.stdout)
    assert found["lost"] == []
    assert sum(found["killed"].values()) == 50
    assert min(found["acknowledged"].values()) > 50
