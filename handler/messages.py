"""The event models: tolerant in envelope, strict in meaning. Where a message came from is not known here.

A body is a JSON object, an array of objects, or a string that holds either. What cannot be read
becomes a ``Rejection`` that names the field, the value and the rule, and touches no neighbour.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain, repeat
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from handler import strict_json
from handler.model import Reason, Rejection, shown

STRINGS_DEEP = 3
MAX_TASK_ID = 2**63 - 1
EARLIEST = 1_420_070_400  # 2015-01-01T00:00:00Z: before the service existed
DAYS_AHEAD = 400
CLOCK_SKEW_SECONDS = 300  # what the platform's own signatures allow a clock to be off

# -- fields ------------------------------------------------------------------------------------


def _broken(rule: str) -> PydanticCustomError:
    return PydanticCustomError(Reason.INVALID_FIELD.value, "{rule}", {"rule": rule})


_UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
_NAME = rf"^[^\s{_UNPRINTABLE}]([^{_UNPRINTABLE}]*[^\s{_UNPRINTABLE}])?$"
_IS_NAME = re.compile(_NAME).fullmatch


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise _broken("must be a string")
    if not 1 <= len(value) <= 256:
        raise _broken(f"must have 1 to 256 characters, has {len(value)}")
    if not _IS_NAME(value):
        raise _broken("must have no control characters, lone surrogates or surrounding white space")
    return value


_DIGITS = r"[1-9][0-9]*"
_IS_DIGITS = re.compile(_DIGITS, re.ASCII).fullmatch
_LOOKS_NUMERIC = r"[\s\d.,+\-_eE]*"


def _task_id(value: object) -> int:
    if isinstance(value, str):
        if len(value) > 19 or not _IS_DIGITS(value):
            if not re.fullmatch(_LOOKS_NUMERIC, value):
                raise _broken(
                    "must be digits: this looks like an id of the other API family (CreateRecordTask), "
                    "which DeleteLiveRecord cannot delete"
                )
            raise _broken(f"must be digits only, from 1 to {MAX_TASK_ID}, without leading zeros")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _broken("must be an integer, or a string of digits")
    if not 1 <= value <= MAX_TASK_ID:
        raise _broken(f"must be from 1 to {MAX_TASK_ID}")
    return value


# Compiled when the first one comes: not every event brings a time.
_RFC3339 = r"(?a)(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?"


def _time(value: object, info: ValidationInfo) -> float:
    seconds = _unix_seconds(value)
    latest: float = (info.context or {})["now"] + DAYS_AHEAD * 86_400
    if EARLIEST <= seconds <= latest:
        return seconds
    hint = ": looks like milliseconds, send seconds" if EARLIEST <= seconds / 1000 <= latest else ""
    raise _broken(f"must be between 2015 and {DAYS_AHEAD} days from now{hint}")


def _unix_seconds(value: object) -> float:
    if isinstance(value, str):
        if value.isascii() and value.isdecimal() and len(value) <= 20:
            return float(value)
        return _rfc3339(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _broken("must be RFC 3339 text with an offset, or unix seconds")
    if isinstance(value, int) and value.bit_length() > 64:
        raise _broken(f"must be between 2015 and {DAYS_AHEAD} days from now")
    if not math.isfinite(value):
        raise _broken("must be a finite number of unix seconds")
    return float(value)


def _rfc3339(text: str) -> float:
    match = re.fullmatch(_RFC3339, text)
    if match is None:
        raise _broken("must be RFC 3339 with an offset, such as 2026-11-22T18:00:00+08:00, or unix seconds")
    date, clock, fraction, offset = match.groups()
    if offset is None:
        raise _broken("has no offset: CreateLiveRecord's times are China time, append +08:00")
    offset = "+00:00" if offset in "Zz" else offset
    try:
        return datetime.fromisoformat(f"{date}T{clock}{(fraction or '.0')[:7]:0<7}{offset}").timestamp()
    except ValueError:
        raise _broken("must be a date and time that exist") from None


_NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": _NAME}
_TASK_ID_SCHEMA = {
    "description": "As CreateLiveRecord returned it. A string of digits where the producer cannot hold an int64.",
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": MAX_TASK_ID},
        {"type": "string", "pattern": rf"^{_DIGITS}$", "maxLength": 19},
    ],
}
_TIME_SCHEMA = {
    "description": f"RFC 3339 with an offset, or unix seconds; between 2015 and {DAYS_AHEAD} days from now.",
    "anyOf": [
        {"type": "string", "format": "date-time", "pattern": r"([Zz]|[+-]\d\d:\d\d)$"},
        {"type": "number", "minimum": EARLIEST},
        {"type": "string", "pattern": "^[0-9]{10,20}$"},
    ],
}

Name = Annotated[str, PlainValidator(_name), WithJsonSchema(_NAME_SCHEMA)]
TaskId = Annotated[int, PlainValidator(_task_id), WithJsonSchema(_TASK_ID_SCHEMA)]
Time = Annotated[float, PlainValidator(_time), WithJsonSchema(_TIME_SCHEMA)]
# Optional fields may be left out, but null is no value: where absence widens what an event does
# ("every task of the stream", "now"), a producer's failed look-up must not pass for it.
OptionalName = Annotated[str | None, PlainValidator(_name), WithJsonSchema(_NAME_SCHEMA)]
OptionalTaskId = Annotated[int | None, PlainValidator(_task_id), WithJsonSchema(_TASK_ID_SCHEMA)]
OptionalTime = Annotated[float | None, PlainValidator(_time), WithJsonSchema(_TIME_SCHEMA)]

# -- models ------------------------------------------------------------------------------------

# The Live API's spelling → ours.
ALIASES = {"StreamName": "stream_name", "TaskId": "task_id", "DomainName": "domain_name", "AppName": "app_name"}


class _Model(BaseModel):
    # Built when the first one comes: most events bring one type only.
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class _Event(_Model):
    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, fields: dict[str, object]) -> dict[str, object]:
        if ALIASES.keys().isdisjoint(fields):
            return fields
        for alias, name in ALIASES.items():
            if alias in fields:
                value = fields[alias]
                if name in fields and not _same(fields[name], value):
                    raise PydanticCustomError(
                        Reason.CONFLICTING_FIELDS.value,
                        "{rule}",
                        {"rule": f"{name} is {shown(fields[name])} but {alias} is {shown(value)}: send one of them"},
                    )
                fields = {**fields, name: value}
        return fields


def _same(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return {type(one), type(other)} == {int, str} and str(one) == str(other)
    return one == other


class StreamEnd(_Event):
    """The user's own backend says that a stream is over: its task is due now.

    Without a ``task_id``: every task that the ledger knows of that stream and that had started by ``ended_at``.
    """

    type: Literal["stream-end"]
    stream_name: Name
    task_id: OptionalTaskId = None
    ended_at: OptionalTime = None
    domain_name: OptionalName = None
    app_name: OptionalName = None

    @model_validator(mode="after")
    def _says_what_ended(self) -> StreamEnd:
        if self.task_id is None and self.ended_at is None:
            raise PydanticCustomError(
                Reason.MISSING_FIELD.value, "task_id: missing: send task_id, or ended_at to name none"
            )
        return self


class RetentionExpiry(_Event):
    """The user's own backend says when a retention expires: due at ``expires_at``, now if absent or past."""

    type: Literal["retention-expiry"]
    stream_name: Name
    task_id: TaskId
    expires_at: OptionalTime = None


