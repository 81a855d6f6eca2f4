"""Event → which task is due when, or why nothing is. How a deletion is made is not known here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import chain

from handler import messages
from handler.ledger import Due, Ledger
from handler.messages import CLOCK_SKEW_SECONDS, Event, RetentionExpiry, StreamEnd
from handler.model import Line, Outcome, Reason, RecordTask, Rejection, Result
from handler.settings import Settings
from handler.triggers import Delivery, Message


@dataclass(frozen=True, slots=True)
class Planned:
    """One message's part of the plan: what it was, and the task that it wants deleted or its result."""

    message_id: str
    event: Event | Rejection
    decision: Due | Result


@dataclass(slots=True)
class Plan:
    """What is to be done for a delivery. Beyond so many rejections, further ones are only counted."""

    planned: list[Planned] = field(default_factory=list)
    rejected: int = 0
    more_rejected: int = 0

    def add(self, message_id: str, event: Event | Rejection, decision: Due | Result) -> None:
        if isinstance(event, Rejection):
            self.rejected += 1
            if self.rejected > REJECTIONS_TOLD:
                self.more_rejected += 1
                return
        self.planned.append(Planned(message_id, event, decision))


# As many as the log has room for: an event of 6 MB may hold three million that are not worth their memory.
REJECTIONS_TOLD = 3_000


def plan(delivery: Delivery, now: float, settings: Settings, ledger: Ledger, in_time: Callable[[], bool]) -> Plan:
    """Decides on every message of ``delivery``, in order, and schedules in ``ledger`` what is due.

    ``in_time`` says whether there is time to read on; what is left unread is one deferred line.
    """
    made = Plan()
    for number, message in enumerate(delivery.messages):
        for message_id, event in _numbered(message, now):
            decision = event.result() if isinstance(event, Rejection) else decide(event, now, settings, ledger)
            if isinstance(decision, Due):
                ledger.schedule(decision)
            made.add(message_id, event, decision)
            if not in_time():
                detail = f"{message_id} was the last one read, in record {number + 1} of {len(delivery.messages)}"
                unread = Result(Outcome.DEFERRED, Reason.OUT_OF_TIME, f"too large for the time: {detail}", calls=0)
                made.planned.insert(0, Planned(message.id, Rejection(Reason.OUT_OF_TIME, detail), unread))
                return made
    return made


def _numbered(message: Message, now: float) -> Iterator[tuple[str, Event | Rejection]]:
    """The events of one message, each with an id of its own."""
    events = messages.read(message.body, now)
    first, second = next(events), next(events, None)
    if second is None:
        yield message.id, first
        return
    for number, event in enumerate(chain((first, second), events)):
        yield f"{message.id}#{number}", event


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
