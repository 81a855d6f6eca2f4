"""CSS callbacks that come over HTTP: who is let in, and what is answered. What they mean is not known here.

CSS signs with ``sign`` = hex MD5 of key + ``t``, where ``t`` is the unix second at which that expires. The signature
does not cover the body, so whoever captures one may send another body until ``t``: a callback over HTTP may only ever
cause looks. Anything but HTTP 200 within 20 s is repeated, up to 12 times, a minute apart (267/32744).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, NamedTuple

from handler import strict_json
from handler.messages import is_callback
from handler.model import Reason, Rejection, shown
from handler.settings import Settings
from handler.triggers import HttpRequest

ANSWER_SECONDS = 15.0
MAX_BODY_CHARACTERS = 65_536


class Refusal(NamedTuple):
    """A request that is not let in, and the HTTP status that it gets."""

    status: int
    rejection: Rejection


def refusal(request: HttpRequest, settings: Settings, now: float) -> Refusal | None:
    """Why ``request`` is not let in; None if it is a callback that CSS has signed."""
    if settings.ledger is None:
        return _refuse(403, Reason.FORBIDDEN, "HTTP: callbacks only concern what a ledger holds: set REAPER_LEDGER")
    if settings.callback_key is None:
        return _refuse(403, Reason.FORBIDDEN, "HTTP: REAPER_CALLBACK_KEY is not set: nobody is let in")
    if request.method != "POST" or request.body is None:
        return _refuse(403, Reason.FORBIDDEN, f"HTTP: {shown(request.method)}: only CSS callbacks, which are POSTs")
    if len(request.body) > MAX_BODY_CHARACTERS:
        return _refuse(400, Reason.NOT_JSON, f"HTTP: a body of {len(request.body)} characters is no callback")
    try:
        fields = strict_json.loads(request.body)
    except ValueError:
        return _refuse(400, Reason.NOT_JSON, f"HTTP: {shown(request.body)}: must be JSON")
    if not isinstance(fields, dict) or not is_callback(fields) or "specversion" in fields:
        return _refuse(403, Reason.FORBIDDEN, "HTTP: only CSS callbacks, which have an event_type and no type of ours")
    if not _is_signed(fields, settings.callback_key.get_secret_value(), now):
        return _refuse(401, Reason.BAD_SIGNATURE, "HTTP: sign does not match t and REAPER_CALLBACK_KEY, or t is past")
    return None


def answer(status: int, detail: str = "") -> dict[str, Any]:
    """What the function returns for an HTTP request."""
    body = {"code": 0} if status == 200 else {"code": status, "message": detail}
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}


def _is_signed(fields: dict[str, Any], key: str, now: float) -> bool:
    sign, t = fields.get("sign"), fields.get("t")
    if isinstance(t, bool) or not isinstance(t, (int, str)) or not str(t).isascii() or not str(t).isdecimal():
        return False
    expected = hashlib.md5(f"{key}{t}".encode(), usedforsecurity=False).hexdigest()
    matches = isinstance(sign, str) and hmac.compare_digest(expected.encode(), sign.lower().encode(errors="replace"))
    return matches and len(str(t)) <= 12 and int(t) >= now


def _refuse(status: int, reason: Reason, detail: str) -> Refusal:
    return Refusal(status, Rejection(reason, detail))
