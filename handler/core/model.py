"""The words that all modules share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from enum import Enum
from typing import NamedTuple


class ReaperError(Exception):
    """What everything that this function raises by itself is below. The tree: ``core/ports.py``, ``app.py``."""


class Outcome(str, Enum):
    """How a line ends. Every line ends in exactly one of these."""

    DELETED = "deleted"
    ALREADY_GONE = "already_gone"
    SCHEDULED = "scheduled"
    DEFERRED = "deferred"
    FAILED = "failed"
    REJECTED = "rejected"
    IGNORED = "ignored"
    PLANNED = "planned"


class Reason(str, Enum):
    """Why a line ended as it did, where its outcome alone does not say. Stable codes: README, "Reasons"."""

    # already_gone
    NOT_FOUND = "not_found"
    AFTER_RETRY = "after_retry"
    # any outcome of a task
    DUPLICATE = "duplicate"
    # deferred; the first five and INVALID are error classes
    THROTTLED = "throttled"
    BUSY = "busy"
    TRANSIENT = "transient"
    UNKNOWN = "unknown"
    BLOCKED = "blocked"
    OUT_OF_TIME = "out_of_time"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    INTERNAL_ERROR = "internal_error"
    # failed
    INVALID = "invalid"
    GAVE_UP = "gave_up"
    LEDGER_REFUSED = "ledger_refused"
    # ignored
    NOTHING_DUE = "nothing_due"
    NO_KNOWN_TASK = "no_known_task"
    NOT_AN_INTERRUPTION = "not_an_interruption"
    NO_LEDGER = "no_ledger"
    NO_TASK_ID = "no_task_id"
    STREAM_NOT_ALLOWED = "stream_not_allowed"
    # scheduled
    STREAM_IS_LIVE = "stream_is_live"
    EARLIER_TIME_KEPT = "earlier_time_kept"
    # planned
    DRY_RUN = "dry_run"
    # rejected
    NOT_DUE_YET = "not_due_yet"
    FORBIDDEN = "forbidden"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_ENVELOPE = "unknown_envelope"
    EMPTY = "empty"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_DEEP = "too_deep"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    CONFLICTING_FIELDS = "conflicting_fields"
    UNKNOWN_FIELD = "unknown_field"


SUCCESSES = frozenset({Outcome.DELETED, Outcome.ALREADY_GONE})
PROBLEMS = frozenset({Outcome.FAILED, Outcome.REJECTED, Outcome.DEFERRED})


class RecordTask(NamedTuple):
    """A recording task, named as DeleteLiveRecord names it: by its stream and its id."""

    stream_name: str
    task_id: int


class TaskResult(NamedTuple):
    """What became of one task, or of one message that concerns no task.

    ``detail`` is the sentence for a person. ``calls`` counts the Live requests of this invocation for
    this task, ``latency_ms`` is the time that they took together; both are None where no request
    belongs to the line. ``persisted``: the ledger holds what is deferred. ``traceback``: where a bug in this function
    was, as one string without values.
    """

    outcome: Outcome
    reason: Reason | None = None
    detail: str | None = None
    error_code: str | None = None
    error_class: str | None = None
    calls: int | None = None
    latency_ms: float | None = None
    live_request_id: str | None = None
    persisted: bool = False
    traceback: str | None = None

    @property
    def is_problem(self) -> bool:
        """Whether ``REAPER_LOG_TASKS=problems`` writes its line: a person may have to do something."""
        return self.outcome in PROBLEMS or self.reason is Reason.EARLIER_TIME_KEPT


class Line(NamedTuple):
    """One task of one message, or one message that concerns no task. ``event`` is the message's type."""

    message_id: str
    event: str | None
    stream_name: str | None
    task_id: int | None
    result: TaskResult


class Rejection(NamedTuple):
    """Why a message, or a whole envelope, is not valid; with what could be read of it all the same."""

    reason: Reason
    detail: str
    event: str | None = None
    stream_name: str | None = None

    def result(self) -> TaskResult:
        return TaskResult(Outcome.REJECTED, self.reason, self.detail)


def content_digest(value: object) -> str:
    """32 hex digits that name a JSON value by all of its content, however deeply it is nested."""
    try:
        text = json.dumps(value, sort_keys=True, default=repr)
    except (ValueError, TypeError, RecursionError):
        text = "\n".join(_flattened(value))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


def _flattened(value: object) -> Iterator[str]:
    """The parts of a value that is nested too deeply for a recursion."""
    todo = [value]
    while todo:
        item = todo.pop()
        children = [part for pair in item.items() for part in pair] if isinstance(item, dict) else item
        if isinstance(children, (list, tuple)):
            yield f"{type(item).__name__} of {len(children)}"
            todo += children
        else:
            yield repr(item)


def instant(moment: float) -> str:
    """A time (unix seconds) as people read it."""
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
