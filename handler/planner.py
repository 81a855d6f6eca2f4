"""Event → which task is due when, or why nothing is. How a deletion is made is not known here.

An assertion (``stream-end``, ``retention-expiry``) is acted on as soon as it is due. A hint (an interrupted push)
only ever leads to a look, after a grace period, at tasks that the ledger knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import chain
from math import floor
from typing import Any, NamedTuple

from handler import messages
from handler.ledger import Due, Entry, Ledger, LedgerError, LedgerRefused
from handler.messages import (
    CLOCK_SKEW_SECONDS,
    Event,
    Interruption,
    OtherCallback,
    RetentionExpiry,
    StreamEnd,
    Sweep,
    TaskCreated,
)
from handler.model import Line, Outcome, Reason, RecordTask, Rejection, Report, Result
from handler.settings import Settings
from handler.triggers import Delivery, Message

# As many as the log has room for: an event of 6 MB may hold three million that are not worth their memory.
REJECTIONS_TOLD = 3_000
# CSS repeats a callback for a dozen minutes (267/38080): one over HTTP that claims to be older is not to be believed.
LATEST_CALLBACK_SECONDS = 900.0
DETAILS_BURIED = 20

# -- what was asked ----------------------------------------------------------------------------


class Asked(NamedTuple):
    """One event of one message, with an id of its own; ``number`` is its place in the delivery."""

    number: int
    id: str
    event: Event | Rejection
    message: Message

    @property
    def because(self) -> dict[str, Any]:
        """What the ledger remembers of it."""
        if isinstance(self.event, Rejection):
            return {}
        fields = self.event.model_dump(exclude_none=True, by_alias=True)
        return {"message_id": self.id, "type": self.event.type, **fields}


@dataclass(eq=False, repr=False, slots=True)
class Reading:
    """All that a delivery asks for. Beyond so many rejections, further ones of the same message are only counted."""

    asked: list[Asked] = field(default_factory=list)
    more_rejected: int = 0
    unread: Result | None = None

    @property
    def messages(self) -> int:
        return len(self.asked) + self.more_rejected


def read(delivery: Delivery, now: float, in_time: Callable[[], bool]) -> Reading:
    """Every event of ``delivery``, in order. ``in_time`` says whether there is time to read on."""
    reading, rejected = Reading(), 0
    for number, message in enumerate(delivery.messages):
        first = True
        for event_id, event in _numbered(message, now):
            rejected += isinstance(event, Rejection)
            if isinstance(event, Rejection) and rejected > REJECTIONS_TOLD and not first:
                reading.more_rejected += 1
            else:
                first = first and not isinstance(event, Rejection)
                reading.asked.append(Asked(len(reading.asked), event_id, event, message))
            if not in_time():
                where = f"{event_id} was the last one read, in record {number + 1} of {len(delivery.messages)}"
                reading.unread = Result(
                    Outcome.DEFERRED, Reason.OUT_OF_TIME, f"too large for the time: {where}", calls=0
                )
                return reading
    return reading


def _numbered(message: Message, now: float) -> Iterator[tuple[str, Event | Rejection]]:
    """The events of one message, each with an id of its own."""
    events = messages.read(message.body, now)
    first, second = next(events), next(events, None)
    if second is None:
        yield message.id, first
        return
    for number, event in enumerate(chain((first, second), events)):
        yield f"{message.id}#{number}", event


def groups(asked: list[Asked]) -> list[list[Asked]]:
    """What must be decided one after the other, because it concerns one stream, or one message that is not valid."""
    found: dict[tuple[str, str], list[Asked]] = {}
    for item in asked:
        if isinstance(item.event, Rejection):
            key = ("message", item.message.id)
        else:
            stream_name, _ = messages.subject(item.event)
            key = ("event", str(item.number)) if stream_name is None else ("stream", stream_name)
        found.setdefault(key, []).append(item)
    return list(found.values())


# -- what is decided ---------------------------------------------------------------------------


class Part(NamedTuple):
    """One line to come: of one task, or of an event that concerns none."""

    task: RecordTask | None
    decision: Due | Result


Parts = dict[int, list[Part]]  # by the number of what was asked


class Planner:
    """Decides on events of one stream in their order, and once all are heard, on their tasks."""

    def __init__(self, now: float, settings: Settings, ledger: Ledger, acts: bool = True) -> None:
        """
        Args:
            now: unix seconds.
            acts: what is due now is worked on at once; otherwise it waits for the next sweep.
        """
        self._acts = acts
        self._now, self._settings, self._ledger = now, settings, ledger
        self._known: dict[RecordTask, Entry] = {}  # as the ledger has them
        self._entries: dict[RecordTask, Entry] = {}  # as the events change them
        self._asserted: dict[RecordTask, Due] = {}  # what is due now, whatever the ledger knows of it
        self._unreadable: list[LedgerRefused] | None = None  # of the stream; None: it was not listed yet

    @classmethod
    def of(cls, now: float, settings: Settings, ledger: Ledger, acts: bool) -> Callable[[list[Asked]], Parts]:
        """What decides on a group of events, and forgets them."""
        return lambda asked: cls(now, settings, ledger, acts).decide(asked)

    def decide(self, asked: list[Asked]) -> Parts:
        """The parts of each event. What the ledger does not do becomes their result. Never raises a LedgerError."""
        parts: Parts = {}
        for item in asked:
            try:
                parts[item.number] = self._parts(item)
            except LedgerRefused as error:
                parts[item.number] = [Part(None, self._refused([item], error))]
            except LedgerError as error:
                return {item.number: [Part(None, _not_done(error))] for item in asked}
        rejected = [item for item in asked if isinstance(item.event, Rejection)]
        try:
            self._bury(rejected, [item.event.detail for item in rejected if isinstance(item.event, Rejection)])
        except LedgerError as error:
            return {item.number: [Part(None, _not_done(error))] for item in asked}
        decided: dict[RecordTask, Due | Result] = {}
        for of_event in parts.values():  # in place: a delivery may name ten thousand tasks
            for place, part in enumerate(of_event):
                if part.task:
                    if part.task not in decided:
                        decided[part.task] = self._decision(part.task, asked, parts)
                    of_event[place] = Part(part.task, decided[part.task])
        return parts

    def _decision(self, task: RecordTask, asked: list[Asked], parts: Parts) -> Due | Result:
        """What all events together mean for one task: to be worked on now, or written down."""
        entry, due = self._entries.get(task), self._asserted.get(task)
        if due is not None:
            return due if entry is None else due._replace(entry=entry)
        assert entry is not None  # noqa: S101  one of the two named it
        if entry.is_due(self._now) and self._acts:
            look = entry.needs_look(self._now)
            return Due(task, entry.due_at or 0.0, entry, look, because=entry.because)
        if entry != self._known.get(task):
            try:
                self._ledger.write(entry)
            except LedgerRefused as error:
                about = [item for item in asked if any(part.task == task for part in parts[item.number])]
                return self._refused(about, error)
            except LedgerError as error:
                return _not_done(error)
        detail = "its due time is not yet known" if entry.due_at is None else f"due at {_instant(entry.due_at)}"
        return Result(Outcome.SCHEDULED, None, detail)

    def _refused(self, asked: list[Asked], error: LedgerRefused) -> Result:
        """The ledger refuses for good what these events ask for: they are kept as dead letters, where it lets us."""
        for message_id in dict.fromkeys(item.message.id for item in asked):
            with suppress(LedgerError):
                self._bury([item for item in asked if item.message.id == message_id], [str(error)])
        return _not_done(error)

    def _bury(self, asked: list[Asked], details: list[str]) -> None:
        # What comes over HTTP is told, but not kept: the ledger is not for anybody to fill.
        if asked and self._ledger.keeps and self._acts:
            message = asked[0].message
            self._ledger.bury_message(message.id, message.whole, details[:DETAILS_BURIED], self._now)

    def _parts(self, asked: Asked) -> list[Part]:
        event = asked.event
        if isinstance(event, Rejection):
            return [Part(None, event.result())]
        stream_name, _ = messages.subject(event)
        if stream_name is not None and not self._settings.concerns(stream_name):
            globs = ",".join(self._settings.streams)
            return [_ignored(Reason.STREAM_NOT_ALLOWED, f"REAPER_STREAMS={globs} does not name it")]
        if isinstance(event, StreamEnd):
            return self._stream_end(event, asked)
        if isinstance(event, RetentionExpiry):
            task = RecordTask(event.stream_name, event.task_id)
            return [self._assert(task, event.expires_at, "expires_at", asked)]
        if not self._ledger.keeps:
            detail = f"a {event.type} only concerns tasks that a ledger holds, and REAPER_LEDGER is not set"
            return [_ignored(Reason.NO_LEDGER, detail)]
        if isinstance(event, TaskCreated):
            return [self._remember(event, asked)]
        if isinstance(event, Interruption):
            return self._hint(event, asked)
        if isinstance(event, OtherCallback):
            detail = f"event_type {event.event_type}: only an interrupted push (0) says anything about a task"
            return [_ignored(Reason.NOT_AN_INTERRUPTION, detail)]
        return []  # a sweep: its lines are those of its tasks

    def _stream_end(self, event: StreamEnd, asked: Asked) -> list[Part]:
        at = self._now if event.ended_at is None else event.ended_at
        if self._now < at <= self._now + CLOCK_SKEW_SECONDS:
            at = self._now
        if isinstance(event.task_id, int):
            return [self._assert(RecordTask(event.stream_name, event.task_id), at, "ended_at", asked)]
        if not self._ledger.keeps:
            return [
                _ignored(
                    Reason.NO_TASK_ID, "without a ledger nobody knows the tasks of this stream: send the id of each"
                )
            ]
        known = [entry for entry in self._of_stream(event.stream_name) if _had_started(entry, at)]
        parts = [self._assert(entry.task, at, "ended_at", asked) for entry in known]
        return parts + self._not_read(asked) or [_none_known()]

    def _assert(self, task: RecordTask, at: float, field: str, asked: Asked) -> Part:
        because = asked.because if self._ledger.keeps else None
        if at > self._now:
            if not self._ledger.keeps:
                detail = (
                    f"{field}: {_instant(at)} is in the future: a ledger (REAPER_LEDGER) would hold this until then; "
                    "without one, send it when it is due"
                )
                return Part(None, Result(Outcome.REJECTED, Reason.NOT_DUE_YET, detail))
            entry = self._entry(task)
            started_at = self._now if entry.started_at is None else entry.started_at
            return self._keep(entry.asserted(at, because)._replace(started_at=started_at))
        before = self._asserted.get(task)
        if before is None or at < before.due_at:
            self._asserted[task] = Due(task, at, because=because)
        return _of(task)

    def _remember(self, event: TaskCreated, asked: Asked) -> Part:
        entry = self._entry(RecordTask(event.stream_name, event.task_id))
        started_at = entry.started_at if event.start_time is None else event.start_time
        entry = entry._replace(
            domain_name=event.domain_name or entry.domain_name,
            app_name=event.app_name or entry.app_name,
            started_at=self._now if started_at is None else started_at,
        )
        at = event.expires_at
        if at is None and event.end_time is not None:
            at = event.end_time + self._settings.end_margin_seconds
        return self._keep(entry if at is None else entry.asserted(at, asked.because))

    def _hint(self, event: Interruption, asked: Asked) -> list[Part]:
        where = (event.domain_name, event.app_name)
        at = min(event.event_time, self._now)  # no interruption is known before it happens
        if not self._acts:
            at = max(at, self._now - LATEST_CALLBACK_SECONDS)
        known = [
            entry
            for entry in self._of_stream(event.stream_name)
            if (entry.domain_name, entry.app_name) == where and _had_started(entry, event.event_time)
        ]
        look_at = at + self._settings.grace_seconds
        parts = [self._keep(entry.hinted(look_at, asked.because)) for entry in known]
        return parts + self._not_read(asked) or [_none_known()]

    def _keep(self, entry: Entry) -> Part:
        self._entries[entry.task] = entry
        return _of(entry.task)

    def _entry(self, task: RecordTask) -> Entry:
        if task not in self._entries:
            known = self._ledger.read(task)
            if known is None:
                return Entry(task, known_since=self._now)
            self._known[task] = self._entries[task] = known
        return self._entries[task]

    def _of_stream(self, stream_name: str) -> list[Entry]:
        if self._unreadable is None:
            found, self._unreadable = self._ledger.of_stream(stream_name)
            for entry in found:
                if entry.task not in self._entries:
                    self._known[entry.task] = self._entries[entry.task] = entry
        return list(self._entries.values())

    def _not_read(self, asked: Asked) -> list[Part]:
        """What lies in the stream's part of the ledger and cannot be read, so that nobody knows whether it is meant."""
        return [Part(None, self._refused([asked], error)) for error in self._unreadable or []]


