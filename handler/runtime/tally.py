"""What came of a batch. Once closed, nothing changes it, however late it comes."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from handler.core.attempt import Reply
from handler.core.model import Outcome, Reason, RecordTask, TaskResult
from handler.core.plan import Elsewhere
from handler.core.policy import ErrorClass
from handler.core.storage import IndexKey

OwnResult = TaskResult | None


class TaskLine(NamedTuple):
    """What an event came to for one task. ``result`` None: what came of the task."""

    task: RecordTask
    result: OwnResult = None


class Claim:
    """The right to work on a task within a batch. Compared by identity."""

    __slots__ = ("may_delete", "task")

    def __init__(self, task: RecordTask, may_delete: bool) -> None:
        self.task, self.may_delete = task, may_delete


class Tally:
    """Takes note, from several threads, of what came of tasks, messages, index keys and requests.

    ``results``: by task. ``parts``, ``elsewhere``: by the number of the event. ``not_meant``: tasks of a stream that no
    event of the delivery concerned. ``swept``: the tasks that index keys led to, and when each was due.
    ``not_followed``: index keys of which it is not known what they lead to, and why. ``with_letter``: messages, by
    their numbers, that became dead letters; ``unwritten``: why another one did not. Latencies (of answered requests)
    and lags (deleted minus due) are in seconds.
    """

    def __init__(self) -> None:
        self.results: dict[RecordTask, TaskResult] = {}
        self.parts: dict[int, list[TaskLine]] = {}
        self.elsewhere: dict[int, list[Elsewhere]] = {}
        self.not_meant: set[RecordTask] = set()
        self.swept: dict[RecordTask, float] = {}
        self.not_followed: list[tuple[IndexKey, Exception]] = []
        self.with_letter: set[int] = set()
        self.unwritten: dict[int, Exception] = {}
        self.latencies, self.lags = array("d"), array("d")
        self.api_calls = self.throttled_calls = self.unreadable = 0
        self._claims: dict[RecordTask, Claim] = {}
        self._held: set[RecordTask] = set()
        self._calls: dict[RecordTask, int] = {}  # of tasks that have no result yet
        self._closed = False
        self._lock = threading.Lock()

    def claim_asked(self, task: RecordTask) -> None:
        """Messages ask for ``task``: no index key leads to it in this batch any more."""
        self._claims[task] = Claim(task, may_delete=True)

    def claim_swept(self, task: RecordTask, due_at: float, *, may_delete: bool) -> Claim | None:
        """The right to work on a task that an index key led to; None if it is taken.

        A deletion takes it over from a check: several index keys may lead to one task, and only one of them may still
        know of an assertion.
        """
        with self._lock:
            other = self._claims.get(task)
            if self._closed or (other and (other.may_delete or not may_delete)):
                return None
            self.swept.setdefault(task, due_at)
            claim = self._claims[task] = Claim(task, may_delete)
            return claim

    def is_current(self, claim: Claim) -> bool:
        """Whether ``claim`` has not been taken over."""
        return self._claims[claim.task] is claim

    def hold(self, task: RecordTask) -> None:
        """The ledger holds ``task`` as due: if nothing comes of it in this batch, nothing is lost."""
        with self._lock:
            self._held.add(task)

    def sent(self, task: RecordTask) -> None:
        """A request leaves."""
        with self._lock:
            self._calls[task] = self._calls.get(task, 0) + 1
            self.api_calls += not self._closed

    def answered(self, task: RecordTask, reply: Reply, latency: float) -> bool:
        """Takes note of an answer. False if it came too late to matter."""
        with self._lock:
            if self._closed:
                return False
            if reply.sent:
                self.latencies.append(latency)
            else:
                self._calls[task] -= 1
                self.api_calls -= 1
            self.throttled_calls += reply.error_class is ErrorClass.THROTTLED
            return True

    def finish(
        self,
        task: RecordTask,
        result: TaskResult,
        parts: Iterable[tuple[int, OwnResult]] = (),
        elsewhere: Sequence[tuple[int, Elsewhere]] = (),
        lag: float | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Takes note of what came of ``task``, and of the events that concerned it.

        Args:
            parts: the events' numbers, with a result of its own where an event's line differs.
            elsewhere: the numbers of events for its stream that do not mean it.
            lag: seconds from when it was due, if it is deleted.
            claim: with which it was worked on; if it was taken over, nothing is noted.
        """
        with self._lock:
            if self._closed or (claim and self._claims[task] is not claim):
                return
            self.results[task] = result
            self._calls.pop(task, None)
            for number, own in parts:
                self.parts.setdefault(number, []).append(TaskLine(task, own))
            self._add(elsewhere)
            if lag is not None:
                self.lags.append(lag)

    def concerns_none(self, task: RecordTask, elsewhere: Sequence[tuple[int, Elsewhere]]) -> None:
        """None of the events of its stream means ``task``."""
        with self._lock:
            if not self._closed:
                self.not_meant.add(task)
                self._add(elsewhere)

    def _add(self, elsewhere: Sequence[tuple[int, Elsewhere]]) -> None:
        for number, other in elsewhere:
            self.elsewhere.setdefault(number, []).append(other)

    def could_not_follow(self, key: IndexKey, error: Exception, *, unreadable: bool) -> int:
        """The ledger does not say what ``key`` leads to. Returns how many there are of such."""
        with self._lock:
            if not self._closed:
                self.not_followed.append((key, error))
                self.unreadable += unreadable
            return len(self.not_followed)

    def wrote_letter(self, record: int) -> None:
        """A message has become a dead letter."""
        with self._lock:
            if not self._closed:
                self.with_letter.add(record)

    def could_not_write(self, record: int, error: Exception) -> None:
        """A message could not become a dead letter."""
        with self._lock:
            self.unwritten[record] = error

    def close(self) -> None:
        """From now on nothing is taken note of."""
        with self._lock:
            self._closed = True

    def abandon(self, task: RecordTask, untried: TaskResult) -> None:
        """Gives ``task``, on which work has not ended, its result; ``untried``: if no request left for it."""
        calls, held = self._calls.get(task, 0), task in self._held
        if calls:
            detail = "no answer in time: it may be deleted"
            untried = TaskResult(Outcome.DEFERRED, Reason.OUT_OF_TIME, detail, calls=calls)
        self.results[task] = untried._replace(persisted=held)
