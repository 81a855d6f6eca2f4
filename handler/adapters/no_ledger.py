"""Stateless mode: a ledger that stores nothing. What has to wait is for the trigger to deliver again."""

from __future__ import annotations

from collections.abc import Iterator

from handler.core.entry import Entry
from handler.core.model import RecordTask, TaskResult
from handler.core.storage import EntryUnreadable, IndexKey, Resolved, Stored


class NoLedger:
    """Knows no task, and remembers none."""

    def load(self, task: RecordTask) -> Stored | None:
        return None

    def tasks_of(self, stream_name: str) -> list[RecordTask]:
        return []

    def save(self, entry: Entry, over: Stored | None) -> Stored | None:
        return None

    def forget(self, task: RecordTask, stored: Stored | None) -> None: ...

    def put_letter(self, entry: Entry, why: TaskResult, now: float) -> None: ...

    def put_message_letter(self, message_id: str, body: object, details: list[str], now: float, about: str) -> None: ...

    def due(self, now: float) -> Iterator[IndexKey]:
        return iter(())

    def resolve(self, key: IndexKey, now: float) -> Resolved | None:
        return None

    def postpone_unreadable(self, key: IndexKey, error: EntryUnreadable, now: float, give_up_after: float) -> None: ...
