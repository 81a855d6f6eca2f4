"""One item of a batch, from what is stored to what is written: read, decide, try, settle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from typing_extensions import assert_never

from handler.core.entry import Check, Delete, Entry, Step, Wait, Why, next_step
from handler.core.model import SUCCESSES, Outcome, Reason, TaskResult
from handler.core.plan import Elsewhere, TaskPlan, plan_task, scheduled
from handler.core.settle import (
    Save,
    Settlement,
    settle_without_check,
)
from handler.core.storage import EntryUnreadable, IndexKey, LedgerError, LedgerRefused, Stored
from handler.runtime.bugs import internal_error
from handler.runtime.context import Context
from handler.runtime.queue import LetterWork, TaskWork, Work
from handler.runtime.tally import Claim, OwnResult
from handler.runtime.trying import apply, not_done, try_and_settle, unwritten

UNAVAILABLE_AT_FIRST = 8  # index keys that the ledger could not follow, and none that it could: it is out of order
_NOT_ALLOWED = TaskResult(
    Outcome.SCHEDULED,
    Reason.STREAM_NOT_ALLOWED,
    "REAPER_STREAMS does not name it: it stays due as it is",
    persisted=True,
)


def process(work: Work, context: Context) -> None:
    """Works on one item, and notes what came of it. Never raises."""
    match work:
        case TaskWork():
            _task(work, context)
        case IndexKey():
            _index_key(work, context)
        case LetterWork(record, details):
            try:
                context.put_message_letter(record, details, "")
                context.tally.wrote_letter(record)
            except LedgerError as error:
                context.tally.could_not_write(record, error)
        case _:
            assert_never(work)


# -- a task that messages concern --------------------------------------------------------------


def _task(work: TaskWork, context: Context) -> None:
    numbers: Iterable[int] = [item.number for item in work.received]
    elsewhere: Sequence[tuple[int, Elsewhere]] = ()
    lag = None
    try:
        stored, unread = _load(work, context)
        plan = plan_task(work.task, stored.entry if stored else None, work.received, context.moment)
        if unread and not _is_carried_out_unread(plan, context):
            raise unread  # noqa: TRY301  the same follows as where it cannot be written
        if plan.entry is None or not plan.touched:
            context.tally.concerns_none(work.task, plan.elsewhere)
            return
        numbers, elsewhere = [item.number for item in plan.touched], plan.elsewhere
        result, parts = _planned(plan.entry, plan, stored, unread, context)
        lag = _lag(plan.entry, result, context)
    except LedgerError as error:
        result = _not_written_down(work, error, context)
        parts = [(number, result) for number in numbers]
    except Exception as error:  # noqa: BLE001  a bug must not lose the task
        result = internal_error(error)
        parts = [(number, None) for number in numbers]
    context.tally.finish(work.task, result, parts, elsewhere, lag)


def _load(work: TaskWork, context: Context) -> tuple[Stored | None, LedgerError | None]:
    """What is stored of the task, or why it cannot be read."""
    try:
        return context.runtime.ledger.load(work.task), None
    except LedgerError as error:
        return None, error


def _is_carried_out_unread(plan: TaskPlan, context: Context) -> bool:
    """Whether a message says that the record of a task may go now: it is deleted, whatever is stored of it."""
    entry = plan.entry
    return entry is not None and plan.trusted and isinstance(next_step(entry, context.moment.now), Delete)


def _planned(
    entry: Entry,
    plan: TaskPlan,
    stored: Stored | None,
    unread: LedgerError | None,
    context: Context,
) -> tuple[TaskResult, list[tuple[int, OwnResult]]]:
    """What came of a task that messages concern, and of each of these.

    Raises:
        LedgerError: it could not be written down.
    """
    step = next_step(entry, context.moment.now) if plan.trusted else Wait(entry.due_at, Why.NOT_DUE)
    tried: list[tuple[int, OwnResult]] = [(item.number, None) for item in plan.touched]
    match step:
        case Delete():
            held = stored is not None and entry == stored.entry
            return try_and_settle(step, entry, stored, context, held=held, unread=unread), tried
        case Check():
            # What a check is to decide on has to be stored before: it is read again after the check.
            stored = _stored(entry, stored, context)
            return try_and_settle(step, entry, stored, context, held=True), tried
        case Wait():
            _stored(entry, stored, context)
            return scheduled(entry, None), [(item.number, scheduled(entry, item.stated_at)) for item in plan.touched]
        case _:
            assert_never(step)


def _stored(entry: Entry, stored: Stored | None, context: Context) -> Stored | None:
    """Stores ``entry`` in the place of ``stored``, if it is not the same; returns what is stored then."""
    if stored is not None and entry == stored.entry:
        return stored
    return context.runtime.ledger.save(entry, stored)


def _not_written_down(work: TaskWork, error: LedgerError, context: Context) -> TaskResult:
    """The result of a task whose record cannot be read or written: its messages become dead letters if it never can.

    Those of an untrusted source do not: unauthenticated callers must not be able to fill the ledger.
    """
    result = not_done(error)
    if not isinstance(error, LedgerRefused):
        return result
    try:
        for record in sorted({item.record for item in work.received if item.trusted}):
            # What each event says is in the details, too: COS may refuse the body.
            said = [json.dumps(item.cause) for item in work.received if item.record == record]
            about = f"{work.task.stream_name} {work.task.task_id}"
            context.put_message_letter(record, [f"{about}: {error}", *said], about)
    except LedgerError as refused:
        return unwritten(refused)
    return result


def _lag(entry: Entry | None, result: TaskResult, context: Context) -> float | None:
    """Seconds from when a task was due until it is known to be gone; None if it is not."""
    return context.runtime.clock() - entry.due_at if entry and result.outcome in SUCCESSES else None


# -- a task that an index key leads to ---------------------------------------------------------


def _index_key(key: IndexKey, context: Context) -> None:
    runtime, tally, queue = context.runtime, context.tally, context.queue
    now = runtime.clock()
    try:
        resolved = runtime.ledger.resolve(key, now)
    except EntryUnreadable as error:
        queue.followed(key, found=True)  # the ledger answers: only this one cannot be read
        _postpone_unreadable(key, error, now, context)
        return
    except Exception as error:  # noqa: BLE001  the ledger does not answer
        queue.followed(key)
        failed = tally.could_not_follow(key, error, unreadable=False)
        if failed >= UNAVAILABLE_AT_FIRST and not queue.any_followed:
            queue.stop()
        return
    queue.followed(key, found=True)
    if resolved is None:
        return
    entry, stored = resolved.entry, resolved.stored
    step = next_step(entry, now)
    claim = _claim(step, entry, now, context)
    if claim is None:
        return
    tally.hold(entry.task)
    try:
        result = _swept(step, entry, stored, claim, context)
    except Exception as error:  # noqa: BLE001  a bug must not lose the task
        result = internal_error(error)._replace(persisted=True)
    tally.finish(entry.task, result, lag=_lag(entry, result, context), claim=claim)


def _claim(step: Step, entry: Entry, now: float, context: Context) -> Claim | None:
    """The right to work on a task that is due; None if it is taken in this batch, or another deployment's."""
    runtime, tally = context.runtime, context.tally
    may_delete = isinstance(step, Delete)
    if runtime.allows(entry.task.stream_name):
        return tally.claim_swept(entry.task, entry.due_at, may_delete=may_delete)
    if runtime.others.is_time_for(entry.task, now):
        claim = tally.claim_swept(entry.task, entry.due_at, may_delete=may_delete)
        if claim:
            tally.finish(entry.task, _NOT_ALLOWED, claim=claim)
    return None


