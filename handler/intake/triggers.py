"""The platform's envelopes → one ``Delivery`` of ``Message``s. What a message means is not known here.

Shapes: timer 583/9708, CKafka 583/17530, CMQ topic 583/11517, EventBridge 1108/56290, dead letters
of asynchronous invocations 583/39851. Every variant that the vendor's own documents and tools
produce is read.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from handler.core.model import Reason, Rejection, content_digest
from handler.intake import strict_json
from handler.masking import describe, without_secrets

UNDERSTOOD = (
    'a timer ("Type": "Timer"), CKafka or CMQ topic ("Records"), EventBridge ("specversion" or "EventList"), '
    'HTTP ("httpMethod"), a dead letter ("Body.ClientContext"), '
    'or the message itself ("type", or "event_type" of a CSS callback)'
)
DEFAULT_TIME_LIMIT = 60.0
MAX_TIME_LIMIT = 86_400.0  # asynchronous functions may run for a day
ID_CHARACTERS = 64
_DEAD_LETTERS_DEEP = 3


class Message(NamedTuple):
    """One message as its trigger delivered it: ``body`` is not decoded yet.

    ``id`` is the same at every redelivery. A body that is a ``Rejection`` could not even be found: what was
    delivered instead is in ``delivered``.
    """

    id: str
    body: object
    delivered: object = None

    @property
    def raw(self) -> object:
        """All that was delivered of it, for a person to look at."""
        return self.delivered if isinstance(self.body, Rejection) else self.body


class HttpRequest(NamedTuple):
    """What came to the function URL. ``body`` is None where it is missing or cannot be decoded."""

    method: str
    body: str | None


class Source(str, Enum):
    """The trigger of a delivery, as telemetry names it."""

    TIMER = "timer"
    CKAFKA = "ckafka"
    CMQ = "cmq"
    EVENTBRIDGE = "eventbridge"
    DIRECT = "direct"
    HTTP = "http"
    UNKNOWN = "unknown"

    @property
    def is_trusted(self) -> bool:
        """Whether what comes from there may assert, and be stored. A source that is not listed is not trusted."""
        return self in TRUSTED_SOURCES


# Whoever can send through these was let in by the platform. Anybody can send to a function URL.
TRUSTED_SOURCES = frozenset(
    {Source.TIMER, Source.CKAFKA, Source.CMQ, Source.EVENTBRIDGE, Source.DIRECT, Source.UNKNOWN}
)


class Delivery(NamedTuple):
    """What one invocation received. ``request`` is set for HTTP."""

    source: Source
    messages: list[Message]
    request: HttpRequest | None = None


def read(event: object) -> Delivery:
    """The delivery that ``event`` is. Never raises: what cannot be read becomes a rejected message."""
    for _ in range(_DEAD_LETTERS_DEEP):
        original = _original_of_dead_letter(event)
        if original is None:
            break
        event = original
    if isinstance(event, dict):
        # A message may bring any fields of its own: what says that it is one is not taken for an envelope.
        for envelope in (_timer, _eventbridge, _direct, _http, _records):
            delivery = envelope(event)
            if delivery is not None:
                return delivery
    if isinstance(event, (str, list)):
        return Delivery(Source.DIRECT, [Message(f"direct:{content_digest(event)}", event)])
    return Delivery(Source.UNKNOWN, [Message(f"unknown:{content_digest(event)}", _unknown_envelope(event), event)])


def _direct(event: Mapping[str, object]) -> Delivery | None:
    return Delivery(Source.DIRECT, [Message(f"direct:{content_digest(event)}", event)]) if _is_message(event) else None


def _is_message(event: Mapping[str, object]) -> bool:
    return "type" in event or "event_type" in event


def _unknown_envelope(event: object) -> Rejection:
    detail = f"{_described(event)} is no event that is understood: expected {UNDERSTOOD}"
    return Rejection(Reason.UNKNOWN_ENVELOPE, detail)


def _described(value: object) -> str:
    keys = ", ".join(describe(key) for key in list(value)[:8]) if isinstance(value, dict) else ""
    return f"an object with the keys {keys}" if keys else describe(value)


def request_id(context: object) -> str | None:
    """The platform's name for this invocation; None where the context gives none (583/40324)."""
    value = context.get("request_id") if isinstance(context, dict) else None
    return without_secrets(value)[:ID_CHARACTERS] if isinstance(value, str) else None


