"""The ledger on COS as the operator's tools see it: every object of it, by a reference that can be printed."""

from __future__ import annotations

from collections.abc import Iterator

from handler.adapters import cos_keys as keys
from handler.adapters.cos_ledger import CosLedger
from handler.core.storage import IndexKey, Stored


class CosLedgerAdmin(CosLedger):
    """A ``CosLedger``, and the listing of what is in it (``LedgerAdmin``)."""

    def records(self, stream_name: str | None = None) -> list[str]:
        return [
            ref for ref, _ in self._bucket.keys(keys.TASKS if stream_name is None else keys.records_of(stream_name))
        ]

    def record_of(self, key: IndexKey) -> str:
        return keys.record_key_of(key.ref)

    def task_id_of(self, record: str) -> int | None:
        return keys.task_id_of(record)

    def read(self, record: str) -> Stored | None:
        return self._read(record)

    def index_keys(self) -> Iterator[IndexKey | str]:
        for ref, written_at in self._bucket.keys(keys.DUE):
            minute = keys.due_minute(ref)
            due_at = keys.time_of(minute) if minute else None
            yield ref if due_at is None else IndexKey(ref, due_at, written_at)

    def is_indexed(self, stored: Stored) -> bool:
        return stored.ref is not None and self._bucket.get(stored.ref) is not None

    def index(self, stored: Stored) -> None:
        if stored.ref:
            self._put_index_key(stored.ref, stored.entry)
        else:
            self.save(stored.entry, stored)

    def letters(self) -> list[str]:
        return [ref for ref, _ in self._bucket.keys(keys.DEAD)]

    def is_of_message(self, letter: str) -> bool:
        return keys.is_message_letter(letter)

    def read_letter(self, letter: str) -> bytes | None:
        return self._bucket.get(letter)

    def drop_letter(self, letter: str) -> None:
        self._bucket.delete(letter)
