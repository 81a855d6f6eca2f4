"""What is kept of a message that was not valid, without the credentials that it may hold."""

from __future__ import annotations

import json
from typing import Any

from handler.intake import strict_json
from handler.masking import MASK, is_credential, without_secrets

LEVELS = 40
TOO_DEEP = "nested too deep to be kept"


def redacted(value: Any) -> Any:
    """A copy of ``value`` without what is under a key that looks like a credential's, and ``without_secrets``.

    Strings that hold JSON are looked into as well. Everything else stays as it is. Never raises.

    Args:
        value: what ``json.loads`` returns; of anything else, only strings are looked at.
    """
    try:
        return _redacted(value, 0)
    except Exception as error:  # noqa: BLE001  what cannot be looked through is not kept
        return f"not kept: {type(error).__name__}"


def _redacted(value: Any, level: int) -> Any:
    if isinstance(value, str):
        return _redacted_text(value, level)
    if not isinstance(value, (dict, list, tuple)):
        return value
    if level >= LEVELS:
        return TOO_DEEP
    if isinstance(value, dict):
        return {_redacted_key(key): _under(key, item, level) for key, item in value.items()}
    return [_redacted(item, level + 1) for item in value]


def _redacted_text(text: str, level: int) -> str:
    if text.lstrip()[:1] not in ("{", "[", '"'):
        return without_secrets(text)
    try:
        value = strict_json.loads(text)  # of a key that is there twice, one value would be overlooked
    except (ValueError, RecursionError):
        return without_secrets(text)
    clean = _redacted(value, level + 1)
    return text if clean == value else json.dumps(clean, ensure_ascii=False)


def _redacted_key(key: Any) -> Any:
    return without_secrets(key) if isinstance(key, str) else key


def _under(key: Any, value: Any, level: int) -> Any:
    if value is None or value == "" or isinstance(value, bool) or not is_credential(str(key)):
        return _redacted(value, level + 1)
    return MASK
