"""Which of our fields an unknown field may have meant. Only asked for fields that are unknown."""

from __future__ import annotations

import re
from functools import lru_cache

_CACHED_CHARACTERS = 64  # longer names are no field that comes again
_FEWEST_CHARACTERS = 6  # below that, one edit leads from one word to another
_OF_A_RETENTION = re.compile("expir|retention|retain|until|^ttl|ttl$")  # not battle_id, not settlement
_RETENTION_FIELD = "expires_at"


def meant(name: str, fields: frozenset[str]) -> str | None:
    """The field that ``name`` nearly spells: one of ``fields``, or that of a retention; None if it is another word."""
    return _cached(name, fields) if len(name) <= _CACHED_CHARACTERS else _meant(name, fields)


def squashed(name: str) -> str:
    """``name`` in lower case, without ``_``, ``-`` and blanks."""
    return re.sub(r"[\s_-]", "", name.lower())


def _meant(name: str, fields: frozenset[str]) -> str | None:
    word = squashed(name)
    near = [field for field in sorted(fields) if _nearly_equal(word, squashed(field))]
    return near[0] if near else _RETENTION_FIELD if _OF_A_RETENTION.search(word) else None


_cached = lru_cache(maxsize=1024)(_meant)


def _nearly_equal(one: str, other: str) -> bool:
    if one == other:
        return True
    if min(len(one), len(other)) < _FEWEST_CHARACTERS or one[0] != other[0]:
        return False
    return _one_edit_apart(*sorted((one, other), key=len))


def _one_edit_apart(short: str, long: str) -> bool:
    """Whether one insertion, replacement or swap of neighbours turns ``short`` into ``long``."""
    if len(long) - len(short) > 1:
        return False
    same = next((place for place, letter in enumerate(short) if letter != long[place]), len(short))
    a, b = short[same:], long[same:]
    return b[1:] in (a, a[1:]) or (a[1::-1] == b[:2] and a[2:] == b[2:])
