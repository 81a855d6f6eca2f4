"""The rules for one field: names, task ids, times, ``Highlight``. Each is a type of the event models.

A rule takes what the producer sent and returns what it means, or raises with the sentence for a person.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from handler.core.model import Reason

MAX_TASK_ID = 2**63 - 1
MAX_EXACT_NUMBER = 2**53  # above it, JavaScript's numbers are rounded
EARLIEST = 1_420_070_400  # 2015-01-01T00:00:00Z: before the service existed
DAYS_AHEAD = 400
ALL: Literal["all"] = "all"


def _broken(rule: str) -> PydanticCustomError:
    return PydanticCustomError(Reason.INVALID_FIELD.value, "{rule}", {"rule": rule})


# -- names -------------------------------------------------------------------------------------

# Unicode category Cf: zero-width, bidi, soft hyphen, tags. Spelled out, because each Python has a Unicode of its own.
_INVISIBLE = "".join(
    f"{chr(first)}-{chr(last)}"
    for first, last in (
        (0xAD, 0xAD), (0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2),
        (0x180E, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x2064), (0x2066, 0x206F), (0xFEFF, 0xFEFF),
        (0xFFF9, 0xFFFB), (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3),
        (0x1D173, 0x1D17A), (0xE0001, 0xE0001), (0xE0020, 0xE007F),
    )
)  # fmt: skip
_UNPRINTABLE = rf"\x00-\x1f\x7f-\x9f\ud800-\udfff{_INVISIBLE}"
_NAME = rf"^[^\s{_UNPRINTABLE}]([^{_UNPRINTABLE}]*[^\s{_UNPRINTABLE}])?$"


def is_name(value: object) -> bool:
    """Whether ``value`` may be the name of a stream, a domain or an app."""
    return isinstance(value, str) and 1 <= len(value) <= 256 and _is_clean(value)


def _is_clean(text: str) -> bool:
    if text.isascii():  # the usual case: spares compiling the pattern, and half of its cost
        return text.isprintable() and text[0] != " " and text[-1] != " "
    return re.fullmatch(_NAME, text) is not None


def name(value: object) -> str:
    """A stream's, domain's or app's name, as it was sent."""
    if not isinstance(value, str):
        raise _broken("must be a string")
    if not 1 <= len(value) <= 256:
        raise _broken(f"must have 1 to 256 characters, has {len(value)}")
    if not _is_clean(value):
        invisible = re.search(f"[{_INVISIBLE}]", value)
        found = f" (U+{ord(invisible[0]):04X} is one)" if invisible else ""
        raise _broken(
            "must have no control characters, lone surrogates or surrounding white space, "
            f"and no invisible characters of Unicode category Cf{found}"
        )
    return value


# -- task ids ----------------------------------------------------------------------------------

_DIGITS = r"[1-9][0-9]*"
_IS_DIGITS = re.compile(_DIGITS, re.ASCII).fullmatch
_LOOKS_NUMERIC = r"[\s\d.,+\-_eE]*"


class LargeNumber(int):
    """An id that came as a JSON number of a size that JavaScript cannot hold: it may have been rounded."""


def task_id(value: object) -> int:
    """The id of one task."""
    text = isinstance(value, str)
    if isinstance(value, str):
        if len(value) > 19 or not _IS_DIGITS(value):
            raise _no_digits(value)
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _broken("must be an integer, or a string of digits")
    if not 1 <= value <= MAX_TASK_ID:
        raise _broken(f"must be from 1 to {MAX_TASK_ID}")
    return LargeNumber(value) if not text and value > MAX_EXACT_NUMBER else value


def task_id_or_all(value: object) -> int | Literal["all"]:
    """The id of one task, or every task of the stream."""
    return ALL if value == ALL else task_id(value)


def _no_digits(text: str) -> PydanticCustomError:
    if text[:20].strip().lower() == ALL:
        return _broken('must be one id here: only a stream-end may say "all", and in just these letters')
    if re.fullmatch(_LOOKS_NUMERIC, text):
        return _broken(f"must be digits only, from 1 to {MAX_TASK_ID}, without leading zeros")
    return _broken(
        "must be digits: this looks like an id of the other API family (CreateRecordTask), "
        "which DeleteLiveRecord cannot delete"
    )


# -- times -------------------------------------------------------------------------------------

# Patterns are compiled when the first such text comes: not every event brings one.
_DATE, _HOUR, _SIXTY = r"\d{4}-\d\d-\d\d", r"(?:[01]\d|2[0-3])", r"[0-5]\d"
_OFFSET = rf"[Zz]|[+-]{_HOUR}:?{_SIXTY}"
_RFC3339 = rf"(?a)({_DATE})[Tt ]({_HOUR}:{_SIXTY})(?:(:{_SIXTY})(\.\d{{1,9}})?)?({_OFFSET})?"
_COLON = "(?::|%3[Aa])"
_API_TIME = rf"(?a)({_DATE})(?: |\+|%20)({_HOUR}){_COLON}({_SIXTY}){_COLON}({_SIXTY})"


