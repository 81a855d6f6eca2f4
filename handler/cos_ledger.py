"""The ledger on COS: one bucket prefix is the whole state. Live is not known here.

    tasks/<h>/<task_id>.json             the truth about one task
    due/<minute>/<h>/<task_id>-<nonce>   a pointer, so that "what is due?" lists only what is due
    dead/<day>/<h>-<task_id>-<life>.json a dead letter: every error, and the message
    dead/<day>/message-<hash>.json       a rejected message, without credentials

``<life>`` is a hash of the task, when it became known, its first failure and its message: a task that is registered
anew, or requeued, gets another letter, and the same one is written again after a crash.

``<h>`` is the first 32 hex digits of the stream name's SHA-256: COS limits keys to 850 bytes and
discourages characters that names may have. COS has no compare-and-swap to rely on, and its listings
may lag a write (436/30614), so the order of writes carries the guarantee:

- schedule: put the pointer, then the truth, which names it, then delete the old pointer;
- settle: delete the truth, then the pointer; bury: put the dead letter first;
- a pointer whose truth is missing, or names another one and is not due, is stale. It is removed only
  when it was written so long ago that its writer cannot still be between its two puts.

Two writers at once may overwrite each other's truth. So that no assertion is lost by that, a pointer holds
the assertion that it was put for: it counts even where the truth, written by somebody else, lacks it. It
does not where it is left over from an earlier life of the task, forgotten before the truth was first written.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

from handler.cos_bucket import DETAIL_CHARACTERS, Bucket
from handler.credentials import without_secrets
from handler.ledger import Entry, Failure, LedgerRefused, Pointer
from handler.model import RecordTask, Result, content_digest
from handler.redaction import redacted

STALE_AFTER_SECONDS = 1_200.0  # a function runs for 900 s at most (583/11637)
LATEST = 1e11  # seconds: no moment that a calendar can write is later
_POINTER = re.compile(r"due/(\d{12})/([0-9a-f]{32})/(\d{1,19})-[0-9a-f]+")
_TRUTH = re.compile(r"tasks/[0-9a-f]{32}/\d{1,19}\.json")


class CosLedger:
    """A ledger below one prefix of one bucket. Its methods may be called from several threads."""

    keeps = True

    def __init__(self, bucket: Bucket, random: Callable[[], float]) -> None:
        """
        Args:
            bucket: where it is kept; tools that look into it find it under this name.
            random: returns a number from 0 to 1; makes the keys of pointers unique.
        """
        self.bucket = bucket
        self._random = random

    # -- one task

    def read(self, task: RecordTask) -> Entry | None:
        return self.entry_at(_truth(task))

    def of_stream(self, stream_name: str) -> tuple[list[Entry], list[LedgerRefused]]:
        found, unreadable = [], []
        for key, _ in self.bucket.keys(keys_of(stream_name)):
            try:
                entry = self.entry_at(key) if _TRUTH.fullmatch(key) else None
            except LedgerRefused as error:
                unreadable.append(error)
            else:
                found += [entry] if entry else []
        return found, unreadable

    def entry_at(self, key: str) -> Entry | None:
        """The entry that lies at ``key``.

        Raises:
            LedgerRefused: what lies there cannot be read as one, or belongs elsewhere.
        """
        body = self.bucket.get(key)
        if body is None:
            return None
        entry = entry_of(body)
        if _truth(entry.task) != key:
            raise LedgerRefused(f"{key} holds an entry of another task")
        return entry

    def write(self, entry: Entry) -> Entry:
        written = entry._replace(pointer=self._new_pointer(entry))
        if written.pointer:
            self.point(written)
        self.bucket.put(_truth(entry.task), _body(fields_of(written)))
        if entry.pointer and entry.pointer != written.pointer:
            self.bucket.delete(entry.pointer)
        return written

    def point(self, entry: Entry) -> None:
        """Puts the pointer that ``entry`` names, with the assertion that it stands for."""
        asserted = entry.asserted_at is not None
        body = _body({"asserted_at": entry.asserted_at, "because": entry.because}) if asserted else b""
        self.bucket.put(entry.pointer or "", body)

    def settle(self, entry: Entry) -> None:
        self.bucket.delete(_truth(entry.task))
        if entry.pointer:
            self.bucket.delete(entry.pointer)

    def _new_pointer(self, entry: Entry) -> str | None:
        if entry.due_at is None:
            return None
        minute = _moment(entry.due_at, "%Y%m%d%H%M")
        nonce = f"{int(self._random() * 16**8):08x}"
        return f"due/{minute}/{_digest(entry.task.stream_name)}/{entry.task.task_id}-{nonce}"

    # -- dead letters

    def bury(self, entry: Entry, result: Result, now: float) -> None:
        self.put_letter(entry, result, now)
        self.settle(entry)

    def put_letter(self, entry: Entry, result: Result, now: float) -> None:
        letter = {
            "stream_name": entry.task.stream_name,
            "task_id": str(entry.task.task_id),
            "reason": result.reason,
            "detail": result.detail,
            "message": entry.because,
            "errors": [failure._asdict() for failure in entry.failures],
            "first_due_at": entry.first_due_at,
            "died_at": now,
            "entry": fields_of(entry),
        }
        name = f"{_digest(entry.task.stream_name)}-{entry.task.task_id}-{_life(entry)}"
        self._put_letter(name, letter, body="message", now=now)

    def bury_message(self, message_id: str, body: object, details: list[str], now: float, about: str = "") -> None:
        masked = [without_secrets(detail) for detail in details]
        letter = {"message_id": message_id, "details": masked, "died_at": now, "body": redacted(body)}
        # The body, too: a topic that was made anew counts its messages from 0 again.
        name = f"message-{content_digest([message_id, body, about])}"
        self._put_letter(name, letter, body="body", now=now)

    def _put_letter(self, name: str, letter: dict[str, Any], body: str, now: float) -> None:
        """Writes a dead letter; without its ``body`` where COS refuses it."""
        key = f"dead/{_moment(now, '%Y%m%d')}/{name}.json"
        try:
            self.bucket.put(key, _body(letter))
        except LedgerRefused as error:
            self.bucket.put(key, _body({**letter, body: f"left out: {error}"}))

    # -- what is due

    def pointers(self, now: float) -> Iterator[Pointer]:
        for key, written_at in self.bucket.keys("due/"):
            pointer = pointer_of(key, written_at)
            if pointer is None:
                continue  # nothing of ours
            if pointer.due_at > now:
                return
            yield pointer

    def truth_of(self, pointer: Pointer) -> str:
        """The key of the entry that ``pointer`` leads to."""
        _, _, digest, name = pointer.key.split("/")
        return f"tasks/{digest}/{name.partition('-')[0]}.json"

    def follow(self, pointer: Pointer, now: float) -> Entry | None:
        entry = self.entry_at(self.truth_of(pointer))
        told = entry
        if entry is not None and entry.pointer != pointer.key and entry.needs_look(now):
            told = self._with_assertion_of(pointer, entry)
        if told is not None and told.is_due(now):
            return told
        stale = entry is None or (entry.pointer != pointer.key and told is entry)
        if stale and pointer.written_at < now - STALE_AFTER_SECONDS:
            self.bucket.delete(pointer.key)
        return None

    def _with_assertion_of(self, pointer: Pointer, entry: Entry) -> Entry:
        """``entry``, with what ``pointer`` asserts where somebody overwrote that at the same time."""
        if pointer.written_at < (entry.known_since or 0.0) - STALE_AFTER_SECONDS:
            return entry
        fields = _object(self.bucket.get(pointer.key) or b"")
        at, because = fields.get("asserted_at"), fields.get("because")
        if at is None or not _is_time(at):
            return entry
        return entry.asserted(float(at), because if isinstance(because, dict) else None)


def pointer_of(key: str, written_at: float) -> Pointer | None:
    """The pointer that ``key`` is; None if it is nothing of ours."""
    match = _POINTER.fullmatch(key)
    due_at = _minute(match[1]) if match else None
    return None if due_at is None else Pointer(key, due_at, written_at)


def keys_of(stream_name: str) -> str:
    """The prefix below which the entries of one stream lie."""
    return f"tasks/{_digest(stream_name)}/"


def _digest(stream_name: str) -> str:
    return hashlib.sha256(stream_name.encode()).hexdigest()[:32]


def _life(entry: Entry) -> str:
    """What tells the lives of one task apart."""
    first = min(entry.failures, key=lambda failure: failure.first_at, default=None)
    message_id = (entry.because or {}).get("message_id")
    return content_digest([*entry.task, entry.known_since, first and first.code, message_id])[:16]


def _truth(task: RecordTask) -> str:
    return f"{keys_of(task.stream_name)}{task.task_id}.json"


def _moment(at: float, form: str) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime(form)


def _minute(digits: str) -> float | None:
    try:
        return datetime.strptime(digits + "+0000", "%Y%m%d%H%M%z").timestamp()
    except ValueError:
        return None


def _body(fields: dict[str, Any]) -> bytes:
    try:
        return json.dumps(fields, default=repr).encode()
    except RecursionError:
        return json.dumps({**fields, "body": "nested too deep to be kept"}, default=repr).encode()


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < LATEST


def fields_of(entry: Entry) -> dict[str, Any]:
    """What an object below ``tasks/`` holds."""
    failures = [failure._asdict() for failure in entry.failures]
    return {**entry._asdict(), "task": entry.task._asdict(), "failures": failures}


def entry_of(body: bytes) -> Entry:
    """The entry that an object below ``tasks/`` holds. What a newer version wrote besides is left out.

    Raises:
        LedgerRefused: it holds none.
    """
    fields = _object(body)
    try:
        task = RecordTask(_of(str, fields["task"]["stream_name"]), _of(int, fields["task"]["task_id"]))
        failures = tuple(_failure_of(failure) for failure in fields["failures"])
        texts = {name: None if fields.get(name) is None else _of(str, fields[name]) for name in _TEXTS}
        times = {name: None if fields.get(name) is None else _of(float, fields[name]) for name in _TIMES}
        because = None if fields["because"] is None else _of(dict, fields["because"])
        _truth(task)  # a name that cannot be encoded is none
        return Entry(task, failures=failures, tries=_of(int, fields["tries"]), because=because, **texts, **times)
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerRefused(f"an entry of the ledger cannot be read: {error!r}"[:DETAIL_CHARACTERS]) from None


_TEXTS = ("domain_name", "app_name", "pointer")
_TIMES = ("started_at", "asserted_at", "look_at", "not_before", "first_due_at", "known_since")


def _failure_of(fields: dict[str, Any]) -> Failure:
    code, detail = _of(str, fields["code"]), _of(str, fields["detail"])
    return Failure(code, detail, _of(int, fields["times"]), *(_of(float, fields[at]) for at in ("first_at", "last_at")))


def _of(kind: type, value: Any) -> Any:
    if _is_time(value) if kind is float else type(value) is kind:
        return value
    raise TypeError(f"{value!r} is no {kind.__name__}")