class TaskCreated(_Event):
    """Remember this task: due at ``expires_at``, else at ``end_time`` plus a margin, else not yet known."""

    type: Literal["task-created"]
    stream_name: Name
    task_id: TaskId
    start_time: OptionalTime = None
    end_time: OptionalTime = None
    expires_at: OptionalTime = None
    domain_name: OptionalName = None
    app_name: OptionalName = None

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> TaskCreated:
        if self.start_time is not None and self.end_time is not None and self.end_time <= self.start_time:
            raise PydanticCustomError(
                Reason.CONFLICTING_FIELDS.value, "end_time is not after start_time: are they the wrong way round?"
            )
        return self


class Sweep(_Event):
    """Work off everything that is due."""

    type: Literal["sweep"]


class Interruption(_Model):
    """A CSS push callback that says that a push was interrupted: a hint, it may come back in a second.

    Its ``task_id`` belongs to other subsystems and is never read (267/47025).
    """

    type: ClassVar[str] = "callback"
    event_type: Literal[0]
    domain_name: Name = Field(alias="app")
    app_name: Name = Field(alias="appname")
    stream_name: Name = Field(alias="stream_id")
    event_time: Time


class OtherCallback(_Model):
    """Any other CSS callback: a push that started, a recorded file, a screenshot. Nothing is due because of it."""

    type: ClassVar[str] = "callback"
    event_type: Annotated[int, WithJsonSchema({"type": "integer", "not": {"const": 0}})]


Event = StreamEnd | RetentionExpiry | TaskCreated | Sweep | Interruption | OtherCallback

TYPES: dict[str, type[_Event]] = {
    "stream-end": StreamEnd,
    "retention-expiry": RetentionExpiry,
    "task-created": TaskCreated,
    "sweep": Sweep,
}


def subject(event: Event) -> tuple[str | None, int | None]:
    """The stream and the task that an event names, where it names any."""
    return getattr(event, "stream_name", None), getattr(event, "task_id", None)


# -- reading -----------------------------------------------------------------------------------


