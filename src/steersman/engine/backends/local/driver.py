"""The thread that runs the steps, which lives while there is work; callers add, wait and cancel between its steps.

Callers do not run steps themselves: every thread that computes gets its own OpenMP threads, and as soon as a process
has more of these than cores, GNU's OpenMP no longer spins at barriers but sleeps and wakes: a native step then takes
twice as long. For the same reason a caller lets its OpenMP threads go before it waits, and the driving thread ends, and
its OpenMP threads with it, when there is nothing left to do. A caller that wakes takes a core from the running step,
so the driving thread itself checks which callers' waits are over, and wakes only those.

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
"""omp_pause_soft: keeps the thread's settings, such as the number of threads."""


@functools.cache
def _omp_pause() -> Callable[[int], int] | None:
    try:
        pause: Callable[[int], int] = ctypes.CDLL(None).omp_pause_resource_all
    except (OSError, TypeError, AttributeError):  # no OpenMP 5, or the library is not found: only slower
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
        """A step's error; all requests that ran or waited then fail with it."""
        self.over = False
        # a daemon: the interpreter exits without waiting for answers that nobody reads
        self.thread = threading.Thread(target=drive, args=(self,), name="engine", daemon=True)


class Waiter:
    """A caller that sleeps until the driving thread finds `until` true after a step."""

    def __init__(self, until: Callable[[], bool]) -> None:
        self.until = until
        self.wake = threading.Lock()
        self.wake.acquire()


_running: set[Run] = set()


@atexit.register
def _stop() -> None:
    """At exit wait for the current step: a thread that computes while the interpreter shuts down would crash."""
    for run in list(_running):
        run.over = True
        if run.thread.is_alive():
            run.thread.join()


class Driver:
    """Runs `scheduler`'s steps. Other threads may use the scheduler only within `between_steps`."""

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
        """Hold the lock after queuing for it, or the stepping thread would always take it before any caller."""
        with self._next:
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """Inside, no step runs, what has ended is settled, and the scheduler has received all queued requests."""
        with self._turn():
            try:
                self._take_in()
                self.scheduler.settle()
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
            begins = self._run is None
            run = self._run = self._run or Run(self._drive)
        if begins:
            # not under the lock: the garbage collector may close a forgotten stream in a thread that is starting
            _running.add(run)
            run.thread.start()
        return run

    def _take_in(self) -> None:
        with self._arriving:
            arrived, self._arrived = self._arrived, []
        for requests in arrived:
            self.scheduler.add(requests)

    def cancel(self, answers: Iterable[Answer]) -> None:
        """End these answers, and free their slots at once."""
        if self._run is not None and self._run.thread is threading.current_thread():
            # the garbage collector may close a forgotten stream during a step; it is freed after that step
            for answer in answers:
                if not answer.finished:
                    answer.finish("cancelled")
            return
        with self.between_steps():
            self.scheduler.cancel(answers)

    def wait(self, run: Run, until: Callable[[], bool]) -> None:
        """Block until `until` is true after some step. Raises a failed step's error."""
        waiter = Waiter(lambda: until() or run.error is not None)
        with self._looking:  # its own condition alone: the driving thread looks after the others'
            if not (ready := waiter.until()):
                self._waiters.add(waiter)
        try:
            if not ready:
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
        """Wake the waiters whose condition is true."""
        with self._looking:
            for waiter in [w for w in self._waiters if w.until()]:
                self._waiters.discard(waiter)
                waiter.wake.release()

    def _step(self, run: Run) -> None:
        try:
            self._take_in()
            self.scheduler.step()
        except BaseException as error:  # raised in every waiting caller
            run.error = error
            self.scheduler.clear()
        with self._arriving:
            if run.error is not None:
                self._arrived.clear()
            if not self.scheduler.busy and not self._arrived:
                self._run, run.over = None, True
