"""A message body → events. Tolerant in envelope, strict in meaning.

A body is a JSON object, an array of objects, or a string that holds either. What cannot be read
becomes a ``Rejection`` that names the field, the value and the rule, and touches no neighbour.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, repeat
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from handler.core import fields as rules
from handler.core.events import TYPES, Event, EventModel, Interruption, OtherCallback, Sweep
from handler.core.model import Reason, Rejection
from handler.intake import strict_json
from handler.masking import describe, without_secrets

STRINGS_DEEP = 3

# -- spellings ---------------------------------------------------------------------------------

# The Live API's spelling → ours.
ALIASES = {
    "StreamName": "stream_name",
    "TaskId": "task_id",
    "StartTime": "start_time",
    "EndTime": "end_time",
    "DomainName": "domain_name",
    "AppName": "app_name",
}
# What may stand in a message of each type; in a sweep, anything may.
_NAMES = {
    kind: frozenset(field.alias or name for name, field in model.model_fields.items())
    for kind, model in TYPES.items()
    if model is not Sweep
}
# Of these, the ones that a message may bring without being looked at any closer.
_PLAIN_NAMES = {kind: names - {"Highlight"} for kind, names in _NAMES.items()}
_ALIASES = {kind: {alias: name for alias, name in ALIASES.items() if name in names} for kind, names in _NAMES.items()}
# What two spellings of one field are compared by.
_MEANING: dict[str, Callable[[Any], object]] = {
    "stream_name": rules.name,
    "task_id": rules.task_id_or_all,
    "start_time": rules.unix_seconds,
    "end_time": rules.unix_seconds,
    "domain_name": rules.name,
    "app_name": rules.name,
}


def _in_our_spelling(sent: Mapping[str, Any], kind: str) -> Mapping[str, Any] | Rejection:
    """The fields of a message, those in the API's spelling under our names; a rejection if one nearly is a field."""
    names, aliases = _NAMES[kind], _ALIASES[kind]
    unknown = [field for field in sent if field not in names and field not in aliases]
    if unknown and (detail := _nearly_ours(unknown, kind)):
        return Rejection(Reason.UNKNOWN_FIELD, detail, kind, _stream_of(sent))
    if "Highlight" in names and sent.get("Highlight") in (1, "1"):
        # Such a recording starts at once, whatever is said: the API does not read its start either.
        sent = {field: value for field, value in sent.items() if field not in ("start_time", "StartTime")}
    return sent if aliases.keys().isdisjoint(sent) else _without_aliases(sent, kind)


def _without_aliases(sent: Mapping[str, Any], kind: str) -> Mapping[str, Any] | Rejection:
    fields = dict(sent)
    for alias, name in _ALIASES[kind].items():
        if alias not in sent:
            continue
        value = rules.with_offset(sent[alias]) if name in ("start_time", "end_time") else sent[alias]
        if name in sent and not _same(name, sent[name], value):
            detail = f"{name} is {describe(sent[name])} but {alias} is {describe(sent[alias])}: send one of them"
            return Rejection(Reason.CONFLICTING_FIELDS, detail, kind, _stream_of(sent))
        fields[name] = value
    return fields


def _nearly_ours(unknown: list[str], kind: str) -> str:
    """What is wrong with fields that a message of this type does not have; empty if nothing is."""
    from handler.intake import spelling  # most messages have none

    names = _NAMES[kind]
    near = [field for field in unknown if isinstance(field, str) and spelling.meant(field, names)]
    return "; ".join(
        f"{describe(field)}: no field of a {kind}: {_way_out(spelling.meant(field, names), kind)}" for field in near[:3]
    )


def _way_out(ours: str | None, kind: str) -> str:
    if ours in _NAMES[kind]:
        return f"is {ours} meant?"
    return f"a retention is said by a retention-expiry, with {ours}"


def _same(name: str, one: object, other: object) -> bool:
    with suppress(PydanticCustomError):
        return _MEANING[name](one) == _MEANING[name](other)
    return type(one) is type(other) and one == other


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
            return [Rejection(Reason.TOO_DEEP, f"{describe(body)}: JSON in strings may be {STRINGS_DEEP} deep")]
        return _objects(_decoded(body), deep + 1, in_array)
    if isinstance(body, dict):
        return _unwrapped(body, deep, in_array) if "specversion" in body else [body]
    if isinstance(body, list) and not in_array:
        if not body:
            return [Rejection(Reason.EMPTY, "an empty array: there is nothing to do")]
        return chain.from_iterable(_objects(item, deep, in_array=True) for item in body)
    if isinstance(body, Rejection):
        return [body]
    return [Rejection(Reason.NOT_AN_OBJECT, f"{describe(body)}: a message must be a JSON object")]


def _unwrapped(cloud_event: dict[str, Any], deep: int, in_array: bool) -> Iterator[dict[str, Any] | Rejection]:
    """A structured CloudEvent's data, with the last segment of its type where the data names none."""
    kind = cloud_event.get("type")
    named = kind.rpartition(".")[2] if isinstance(kind, str) else kind
    data = _data_of(cloud_event)
    if isinstance(data, dict) and "specversion" in data:
        yield Rejection(Reason.TOO_DEEP, "data: a CloudEvent: it must not hold another one")
        return
    for fields in _objects(data, deep, in_array):
        # A callback names no type either, but says what it is: the wrapper must not make more of it.
        if not isinstance(fields, Rejection) and "type" not in fields and "event_type" not in fields:
            fields = {**fields, "type": named}
        yield _misplaced(cloud_event, fields) or fields


