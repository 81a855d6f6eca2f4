"""Events → what they change about one task, or why they concern none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import floor
from typing import Any, NamedTuple

from typing_extensions import assert_never

from handler.core.entry import DEFAULT_APP, Entry, same_domain
from handler.core.events import (
    CLOCK_SKEW_SECONDS,
    Event,
    Interruption,
    OtherCallback,
    RetentionExpiry,
    StreamEnd,
    Sweep,
    TaskCreated,
)
from handler.core.fields import ALL, LargeNumber
from handler.core.model import Outcome, Reason, RecordTask, Rejection, TaskResult, instant
from handler.core.settle import LARGE_NUMBER, Rules

# CSS repeats a callback for a dozen minutes (267/38080): one that is not trusted cannot claim to be older.
OLDEST_UNTRUSTED_SECONDS = 900.0
PLACES_NAMED = 3


REMEMBERED_ID_CHARACTERS = 256


class Received(NamedTuple):
    """One event of a delivery, or why there is none.

    ``number`` is its place among all of them, ``record`` that of its message among the messages; ``message_id`` names
    it in the log. ``trusted``: its source may assert: what an untrusted one says is stored, and worked on by a sweep.
    """

    number: int
    record: int
    message_id: str
    event: Event | Rejection
    trusted: bool = False

    @property
    def cause(self) -> Mapping[str, Any]:
        """What the ledger keeps of it."""
        if isinstance(self.event, Rejection):
            return {}
        fields = self.event.model_dump(exclude_none=True, by_alias=True)
        rounded = {LARGE_NUMBER: True} if was_rounded(self.event) else {}
        return {"message_id": self.message_id[:REMEMBERED_ID_CHARACTERS], "type": self.event.type, **fields, **rounded}


class Moment(NamedTuple):
    """What all decisions of one delivery are made with: unix seconds, and the deployment's times."""

    now: float
    rules: Rules


# -- whom an event concerns --------------------------------------------------------------------


def task_of(event: Event | Rejection) -> RecordTask | None:
    """The one task that an event names; None if it names none, or all of a stream."""
    if isinstance(event, (StreamEnd, RetentionExpiry, TaskCreated)) and event.task_id != ALL:
        return RecordTask(event.stream_name, event.task_id)
    return None


def stream_of(event: Event | Rejection) -> str | None:
    """The stream that an event names."""
    return getattr(event, "stream_name", None)


def was_rounded(event: Event | Rejection) -> bool:
    """Whether the id of an event may have been rounded on its way."""
    return isinstance(getattr(event, "task_id", None), LargeNumber)


def is_for_stream(event: Event | Rejection) -> bool:
    """Whether an event may concern every task that the ledger knows of its stream."""
    return isinstance(event, Interruption) or (isinstance(event, StreamEnd) and event.task_id == ALL)


class Elsewhere(NamedTuple):
    """Why a task of its stream is not meant by an event: it is registered under another place, or began later."""

    place: str | None


# -- what events change about one task ---------------------------------------------------------


class Touched(NamedTuple):
    """An event that concerns the task; ``stated_at``: the time that it states for it, where that lies ahead."""

    number: int
    stated_at: float | None


class TaskPlan(NamedTuple):
    """What the events of a delivery come to for one task."""

    entry: Entry | None
    touched: list[Touched]
    elsewhere: list[tuple[int, Elsewhere]]
    trusted: bool  # whether any of the events may act


def plan_task(task: RecordTask, known: Entry | None, received: Sequence[Received], moment: Moment) -> TaskPlan:
    """Applies the events that may concern ``task`` to what is known of it, in their order.

    Args:
        known: as the ledger has it; None if it knows nothing.
        received: all events of the delivery that name the task, or its stream.
    """
    entry, trusted = known, False
    touched: list[Touched] = []
    elsewhere: list[tuple[int, Elsewhere]] = []
    for item in received:
        change = _change(item, task, entry, moment)
        if isinstance(change, Elsewhere):
            elsewhere.append((item.number, change))
        elif change is not None:
            entry, stated_at = change
            touched.append(Touched(item.number, stated_at))
            trusted = trusted or item.trusted
    return TaskPlan(entry, touched, elsewhere, trusted)


Change = tuple[Entry, float | None]


def _change(item: Received, task: RecordTask, entry: Entry | None, moment: Moment) -> Change | Elsewhere | None:
    """What one event makes of the entry; None if it has nothing to do with the task."""
    event, now = item.event, moment.now
    named = task_of(event)
    if named is not None and named != task:
        return None
    match event:
        case StreamEnd():
            return _ended(event, item, task, entry, now)
        case RetentionExpiry():
            return _asserted(entry or Entry(task, created_at=now), event.expires_at, item, now)
        case TaskCreated():
            return _registered(event, item, entry or Entry(task, created_at=now), moment)
        case Interruption():
            return _interrupted(event, item, entry, moment)
        case OtherCallback() | Sweep() | Rejection():
            return None
        case _:
            assert_never(event)


def _ended(
    event: StreamEnd, item: Received, task: RecordTask, entry: Entry | None, now: float
) -> Change | Elsewhere | None:
    at = now if event.ended_at is None else event.ended_at
    if at <= now + CLOCK_SKEW_SECONDS:
        at = min(at, now)
    if event.task_id != ALL:
        return _asserted(entry or Entry(task, created_at=now), at, item, now)
    if entry is None:
        return None
    # What begins later is not over, however far ahead the end is said to be.
    return _not_meant(entry, event, min(at, now)) or _asserted(entry, at, item, now)