def read(body: object, now: float) -> Iterator[Event | Rejection]:
    """The events in one message body, in order; a ``Rejection`` for each that is not valid.

    Args:
        body: as the trigger delivered it: an object, an array, or a string that holds JSON.
        now: unix seconds; times are held against it.
    """
    return map(_event, _objects(body), repeat(now))


def _objects(body: object, deep: int = 0, in_array: bool = False) -> Iterable[dict[str, Any] | Rejection]:
    if isinstance(body, str):
        if deep == STRINGS_DEEP:
            return [Rejection(Reason.TOO_DEEP, f"{shown(body)}: JSON in strings may be {STRINGS_DEEP} deep")]
        return _objects(_decoded(body), deep + 1, in_array)
    if isinstance(body, dict):
        return _unwrapped(body, deep, in_array) if "specversion" in body else [body]
    if isinstance(body, list) and not in_array:
        if not body:
            return [Rejection(Reason.EMPTY, "an empty array: there is nothing to do")]
        return chain.from_iterable(_objects(item, deep, in_array=True) for item in body)
    if isinstance(body, Rejection):
        return [body]
    return [Rejection(Reason.NOT_AN_OBJECT, f"{shown(body)}: a message must be a JSON object")]


def _unwrapped(cloud_event: dict[str, Any], deep: int, in_array: bool) -> Iterator[dict[str, Any] | Rejection]:
    """A structured CloudEvent's data, with the last segment of its type where the data names none."""
    kind = cloud_event.get("type")
    named = kind.rpartition(".")[2] if isinstance(kind, str) else kind
    data = cloud_event.get("data", {})
    if isinstance(data, dict) and "specversion" in data:
        yield Rejection(Reason.TOO_DEEP, "data: a CloudEvent: it must not hold another one")
        return
    for fields in _objects(data, deep, in_array):
        # A callback names no type either, but says what it is: the wrapper must not make more of it.
        if isinstance(fields, Rejection) or "type" in fields or "event_type" in fields:
            yield fields
        else:
            yield {**fields, "type": named}


def _decoded(text: str) -> object:
    if not text.strip():
        return Rejection(Reason.EMPTY, "an empty string: there is nothing to do")
    try:
        return strict_json.loads(text)
    except strict_json.AmbiguousKeyError as error:
        return Rejection(Reason.CONFLICTING_FIELDS, f"{error}: the same field twice with different values")
    except ValueError:
        return Rejection(Reason.NOT_JSON, f"{shown(text)}: must be JSON")


def _event(fields: Mapping[str, object] | Rejection, now: float) -> Event | Rejection:
    if isinstance(fields, Rejection):
        return fields
    kind: object = fields.get("type")
    model: type[_Model]
    if "type" not in fields and "event_type" in fields:
        event_type = fields["event_type"]
        if isinstance(event_type, bool) or not isinstance(event_type, int):
            return Rejection(Reason.INVALID_FIELD, f"event_type: {shown(event_type)}: must be an integer")
        kind, model = "callback", Interruption if event_type == 0 else OtherCallback
    elif not isinstance(kind, str) or kind not in TYPES:
        reason = Reason.UNKNOWN_TYPE if "type" in fields else Reason.MISSING_FIELD
        value = shown(kind) if "type" in fields else "missing"
        return Rejection(reason, f"type: {value}: must be one of {', '.join(TYPES)}")
    else:
        model = TYPES[kind]
    try:
        # What model_validate does, without its own options: a twentieth of the cost of reading a message.
        return model.__pydantic_validator__.validate_python(fields, context={"now": now})  # type: ignore[no-any-return]
    except ValidationError as error:
        return _rejection(error, fields, kind)
    except RecursionError:
        return Rejection(Reason.INVALID_FIELD, "a field is nested too deeply to be anything valid", kind)


def _rejection(error: ValidationError, fields: Mapping[str, object], kind: str) -> Rejection:
    """One rejection for all that is wrong with a message; its reason is the first mistake's."""
    mistakes = error.errors(include_url=False)
    reason = _MISTAKES.get(mistakes[0]["type"], Reason.INVALID_FIELD)
    name = next((fields[key] for key in ("stream_name", "StreamName", "stream_id") if key in fields), None)
    stream_name = name if isinstance(name, str) and len(name) <= 256 and _IS_NAME(name) else None
    return Rejection(reason, "; ".join(map(_sentence, mistakes)), kind, stream_name)


_MISTAKES = {
    "missing": Reason.MISSING_FIELD,  # pydantic's own
    Reason.MISSING_FIELD.value: Reason.MISSING_FIELD,
    Reason.CONFLICTING_FIELDS.value: Reason.CONFLICTING_FIELDS,
}


def _sentence(mistake: Any) -> str:
    if not mistake["loc"]:
        return str(mistake["msg"])
    field = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "missing":
        return f"{field}: missing"
    return f"{field}: {shown(mistake['input'])}: {mistake['msg']}"
