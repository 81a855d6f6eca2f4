"""Works off what is due, concurrently: pace, retry, deadline; one ``Result`` per task.

HTTP, the SDK and storage are not known here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from handler.crew import Crew
from handler.error_codes import ErrorClass
from handler.ledger import Due
from handler.live import Answer
from handler.model import Outcome, Reason, RecordTask, Report, Result
from handler.pacer import Pacer


class Client(Protocol):
    """What deletes a task; each thread has its own."""

    def delete(self, task: RecordTask) -> Answer:
        """One try. Never raises."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """Until when an invocation may do what, on a clock that measures time that passes."""

    request_timeout: float  # seconds
    last_start: float  # a request that starts by now can still finish
    end: float  # answers are not waited for any longer: what is left is for reporting

    @classmethod
    def after(cls, started: float, limit: float) -> Deadline:
        """The deadline of an invocation that ``started`` and that the platform stops ``limit`` seconds later."""
        request_timeout = min(10.0, limit / 4)
        end = started + limit - min(3.0, limit / 10)
        return cls(request_timeout, end - request_timeout, end)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often to try, and how long to wait in between: full jitter below a doubling bound, in seconds."""

    tries: float
    first: float
    most: float

    def wait(self, tried: int, random: Callable[[], float]) -> float:
        return random() * min(self.most, self.first * 2.0 ** min(tried - 1, 16))


RETRIES = {
    ErrorClass.THROTTLED: Retry(tries=float("inf"), first=0.25, most=4.0),
    ErrorClass.TRANSIENT: Retry(tries=3, first=0.25, most=4.0),
    ErrorClass.UNKNOWN: Retry(tries=3, first=0.25, most=4.0),
}
_ONCE = Retry(tries=1, first=0.0, most=0.0)


class Reaper:
    """Deletes batches of tasks; its threads and its pace survive from one batch to the next."""

    def __init__(
        self,
        pacer: Pacer,
        crew: Crew,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        random: Callable[[], float],
    ) -> None:
        """
        Args:
            clock: seconds that pass; never set back.
            sleep: takes seconds.
            random: returns a number from 0 to 1.
        """
        self._pacer, self._crew = pacer, crew
        self._clock, self._sleep, self._random = clock, sleep, random

    def work_off(
        self, due: list[Due], client: Callable[[], Client], now: float, deadline: Deadline, hands: int
    ) -> Report:
        """Tries to delete each task that is ``due``, ``hands`` at a time, and says what became of every one.

        ``client`` returns the calling thread's own; ``now`` is unix seconds. Returns at ``deadline.end`` at the
        latest. An answer that comes later changes nothing.
        """
        began = self._clock()
        batch = _Batch(self._in_order(due, deadline.last_start - began), deadline, now - began)

        def job() -> None:
            try:
                mine = client()  # before the first turn: what leaves must not be late
            except Exception as error:  # noqa: BLE001  a mistake of ours, or no memory left
                batch.give_up(error)
                return
            while (item := batch.take(self._clock())) is not None:
                try:
                    result = self._result(item.task, batch, mine)
                except Exception as error:  # noqa: BLE001  a mistake of ours must not lose the task
                    result = _internal_error(error)
                batch.finish(item, result, self._clock())

        self._crew.run(job, min(hands, len(due)), deadline.end - began)
        return batch.close()

    def _in_order(self, due: list[Due], seconds: float) -> list[Due]:
        """As they came; but from a place of chance if there is no time for all of them.

        A redelivery brings them all again. If it began with the same ones each time, the rest would never be reached.
        """
        if len(due) <= self._pacer.rate * seconds:
            return due
        first = int(self._random() * len(due))
        return due[first:] + due[:first]

    def _result(self, task: RecordTask, batch: _Batch, client: Client) -> Result:
        """Tries until there is a result, or until no further try may start."""
        tried, spent, ambiguous = 0, 0.0, False
        answer: Answer | None = None
        while self._pacer.wait_turn(batch.deadline.last_start) and batch.may_send(task):
            sent_at = self._clock()
            answer = client.delete(task)
            latency = self._clock() - sent_at
            tried, spent = tried + answer.sent, spent + latency
            if not batch.note(task, answer, latency):
                break
            self._tell_pacer(answer, sent_at)
            retry = RETRIES.get(answer.error_class or ErrorClass.GONE, _ONCE)
            wait = retry.wait(tried, self._random)
            if tried >= retry.tries or self._clock() + wait > batch.deadline.last_start:
                break
            ambiguous = ambiguous or answer.ambiguous
            self._sleep(wait)
        return batch.untried() if answer is None else _result_of(answer, tried, spent, ambiguous)

    def _tell_pacer(self, answer: Answer, sent_at: float) -> None:
        if answer.error_class is ErrorClass.THROTTLED:
            self._pacer.throttled(sent_at)
        elif answer.request_id:  # a network that fails fast is no sign that the API has room
            self._pacer.answered(sent_at)


