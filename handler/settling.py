"""What becomes of a task before and after it is tried: claimed, forgotten, put off, buried. How is not known here."""

from __future__ import annotations

from collections.abc import Callable

from handler.ledger import Due, Entry, Failure, Ledger, LedgerError, LedgerRefused, Pointer
from handler.model import Outcome, Reason, RecordTask, Result
from handler.reaper import Work
from handler.settings import Settings

_HOUR, _DAY = 3_600.0, 86_400.0
_FIRST_WAIT: dict[Reason | None, float] = {Reason.BUSY: 300.0, Reason.TRANSIENT: 60.0, Reason.UNKNOWN: 60.0}
_NOT_ALLOWED = Result(
    Outcome.SCHEDULED, Reason.STREAM_NOT_ALLOWED, "REAPER_STREAMS does not name it any more: looked at again in a day"
)
_GONE = (Outcome.DELETED, Outcome.ALREADY_GONE)


def work(due: list[Due], sweep: bool, clock: Callable[[], float], settings: Settings, ledger: Ledger) -> Work:
    """What the reaper is to do: ``due``, and what the ledger points to if it is to ``sweep``."""

    def claim(pointer: Pointer) -> Due | None:
        now = clock()
        entry = ledger.follow(pointer, now)
        if entry is None or entry.due_at is None:
            return None
        allowed = settings.concerns(entry.task.stream_name)
        look = entry.needs_look(now)
        return Due(entry.task, entry.due_at, entry, look, True, entry.because, None if allowed else _NOT_ALLOWED)

    def still_due(looked_at: Due) -> bool:
        """Whether the hint that was looked into is the last one. May raise a LedgerError."""
        entry, hint = ledger.read(looked_at.task), looked_at.entry
        if entry is None or hint is None or entry.look_at is None:
            return True  # forgotten meanwhile, or nobody has written the hint yet: there is no later one
        return entry.look_at <= (hint.look_at or 0.0) or entry.is_due(clock())

    return Work(
        due,
        lambda tried, result: settle(tried, result, clock(), ledger, settings),
        ledger.pointers(clock()) if sweep else None,
        claim,
        still_due,
        settings.dry_run,
    )


def settle(due: Due, result: Result, now: float, ledger: Ledger, settings: Settings) -> Result:
    """Tells the ledger what became of a task; returns the result as it is to be reported.

    ``kept`` of what is deferred says whether the ledger holds it now.
    """
    if not ledger.keeps or (result.kept and result.outcome is Outcome.SCHEDULED):
        return result
    try:
        return _told(due, result, now, ledger, settings)
    except LedgerRefused as error:
        if result.outcome in _GONE:
            return result
        told = f"{error} (it was to be told: {result.outcome.value}: {result.detail or result.reason})"
        return result._replace(outcome=Outcome.FAILED, reason=Reason.LEDGER_REFUSED, detail=told)
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
    known = due.entry or ledger.read(due.task)
    entry = known or Entry(due.task, known_since=now)
    if not due.look:
        entry = entry.asserted(due.due_at, due.because)
    if result.outcome is Outcome.SCHEDULED:
        ledger.write(_put_off(entry, result, now, settings))
        return result
    if result.outcome is Outcome.FAILED:
        ledger.bury(_failed(entry, result, now), result, now)
        return result
    if result.reason in _FIRST_WAIT:
        entry = _failed(entry, result, now)
        if now - (entry.first_due_at or 0.0) >= settings.give_up_after_seconds:
            result = result._replace(outcome=Outcome.FAILED, reason=Reason.GAVE_UP)
            ledger.bury(entry, result, now)
            return result
        wait = min(_HOUR, _FIRST_WAIT[result.reason] * 2.0 ** min(entry.tries - 1, 8))
        ledger.write(entry._replace(not_before=now + wait))
    elif not due.kept:
        ledger.write(entry._replace(not_before=None))
    return result._replace(kept=True)


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


def _put_off(entry: Entry, result: Result, now: float, settings: Settings) -> Entry:
    """Not to be touched now: the stream is on air, or is no longer this deployment's business."""
    if result.reason is Reason.STREAM_NOT_ALLOWED:
        return entry._replace(not_before=now + _DAY)
    look_at = None if entry.asserted_at is not None else now + settings.grace_seconds
    return entry._replace(look_at=look_at, not_before=None, first_due_at=None, tries=0, failures=())
