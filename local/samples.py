"""The sample events in ``events/``, and what any event says before it is handled."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from handler.core.events import Event
from handler.core.model import RecordTask, Rejection
from handler.core.plan import task_of
from handler.intake import messages, triggers
from local.live_api import LiveState, Stream

FOLDER = Path(__file__).resolve().parent.parent / "events"
SCHEMA = FOLDER / "schema.json"

# The moment at which the samples make sense: just after the last stream ended.
MOMENT = datetime(2026, 11, 22, 10, 6, tzinfo=timezone.utc).timestamp()
# The one stream that is still on air then, so that its recording runs and cannot be deleted.
ON_AIR = Stream("room-on-air")


@dataclass(frozen=True)
class Sample:
    """One file of ``events/``; ``name`` is the file's."""

    name: str
    event: object


def all_samples() -> list[Sample]:
    """Every sample event, by name."""
    paths = sorted(path for path in FOLDER.glob("*.json") if path != SCHEMA)
    return [Sample(path.name, json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def events_of(event: object, now: float) -> list[Event | Rejection]:
    """The messages inside ``event``, read as the handler reads them."""
    return [found for message in triggers.read(event).messages for found in messages.read(message.body, now)]


def tasks_named(event: object, now: float) -> list[RecordTask]:
    """The tasks that ``event`` names, each once."""
    tasks = [task_of(found) for found in events_of(event, now)]
    return list(dict.fromkeys(task for task in tasks if task))


def in_one_line(event: object, now: float) -> str:
    """What ``event`` is: its trigger, and how many messages of which type."""
    kinds = Counter(
        f"rejected ({found.reason.value})" if isinstance(found, Rejection) else found.type
        for found in events_of(event, now)
    )
    listed = ", ".join(f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items())
    return f"{triggers.read(event).source.value}: {listed}"


def record(state: LiveState, tasks: list[RecordTask]) -> None:
    """Lets recordings of ``tasks`` exist in ``state``: stopped, but for that of the stream on air."""
    state.push(ON_AIR)
    for task in tasks:
        state.add(task.stream_name, task.task_id, stopped=task.stream_name != ON_AIR.name)
