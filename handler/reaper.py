"""Works off what is due, concurrently: pace, retry, deadline; one ``Result`` per task.

HTTP, the SDK and storage are not known here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from handler.crew import Crew
from handler.error_codes import ErrorClass
from handler.ledger import Due, LedgerError, Pointer
from handler.live import Answer
from handler.model import Outcome, Reason, RecordTask, Report, Result
from handler.pacer import Pacer
from handler.traces import frames


class Client(Protocol):
    """What deletes a task, or looks at its stream; each thread has its own. Neither ever raises."""

    def delete(self, task: RecordTask) -> Answer:
        """One try to delete the record of ``task``."""

    def is_live(self, domain_name: str, app_name: str, stream_name: str) -> Answer:
        """One look at a stream."""


class Work(NamedTuple):
    """What there is to do: the tasks that messages made due, then those that the ledger points to, if it is swept.

    ``claim`` says which task a pointer leads to, if it is due; ``settle`` tells the ledger what became of a task,
    and returns the result as it is to be reported. ``overtaken`` says, after a check, why the task is not to be deleted
    all the same. All are called from several threads. ``dry_run``: checks are made, but nothing is deleted.
    """

    due: list[Due]
    settle: Callable[[Due, Result], Result]
    pointers: Iterator[Pointer] | None
    claim: Callable[[Pointer], Due | None]
    overtaken: Callable[[Due], Result | None]
    dry_run: bool = False


class Deadline(NamedTuple):
    """Until when an invocation may do what, on a clock that measures time that passes."""

    request_timeout: float  # seconds
    last_start: float  # a request that starts by now can still finish
    end: float  # answers are not waited for any longer: what is left is for reporting
    limit: float | None = None  # seconds: the function's own time limit, where requests are that short because of it

    @classmethod
    def after(cls, started: float, limit: float) -> Deadline:
        """The deadline of an invocation that ``started`` and that the platform stops ``limit`` seconds later."""
        request_timeout = min(10.0, limit / 4)
        end = started + limit - min(3.0, limit / 10)
        return cls(request_timeout, end - request_timeout, end, limit if limit / 4 < 10.0 else None)

    def leaving(self, seconds: float) -> Deadline:
        """The same, with ``seconds`` more between the last start and the end: to tell the ledger what came of it."""
        return self._replace(last_start=self.last_start - seconds)


class Retry(NamedTuple):
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
UNREADABLE_AT_FIRST = 8  # pointers: where nothing else comes, the ledger is taken to be out of order


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

    def work_off(self, work: Work, client: Callable[[], Client], now: float, deadline: Deadline, hands: int) -> Report:
        """Tries to delete each task of ``work``, ``hands`` at a time, and says what became of every one.

        ``client`` returns the calling thread's own; ``now`` is unix seconds. Returns at ``deadline.end`` at the
        latest. An answer that comes later changes nothing.
        """
        began = self._clock()
        due = self._in_order(work.due, deadline.last_start - began)
        batch = _Batch(due, work.pointers, deadline, now - began)

        def job() -> None:
            try:
                mine = client()  # before the first turn: what leaves must not be late
            except Exception as error:  # noqa: BLE001  a mistake of ours, or no memory left
                batch.give_up(error)
                return
            while (item := batch.take(self._clock())) is not None:
                claimed = self._claimed(item, work, batch)
                result = None if claimed is None else self._done(claimed, work, batch, mine)
                if claimed is not None and result is not None:
                    batch.finish(claimed, result, self._clock())

        if work.pointers is not None:
            self._crew.run(batch.begin, 1, deadline.last_start - began)
        seconds = deadline.end - self._clock()
        self._crew.run(job, hands if batch.sweeps else min(hands, len(due)), seconds)
        return batch.close(self._clock())

    def _claimed(self, item: Due | Pointer, work: Work, batch: _Batch) -> Due | None:
        if isinstance(item, Due):
            return item
        try:
            due = work.claim(item)
        except Exception as error:  # noqa: BLE001  what lies there cannot be read, or the ledger does not answer
            batch.skip(item, error)
            return None
        batch.followed(item)
        return due if due is not None and batch.is_first(due) else None

    def _done(self, due: Due, work: Work, batch: _Batch, client: Client) -> Result | None:
        """What became of a task; None if another thread has come to do more about it meanwhile."""
        try:
            result = due.verdict or self._result(due, work, batch, client)
            return work.settle(due, result) if batch.is_up_to(due) else None
        except LedgerError as error:
            return Result(Outcome.DEFERRED, Reason.LEDGER_UNAVAILABLE, str(error), kept=due.kept)
        except Exception as error:  # noqa: BLE001  a mistake of ours must not lose the task
            return _internal_error(error, due.kept)

    def _in_order(self, due: list[Due], seconds: float) -> list[Due]:
        """As they came; but from a place of chance if there is no time for all of them.

        A redelivery brings them all again. If it began with the same ones each time, the rest would never be reached.
        """
        if len(due) <= self._pacer.rate * seconds:
            return due
        first = int(self._random() * len(due))
        return due[first:] + due[:first]

    def _result(self, due: Due, work: Work, batch: _Batch, client: Client) -> Result:
        """Tries until there is a result, or until no further try may start."""
        tried, spent, ambiguous, look = 0, 0.0, False, due.look
        answer: Answer | None = None
        if work.dry_run and not look:
            return Result(Outcome.PLANNED, Reason.DRY_RUN)
        while self._pacer.wait_turn(batch.deadline.last_start) and batch.may_send(due.task, look):
            sent_at = self._clock()
            answer = _ask(client, due, look)
            latency = self._clock() - sent_at
            tried, spent = tried + answer.sent, spent + latency
            if not batch.note(due.task, answer, latency, look):
                break
            self._tell_pacer(answer, sent_at)
            if look and answer.on_air is False:
                if work.dry_run:
                    return Result(Outcome.PLANNED, Reason.DRY_RUN, calls=tried)
                if overtaken := _SUPERSEDED if not batch.is_up_to(due) else work.overtaken(due):
                    return overtaken._replace(calls=tried)
                look, answer = False, None  # now delete it, at once
                continue
            retry = RETRIES.get(answer.error_class or ErrorClass.GONE, _ONCE)
            wait = retry.wait(tried, self._random)
            if tried >= retry.tries or self._clock() + wait > batch.deadline.last_start:
                break
            ambiguous = ambiguous or (answer.ambiguous and not look)
            look = due.look  # it may be back on air by then
            self._sleep(wait)
        if answer is None:
            return batch.untried(tried, due.kept, look)
        return _result_of(answer, look, tried, spent, ambiguous)

    def _tell_pacer(self, answer: Answer, sent_at: float) -> None:
        if answer.error_class is ErrorClass.THROTTLED:
            self._pacer.throttled(sent_at)
        elif answer.request_id:  # a network that fails fast is no sign that the API has room
            self._pacer.answered(sent_at)


# Another thread of this batch has come to do more about the task: its result counts.
_SUPERSEDED = Result(Outcome.SCHEDULED, kept=True)


def _ask(client: Client, due: Due, look: bool) -> Answer:
    if not look:
        return client.delete(due.task)
    target = due.entry.target if due.entry else None
    if target is None:  # whoever asked for the check: without one, nothing is deleted
        raise ValueError("a check of a task of which no domain is known")
    return client.is_live(*target, due.task.stream_name)


# A look that fails so says something about the API, not about the stream: the task stays due.
_NO_WORD = (ErrorClass.THROTTLED, ErrorClass.BLOCKED)


def _result_of(answer: Answer, look: bool, tried: int, spent: float, ambiguous: bool) -> Result:
    """The result of the last answer; ``ambiguous`` if an earlier try may have deleted the record already."""
    outcome = Outcome.DELETED
    reason: Reason | None = None
    if look and answer.error_class not in _NO_WORD:
        # An error or a timeout counts as on air, as the vendor advises (267/20470).
        outcome, reason = Outcome.SCHEDULED, Reason.STREAM_IS_LIVE
    elif answer.error_class is ErrorClass.GONE:
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


def _internal_error(error: Exception, kept: bool = False) -> Result:
    detail = f"{type(error).__name__}: {error}"
    return Result(Outcome.DEFERRED, Reason.INTERNAL_ERROR, detail, kept=kept, traceback=frames(error))


class _Batch:
    """What the threads of one batch share. Once closed, nothing changes it, however late it comes."""

    def __init__(self, due: list[Due], pointers: Iterator[Pointer] | None, deadline: Deadline, to_unix: float) -> None:
        self.deadline = deadline
        self._to_unix = to_unix
        self._due, self._todo = due, iter(due)
        self._claimed: dict[RecordTask, Due] = {}
        # Only pointers may lead to a task again.
        self._seen = {item.task for item in due} if pointers is not None else set()
        self._calls: dict[RecordTask, int] = {}  # of those that have no result yet
        self._blocked_by: Answer | None = None
        self._checks_blocked_by: Answer | None = None
        self._broken_by: Exception | None = None
        self._closed = False
        self._report = Report()
        self._lock = threading.Lock()
        self._pointers = pointers
        self._is_sweep = pointers is not None
        self._begun = self._stopped = False
        self._pointer: Pointer | None = None  # the next one
        self._paging = threading.Lock()
        self._in_hand: set[Pointer] = set()
        self._left: list[float] = []  # when what this sweep could not read or reach was due
        self._followed = 0

    def begin(self) -> None:
        """Asks for the first page of what the ledger points to."""
        with self._paging:
            self._turn_page()
            self._begun = True

    @property
    def sweeps(self) -> bool:
        """Whether the ledger points to anything."""
        return self._pointer is not None

    def take(self, now: float) -> Due | Pointer | None:
        """The next thing to work on; None if there is none, or no time for it.

        What a message made due is handed out even if no request may leave any more: the ledger has to be told.
        """
        with self._lock:
            if self._closed:
                return None
            due = next(self._todo, None)
            if due is not None or self._blocked_by or now > self.deadline.last_start:
                return due
        with self._paging:  # one thread asks for a page, and nobody who closes the batch waits for that
            pointer = self._pointer
            if pointer is not None:
                self._turn_page()
            with self._lock:
                if self._closed or pointer is None:
                    return None
                self._in_hand.add(pointer)
                return pointer

    def _turn_page(self) -> None:
        """Makes the next pointer the one to hand out."""
        pointer, error = None, None
        try:
            pointer = next(self._pointers, None) if self._pointers else None
        except Exception as failure:  # noqa: BLE001  the ledger does not answer
            error = failure
        with self._lock:
            if not self._closed and not self._stopped:
                self._pointer = pointer
                self._stopped = error is not None
                self._report.sweep_error = error

    def followed(self, pointer: Pointer) -> None:
        """The ledger said what ``pointer`` leads to."""
        with self._lock:
            self._followed += 1
            self._in_hand.discard(pointer)

    def skip(self, pointer: Pointer, error: Exception) -> None:
        """The ledger cannot say what ``pointer`` leads to. If it never can, it is not asked for ever."""
        with self._lock:
            self._in_hand.discard(pointer)
            if self._closed:
                return
            self._left.append(pointer.due_at)
            self._report.unreadable.append(error)
            if not self._followed and len(self._report.unreadable) >= UNREADABLE_AT_FIRST and not self._stopped:
                self._left += [self._pointer.due_at] if self._pointer else []
                self._pointer, self._stopped = None, True

    def is_first(self, due: Due) -> bool:
        """Whether nothing else of this batch led to the task of ``due`` before; an assertion goes before a hint."""
        with self._lock:
            before = self._claimed.get(due.task)
            outdone = before is not None and before.look and not due.look
            if self._closed or (due.task in self._seen and not outdone):
                return False
            self._seen.add(due.task)
            self._claimed[due.task] = due
            return True

    def is_up_to(self, due: Due) -> bool:
        """Whether ``due`` is still what this batch does about its task."""
        with self._lock:
            return self._claimed.get(due.task, due) is due

    def may_send(self, task: RecordTask, look: bool) -> bool:
        """Whether a request for ``task`` may leave now; counts it if so."""
        with self._lock:
            if self._closed or self._blocked_by or (look and self._checks_blocked_by):
                return False
            self._calls[task] = self._calls.get(task, 0) + 1
            self._report.api_calls += 1
            return True

    def give_up(self, error: Exception) -> None:
        """A thread could not begin; if none could, this says why."""
        with self._lock:
            self._broken_by = error

    def note(self, task: RecordTask, answer: Answer, latency: float, look: bool) -> bool:
        """Takes note of an answer. False if it came too late to matter."""
        with self._lock:
            if self._closed:
                return False
            if answer.sent:
                self._report.latencies.append(latency)
            else:
                self._calls[task] = self._calls.get(task, 1) - 1  # another thread may have come to its result
                self._report.api_calls -= 1
            self._report.throttled_calls += answer.error_class is ErrorClass.THROTTLED
            if answer.error_class is ErrorClass.BLOCKED:
                # Whoever may not check may still delete: deletions that need no check go on.
                if look:
                    self._checks_blocked_by = self._checks_blocked_by or answer
                else:
                    self._blocked_by = self._blocked_by or answer
            return True

    def finish(self, due: Due, result: Result, now: float) -> None:
        with self._lock:
            if not self._closed and self._claimed.get(due.task, due) is due:
                self._report.results[due.task] = result
                self._calls.pop(due.task, None)  # the result knows
                if result.outcome in (Outcome.DELETED, Outcome.ALREADY_GONE):
                    self._report.lags.append(now + self._to_unix - due.due_at)

    def untried(self, calls: int = 0, kept: bool = False, look: bool = False) -> Result:
        """The result of a task for which no deletion left."""
        blocked_by = self._blocked_by or (self._checks_blocked_by if look else None)
        if blocked_by:
            detail = f"not sent: {blocked_by.error_code} stopped {'the batch' if self._blocked_by else 'all checks'}"
            return Result(Outcome.DEFERRED, Reason.BLOCKED, detail, calls=calls, kept=kept)
        if self._broken_by:
            return _internal_error(self._broken_by, kept)
        detail = "not sent: too little time was left"
        return Result(Outcome.DEFERRED, Reason.OUT_OF_TIME, detail, calls=calls, kept=kept)

    def close(self, now: float) -> Report:
        """Ends the batch, with a result for every task that has none."""
        with self._lock:
            self._closed = True
            report = self._report
            for due in (*self._due, *self._claimed.values()):
                if due.task not in report.results:
                    report.results[due.task] = self._abandoned(due)
            report.swept = list(self._claimed)
            left = [due for task, due in self._claimed.items() if report.results[task].outcome is Outcome.DEFERRED]
            ahead = [*self._in_hand, *([self._pointer] if self._pointer else [])]
            overdue = [*self._left, *(due.due_at for due in left), *(pointer.due_at for pointer in ahead)]
            if self._is_sweep:
                if not self._begun or self._in_hand:
                    report.sweep_error = TimeoutError("the ledger did not say in time what is due")
                report.oldest_overdue = max(0.0, now + self._to_unix - min(overdue)) if overdue else 0.0
            return report

    def _abandoned(self, due: Due) -> Result:
        calls = self._calls.get(due.task, 0)
        if not calls:
            return self.untried(calls, due.kept, due.look)
        detail = "no answer in time: it may be deleted"
        return Result(Outcome.DEFERRED, Reason.OUT_OF_TIME, detail, calls=calls, kept=due.kept)
