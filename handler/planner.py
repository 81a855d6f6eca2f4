"""Event → which task is due when, or why nothing is. How a deletion is made is not known here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from handler import messages
from handler.ledger import Due, Ledger
from handler.messages import CLOCK_SKEW_SECONDS, Event, RetentionExpiry, StreamEnd
from handler.model import Line, Outcome, Reason, RecordTask, Rejection, Result
from handler.settings import Settings
from handler.triggers import Delivery


@dataclass(frozen=True, slots=True)
class Planned:
    """One message's part of the plan: what it was, and the task that it wants deleted or its result."""

    message_id: str
    event: Event | Rejection
    decision: Due | Result


def plan(delivery: Delivery, now: float, settings: Settings, ledger: Ledger) -> list[Planned]:
    """Decides on every message of ``delivery``, in order, and schedules in ``ledger`` what is due."""
    planned = []
    for message in delivery.messages:
        events = list(messages.read(message.body, now))
        for number, event in enumerate(events):
            decision = event.result() if isinstance(event, Rejection) else decide(event, now, settings, ledger)
            if isinstance(decision, Due):
                ledger.schedule(decision)
            message_id = f"{message.id}#{number}" if len(events) > 1 else message.id
            planned.append(Planned(message_id, event, decision))
    return planned


def lines(planned: list[Planned], results: Mapping[RecordTask, Result]) -> Iterator[Line]:
    """One line for each message, with the results of the tasks filled in.

    A task that several messages named was worked on once: the others say ``duplicate``.
    """
    told = set()
    for item in planned:
        result = item.decision
        if isinstance(result, Due):
            task, result = result.task, results[result.task]
            if task in told:
                result = replace(result, reason=Reason.DUPLICATE, calls=None, latency_ms=None)
            told.add(task)
        yield _line(item, result)


def _line(item: Planned, result: Result) -> Line:
    if isinstance(item.event, Rejection):
        return Line(item.message_id, item.event.event, item.event.stream_name, None, result)
    return Line(item.message_id, item.event.type, *messages.subject(item.event), result)


def decide(event: Event, now: float, settings: Settings, ledger: Ledger) -> Due | Result:
    """What ``event`` asks for: a task that is due at some time, or the result that ends its line.

    Assertions (``stream-end``, ``retention-expiry``) are acted on. All the rest needs a ledger that keeps.
    """
    stream_name, _ = messages.subject(event)
    if stream_name is not None and not settings.concerns(stream_name):
        return _ignored(
            Reason.STREAM_NOT_ALLOWED, f"REAPER_STREAMS={','.join(settings.streams)} does not name this stream"
        )
    if isinstance(event, StreamEnd):
        return _stream_end(event, now)
    if isinstance(event, RetentionExpiry):
        return _retention_expiry(event, now, ledger)
    return _ignored(
        Reason.NO_LEDGER, f"a {event.type} only concerns tasks that a ledger holds, and REAPER_LEDGER is not set"
    )


def _stream_end(event: StreamEnd, now: float) -> Due | Result:
    if event.ended_at is not None and event.ended_at > now + CLOCK_SKEW_SECONDS:
        return _not_due_yet(f"ended_at: {_instant(event.ended_at)} is in the future: that stream has not ended")
    if event.task_id is None:
        return _ignored(Reason.NO_TASK_ID, "without a ledger nobody knows the tasks of this stream: send task_id")
    due_at = now if event.ended_at is None else min(event.ended_at, now)
    return Due(RecordTask(event.stream_name, event.task_id), due_at)


def _retention_expiry(event: RetentionExpiry, now: float, ledger: Ledger) -> Due | Result:
    due_at = now if event.expires_at is None else event.expires_at
    if due_at > now and not ledger.keeps:
        return _not_due_yet(
            f"expires_at: {_instant(due_at)} is in the future: a ledger (REAPER_LEDGER) would hold this until then; "
            "without one, send it when it is due"
        )
    return Due(RecordTask(event.stream_name, event.task_id), due_at)


def _instant(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _ignored(reason: Reason, detail: str) -> Result:
    return Result(Outcome.IGNORED, reason, detail)


def _not_due_yet(detail: str) -> Result:
    return Result(Outcome.REJECTED, Reason.NOT_DUE_YET, detail)
