"""Who runs the steps: one thread, which lives while there is work; callers add, wait and cancel between its steps.

Not the callers themselves, in turn. Every thread that computes gets OpenMP threads of its own, and as soon as a process
has more of these than cores, GNU's OpenMP no longer spins at barriers but sleeps and wakes: a native step then takes
twice as long. For the same reason a caller lets its OpenMP threads go before it waits, and the driving thread ends, and
its OpenMP threads with it, when there is nothing left to do. A caller that wakes takes a core from the step that runs
then, so the driving thread itself looks whose wait is over, and wakes nobody else.

Why so: decision 27 in docs/LOG.md.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterable, Iterator

from steersman.engine.backends.local.scheduler import Scheduler
from steersman.engine.sequence import Answer, Request

_SOFT = 1
"""omp_pause_soft: what the thread has set, such as the number of threads, stays."""


@functools.cache
def _omp_pause() -> Callable[[int], int] | None:
    try:
        pause: Callable[[int], int] = ctypes.CDLL(None).omp_pause_resource_all
    except (OSError, TypeError, AttributeError):  # no OpenMP 5, or none that can be found: nothing but slower
        return None
    return pause


def release_cores() -> None:
    """End the calling thread's idle OpenMP threads; its next parallel region starts new ones, in some 0.1 ms."""
    pause = _omp_pause()
    if pause is not None:
        pause(_SOFT)


class Run:
    """One life of the driving thread: until nothing is left to do, a step fails, or the interpreter ends."""

    def __init__(self, drive: Callable[[Run], None]) -> None:
        self.error: BaseException | None = None
        """What a step raised; all that ran or waited then is lost."""
        self.over = False
        # a daemon: the interpreter's end does not wait for answers that nobody reads
        self.thread = threading.Thread(target=drive, args=(self,), name="engine", daemon=True)


class Waiter:
    """Somebody who sleeps until the driving thread finds `until` true after a step."""

    def __init__(self, until: Callable[[], bool]) -> None:
        self.until = until
        self.wake = threading.Lock()
        self.wake.acquire()


_running: set[Run] = set()


@atexit.register
def _stop() -> None:
    """A thread that computes while the interpreter is taken down would crash; a step is soon over."""
    for run in list(_running):
        run.over = True
        run.thread.join()


class Driver:
    """Runs `scheduler`'s steps. Everybody else calls it within `between_steps`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._lock, self._next = threading.Lock(), threading.Lock()
        self._waiters: set[Waiter] = set()
        self._looking = threading.Lock()
        self._run: Run | None = None
        self._arrived: list[Iterable[Request]] = []
        """Calls that came while a step ran."""
        self._arriving = threading.RLock()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """The lock, in turn: the thread that steps must queue again each time, or nobody else would ever get it."""
        with self._next:
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """No step runs meanwhile, and the scheduler knows all that has been asked for."""
        with self._turn():
            try:
                self._take_in()
                yield
            finally:
                release_cores()

    def add(self, requests: Iterable[Request]) -> Run:
        """Queue one call's requests, in the order in which they should run; the next step may begin them.

        Does not wait for a step: many callers who come at once should be prefilled together.
        """
        release_cores()
        with self._arriving:
            self._arrived.append(requests)
            if self._run is None:
                self._run = Run(self._drive)
                _running.add(self._run)
                self._run.thread.start()
            return self._run

    def _take_in(self) -> None:
        with self._arriving:
            arrived, self._arrived = self._arrived, []
        for requests in arrived:
            self.scheduler.add(requests)

    def cancel(self, answers: Iterable[Answer]) -> None:
        """End these answers, and free what they hold at once."""
        if self._run is not None and self._run.thread is threading.current_thread():
            # the garbage collector closes a forgotten stream in the midst of a step, at whose end it is freed
            for answer in answers:
                if not answer.finished:
                    answer.finish("cancelled")
            return
        with self.between_steps():
            self.scheduler.cancel(answers)

    def wait(self, run: Run, until: Callable[[], bool]) -> None:
        """Until a step has made it so. Raises what a step raised."""
        waiter = Waiter(lambda: until() or run.error is not None)
        with self._looking:
            self._waiters.add(waiter)
        self._wake()
        try:
            waiter.wake.acquire()
        finally:
            with self._looking:
                self._waiters.discard(waiter)
        if run.error is not None and not until():
            raise run.error

    def _drive(self, run: Run) -> None:
        while not run.over:
            with self._turn():
                self._step(run)
            self._wake()
        _running.discard(run)

    def _wake(self) -> None:
        """Everybody whose wait is over."""
        with self._looking:
            for waiter in [w for w in self._waiters if w.until()]:
                self._waiters.discard(waiter)
                waiter.wake.release()

    def _step(self, run: Run) -> None:
        try:
            self._take_in()
            self.scheduler.step()
        except BaseException as error:  # raised by everybody who waits
            run.error = error
            self.scheduler.clear()
        with self._arriving:
            if run.error is not None:
                self._arrived.clear()
            if not self.scheduler.busy and not self._arrived:
                self._run, run.over = None, True
