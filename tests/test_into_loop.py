"""What threads say to the event loop while it is busy goes in by one call, whole and in order."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from steersman.server.into_loop import into


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
