"""One task's tries, and what follows for the ledger: read, tried, settled, written."""

from __future__ import annotations

from typing_extensions import assert_never

from handler.core.attempt import attempt
from handler.core.entry import Check, Delete, Entry
from handler.core.model import Outcome, Reason, TaskResult
from handler.core.settle import DeadLetter, Forget, Leave, Save, Settlement, settle, settle_refused
from handler.core.storage import LedgerError, LedgerRefused, Stored
from handler.runtime.bugs import internal_error
from handler.runtime.context import Context
from handler.runtime.driving import drive
from handler.runtime.tally import Claim


def try_and_settle(
    step: Delete | Check,
    entry: Entry,
    stored: Stored | None,
    context: Context,
    *,
    held: bool = False,
    unread: LedgerError | None = None,
    claim: Claim | None = None,
) -> TaskResult:
    """Tries ``step``, and writes down what came of it.

    Args:
        held: the ledger holds the task as due, so that nothing is lost if nothing comes of this.
        unread: why it is not known what is stored of the task.
        claim: with which it is worked on; if it was taken over meanwhile, nothing is written.
    """
    runtime = context.runtime
    try:
        driven = drive(attempt(step, entry, runtime.random, dry_run=runtime.dry_run), stored, context)
        if claim and not context.tally.is_current(claim):
            return TaskResult(Outcome.SCHEDULED, persisted=True)
        settlement = settle(driven.ended, runtime.clock(), context.moment.rules)
        result = apply(settlement, driven.ended.entry, driven.stored, context, held=held, unread=unread)
    except LedgerError as error:
        return not_done(error)._replace(persisted=held)
    except Exception as error:  # noqa: BLE001  a bug must not lose the task
        return internal_error(error)._replace(persisted=held)
    return result._replace(latency_ms=round(driven.spent * 1000, 1)) if driven.ended.reply else result


def apply(
    settlement: Settlement,
    entry: Entry,
    stored: Stored | None,
    context: Context,
    *,
    held: bool,
    unread: LedgerError | None = None,
) -> TaskResult:
    """Writes down what follows for a task; returns the result as it is to be reported then.

    ``entry``: as it was before that.
    """
    effect, result = settlement
    try:
        try:
            return _written(settlement, stored, context, unread)
        except LedgerRefused as error:
            if not isinstance(effect, Save | DeadLetter):
                return result
            refused = settle_refused(entry, result, error, context.runtime.clock())
            return _written(refused, stored, context, unread)
    except LedgerError as error:
        if isinstance(effect, Forget) or (held and isinstance(effect, Save)):
            return result._replace(persisted=True)  # the next sweep finds it as it was
        # What has no letter yet has not failed: the next sweep, or the redelivery, tries again.
        return TaskResult(Outcome.DEFERRED, Reason.LEDGER_UNAVAILABLE, str(error), calls=result.calls, persisted=held)


def _written(settlement: Settlement, stored: Stored | None, context: Context, unread: LedgerError | None) -> TaskResult:
    (effect, result), ledger = settlement, context.runtime.ledger
    match effect:
        case Save(entry):
            if unread:
                raise unread  # what is stored there must not be overwritten unread
            is_stored = stored is not None and entry == stored.entry
            persisted = is_stored or ledger.save(entry, stored) is not None
            return result._replace(persisted=persisted)
        case Forget(task):
            if stored or unread:  # else there is nothing to forget
                ledger.forget(task, stored)
            return result
        case DeadLetter(entry, why):
            # What was never stored became known with its message: delivered again, it is the same life.
            known = entry if stored else entry._replace(created_at=None)
            ledger.put_letter(known, why, context.runtime.clock())
            if not unread:  # what could not be read is not removed
                ledger.forget(entry.task, stored)
            return result
        case Leave():
            return result._replace(persisted=True)
        case _:
            assert_never(effect)


def unwritten(error: Exception) -> TaskResult:
    """The result of what should have become a dead letter, and could not: it is delivered again."""
    return TaskResult(Outcome.DEFERRED, Reason.LEDGER_UNAVAILABLE, f"no dead letter can be kept: {error}")


def not_done(error: Exception) -> TaskResult:
    """The result of what the ledger did not do: ``failed`` if it never will."""
    if isinstance(error, LedgerRefused):
        return TaskResult(Outcome.FAILED, Reason.LEDGER_REFUSED, str(error))
    return TaskResult(Outcome.DEFERRED, Reason.LEDGER_UNAVAILABLE, str(error))
