"""JSON that means one thing: no key twice with different values, no NaN, no nesting beyond reason."""

from __future__ import annotations

import json

from handler.masking import describe


class AmbiguousKeyError(ValueError):
    """An object has one key twice, with different values; the text names all three."""


def loads(text: str) -> object:
    """What ``text`` says.

    Raises:
        AmbiguousKeyError: it says two things.
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        for name, value in pairs:
            if fields[name] is not value and _text(fields[name]) != _text(value):
                raise AmbiguousKeyError(_two_things(name, value, fields[name]))
    return fields


def _text(value: object) -> str:
    """The same for equal values only: 1, 1.0 and true are three, which ``==`` takes for one."""
    return json.dumps(value, sort_keys=True)


def _two_things(name: str, *values: object) -> str:
    from handler.masking import (
        MASK,
        is_credential,  # only a mistake needs it
    )

    one, other = (MASK if is_credential(name) else describe(value) for value in values)
    return f"{describe(name)} is {one} and {other}"


def _no_constant(name: str) -> None:
    raise ValueError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
