"""What threads say to the event loop while it is busy goes in by one call, whole and in order."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from steersman.server.into_loop import into
from steersman.server.paced import Paced


def test_one_call_for_all_that_came_meanwhile() -> None:
    came: list[int] = []

    async def run() -> int:
        loop, calls = asyncio.get_running_loop(), 0
        usual: Any = loop.call_soon_threadsafe

        def counted(*given: Any) -> Any:
            nonlocal calls
            calls += 1
            return usual(*given)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        way = into(loop)
        assert into(loop) is way

        def say() -> None:
            for number in range(1000):
                way.call(loop, came.append, number)
                if number == 500:
                    way.call(loop, int, "no number")  # its fault is not the others'

        thread = threading.Thread(target=say)
        thread.start()
        thread.join()  # the loop is busy
        while len(came) < 1000:
            await asyncio.sleep(0)
        return calls

    assert asyncio.run(run()) == 1
    assert came == [*range(1000)]


def test_a_closed_loop_is_said() -> None:
    loop = asyncio.new_event_loop()
    way = into(loop)
    loop.close()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            way.call(loop, int)


def test_requests_that_come_together_are_begun_a_few_in_a_round() -> None:
    """200 at once held the loop for 236 ms, in which nothing else had its turn."""
    begun: list[int] = []
    rounds: list[int] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        begun.append(scope["number"])

    async def run() -> None:
        paced = Paced(app, at_once=8)
        no: Any = None
        tasks = [asyncio.create_task(paced({"type": "http", "number": i}, no, no)) for i in range(50)]
        await asyncio.sleep(0)
        tasks[20].cancel()  # its client has gone while it waited
        while len(begun) < 49:
            rounds.append(len(begun))
            await asyncio.sleep(0)
        rounds.append(len(begun))
        await asyncio.sleep(0)
        await asyncio.gather(*(asyncio.create_task(paced({"type": "http", "number": i}, no, no)) for i in (50, 51)))

    asyncio.run(asyncio.wait_for(run(), 5))
    assert max(b - a for a, b in itertools.pairwise(rounds)) <= 8
    assert rounds[0] == 8
    assert begun == [i for i in range(52) if i != 20]