def _postpone_unreadable(key: IndexKey, error: EntryUnreadable, now: float, context: Context) -> None:
    """An entry that cannot be read stays where it is, and comes again in an hour: it stops no other."""
    context.tally.could_not_follow(key, error, unreadable=True)
    try:
        context.runtime.ledger.postpone_unreadable(key, error, now, context.moment.rules.give_up_after)
    except LedgerError as unavailable:
        context.tally.could_not_follow(key, unavailable, unreadable=False)


def _swept(step: Step, entry: Entry, stored: Stored, claim: Claim, context: Context) -> TaskResult:
    match step:
        case Wait(_, Why.CANNOT_CHECK):
            settlement = settle_without_check(entry, context.runtime.clock())
            return apply(settlement, entry, stored, context, held=True)
        case Wait():
            return scheduled(entry, None)  # the clock was set back since the key was resolved
        case Delete():
            return try_and_settle(step, entry, stored, context, held=True, claim=claim)
        case Check():
            if entry == stored.entry:
                return try_and_settle(step, entry, stored, context, held=True, claim=claim)
            # A hint that only the index key still knew is stored before it is followed: the next sweep does.
            return apply(Settlement(Save(entry), scheduled(entry, None)), entry, stored, context, held=True)
        case _:
            assert_never(step)