def _data_of(cloud_event: Mapping[str, Any]) -> object:
    if "data_base64" not in cloud_event:
        return cloud_event.get("data", {})
    if "data" in cloud_event:
        return Rejection(Reason.CONFLICTING_FIELDS, "data and data_base64: a CloudEvent has one of them")
    data = cloud_event["data_base64"]
    try:
        return base64.b64decode(data, validate=True).decode()
    except (ValueError, TypeError):
        return Rejection(Reason.INVALID_FIELD, f"data_base64: {describe(data)}: must be the Base64 of UTF-8 text")


def _misplaced(cloud_event: Mapping[str, Any], fields: Mapping[str, Any] | Rejection) -> Rejection | None:
    """What is wrong if a field of ours is an attribute of the CloudEvent, where it would not be read."""
    kind = None if isinstance(fields, Rejection) else fields.get("type")
    if isinstance(fields, Rejection) or not isinstance(kind, str) or kind not in _NAMES:
        return None
    wrong = [attribute for attribute in cloud_event if attribute in _ATTRIBUTES]
    detail = f"{', '.join(map(describe, wrong[:3]))}: an attribute of the CloudEvent: put it into data"
    return Rejection(Reason.UNKNOWN_FIELD, detail, kind, _stream_of(fields)) if wrong else None


# Our fields as a CloudEvent's attributes may be spelled, which have lower-case letters and digits only.
_ATTRIBUTES = frozenset(
    spelling
    for name in (*chain(*_NAMES.values()), *ALIASES)
    if name != "type"
    for spelling in (name, name.lower().replace("_", ""))
)


def _decoded(text: str) -> object:
    if not text.strip():
        return Rejection(Reason.EMPTY, "an empty string: there is nothing to do")
    try:
        return strict_json.loads(text)
    except strict_json.AmbiguousKeyError as error:
        return Rejection(Reason.CONFLICTING_FIELDS, f"{error}: the same field twice with different values")
    except ValueError:
        return Rejection(Reason.NOT_JSON, f"{describe(text)}: must be JSON")


def is_callback(fields: Mapping[str, object]) -> bool:
    """Whether these are the fields of a CSS callback, which says what it is by its ``event_type``.

    Some have a ``type`` of their own (an array, for one), which is no text as ours is; an interrupted push has none.
    """
    if "event_type" not in fields:
        return False
    return "type" not in fields or not (isinstance(fields["type"], str) or fields["event_type"] == 0)


def _event(fields: Mapping[str, object] | Rejection, now: float) -> Event | Rejection:
    if isinstance(fields, Rejection):
        return fields
    if "event_type" in fields and is_callback(fields):
        return _callback(fields, now)
    kind: object = fields.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        reason = Reason.UNKNOWN_TYPE if "type" in fields else Reason.MISSING_FIELD
        value = describe(kind) if "type" in fields else "missing"
        return Rejection(reason, f"type: {value}: must be one of {', '.join(TYPES)}")
    return _validated(TYPES[kind], fields, kind, now)


def _callback(fields: Mapping[str, object], now: float) -> Event | Rejection:
    event_type = fields["event_type"]
    if isinstance(event_type, bool) or not isinstance(event_type, int):
        return Rejection(Reason.INVALID_FIELD, f"event_type: {describe(event_type)}: must be an integer")
    return _validated(Interruption if event_type == 0 else OtherCallback, fields, "callback", now)


def _validated(model: type[EventModel], sent: Mapping[str, object], kind: str, now: float) -> Event | Rejection:
    fields: Mapping[str, object] | Rejection = sent
    try:
        if kind in _PLAIN_NAMES and not sent.keys() <= _PLAIN_NAMES[kind]:
            fields = _in_our_spelling(sent, kind)
            if isinstance(fields, Rejection):
                return fields
        # What model_validate does, without its own options: a twentieth of the cost of reading a message.
        return model.__pydantic_validator__.validate_python(fields, context={"now": now})  # type: ignore[no-any-return]
    except ValidationError as error:
        return _rejection(error, sent, kind)
    except RecursionError:
        return Rejection(Reason.INVALID_FIELD, "a field is nested too deeply to be anything valid", kind)


def _rejection(error: ValidationError, sent: Mapping[str, object], kind: str) -> Rejection:
    """One rejection for all that is wrong with a message; its reason is the first mistake's."""
    mistakes = error.errors(include_url=False)
    reason = _MISTAKES.get(mistakes[0]["type"], Reason.INVALID_FIELD)
    detail = "; ".join(_sentence(mistake, sent, kind) for mistake in mistakes)
    return Rejection(reason, detail, kind, _stream_of(sent))


def _stream_of(sent: Mapping[str, Any]) -> str | None:
    name = next((sent[key] for key in ("stream_name", "StreamName", "stream_id") if key in sent), None)
    return without_secrets(name) if isinstance(name, str) and rules.is_name(name) else None


_MISTAKES = {
    "missing": Reason.MISSING_FIELD,  # pydantic's own
    Reason.MISSING_FIELD.value: Reason.MISSING_FIELD,
    Reason.CONFLICTING_FIELDS.value: Reason.CONFLICTING_FIELDS,
}
# What to send where the reader may have meant to leave it out.
_IF_MISSING = {
    ("stream-end", "task_id"): ': send the id of the task, or "all" for every known task of the stream',
    ("retention-expiry", "expires_at"): ": if it is due now, send the time that it is now",
}


def _sentence(mistake: Any, sent: Mapping[str, object], kind: str) -> str:
    if not mistake["loc"]:
        return str(mistake["msg"])
    field = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "missing":
        return f"{field}: missing{_IF_MISSING.get((kind, field), '')}"
    alias = next((alias for alias, name in ALIASES.items() if name == field and alias in sent), None)
    if alias is None or field in sent:
        return f"{field}: {describe(mistake['input'])}: {mistake['msg']}"
    return f"{field} (sent as {alias}): {describe(sent[alias])}: {mistake['msg']}"
