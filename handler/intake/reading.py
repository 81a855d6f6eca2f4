"""A delivery → every event in it, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from handler.core.events import Event
from handler.core.model import Outcome, Reason, Rejection, TaskResult
from handler.core.plan import Received
from handler.intake import messages
from handler.intake.triggers import Delivery, Message

# As many as the log has room for: an event of 6 MB may hold three million that are not worth their memory.
MAX_REJECTION_LINES = 3_000


class Reading(NamedTuple):
    """All that a delivery asks for.

    After ``MAX_REJECTION_LINES``, further rejections of a message are counted in ``more_rejected`` but not stored.
    ``unread``: the line that says that there was no time to read on; None if all was read.
    """

    received: Sequence[Received]
    more_rejected: int
    unread: TaskResult | None

    @property
    def messages(self) -> int:
        """How many messages there are; an array of several counts as several."""
        return len(self.received) + self.more_rejected


def read(delivery: Delivery, now: float, in_time: Callable[[], bool]) -> Reading:
    """Every event of ``delivery``. ``now``: unix seconds; ``in_time``: whether there is time to read on."""
    received: list[Received] = []
    more_rejected = rejected = 0
    for record, message in enumerate(delivery.messages):
        first = True
        for event_id, event in _numbered(message, now):
            rejected += isinstance(event, Rejection)
            if isinstance(event, Rejection) and rejected > MAX_REJECTION_LINES and not first:
                more_rejected += 1
            else:
                first = first and not isinstance(event, Rejection)
                received.append(Received(len(received), record, event_id, event, delivery.source.is_trusted))
            if not in_time():
                where = f"{event_id} was the last one read, in record {record + 1} of {len(delivery.messages)}"
                detail = f"too large for the time: {where}"
                unread = TaskResult(Outcome.DEFERRED, Reason.OUT_OF_TIME, detail, calls=0)
                return Reading(received, more_rejected, unread)
    return Reading(received, more_rejected, None)


def _numbered(message: Message, now: float) -> Iterator[tuple[str, Event | Rejection]]:
    """The events of one message, each with an id of its own."""
    events = messages.read(message.body, now)
    first, second = next(events), next(events, None)
    if second is None:
        yield message.id, first
        return
    for number, event in enumerate(chain((first, second), events)):
        yield f"{message.id}#{number}", event
