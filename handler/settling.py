"""What becomes of a task before and after it is tried: claimed, forgotten, put off, buried. How is not known here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from handler.ledger import Due, Entry, Failure, Ledger, LedgerError, LedgerRefused, Pointer
from handler.model import Outcome, Reason, RecordTask, Result
from handler.reaper import Work
from handler.settings import Settings

_HOUR = 3_600.0
_FIRST_WAIT: dict[Reason | None, float] = {Reason.BUSY: 300.0, Reason.TRANSIENT: 60.0, Reason.UNKNOWN: 60.0}
_NOT_ALLOWED = Result(
    Outcome.SCHEDULED, Reason.STREAM_NOT_ALLOWED, "REAPER_STREAMS does not name it: it stays due as it is", kept=True
)
_CHANGED = Result(Outcome.SCHEDULED, None, "its record changed during the check: it is not due any more", kept=True)
_FORGOTTEN = Result(
    Outcome.IGNORED, Reason.NO_KNOWN_TASK, "its record was removed during the check: another invocation dealt with it"
)
_NO_TARGET = "no check can be made, because the task is registered without a domain_name"
_GONE = (Outcome.DELETED, Outcome.ALREADY_GONE)
TASKS_REMEMBERED = 10_000  # of other deployments; further ones have a line each time


class HourlyLines:
    """Which tasks of other deployments have had their line within the last hour. Of one instance."""

    def __init__(self) -> None:
        self._last: dict[RecordTask, float] = {}
        self._lock = threading.Lock()

    def is_due(self, task: RecordTask, now: float) -> bool:
        """Whether ``task`` is to have a line now; if so, it has none for an hour."""
        with self._lock:
            if now < self._last.get(task, -_HOUR) + _HOUR:
                return False
            if len(self._last) >= TASKS_REMEMBERED:
                self._last = {other: at for other, at in self._last.items() if now < at + _HOUR}
            if len(self._last) < TASKS_REMEMBERED:
                self._last[task] = now
            return True


def work(
    due: list[Due], sweep: bool, clock: Callable[[], float], settings: Settings, ledger: Ledger, others: HourlyLines
) -> Work:
    """What the reaper is to do: ``due``, and what the ledger points to if it is to ``sweep``."""

    def claim(pointer: Pointer) -> Due | None:
        now = clock()
        entry = ledger.follow(pointer, now)
        if entry is None or entry.due_at is None:
            return None
        look, verdict = entry.needs_look(now), None
        if not settings.concerns(entry.task.stream_name):
            if not others.is_due(entry.task, now):
                return None
            verdict = _NOT_ALLOWED
        elif look and entry.target is None:
            verdict = _without_check(entry)
        return Due(entry.task, entry.due_at, entry, look, True, entry.because, verdict)

    def overtaken(checked: Due) -> Result | None:
        """Why a task is not to be deleted though its stream is off air: its record changed during the check.

        Another invocation may have stored a later interruption, have found the stream on air, have deleted the task,
        or have registered it elsewhere. None: it is still to be deleted. May raise a LedgerError.
        """
        entry = ledger.read(checked.task)
        if entry is None:
            return _FORGOTTEN
        same = checked.entry is not None and entry.target == checked.entry.target
        return None if same and entry.is_due(clock()) else _CHANGED

    return Work(
        due,
        lambda tried, result: settle(tried, result, clock(), ledger, settings),
        ledger.pointers(clock()) if sweep else None,
        claim,
        overtaken,
        settings.dry_run,
    )


def _without_check(entry: Entry) -> Result:
    """What becomes of a task that only a hint makes due, and of which no check can be made: only imports wrote such."""
    if entry.asserted_at is None:
        return Result(Outcome.FAILED, Reason.GAVE_UP, f"{_NO_TARGET}; send a stream-end to have it deleted")
    return Result(Outcome.SCHEDULED, None, f"{_NO_TARGET}: it waits for its own time")


def settle(due: Due, result: Result, now: float, ledger: Ledger, settings: Settings) -> Result:
    """Tells the ledger what became of a task; returns the result as it is to be reported.

    ``kept`` of what is deferred says whether the ledger holds it now.
    """
    if not ledger.keeps or result.outcome is Outcome.IGNORED or (result.kept and result.outcome is Outcome.SCHEDULED):
        return result
    try:
        try:
            return _told(due, result, now, ledger, settings)
        except LedgerRefused as error:
            return result if result.outcome in _GONE else _refused(due, result, error, now, ledger)
    except LedgerError as error:
        if due.kept or result.outcome in _GONE:
            return result._replace(kept=True)  # the next sweep finds it as it was
        return Result(Outcome.DEFERRED, Reason.LEDGER_UNAVAILABLE, str(error), calls=result.calls)


def _told(due: Due, result: Result, now: float, ledger: Ledger, settings: Settings) -> Result:
    if result.outcome in _GONE:
        gone = due.entry or _known_or_unreadable(due.task, ledger)
        if gone:
            ledger.settle(gone)
        return result
    entry = due.entry or _asserted(due, ledger.read(due.task), now)
    if result.outcome is Outcome.FAILED:
        ledger.bury(_failed(entry, result, now), result, now)
        return result
    if result.outcome is Outcome.PLANNED:
        ledger.write(entry._replace(not_before=now + _HOUR))  # no failure: it only waits
        return result
    if result.reason in _FIRST_WAIT:
        entry = _failed(entry, result, now)
        if _is_time_to_give_up(entry, now, settings):
            return _given_up(entry, result, now, ledger)
        wait = min(_HOUR, _FIRST_WAIT[result.reason] * 2.0 ** min(entry.tries - 1, 8))
        ledger.write(entry._replace(not_before=now + wait))
    elif result.outcome is Outcome.SCHEDULED:
        return _checked(entry, result, now, ledger, settings)
    elif not due.kept:
        ledger.write(entry._replace(not_before=None))
    return result._replace(kept=True)


def _asserted(due: Due, known: Entry | None, now: float) -> Entry:
    """The entry of a task that a message made due, with what that message asserts."""
    return (known or Entry(due.task, known_since=now)).asserted(due.due_at, due.because)


def _is_time_to_give_up(entry: Entry, now: float, settings: Settings) -> bool:
    return entry.first_due_at is not None and now - entry.first_due_at >= settings.give_up_after_seconds


def _given_up(entry: Entry, result: Result, now: float, ledger: Ledger) -> Result:
    result = result._replace(outcome=Outcome.FAILED, reason=Reason.GAVE_UP)
    ledger.bury(entry, result, now)
    return result


def _refused(due: Due, result: Result, error: LedgerRefused, now: float, ledger: Ledger) -> Result:
    """What became of a task could not be written, and never can be: it becomes a dead letter.

    Raises:
        LedgerError: the letter cannot be written either.
    """
    detail = f"{error} (it was to be written: {result.outcome.value}: {result.detail or result.reason})"
    failed = result._replace(outcome=Outcome.FAILED, reason=Reason.LEDGER_REFUSED, detail=detail)
    entry = _failed(due.entry or _asserted(due, None, now), failed, now)
    if due.entry:
        ledger.bury(entry, failed, now)
    else:
        ledger.put_letter(entry, failed, now)  # what is stored, if anything, could not be read: it stays
    return failed


def _known_or_unreadable(task: RecordTask, ledger: Ledger) -> Entry | None:
    """What is known of a task that is gone: even an entry that nobody can read is to be forgotten."""
    try:
        return ledger.read(task)
    except LedgerRefused:
        return Entry(task)


def _failed(entry: Entry, result: Result, now: float) -> Entry:
    """The entry with one more failure; equal errors are counted."""
    code, detail = result.error_code or "", result.detail or ""
    seen = {failure.code: failure for failure in entry.failures}
    before = seen.get(code, Failure(code, detail, 0, now, now))
    seen[code] = before._replace(detail=detail, times=before.times + 1, last_at=now)
    first_due_at = now if entry.first_due_at is None else entry.first_due_at
    return entry._replace(failures=tuple(seen.values()), tries=entry.tries + 1, first_due_at=first_due_at)


def _checked(entry: Entry, result: Result, now: float, ledger: Ledger, settings: Settings) -> Result:
    """After a check that did not lead to a deletion: the stream is on air, or nobody knows; or none could be made."""
    later = now + settings.grace_seconds
    if not result.error_code:
        look_at = None if entry.asserted_at is not None else later
        ledger.write(entry._replace(look_at=look_at, not_before=None, **_NO_FAILURES))
        return result
    entry = _failed(entry, result, now)
    if not _is_time_to_give_up(entry, now, settings):
        ledger.write(entry._replace(look_at=later, not_before=None))
    elif entry.asserted_at is None:
        return _given_up(entry, result, now, ledger)
    else:
        detail = f"no check succeeded for so long that the hint is dropped: it waits for its own time ({result.detail})"
        ledger.write(entry._replace(look_at=None, not_before=None, **_NO_FAILURES))
        return result._replace(detail=detail)
    return result


_NO_FAILURES: dict[str, Any] = {"first_due_at": None, "tries": 0, "failures": ()}
