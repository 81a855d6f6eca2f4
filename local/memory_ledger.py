"""A ledger in memory that does remember: for simulations, and to hold the ledger's port against two storages."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

from handler.core.entry import NEVER, Entry
from handler.core.model import RecordTask, TaskResult
from handler.core.storage import EntryUnreadable, IndexKey, Resolved, Stored

MINUTE = 60.0


class MemoryLedger:
    """Keeps entries in a dict. ``letters`` holds what became a dead letter, in the order in which it did."""

    def __init__(self) -> None:
        self.letters: list[dict[str, Any]] = []
        self._stored: dict[RecordTask, Stored] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def load(self, task: RecordTask) -> Stored | None:
        return self._stored.get(task)

    def tasks_of(self, stream_name: str) -> list[RecordTask]:
        with self._lock:
            return [task for task in self._stored if task.stream_name == stream_name]

    def save(self, entry: Entry, over: Stored | None) -> Stored:  # noqa: ARG002  nothing is left of what was there
        with self._lock:
            stored = Stored(entry, f"{next(self._numbers)}" if entry.due_at < NEVER else None)
            self._stored[entry.task] = stored
            return stored

    def forget(self, task: RecordTask, stored: Stored | None) -> None:  # noqa: ARG002
        with self._lock:
            self._stored.pop(task, None)

    def put_letter(self, entry: Entry, why: TaskResult, now: float) -> None:
        self.letters.append({"task": entry.task, "entry": entry, "why": why, "died_at": now})

    def put_message_letter(self, message_id: str, body: object, details: list[str], now: float, about: str) -> None:
        letter = {"message_id": message_id, "body": body, "details": details, "died_at": now, "about": about}
        self.letters.append(letter)

    def due(self, now: float) -> Iterator[IndexKey]:
        with self._lock:
            found = [(stored.entry.due_at, task) for task, stored in self._stored.items()]
        for due_at, task in sorted(found):
            if due_at // MINUTE * MINUTE <= now:
                yield IndexKey(f"{task.task_id} {task.stream_name}", due_at // MINUTE * MINUTE, now)

    def resolve(self, key: IndexKey, now: float) -> Resolved | None:
        task_id, _, stream_name = key.ref.partition(" ")
        stored = self._stored.get(RecordTask(stream_name, int(task_id)))
        return Resolved(stored, stored.entry) if stored and stored.entry.due_at <= now else None

    def postpone_unreadable(self, key: IndexKey, error: EntryUnreadable, now: float, give_up_after: float) -> None:
        """Nothing that is kept as it is can become unreadable."""
        raise AssertionError((key, error, now, give_up_after))
