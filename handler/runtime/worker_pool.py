"""Threads that outlive an invocation, so that their connections do; or none at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from time import monotonic
from typing import TypeVar

Job = Callable[[], None]
Item = TypeVar("Item")
Made = TypeVar("Made")


class WorkerPool:
    """Runs one job on several threads side by side.

    Workers that miss the deadline are abandoned: they return to the pool when their job ends, and never block the
    interpreter's exit.
    """

    def __init__(self) -> None:
        self._idle: list[_Worker] = []  # its append and pop are atomic

    def __del__(self) -> None:
        for worker in self._idle:
            worker.jobs.put(None)

    def run_on_all(self, job: Job, count: int, seconds: float) -> None:
        """Returns when ``job`` has ended on all of ``count`` workers, or after ``seconds``.

        Raises:
            RuntimeError: not a single thread could be started. A few less than asked for are no error.
        """
        ended = threading.Semaphore(0)
        started = 0
        for _ in range(count):
            try:
                worker = self._idle.pop() if self._idle else _Worker(self._idle)
            except RuntimeError:  # the platform's limit of threads is reached
                if not started:
                    raise
                break
            worker.jobs.put((job, ended))
            started += 1
        latest = monotonic() + seconds
        for _ in range(started):
            if not ended.acquire(timeout=max(0.0, latest - monotonic())):
                return

    def map(
        self, function: Callable[[Item], Made], items: Sequence[Item], count: int, seconds: float
    ) -> list[Made | None]:
        """What ``function``, which must not raise, makes of each item; None where ``seconds`` did not suffice."""
        made: list[Made | None] = [None] * len(items)
        todo = iter(range(len(items)))
        latest = monotonic() + seconds

        def job() -> None:
            # Iterators over a range are atomic; a late result lands in a list that is not read any more.
            for number in todo:
                if monotonic() > latest:
                    return
                made[number] = function(items[number])

        self.run_on_all(job, min(count, len(items)), seconds)
        return list(made)


class InlineWorkers:
    """Runs every job on the caller: one request at a time, in an order that the caller can decide."""

    def run_on_all(self, job: Job, count: int, seconds: float) -> None:  # noqa: ARG002  there is one caller only
        """Returns when ``job`` has ended."""
        job()

    def map(
        self,
        function: Callable[[Item], Made],
        items: Sequence[Item],
        count: int,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
    ) -> list[Made | None]:
        """What ``function`` makes of each item."""
        return [function(item) for item in items]


class _Worker(threading.Thread):
    def __init__(self, idle: list[_Worker]) -> None:
        super().__init__(name="reaper", daemon=True)
        self.jobs: SimpleQueue[tuple[Job, threading.Semaphore] | None] = SimpleQueue()
        self._idle = idle
        self.start()

    def run(self) -> None:
        while (work := self.jobs.get()) is not None:
            job, ended = work
            try:
                job()
                self._idle.append(self)  # one whose job raised does not come back
            finally:
                del job, work  # an idle thread must not keep the batch alive
                ended.release()
