"""Threads that outlive an invocation, so that their connections do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import TypeVar

Job = Callable[[], None]
Item = TypeVar("Item")
Made = TypeVar("Made")


class Crew:
    """Runs one job on several threads side by side.

    A thread that does not come back in time is left behind: it joins the idle ones whenever its job
    ends, and nobody waits for it, at the end of the process neither.
    """

    def __init__(self) -> None:
        self._idle: list[_Hand] = []  # its append and pop are atomic

    def __del__(self) -> None:
        for hand in self._idle:
            hand.jobs.put(None)

    def run(self, job: Job, hands: int, seconds: float) -> None:
        """Returns when ``job`` has ended on all ``hands`` threads, or after ``seconds``.

        Raises:
            RuntimeError: not a single thread could be started. A few less than asked for are no error.
        """
        ended = threading.Semaphore(0)
        started = 0
        for _ in range(hands):
            try:
                hand = self._idle.pop() if self._idle else _Hand(self._idle)
            except RuntimeError:  # the platform's limit of threads is reached
                if not started:
                    raise
                break
            hand.jobs.put((job, ended))
            started += 1
        latest = monotonic() + seconds
        for _ in range(started):
            if not ended.acquire(timeout=max(0.0, latest - monotonic())):
                return

    def each(
        self, function: Callable[[Item], Made], items: list[Item], hands: int, seconds: float
    ) -> list[Made | None]:
        """What ``function`` makes of each item; None where ``seconds`` did not suffice.

        Raises:
            Exception: what ``function`` raised.
        """
        made: list[Made | None] = [None] * len(items)
        errors: list[Exception] = []
        todo = iter(range(len(items)))
        latest = monotonic() + seconds

        def job() -> None:
            # Iterators over a range are atomic; a slow thread's late result lands in a list that nobody reads.
            for number in todo:
                if monotonic() > latest or errors:
                    return
                try:
                    made[number] = function(items[number])
                except Exception as error:  # noqa: BLE001  raised below, by the one who asked
                    errors.append(error)

        self.run(job, min(hands, len(items)), seconds)
        if errors:
            raise errors[0]
        return list(made)


class _Hand(threading.Thread):
    def __init__(self, idle: list[_Hand]) -> None:
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