def _asserted(entry: Entry, at: float, item: Received, now: float) -> Change:
    entry = entry.asserted(at, item.cause)
    if at <= now:
        return entry._replace(retry_at=None), None  # it is wanted now, whatever failed before
    return entry, at


def _registered(event: TaskCreated, item: Received, entry: Entry, moment: Moment) -> Change:
    started_at = entry.started_at if event.start_time is None else event.start_time
    entry = entry._replace(
        domain_name=event.domain_name or entry.domain_name,
        app_name=event.app_name or entry.app_name,
        started_at=moment.now if started_at is None else started_at,
    )
    if event.expires_at is not None:
        return entry.asserted(event.expires_at, item.cause), event.expires_at
    if event.end_time is None:
        return entry, None
    at = event.end_time + moment.rules.end_margin
    return entry.asserted(at, item.cause), None if event.assumes_end else at


def _interrupted(event: Interruption, item: Received, entry: Entry | None, moment: Moment) -> Change | Elsewhere | None:
    if entry is None:
        return None
    at = min(event.event_time, moment.now)  # no interruption is known before it happens
    elsewhere = _not_meant(entry, event, at)
    if elsewhere is not None:
        return elsewhere
    believed_at = at if item.trusted else max(at, moment.now - OLDEST_UNTRUSTED_SECONDS)
    return entry.hinted(believed_at + moment.rules.grace, item.cause), None


def _not_meant(entry: Entry, event: StreamEnd | Interruption, at: float) -> Elsewhere | None:
    """Why an event for a whole stream does not mean this task of it: its domain, its app, or when it began."""
    domain = entry.domain_name
    other_domain = event.domain_name is not None and not (domain and same_domain(domain, event.domain_name))
    other_app = event.app_name is not None and (entry.app_name or DEFAULT_APP) != event.app_name
    if other_domain or other_app:
        return Elsewhere("/".join(entry.target) if entry.target else "no domain")
    # CSS counts in whole seconds. A task of unknown start is reached by its id only.
    had_started = entry.started_at is not None and floor(entry.started_at) <= at
    return None if had_started else Elsewhere(None)


# -- lines that need no work -------------------------------------------------------------------


def scheduled(entry: Entry, stated_at: float | None) -> TaskResult:
    """The line of an event whose task waits; it says so if a time that it states is later than the one that counts."""
    at = entry.due_at
    detail = f"due at {instant(at)}" if at < LATEST else "its due time is not yet known"
    kept = entry.delete_at
    if stated_at is None or kept is None or kept >= stated_at:
        return TaskResult(Outcome.SCHEDULED, None, detail)
    detail += (
        f": an earlier message says that the record may go at {instant(kept)}, and the earliest time counts: "
        f"{instant(stated_at)} changes nothing"
    )
    return TaskResult(Outcome.SCHEDULED, Reason.EARLIER_TIME_KEPT, detail)


LATEST = 1e11  # seconds: no moment that a calendar can write is later


def none_known(event: Event, elsewhere: Sequence[Elsewhere]) -> TaskResult:
    """The line of an event for a whole stream that means no task of it: it says which there are instead."""
    places = sorted({other.place for other in elsewhere if other.place is not None})
    if not elsewhere:
        detail = "the ledger knows no task of this stream"
    elif not places or any(other.place is None for other in elsewhere):
        detail = "the ledger knows tasks of this stream, but none that is known to have started by then"
    else:
        named = ", ".join(places[:PLACES_NAMED]) + (" …" if len(places) > PLACES_NAMED else "")
        domain, app = getattr(event, "domain_name", None), getattr(event, "app_name", None)
        detail = (
            f"the ledger knows tasks of this stream under {named}, none under "
            f"{domain or 'any domain'}/{app or 'any app'}"
        )
    return TaskResult(Outcome.IGNORED, Reason.NO_KNOWN_TASK, detail)


Answer = Callable[[Event, float], TaskResult | None]


def answer_with_ledger(event: Event, now: float) -> TaskResult | None:  # noqa: ARG001  one signature for both
    """What is said of an event without looking at any task; None: it concerns tasks, or asks for a sweep."""
    if isinstance(event, OtherCallback):
        detail = f"event_type {event.event_type}: only an interrupted push (0) says anything about a task"
        return TaskResult(Outcome.IGNORED, Reason.NOT_AN_INTERRUPTION, detail)
    return None


def answer_without_ledger(event: Event, now: float) -> TaskResult | None:
    """The same where no ledger is configured: only an id that is due now leads to a task."""
    match event:
        case StreamEnd():
            if event.task_id == ALL:
                detail = (
                    'task_id: "all": only a ledger (REAPER_LEDGER) knows the tasks of a stream: send the id of each'
                )
                return TaskResult(Outcome.IGNORED, Reason.NO_TASK_ID, detail)
            at = event.ended_at
            ahead = at is not None and at > now + CLOCK_SKEW_SECONDS
            return _not_due_yet("ended_at", at) if ahead and at is not None else None
        case RetentionExpiry():
            return _not_due_yet("expires_at", event.expires_at) if event.expires_at > now else None
        case TaskCreated() | Interruption() | OtherCallback() | Sweep():
            detail = f"a {event.type} only concerns tasks that a ledger holds, and REAPER_LEDGER is not set"
            return TaskResult(Outcome.IGNORED, Reason.NO_LEDGER, detail)
        case _:
            assert_never(event)


def _not_due_yet(field: str, at: float) -> TaskResult:
    detail = (
        f"{field}: {instant(at)} is in the future: a ledger (REAPER_LEDGER) would hold this until then; "
        "without one, send it when it is due"
    )
    return TaskResult(Outcome.REJECTED, Reason.NOT_DUE_YET, detail)