def _time(value: object, info: ValidationInfo) -> float:
    seconds = unix_seconds(value)
    latest: float = (info.context or {})["now"] + DAYS_AHEAD * 86_400
    if EARLIEST <= seconds <= latest:
        return seconds
    hint = ": looks like milliseconds, send seconds" if EARLIEST <= seconds / 1000 <= latest else ""
    raise _broken(f"must be between 2015 and {DAYS_AHEAD} days from now{hint}")


def unix_seconds(value: object) -> float:
    """The moment that ``value`` names: RFC 3339 text with an offset, or unix seconds."""
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
    date, clock, second, fraction, offset = match.groups()
    if offset is None:
        raise _broken("has no offset: CreateLiveRecord's times are China time, append +08:00")
    offset = "+00:00" if offset in "Zz" else f"{offset[:3]}:{offset[-2:]}"
    try:
        # The one form that every Python reads alike.
        return datetime.fromisoformat(
            f"{date}T{clock}{second or ':00'}{(fraction or '.0')[:7]:0<7}{offset}"
        ).timestamp()
    except ValueError:
        raise _broken("must be a date and time that exist") from None


def with_offset(value: object) -> object:
    """A time as CreateLiveRecord takes it, which is China time, with its offset; any other value as it is.

    The request goes out percent-encoded, and may have been recorded so.
    """
    match = re.fullmatch(_API_TIME, value) if isinstance(value, str) else None
    return "{}T{}:{}:{}+08:00".format(*match.groups()) if match else value


# -- Highlight ---------------------------------------------------------------------------------


def _highlight(value: object) -> Literal[1] | None:
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value not in (0, 1, "0", "1"):
        raise _broken("must be 0 or 1")
    return 1 if value in (1, "1") else None


# -- as types of the models, and as JSON Schema ------------------------------------------------

_NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": _NAME}
_TASK_ID_SCHEMA = {
    "description": "As CreateLiveRecord returned it. A string of digits where the producer cannot hold an int64.",
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": MAX_TASK_ID},
        {"type": "string", "pattern": rf"^{_DIGITS}$", "maxLength": 19},
    ],
}
_TASK_ID_OR_ALL_SCHEMA = {
    "description": 'One task, or "all": every known task of the stream that had started by ended_at.',
    "anyOf": [*_TASK_ID_SCHEMA["anyOf"], {"const": ALL}],
}
_TIME_SCHEMA = {
    "description": f"RFC 3339 with an offset, or unix seconds; between 2015 and {DAYS_AHEAD} days from now.",
    "anyOf": [
        {"type": "string", "pattern": rf"^{_DATE}[Tt ]{_HOUR}:{_SIXTY}(:{_SIXTY}(\.\d{{1,9}})?)?({_OFFSET})$"},
        {"type": "number", "minimum": EARLIEST},
        {"type": "string", "pattern": "^[0-9]{10,20}$"},
    ],
}
API_TIME_SCHEMA = {
    "description": "As CreateLiveRecord takes it: China time, percent-encoded or not. Or like any other time.",
    "anyOf": [{"type": "string", "pattern": f"^{_API_TIME.removeprefix('(?a)')}$"}, *_TIME_SCHEMA["anyOf"]],
}
_HIGHLIGHT_SCHEMA = {
    "description": "As CreateLiveRecord takes it. 1: the recording runs from now, for 30 minutes at most.",
    "enum": [0, 1, "0", "1"],
}

Name = Annotated[str, PlainValidator(name), WithJsonSchema(_NAME_SCHEMA)]
TaskId = Annotated[int, PlainValidator(task_id), WithJsonSchema(_TASK_ID_SCHEMA)]
TaskIdOrAll = Annotated[int | Literal["all"], PlainValidator(task_id_or_all), WithJsonSchema(_TASK_ID_OR_ALL_SCHEMA)]
Time = Annotated[float, PlainValidator(_time), WithJsonSchema(_TIME_SCHEMA)]
# Optional fields may be left out, but null is no value: a producer's failed look-up must not pass for "not meant".
OptionalName = Annotated[str | None, PlainValidator(name), WithJsonSchema(_NAME_SCHEMA)]
OptionalTime = Annotated[float | None, PlainValidator(_time), WithJsonSchema(_TIME_SCHEMA)]
Highlight = Annotated[Literal[1] | None, PlainValidator(_highlight), WithJsonSchema(_HIGHLIGHT_SCHEMA)]
