"""One delivery, from its messages to its lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from handler.core.events import Event
from handler.core.model import Line, Outcome, Reason, RecordTask, TaskResult
from handler.core.plan import Moment, Received, stream_of
from handler.core.settle import Rules
from handler.core.storage import LedgerError
from handler.intake import reading
from handler.intake.triggers import Delivery
from handler.runtime.batch import work_off
from handler.runtime.context import Runtime
from handler.runtime.deadline import Deadline
from handler.runtime.lines import lines
from handler.runtime.sorting import Listing, sort, work_for
from handler.settings import Settings
from handler.telemetry import Invocation

MAX_DEAD_LETTER_DETAILS = 20


class Handled(NamedTuple):
    """What a delivery came to. ``deferred``: how often which reason deferred a line that no ledger holds."""

    deferred: Counter[str]
    outcomes: frozenset[Outcome]


class Application(NamedTuple):
    """The function, assembled: ``handle`` works off one delivery after the other.

    ``answer``: what is said of an event without looking at any task; it differs with and without a ledger.
    """

    settings: Settings
    runtime: Runtime
    rules: Rules
    answer: Callable[[Event, float], TaskResult | None]

    def handle(self, delivery: Delivery, deadline: Deadline, invocation: Invocation) -> Handled:
        """Does all that ``delivery`` asks for, and writes a line for each task and message of it.

        Args:
            invocation: takes the counts; its own line is left to the caller to write.

        Raises:
            LedgerError: the ledger cannot be used at all.
        """
        runtime, ledger = self.runtime, self.runtime.ledger
        if self.settings.ledger is not None:
            deadline = deadline.leaving(deadline.request_timeout / 2)
        moment = Moment(runtime.clock(), self.rules)
        found = reading.read(delivery, moment.now, lambda: runtime.ticks() < deadline.last_start)
        invocation.messages = found.messages

        def put_message_letter(record: int, details: Sequence[str], about: str) -> None:
            message = delivery.messages[record]
            ledger.put_message_letter(
                message.id, message.raw, list(details[:MAX_DEAD_LETTER_DETAILS]), moment.now, about
            )

        todo = sort(found.received, lambda item: self._answer(item, moment.now))
        work = work_for(todo, self._listed(todo.to_list, deadline))
        keys = ledger.due(moment.now) if todo.sweeps else None
        report = work_off(work, keys, runtime, moment, deadline, put_message_letter)
        invocation.count_calls(report.tally, report.sweep.oldest_overdue if report.sweep else None)
        written = lines(found.received, todo.answers, todo.sweeps, report)
        handled = invocation.write_tasks(_with_unread(found, written), self.settings.log_tasks == "problems")
        invocation.count_suppressed(found.more_rejected)
        return Handled(*handled)

    def _answer(self, item: Received, now: float) -> TaskResult | None:
        stream_name = stream_of(item.event)
        if stream_name is not None and not self.runtime.allows(stream_name):
            globs = ",".join(self.settings.streams)
            return TaskResult(Outcome.IGNORED, Reason.STREAM_NOT_ALLOWED, f"REAPER_STREAMS={globs} does not name it")
        return self.answer(item.event, now)  # type: ignore[arg-type]

    def _listed(self, streams: Sequence[str], deadline: Deadline) -> dict[str, Listing]:
        """The tasks of each stream, or why they are not known; None: there was no time."""
        runtime = self.runtime
        if not streams:
            return {}
        seconds = deadline.last_start - runtime.ticks()
        return dict(
            zip(streams, runtime.workers.map(self._tasks_of, streams, runtime.concurrency, seconds), strict=True)
        )

    def _tasks_of(self, stream_name: str) -> Sequence[RecordTask] | LedgerError:
        try:
            return self.runtime.ledger.tasks_of(stream_name)
        except LedgerError as error:
            return error


def _with_unread(found: reading.Reading, written: Iterator[Line]) -> Iterator[Line]:
    """The lines, after one that says where there was no time to read on."""
    if found.unread:
        last = found.received[-1].message_id if found.received else ""
        yield Line(last, None, None, None, found.unread)
    yield from written
