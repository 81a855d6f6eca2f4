"""An entry ↔ the JSON object that is stored of it.

The names of fields are older than those of the code and do not change: every version reads what every other wrote,
and leaves out what it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from handler.core.entry import Entry, Failure
from handler.core.model import RecordTask
from handler.core.plan import LATEST
from handler.core.storage import EntryUnreadable, Stored

VERSION = 2
DETAIL_CHARACTERS = 300
# Our name → the stored one.
_TEXTS = {"domain_name": "domain_name", "app_name": "app_name"}
_TIMES = {
    "started_at": "started_at",
    "delete_at": "asserted_at",
    "check_at": "look_at",
    "checked_at": "checked_at",
    "retry_at": "not_before",
    "created_at": "known_since",
}


def fields_of(entry: Entry, ref: str | None) -> dict[str, Any]:
    """What a record holds. ``tries`` and ``first_due_at`` follow from the failures; version 1 reads them."""
    return {
        "version": VERSION,
        "task": entry.task._asdict(),
        **{stored: getattr(entry, name) for name, stored in (_TEXTS | _TIMES).items()},
        "first_due_at": entry.failing_since,
        "tries": entry.attempts,
        "failures": [failure._asdict() for failure in entry.failures],
        "because": entry.cause,
        "pointer": ref,
    }


def stored_of(body: bytes) -> Stored:
    """The entry that a record holds.

    Raises:
        EntryUnreadable: it holds none.
    """
    return entry_of(object_of(body))


def entry_of(fields: Mapping[str, Any]) -> Stored:
    """The same of fields that are read already.

    Raises:
        EntryUnreadable: they are none of an entry.
    """
    try:
        task = RecordTask(_is(str, fields["task"]["stream_name"]), _is(int, fields["task"]["task_id"]))
        task.stream_name.encode()  # a name that cannot be encoded is none
        texts = {name: _or_none(str, fields.get(stored)) for name, stored in _TEXTS.items()}
        times = {name: _or_none(float, fields.get(stored)) for name, stored in _TIMES.items()}
        failures = tuple(_failure(failure) for failure in fields["failures"])
        entry = Entry(task, **texts, **times, failures=failures, cause=_or_none(dict, fields["because"]))
        return Stored(entry, _or_none(str, fields.get("pointer")))
    except (ValueError, TypeError, KeyError) as error:
        raise EntryUnreadable(f"an entry of the ledger cannot be read: {error!r}"[:DETAIL_CHARACTERS]) from None


def _failure(fields: Mapping[str, Any]) -> Failure:
    code, detail, times = _is(str, fields["code"]), _is(str, fields["detail"]), _is(int, fields["times"])
    return Failure(code, detail, times, _is(float, fields["first_at"]), _is(float, fields["last_at"]))


def _or_none(kind: type, value: Any) -> Any:
    return None if value is None else _is(kind, value)


def _is(kind: type, value: Any) -> Any:
    if is_time(value) if kind is float else type(value) is kind:
        return value
    raise TypeError(f"{value!r} is no {kind.__name__}")


def is_time(value: object) -> bool:
    """Whether a stored value is a time (unix seconds)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < LATEST


def body_of(fields: Mapping[str, Any]) -> bytes:
    """The JSON of an object."""
    try:
        return json.dumps(fields, default=repr).encode()
    except RecursionError:
        return json.dumps({**fields, "body": "nested too deep to be kept"}, default=repr).encode()


def object_of(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds; empty if it holds none."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
