"""The names of the ledger's objects, relative to its prefix.

    tasks/<h>/<task_id>.json                  the record of one task
    due/<minute>/<h>/<task_id>-<nonce>        an index key, so that "what is due?" lists only what is due
    dead/<day>/<h>-<task_id>-<life>.json      a dead letter of a task
    dead/<day>/message-<hash>.json            a dead letter of a message

``<h>`` is the first 32 hex digits of the stream name's SHA-256: COS limits keys to 850 bytes and discourages
characters that names may have. ``<life>`` is a hash of the task, when it became known, its first failure and its
message: a task that is registered anew, or requeued, gets another letter, and a crash writes the same one again.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timezone

from handler.core.entry import Entry
from handler.core.model import RecordTask, content_digest

TASKS, DUE, DEAD = "tasks/", "due/", "dead/"
_RECORD = re.compile(r"tasks/([0-9a-f]{32})/([1-9]\d{0,18})\.json", re.ASCII)
_INDEX_KEY = re.compile(r"due/(\d{12})/([0-9a-f]{32})/([1-9]\d{0,18})-([0-9a-f]+)", re.ASCII)
_MINUTE, _DAY = "%Y%m%d%H%M", "%Y%m%d"


def stream_digest(stream_name: str) -> str:
    """What stands for a stream's name."""
    return hashlib.sha256(stream_name.encode()).hexdigest()[:32]


def record_key(task: RecordTask) -> str:
    """Where the record of ``task`` is."""
    return f"{records_of(task.stream_name)}{task.task_id}.json"


def records_of(stream_name: str) -> str:
    """What the keys of all records of a stream begin with."""
    return f"{TASKS}{stream_digest(stream_name)}/"


def task_id_of(record: str) -> int | None:
    """The task of a record's key; None if it is no such key."""
    match = _RECORD.fullmatch(record)
    return int(match[2]) if match else None


def index_key(entry: Entry, random: float) -> str:
    """A new index key for when ``entry`` is due. ``random``: a number from 0 to 1."""
    task_id, nonce = entry.task.task_id, f"{int(random * 16**8):08x}"
    return f"{DUE}{minute_of(entry.due_at)}/{stream_digest(entry.task.stream_name)}/{task_id}-{nonce}"


def due_minute(key: str) -> str | None:
    """The minute at which an index key is due; None if it is no such key."""
    match = _INDEX_KEY.fullmatch(key)
    return match[1] if match else None


def moved(key: str, at: float) -> str:
    """An index key at another time, otherwise the same."""
    return f"{DUE}{minute_of(at)}/{key.split('/', 2)[2]}"


def record_key_of(key: str) -> str:
    """Where the record is that an index key leads to."""
    _, _, digest, name = key.split("/")
    return f"{TASKS}{digest}/{name.partition('-')[0]}.json"


def letter_key(entry: Entry, now: float) -> str:
    """Where the dead letter of a task is put."""
    return _letter(f"{stream_digest(entry.task.stream_name)}-{entry.task.task_id}", _life(entry), now)


def unreadable_letter_key(record: str, since: float, now: float) -> str:
    """Where the dead letter of a record is put that cannot be read."""
    _, digest, name = record.split("/")
    return _letter(f"{digest}-{name.removesuffix('.json')}", content_digest([record, since])[:16], now)


def message_letter_key(message_id: str, body: object, about: str, now: float) -> str:
    """Where the dead letter of a message is put.

    The body counts as well as the id: a topic that was made anew counts its messages from 0 again.
    """
    return _letter("message", content_digest([message_id, body, about]), now)


def _letter(name: str, digest: str, now: float) -> str:
    return f"{DEAD}{_moment(now, _DAY)}/{name}-{digest}.json"


def _life(entry: Entry) -> str:
    first = min(entry.failures, key=lambda failure: failure.first_at, default=None)
    message_id = (entry.cause or {}).get("message_id")
    return content_digest([*entry.task, entry.created_at, first and first.code, message_id])[:16]


def minute_of(at: float) -> str:
    """The minute of a time (unix seconds), as keys name it."""
    return _moment(at, _MINUTE)


def time_of(minute: str) -> float | None:
    """The time (unix seconds) of a minute as keys name it; None if no calendar has it."""
    try:
        return datetime.strptime(minute + "+0000", _MINUTE + "%z").timestamp()
    except ValueError:
        return None


def _moment(at: float, form: str) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime(form)


def is_message_letter(key: str) -> bool:
    """Whether a dead letter's key is that of a message."""
    return "/message-" in key
