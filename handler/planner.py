"""Event → which task is due when, or why nothing is. How a deletion is made is not known here.

An assertion (``stream-end``, ``retention-expiry``) is acted on as soon as it is due. A hint (an interrupted push)
only ever leads to a look, after a grace period, at tasks that the ledger knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import chain
from math import floor
from typing import Any, NamedTuple

from handler import messages
from handler.fields import LargeNumber
from handler.ledger import DEFAULT_APP, Due, Entry, Ledger, LedgerError, LedgerRefused, same_domain
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
REMEMBERED_ID_CHARACTERS = 256
PLACES_NAMED = 3

# -- what was asked ----------------------------------------------------------------------------


class Asked(NamedTuple):
    """One event of one message, with an id of its own.

    ``number`` is its place among all events of the delivery, ``record`` that of its message among the messages: two
    messages may have one id.
    """

    number: int
    id: str
    event: Event | Rejection
    message: Message
    record: int

    @property
    def because(self) -> dict[str, Any]:
        """What the ledger remembers of it."""
        if isinstance(self.event, Rejection):
            return {}
        fields = self.event.model_dump(exclude_none=True, by_alias=True)
        return {"message_id": self.id[:REMEMBERED_ID_CHARACTERS], "type": self.event.type, **fields}


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
    for record, message in enumerate(delivery.messages):
        first = True
        for event_id, event in _numbered(message, now):
            rejected += isinstance(event, Rejection)
            if isinstance(event, Rejection) and rejected > REJECTIONS_TOLD and not first:
                reading.more_rejected += 1
            else:
                first = first and not isinstance(event, Rejection)
                reading.asked.append(Asked(len(reading.asked), event_id, event, message, record))
            if not in_time():
                where = f"{event_id} was the last one read, in record {record + 1} of {len(delivery.messages)}"
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
            key = ("message", str(item.record))
        else:
            stream_name, _ = messages.subject(item.event)
            key = ("event", str(item.number)) if stream_name is None else ("stream", stream_name)
        found.setdefault(key, []).append(item)
    return list(found.values())


# -- what is decided ---------------------------------------------------------------------------


class Part(NamedTuple):
    """One line to come: of one task, or of an event that concerns none.

    ``stated_at``: the time that the event states for the task, where that lies ahead.
    """

    task: RecordTask | None
    decision: Due | Result
    stated_at: float | None = None


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
                parts[item.number] = [Part(None, _not_done(error))]
            except LedgerError as error:
                return {item.number: [Part(None, _not_done(error))] for item in asked}
        decided: dict[RecordTask, Due | Result] = {}
        for of_event in parts.values():  # in place: a delivery may name ten thousand tasks
            for place, part in enumerate(of_event):
                if part.task:
                    if part.task not in decided:
                        decided[part.task] = self._decision(part.task)
                    of_event[place] = part._replace(decision=self._as_stated(part, decided[part.task]))
        # Log it but don't store it: unauthenticated callers must not be able to fill the ledger.
        if self._ledger.keeps and self._acts:
            self._dead_letter(asked, parts)
        return parts

    def _decision(self, task: RecordTask) -> Due | Result:
        """What all events together mean for one task: to be worked on now, or written down."""
        entry, due = self._entries.get(task), self._asserted.get(task)
        if due is not None:
            return due if entry is None else due._replace(entry=entry.asserted(due.due_at, due.because))
        assert entry is not None  # noqa: S101  one of the two named it
        look = entry.needs_look(self._now)
        # Where no check can be made, the next sweep says what becomes of the task.
        due_now = entry.is_due(self._now) and self._acts and not (look and entry.target is None)
        # What a check is to decide on has to be stored before: it is read again after the check.
        if entry != self._known.get(task) and (look or not due_now):
            try:
                entry = self._ledger.write(entry)
            except LedgerError as error:
                return _not_done(error)
        if due_now:
            return Due(task, entry.due_at or 0.0, entry, look, kept=look, because=entry.because)
        detail = "its due time is not yet known" if entry.due_at is None else f"due at {_instant(entry.due_at)}"
        return Result(Outcome.SCHEDULED, None, detail)

    def _as_stated(self, part: Part, decision: Due | Result) -> Due | Result:
        """``decision``; but where the event states a later time than the one that is kept, its line says so."""
        if part.task is None or part.stated_at is None or not isinstance(decision, Result):
            return decision
        kept = self._entries[part.task].asserted_at
        if decision.outcome is not Outcome.SCHEDULED or kept is None or kept >= part.stated_at:
            return decision
        detail = (
            f"{decision.detail}: an earlier message says that the record may go at {_instant(kept)}, and the earliest "
            f"time counts: {_instant(part.stated_at)} changes nothing"
        )
        return decision._replace(reason=Reason.EARLIER_TIME_KEPT, detail=detail)

    def _dead_letter(self, asked: list[Asked], parts: Parts) -> None:
        """Keeps each message that was rejected, or that the ledger refused to store, as a dead letter.

        Where even the letter cannot be written, the lines become ``deferred``: the platform delivers it again.
        """
        lost: dict[int, list[tuple[Asked, int]]] = {}
        for item in asked:
            for place, part in enumerate(parts[item.number]):
                if isinstance(part.decision, Result) and part.decision.outcome in _LOST:
                    lost.setdefault(item.record, []).append((item, place))
        for of_message in lost.values():
            [(first, _), *_] = of_message
            details = [str(parts[item.number][place].decision.detail) for item, place in of_message]  # type: ignore[union-attr]
            try:
                self._ledger.bury_message(
                    first.message.id, first.message.whole, details[:DETAILS_BURIED], self._now, _about(first)
                )
            except LedgerError as error:
                unwritten = Result(Outcome.DEFERRED, Reason.LEDGER_UNAVAILABLE, f"no dead letter can be kept: {error}")
                for item, place in of_message:
                    parts[item.number][place] = parts[item.number][place]._replace(decision=unwritten)

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
            return [_ignored(Reason.NO_TASK_ID, "only a ledger knows the tasks of a stream: send the id of each")]
        known = self._of_stream(event.stream_name)
        meant = [entry for entry in known if _is_within(entry, event) and _had_started(entry, min(at, self._now))]
        parts = [self._assert(entry.task, at, "ended_at", asked) for entry in meant]
        return parts + self._not_read() or [_none_known(known, event)]

    def _assert(self, task: RecordTask, at: float, field: str, asked: Asked) -> Part:
        because = asked.because if self._ledger.keeps else None
        if at > self._now:
            if not self._ledger.keeps:
                detail = (
                    f"{field}: {_instant(at)} is in the future: a ledger (REAPER_LEDGER) would hold this until then; "
                    "without one, send it when it is due"
                )
                return Part(None, Result(Outcome.REJECTED, Reason.NOT_DUE_YET, detail))
            return self._keep(self._entry(task).asserted(at, because), stated_at=at)
        before = self._asserted.get(task)
        if before is None or at < before.due_at:
            self._asserted[task] = Due(task, at, because=because)
        return Part(task, _UNDECIDED)

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
        assumed = event.expires_at is None and event.assumes_end
        return self._keep(entry if at is None else entry.asserted(at, asked.because), stated_at=None if assumed else at)

    def _hint(self, event: Interruption, asked: Asked) -> list[Part]:
        interrupted_at = min(event.event_time, self._now)  # no interruption is known before it happens
        known = self._of_stream(event.stream_name)
        # A task that began after the interruption is not meant, however late the check is made.
        meant = [entry for entry in known if _is_within(entry, event) and _had_started(entry, interrupted_at)]
        believed_at = interrupted_at if self._acts else max(interrupted_at, self._now - LATEST_CALLBACK_SECONDS)
        look_at = believed_at + self._settings.grace_seconds
        parts = [self._keep(entry.hinted(look_at, asked.because)) for entry in meant]
        return parts + self._not_read() or [_none_known(known, event)]

    def _keep(self, entry: Entry, stated_at: float | None = None) -> Part:
        self._entries[entry.task] = entry
        return Part(entry.task, _UNDECIDED, stated_at)

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

    def _not_read(self) -> list[Part]:
        """Unreadable entries of this stream. They may or may not be meant, so each is reported."""
        return [Part(None, _not_done(error)) for error in self._unreadable or []]


# Of a task that is decided on when all events of its stream have been read.
_UNDECIDED = Result(Outcome.DEFERRED, Reason.INTERNAL_ERROR)
# What is acknowledged though it was not done. A task that fails later has a letter of its own.
_LOST = (Outcome.REJECTED, Outcome.FAILED)


def _about(asked: Asked) -> str:
    """What tells a letter about a whole message from one about what it says of one stream."""
    if isinstance(asked.event, Rejection):
        return ""
    return messages.subject(asked.event)[0] or ""


def _is_within(entry: Entry, event: StreamEnd | Interruption) -> bool:
    """Whether a task is registered under the domain and the app that ``event`` names, where it names any.

    A task without a domain is under none that could be named.
    """
    domain, app = entry.domain_name, event.app_name
    if event.domain_name is not None and not (domain and same_domain(domain, event.domain_name)):
        return False
    return app is None or (entry.app_name or DEFAULT_APP) == app


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
            yield _line(item, part.task, _with_rounding(item, result))


def _with_rounding(item: Asked, result: Result) -> Result:
    """``not_found`` of an id that may have been rounded on its way says so."""
    if result.reason is not Reason.NOT_FOUND or not isinstance(getattr(item.event, "task_id", None), LargeNumber):
        return result
    rounded = "the id came as a JSON number above 2^53, where JavaScript rounds: send it as a string"
    return result._replace(detail=f"{result.detail}; {rounded}" if result.detail else rounded)


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


def _none_known(known: list[Entry], event: StreamEnd | Interruption) -> Part:
    """No task of the stream is meant: the detail says which there are instead."""
    if not known:
        return _ignored(Reason.NO_KNOWN_TASK, "the ledger knows no task of this stream")
    if any(_is_within(entry, event) for entry in known):
        detail = "the ledger knows tasks of this stream, but none that is known to have started by then"
        return _ignored(Reason.NO_KNOWN_TASK, detail)
    places = sorted({"/".join(entry.target) if entry.target else "no domain" for entry in known})
    named = ", ".join(places[:PLACES_NAMED]) + (" …" if len(places) > PLACES_NAMED else "")
    asked = f"{event.domain_name or 'any domain'}/{event.app_name or 'any app'}"
    detail = f"the ledger knows tasks of this stream under {named}, none under {asked}"
    return _ignored(Reason.NO_KNOWN_TASK, detail)


def _ignored(reason: Reason, detail: str) -> Part:
    return Part(None, Result(Outcome.IGNORED, reason, detail))


def _instant(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
