"""CSS callbacks that come over HTTP: who is let in, and what is answered. What they mean is not known here.

CSS signs with ``sign`` = hex MD5 of key + ``t``, where ``t`` is the unix second at which that expires. The signature
does not cover the body, so whoever captures one may send another body until ``t``: a callback over HTTP may only ever
cause looks. Anything but HTTP 200 within 20 s is repeated, up to 12 times, a minute apart (267/32744).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from typing_extensions import assert_never

from handler.core.model import Outcome, Reason, Rejection
from handler.intake import strict_json
from handler.intake.messages import is_callback
from handler.intake.triggers import HttpRequest
from handler.masking import describe

ANSWER_SECONDS = 15.0
MAX_BODY_CHARACTERS = 65_536


class Refusal(NamedTuple):
    """A request that is not let in, and the HTTP status that it gets."""

    status: int
    rejection: Rejection


def admit(request: HttpRequest, key: str | None, now: float, *, has_ledger: bool) -> dict[str, Any] | Refusal:
    """The fields of a callback that CSS has signed, or why ``request`` is not let in.

    Args:
        key: of the callback template (``REAPER_CALLBACK_KEY``).
        now: unix seconds.
        has_ledger: whether there is anything that a callback could concern.
    """
    if not has_ledger:
        return _refuse(403, Reason.FORBIDDEN, "HTTP: callbacks only concern what a ledger holds: set REAPER_LEDGER")
    if key is None:
        return _refuse(403, Reason.FORBIDDEN, "HTTP: HTTP callbacks are disabled: REAPER_CALLBACK_KEY is not set")
    if request.method != "POST" or request.body is None:
        return _refuse(403, Reason.FORBIDDEN, f"HTTP: {describe(request.method)}: only CSS callbacks, which are POSTs")
    if len(request.body) > MAX_BODY_CHARACTERS:
        return _refuse(400, Reason.NOT_JSON, f"HTTP: a body of {len(request.body)} characters is no callback")
    try:
        fields = strict_json.loads(request.body)
    except ValueError:
        return _refuse(400, Reason.NOT_JSON, f"HTTP: {describe(request.body)}: must be JSON")
    if not isinstance(fields, dict) or not is_callback(fields) or "specversion" in fields:
        return _refuse(403, Reason.FORBIDDEN, "HTTP: only CSS callbacks, which have an event_type and no type of ours")
    if not _is_signed(fields, key, now):
        return _refuse(401, Reason.BAD_SIGNATURE, "HTTP: sign does not match t and REAPER_CALLBACK_KEY, or t is past")
    return fields


def status_for(outcomes: Iterable[Outcome]) -> tuple[int, str]:
    """The HTTP status, and the message to it, that follow from what became of an admitted callback."""
    worst = 200
    for outcome in outcomes:
        match outcome:
            case Outcome.DEFERRED | Outcome.FAILED:
                worst = max(worst, 503)
            case Outcome.REJECTED:
                worst = max(worst, 400)
            case Outcome.SCHEDULED | Outcome.IGNORED | Outcome.DELETED | Outcome.ALREADY_GONE | Outcome.PLANNED:
                pass
            case _:
                assert_never(outcome)
    return worst, _MESSAGES[worst]


_MESSAGES = {200: "", 400: "not a valid callback", 503: "the ledger cannot be written"}


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