def _result_of(answer: Answer, tried: int, spent: float, ambiguous: bool) -> Result:
    """The result of the last answer; ``ambiguous`` if an earlier try may have deleted the record already."""
    outcome = Outcome.DELETED
    reason: Reason | None = None
    if answer.error_class is ErrorClass.GONE:
        outcome, reason = Outcome.ALREADY_GONE, Reason.AFTER_RETRY if ambiguous else Reason.NOT_FOUND
    elif answer.error_class is not None:
        outcome = Outcome.FAILED if answer.error_class is ErrorClass.INVALID else Outcome.DEFERRED
        reason = Reason(answer.error_class.value)
    return Result(
        outcome,
        reason,
        answer.detail,
        answer.error_code,
        answer.error_class.value if answer.error_class else None,
        tried,
        round(spent * 1000, 1),
        answer.request_id,
    )


def _internal_error(error: Exception) -> Result:
    return Result(Outcome.DEFERRED, Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}")


class _Batch:
    """What the threads of one batch share. Once closed, nothing changes it, however late it comes."""

    def __init__(self, due: list[Due], deadline: Deadline, to_unix: float) -> None:
        self.due, self.deadline = due, deadline
        self._to_unix = to_unix
        self._todo = iter(due)
        self._calls: dict[RecordTask, int] = {}
        self._blocked_by: Answer | None = None
        self._broken_by: Exception | None = None
        self._closed = False
        self._report = Report()
        self._lock = threading.Lock()

    def take(self, now: float) -> Due | None:
        """The next task to work on; None if there is none, or no time for it."""
        with self._lock:
            if self._closed or self._blocked_by or now > self.deadline.last_start:
                return None
            return next(self._todo, None)

    def may_send(self, task: RecordTask) -> bool:
        """Whether a request for ``task`` may leave now; counts it if so."""
        with self._lock:
            if self._closed or self._blocked_by:
                return False
            self._calls[task] = self._calls.get(task, 0) + 1
            self._report.api_calls += 1
            return True

    def give_up(self, error: Exception) -> None:
        """A thread could not begin; if none could, this says why."""
        with self._lock:
            self._broken_by = error

    def note(self, task: RecordTask, answer: Answer, latency: float) -> bool:
        """Takes note of an answer. False if it came too late to matter."""
        with self._lock:
            if self._closed:
                return False
            if answer.sent:
                self._report.latencies.append(latency)
            else:
                self._calls[task] -= 1
                self._report.api_calls -= 1
            self._report.throttled_calls += answer.error_class is ErrorClass.THROTTLED
            if answer.error_class is ErrorClass.BLOCKED:
                self._blocked_by = self._blocked_by or answer
            return True

    def finish(self, due: Due, result: Result, now: float) -> None:
        with self._lock:
            if not self._closed:
                self._report.results[due.task] = result
                if result.outcome in (Outcome.DELETED, Outcome.ALREADY_GONE):
                    self._report.lags.append(now + self._to_unix - due.due_at)

    def untried(self) -> Result:
        """The result of a task for which no request left."""
        if self._blocked_by:
            code = self._blocked_by.error_code
            return Result(Outcome.DEFERRED, Reason.BLOCKED, f"not sent: {code} stopped the batch", calls=0)
        if self._broken_by:
            return _internal_error(self._broken_by)
        return Result(Outcome.DEFERRED, Reason.OUT_OF_TIME, "not sent: too little time was left", calls=0)

    def close(self) -> Report:
        """Ends the batch, with a result for every task that has none."""
        with self._lock:
            self._closed = True
            results = self._report.results
            for due in self.due:
                if due.task not in results:
                    calls = self._calls.get(due.task)
                    results[due.task] = self._abandoned(calls) if calls else self.untried()
            return self._report

    def _abandoned(self, calls: int) -> Result:
        return Result(
            Outcome.DEFERRED, Reason.OUT_OF_TIME, "no answer before the deadline: it may be deleted", calls=calls
        )