def _of(task: RecordTask) -> Part:
    """The part of a task that is decided on when all events are heard."""
    return Part(task, _UNDECIDED)


_UNDECIDED = Result(Outcome.DEFERRED, Reason.INTERNAL_ERROR)


def joined(groups: list[list[Asked]], decided: list[Parts | None]) -> Parts:
    """The parts of all groups; those of a group for which there was no time are deferred."""
    parts: Parts = {}
    late = Result(Outcome.DEFERRED, Reason.OUT_OF_TIME, "not decided on: too little time was left", calls=0)
    for group, of_group in zip(groups, decided, strict=True):
        parts.update(of_group or {item.number: [Part(None, late)] for item in group})
    return parts


def due_of(parts: Parts) -> list[Due]:
    """The tasks that are to be worked on, each once. An assertion needs no look, whatever a hint says."""
    found: dict[RecordTask, Due] = {}
    for part in chain.from_iterable(parts.values()):
        due = part.decision
        if isinstance(due, Due):
            known = found.get(due.task)
            if known is None or (known.look, known.due_at) > (due.look, due.due_at):
                found[due.task] = due
    return list(found.values())


def sweeps(reading: Reading) -> list[int]:
    """The numbers of what asks for a sweep."""
    return [item.number for item in reading.asked if isinstance(item.event, Sweep)]