def time_limit(context: object) -> float:
    """Seconds until the platform stops this invocation. An empty context means 60 (583/40324).

    Less than a second cannot be configured (583/11637): that is a runner which passes seconds, so nothing is known.
    """
    value = context.get("time_limit_in_ms") if isinstance(context, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1000 <= value <= MAX_TIME_LIMIT * 1000:
        return DEFAULT_TIME_LIMIT
    return value / 1000


# -- dead letters ------------------------------------------------------------------------------


def _original_of_dead_letter(event: object) -> object | None:
    body = event.get("Body") if isinstance(event, dict) and not _is_message(event) else None
    if isinstance(body, str):
        body = _json(body)
    context = body.get("ClientContext") if isinstance(body, dict) else None
    return _json(context) if isinstance(context, str) else None


def _json(text: str) -> object | None:
    try:
        return strict_json.loads(text)
    except ValueError:
        return None


# -- timer -------------------------------------------------------------------------------------


def _timer(event: Mapping[str, object]) -> Delivery | None:
    fields = {str(key).lower(): value for key, value in event.items()}
    kind = fields.get("type")
    if not isinstance(kind, str) or kind.lower() != "timer" or fields.keys().isdisjoint(_TIMER_KEYS):
        return None
    body = fields.get("message")
    if body is None or (isinstance(body, str) and not body.strip()):
        body = {"type": "sweep"}
    name, time = _text(fields.get("triggername")), _text(fields.get("time"))
    identity = f"{name}:{time}" if name and time else content_digest(event)
    return Delivery(Source.TIMER, [Message(f"timer:{identity}", body)])


_TIMER_KEYS = ("triggername", "time", "message")


# -- CKafka and CMQ ----------------------------------------------------------------------------

# What names one message of a kind; without the last part, a record has no name.
_COORDINATES = {"ckafka": ("topic", "partition", "offset"), "cmq": ("topicName", "msgId")}


def _records(event: Mapping[str, object]) -> Delivery | None:
    records = event.get("Records")
    if not isinstance(records, list):
        return None
    if not records:
        return Delivery(Source.UNKNOWN, [_empty("Records", event)])
    source, messages = Source.UNKNOWN, list[Message]()
    for record in records:
        kind, fields = _kind(record)
        source = Source(kind) if source is Source.UNKNOWN else source
        messages += _messages_of(kind, fields) if fields else [_unknown_record(record)]
    return Delivery(source, messages)


def _kind(record: object) -> tuple[str, Mapping[str, object] | None]:
    if isinstance(record, dict):
        for key, fields in record.items():
            kind = str(key).lower()
            if kind in _COORDINATES and isinstance(fields, dict):
                return kind, fields
    return "unknown", None


def _messages_of(kind: str, fields: Mapping[str, object]) -> list[Message]:
    body = fields.get("msgBody", _NO_BODY)
    if isinstance(body, str) and "ClientContext" in body:
        original = _original_of_dead_letter(_json(body))
        if original is not None:
            return read(original).messages
    parts = [_text(fields[name] if name in fields else fields.get(name.capitalize())) for name in _COORDINATES[kind]]
    identity = ":".join(parts) if parts[-1] else content_digest(fields)
    return [Message(f"{kind}:{identity}", body, fields)]


_NO_BODY = Rejection(Reason.MISSING_FIELD, "msgBody: missing: a record carries its message there")


def _unknown_record(record: object) -> Message:
    detail = f"{_described(record)} is no record that is understood: expected Ckafka or CMQ"
    return Message(f"unknown:{content_digest(record)}", Rejection(Reason.UNKNOWN_ENVELOPE, detail), record)


# -- EventBridge -------------------------------------------------------------------------------


def _eventbridge(event: Mapping[str, object]) -> Delivery | None:
    if "EventList" in event and not _is_message(event):
        events = event["EventList"]
        if not isinstance(events, list):
            return None
        messages = list(map(_cloud_event, events)) or [_empty("EventList", event)]
        return Delivery(Source.EVENTBRIDGE, messages)
    return Delivery(Source.EVENTBRIDGE, [_cloud_event(event)]) if "specversion" in event else None


def _cloud_event(event: object) -> Message:
    if not isinstance(event, dict) or "specversion" not in event:
        return Message(f"eventbridge:{content_digest(event)}", _unknown_envelope(event), event)
    parts = [_text(event.get("source")), _text(event.get("id"))]
    identity = ":".join(parts) if parts[-1] else content_digest(event)
    return Message(f"eventbridge:{identity}", _connector_body(event.get("data"), event))


def _connector_body(data: object, event: Mapping[str, object]) -> object:
    """``msgBody`` of a queue connector; otherwise the CloudEvent, which ``messages`` unwraps."""
    if isinstance(data, str) and '"msgBody"' in data:
        data = _json(data)
    return data["msgBody"] if isinstance(data, dict) and "msgBody" in data else event


# -- HTTP --------------------------------------------------------------------------------------


def _http(event: Mapping[str, object]) -> Delivery | None:
    """A function URL's request (583/96099), or one of the older gateway, which may be Base64."""
    method = event.get("httpMethod")
    if not isinstance(method, str):
        return None
    body = event.get("body")
    if isinstance(body, str) and event.get("isBase64Encoded") is True:
        try:
            body = base64.b64decode(body, validate=True).decode()
        except ValueError:
            body = None
    text = body if isinstance(body, str) else None
    return Delivery(
        Source.HTTP, [Message(f"http:{content_digest(body)}", text)], HttpRequest(method.upper()[:16], text)
    )


# -- shared ------------------------------------------------------------------------------------


def _empty(key: str, event: object) -> Message:
    return Message(
        f"unknown:{content_digest(event)}", Rejection(Reason.EMPTY, f"{key}: an empty array: nothing to do"), event
    )


def _text(value: object) -> str:
    """A part of a message id, whole: what is cut off may be what tells two messages apart."""
    if isinstance(value, str):
        return _masked(value)
    return describe(value) if isinstance(value, int) and not isinstance(value, bool) else ""


# A delivery's messages have most parts of their names in common.
_masked = lru_cache(maxsize=256)(without_secrets)
