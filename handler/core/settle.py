"""How the tries of a task ended → what is written down of it, and the line that reports it."""

from __future__ import annotations

from typing import NamedTuple

from typing_extensions import assert_never

from handler.core.attempt import End, Ended, Reply, Unsent
from handler.core.entry import Entry
from handler.core.model import SUCCESSES, Outcome, Reason, RecordTask, TaskResult
from handler.core.policy import policy_of, postponement

PLANNED_AGAIN_SECONDS = 3_600.0
LARGE_NUMBER = "large_number"  # of a cause: its task id came as a JSON number above 2^53


class Rules(NamedTuple):
    """What a deployment decides about times, in seconds: ``REAPER_…_SECONDS``."""

    end_margin: float
    grace: float
    give_up_after: float


# -- the one effect on the ledger --------------------------------------------------------------


class Save(NamedTuple):
    """Store ``entry`` in the place of what is stored of its task; where that is equal, nothing is written."""

    entry: Entry


class Forget(NamedTuple):
    """The task is gone: remove what is stored of it."""

    task: RecordTask


class DeadLetter(NamedTuple):
    """The task cannot be deleted: put it aside with all its errors, and remove what is stored of it."""

    entry: Entry
    why: TaskResult


class Leave(NamedTuple):
    """Another invocation wrote to the record meanwhile: it stays as it is."""

    task: RecordTask


Effect = Save | Forget | DeadLetter | Leave


class Settlement(NamedTuple):
    """What is to be written of a task, and what is reported once it is."""

    effect: Effect
    result: TaskResult


# -- decisions ---------------------------------------------------------------------------------


def settle(ended: Ended, now: float, rules: Rules) -> Settlement:
    """What follows from how the tries of a task ended. ``now``: unix seconds."""
    entry = ended.entry
    match ended.how:
        case End.ANSWERED:
            return _after_deletion(entry, _reply(ended), ended, now, rules)
        case End.NOT_OFF_AIR:
            return _after_check(entry, _reply(ended), ended, now, rules)
        case End.UNTRIED:
            unsent = ended.unsent or Unsent(Reason.OUT_OF_TIME, "not sent")
            return Settlement(
                Save(entry), TaskResult(Outcome.DEFERRED, unsent.reason, unsent.detail, calls=ended.calls)
            )
        case End.PLANNED:
            planned = TaskResult(Outcome.PLANNED, Reason.DRY_RUN, calls=ended.calls or None)
            return Settlement(Save(entry._replace(retry_at=now + PLANNED_AGAIN_SECONDS)), planned)
        case End.OVERTAKEN:
            overtaken = TaskResult(Outcome.SCHEDULED, None, ended.how.value, calls=ended.calls)
            return Settlement(Leave(entry.task), overtaken)
        case End.FORGOTTEN:
            forgotten = TaskResult(Outcome.IGNORED, Reason.NO_KNOWN_TASK, ended.how.value, calls=ended.calls)
            return Settlement(Leave(entry.task), forgotten)
        case _:
            assert_never(ended.how)


def settle_without_check(entry: Entry, now: float) -> Settlement:
    """What becomes of a task that only a hint makes due, and of which no check can be made: only imports wrote such."""
    detail = "no check can be made, because the task is registered without a domain_name"
    if entry.delete_at is None:
        gave_up = TaskResult(Outcome.FAILED, Reason.GAVE_UP, f"{detail}; send a stream-end to have it deleted")
        return Settlement(DeadLetter(entry, gave_up), gave_up)
    waits = TaskResult(Outcome.SCHEDULED, None, f"{detail}: it waits for its own time")
    return Settlement(Save(_cleared(entry)._replace(check_at=None, checked_at=now)), waits)


def settle_refused(entry: Entry, result: TaskResult, error: Exception, now: float) -> Settlement:
    """What becomes of a task whose entry the ledger refuses to store, now and for good."""
    detail = f"{error} (it was to be written: {result.outcome.value}: {result.detail or result.reason})"
    failed = result._replace(outcome=Outcome.FAILED, reason=Reason.LEDGER_REFUSED, detail=detail)
    return Settlement(DeadLetter(_failed(entry, failed, now), failed), failed)


def _after_deletion(entry: Entry, reply: Reply, ended: Ended, now: float, rules: Rules) -> Settlement:
    policy = policy_of(reply.error_class)
    reason = policy.reason
    if reason is Reason.NOT_FOUND and ended.ambiguous:
        reason = Reason.AFTER_RETRY
    result = _answered(policy.outcome, reason, reply, ended.calls)
    if reason is Reason.NOT_FOUND and (entry.cause or {}).get(LARGE_NUMBER):
        rounded = "the id came as a JSON number above 2^53, which JavaScript rounds: send it as a string"
        result = result._replace(detail=f"{result.detail}: {rounded}" if result.detail else rounded)
    if policy.outcome in SUCCESSES:
        return Settlement(Forget(entry.task), result)
    if policy.outcome is Outcome.FAILED:
        return Settlement(DeadLetter(_failed(entry, result, now), result), result)
    if policy.postpone is None:
        return Settlement(Save(entry), result)
    entry = _failed(entry, result, now)
    if _is_time_to_give_up(entry, now, rules):
        return _given_up(entry, result)
    return Settlement(Save(entry._replace(retry_at=now + postponement(policy.postpone, entry.attempts))), result)


def _after_check(entry: Entry, reply: Reply, ended: Ended, now: float, rules: Rules) -> Settlement:
    """On air, forbidden, or not known: all count as on air for this time."""
    result = _answered(Outcome.SCHEDULED, Reason.STREAM_IS_LIVE, reply, ended.calls)
    again_at = now + rules.grace
    if reply.error_class is None:
        check_at = None if entry.delete_at is not None else again_at
        return Settlement(Save(_cleared(entry)._replace(check_at=check_at, checked_at=now)), result)
    entry = _failed(entry, result, now)
    if not _is_time_to_give_up(entry, now, rules):
        return Settlement(Save(entry._replace(check_at=again_at, retry_at=None)), result)
    if entry.delete_at is None:
        return _given_up(entry, result)
    detail = f"no check succeeded for so long that the hint is dropped: it waits for its own time ({result.detail})"
    dropped = _cleared(entry)._replace(check_at=None, checked_at=now)
    return Settlement(Save(dropped), result._replace(detail=detail))


def _answered(outcome: Outcome, reason: Reason | None, reply: Reply, calls: int) -> TaskResult:
    error_class = reply.error_class.value if reply.error_class else None
    return TaskResult(
        outcome,
        reason,
        reply.detail,
        error_code=reply.error_code,
        error_class=error_class,
        calls=calls,
        live_request_id=reply.request_id,
    )


def _reply(ended: Ended) -> Reply:
    assert ended.reply is not None  # noqa: S101  it ended with an answer
    return ended.reply


def _failed(entry: Entry, result: TaskResult, now: float) -> Entry:
    return entry.failed(result.error_code or "", result.detail or "", now)


def _cleared(entry: Entry) -> Entry:
    return entry._replace(retry_at=None, failures=())


def _is_time_to_give_up(entry: Entry, now: float, rules: Rules) -> bool:
    return entry.failing_since is not None and now - entry.failing_since >= rules.give_up_after


def _given_up(entry: Entry, result: TaskResult) -> Settlement:
    result = result._replace(outcome=Outcome.FAILED, reason=Reason.GAVE_UP)
    return Settlement(DeadLetter(entry, result), result)