def swept(reading: Reading, report: Report) -> Parts:
    """The parts of the events that asked for a sweep: the first has the tasks, the others have nothing left to do."""
    first, *others = sweeps(reading)
    parts: list[Part] = [Part(task, report.results[task]) for task in report.swept]
    parts += [Part(None, _not_done(error)) for error in report.unreadable]
    if report.sweep_error:
        parts.append(Part(None, _not_done(report.sweep_error)))
    again = _ignored(Reason.DUPLICATE, "another message of the delivery asked for the same sweep")
    return {first: parts or [_ignored(Reason.NOTHING_DUE, "nothing is due")], **{other: [again] for other in others}}


# -- what is told ------------------------------------------------------------------------------


def lines(reading: Reading, parts: Parts, results: Mapping[RecordTask, Result]) -> Iterator[Line]:
    """One line for each part, with the results of the tasks filled in.

    A task that several events named was worked on once: the others say ``duplicate``.
    """
    if reading.unread:
        yield Line(reading.asked[-1].message.id if reading.asked else "", None, None, None, reading.unread)
    told: set[RecordTask] = set()
    for item in reading.asked:
        for part in parts[item.number]:
            result = part.decision
            if isinstance(result, Due):
                task, result = result.task, results[result.task]
                if task in told:
                    result = result._replace(reason=Reason.DUPLICATE, calls=None, latency_ms=None)
                told.add(task)
            yield _line(item, part.task, result)


def _line(item: Asked, task: RecordTask | None, result: Result) -> Line:
    if isinstance(item.event, Rejection):
        return Line(item.id, item.event.event, item.event.stream_name, None, result)
    stream_name, task_id = messages.subject(item.event)
    if task is not None:
        stream_name, task_id = task.stream_name, task.task_id
    return Line(item.id, item.event.type, stream_name, task_id, result)


def _had_started(entry: Entry, at: float) -> bool:
    # CSS counts in whole seconds.
    return entry.started_at is not None and floor(entry.started_at) <= at


def _not_done(error: Exception) -> Result:
    if isinstance(error, LedgerRefused):
        return Result(Outcome.FAILED, Reason.LEDGER_REFUSED, str(error))
    return Result(Outcome.DEFERRED, Reason.LEDGER_UNAVAILABLE, str(error))


def _none_known() -> Part:
    return _ignored(Reason.NO_KNOWN_TASK, "the ledger knows no task that it could concern")


def _ignored(reason: Reason, detail: str) -> Part:
    return Part(None, Result(Outcome.IGNORED, reason, detail))


def _instant(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
