"""The ledger on COS: one bucket prefix is the whole state.

COS has no compare-and-swap to rely on, and its listings may lag a write (436/30614), so the order of writes carries
the guarantee:

- save: put the index key, then the record, which names it, then delete the old index key;
- forget: delete the record, then the index key; a dead letter is put before that;
- an index key whose record is missing, or names another one and is not due, is stale. It is removed only when it was
  written so long ago that its writer cannot still be between its two puts.

Two writers at once may overwrite each other's record. So that nothing is lost by that, an index key holds the
assertion and the hint that it was put for: they count even where the record of the other writer lacks them.
They do not where the key is left over from an earlier life of the task, forgotten before the record was first
written; nor a hint that a check has answered since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from handler.adapters import cos_keys as keys
from handler.adapters.cos_bucket import Bucket
from handler.adapters.records import body_of, fields_of, is_time, object_of, stored_of
from handler.core.entry import NEVER, Entry
from handler.core.model import RecordTask, TaskResult
from handler.core.storage import EntryUnreadable, IndexKey, LedgerRefused, Resolved, Stored
from handler.masking import without_secrets
from handler.redaction import redacted

STALE_AFTER_SECONDS = 1_200.0  # a function runs for 900 s at most (583/11637)
UNREADABLE_AGAIN_SECONDS = 3_600.0


class CosLedger:
    """A ledger below one prefix of one bucket. Its methods may be called from several threads."""

    def __init__(self, bucket: Bucket, random: Callable[[], float]) -> None:
        """
        Args:
            bucket: where it is kept.
            random: returns a number from 0 to 1; makes index keys unique.
        """
        self._bucket, self._random = bucket, random

    # -- one task

    def load(self, task: RecordTask) -> Stored | None:
        return self._read(keys.record_key(task))

    def tasks_of(self, stream_name: str) -> list[RecordTask]:
        listed = self._bucket.keys(keys.records_of(stream_name))
        ids = [keys.task_id_of(key) for key, _ in listed]
        return [RecordTask(stream_name, task_id) for task_id in ids if task_id is not None]

    def save(self, entry: Entry, over: Stored | None) -> Stored:
        ref = None
        if entry.due_at < NEVER:
            ref = keys.index_key(entry, self._random())
            self._put_index_key(ref, entry)
        self._bucket.put(keys.record_key(entry.task), body_of(fields_of(entry, ref)))
        if over and over.ref and over.ref != ref:
            self._bucket.delete(over.ref)
        return Stored(entry, ref)

    def forget(self, task: RecordTask, stored: Stored | None) -> None:
        self._bucket.delete(keys.record_key(task))
        if stored and stored.ref:
            self._bucket.delete(stored.ref)

    def _put_index_key(self, ref: str, entry: Entry) -> None:
        known = {"asserted_at": entry.delete_at, "look_at": entry.check_at, "because": entry.cause}
        self._bucket.put(ref, body_of(known))

    def _read(self, key: str) -> Stored | None:
        with _unreadable(key):
            body = self._bucket.get(key)
        if body is None:
            return None
        stored = stored_of(body)
        if keys.record_key(stored.entry.task) != key:
            raise EntryUnreadable(f"{key} holds an entry of another task")
        return stored

    # -- dead letters

    def put_letter(self, entry: Entry, why: TaskResult, now: float) -> None:
        letter = {
            "stream_name": entry.task.stream_name,
            "task_id": str(entry.task.task_id),
            "reason": why.reason,
            "detail": why.detail,
            "message": entry.cause,
            "errors": [failure._asdict() for failure in entry.failures],
            "first_due_at": entry.failing_since,
            "died_at": now,
            "entry": fields_of(entry, None),
        }
        self._put_letter(keys.letter_key(entry, now), letter, "message")

    def put_message_letter(self, message_id: str, body: object, details: list[str], now: float, about: str) -> None:
        letter = {
            "message_id": without_secrets(message_id),
            "details": [without_secrets(detail) for detail in details],
            "died_at": now,
            "body": redacted(body),
        }
        self._put_letter(keys.message_letter_key(message_id, body, about, now), letter, "body")

    def _put_letter(self, key: str, letter: dict[str, Any], body: str) -> None:
        """Writes a dead letter; without its ``body`` where COS refuses it."""
        try:
            self._bucket.put(key, body_of(letter))
        except LedgerRefused as error:
            self._bucket.put(key, body_of({**letter, body: f"left out: {error}"}))

    # -- what is due

    def due(self, now: float) -> Iterator[IndexKey]:
        this_minute = keys.minute_of(now)
        for key, written_at in self._bucket.keys(keys.DUE):
            minute = keys.due_minute(key)
            if minute is None:
                continue  # nothing of ours
            if minute > this_minute:
                return
            due_at = keys.time_of(minute)
            if due_at is not None:
                yield IndexKey(key, due_at, written_at)

    def resolve(self, key: IndexKey, now: float) -> Resolved | None:
        stored = self._read(keys.record_key_of(key.ref))
        is_old = key.written_at < now - STALE_AFTER_SECONDS
        if stored is None:
            if is_old:
                self._bucket.delete(key.ref)
            return None
        entry = stored.entry
        if stored.ref != key.ref and not _is_asserted(entry, now):
            entry = self._with_what_is_lost(key, entry)
        if entry.due_at <= now:
            return Resolved(stored, entry)
        if stored.ref != key.ref and entry is stored.entry and is_old:
            self._bucket.delete(key.ref)
        return None

    def _with_what_is_lost(self, key: IndexKey, entry: Entry) -> Entry:
        """``entry``, with what ``key`` was put for where another writer overwrote that at the same time."""
        if key.written_at < (entry.created_at or 0.0) - STALE_AFTER_SECONDS:
            return entry
        with _unreadable(key.ref):
            fields = object_of(self._bucket.get(key.ref) or b"")
        cause = fields.get("because") if isinstance(fields.get("because"), dict) else None
        asserted_at, check_at = fields.get("asserted_at"), fields.get("look_at")
        if is_time(asserted_at):
            entry = entry.asserted(float(asserted_at), cause)  # type: ignore[arg-type]
        if is_time(check_at) and float(check_at) > (entry.checked_at or 0.0):  # type: ignore[arg-type]
            entry = entry.hinted(float(check_at), cause)  # type: ignore[arg-type]
        return entry

    def postpone_unreadable(self, key: IndexKey, error: EntryUnreadable, now: float, give_up_after: float) -> None:
        try:
            body = self._bucket.get(key.ref)
            if body is None:
                return  # another sweep has put it an hour later: what it carries must not be overwritten
            fields, is_lost = object_of(body), False
        except LedgerRefused as refused:  # a rule that archives records archives index keys as well
            fields, is_lost = {"archived_key": f"{key.ref}: {refused}"}, True
        since = fields.get("unreadable_since")
        since = float(since) if is_time(since) else now  # type: ignore[arg-type]
        record, has_letter = keys.record_key_of(key.ref), fields.get("has_letter") is True
        if is_lost or (now - since >= give_up_after and not has_letter):
            letter = {"record": record, "details": [str(error)], "unreadable_since": since, "died_at": now, **fields}
            self._bucket.put(keys.unreadable_letter_key(record, since, now), body_of(letter))
            has_letter = True
        again = keys.moved(key.ref, now + UNREADABLE_AGAIN_SECONDS)
        self._bucket.put(again, body_of({**fields, "unreadable_since": since, "has_letter": has_letter}))
        self._bucket.delete(key.ref)


def _is_asserted(entry: Entry, now: float) -> bool:
    return entry.delete_at is not None and entry.delete_at <= now


@contextmanager
def _unreadable(key: str) -> Iterator[None]:
    """What COS refuses to read is one unreadable entry, and no reason to stop."""
    try:
        yield
    except LedgerRefused as error:
        raise EntryUnreadable(f"{key}: {error}") from None
