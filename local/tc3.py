"""TC3-HMAC-SHA256 from the verifier's side, for every client that conforms (213/30654).

Clients differ in what they sign as ``host``: as sent (Python SDK), with the scheme in it (the vendor's
CLI with ``--endpoint http://…``), without the port (Node SDK), which also takes the first label of the
endpoint as the service of its credential scope. So the service is taken from the scope, the signed
headers from ``SignedHeaders``, and each spelling of the host is tried.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from urllib.parse import urlsplit

ALGORITHM = "TC3-HMAC-SHA256"
SKEW_SECONDS = 300

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM}\s+Credential=(?P<id>[^/\s]+)/(?P<date>\d{{4}}-\d\d-\d\d)/(?P<service>[^/\s]+)/tc3_request,"
    r"\s*SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


class AuthFailure(Exception):
    """The signature does not hold; ``code`` is the service's own."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = f"AuthFailure.{code}"


def sign(secret_key: str, date: str, service: str, string_to_sign: str) -> str:
    """The signature of ``string_to_sign``, in hex."""
    key = ("TC3" + secret_key).encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def string_to_sign(timestamp: str, scope: str, canonical_request: str) -> str:
    """What a client signs; ``scope`` is date/service/tc3_request."""
    return "\n".join((ALGORITHM, timestamp, scope, hashlib.sha256(canonical_request.encode()).hexdigest()))


def verify(headers: Mapping[str, str], body: bytes, secrets: Mapping[str, str], now: float) -> str:
    """The secret id that signed the request.

    Args:
        headers: by lower-case name.
        secrets: secret id → secret key.
        now: unix seconds.

    Raises:
        AuthFailure: with the code that the service would answer.
    """
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    timestamp = headers.get("x-tc-timestamp", "")
    if match is None or not timestamp.isdecimal():
        raise AuthFailure("InvalidAuthorization", "Authorization or X-TC-Timestamp is missing or malformed.")
    if abs(int(timestamp) - now) > SKEW_SECONDS or match["date"] != _utc_date(int(timestamp)):
        raise AuthFailure("SignatureExpire", f"Timestamp {timestamp} is over {SKEW_SECONDS} s off the server's time.")
    if match["id"] not in secrets:
        raise AuthFailure("SecretIdNotFound", "The SecretId is not found.")
    scope = f"{match['date']}/{match['service']}/tc3_request"
    for request in _canonical_requests(headers, match["headers"], body):
        expected = sign(
            secrets[match["id"]], match["date"], match["service"], string_to_sign(timestamp, scope, request)
        )
        if hmac.compare_digest(expected, match["signature"]):
            return match["id"]
    raise AuthFailure("SignatureFailure", "The signature does not match: check the SecretKey.")


def _canonical_requests(headers: Mapping[str, str], signed: str, body: bytes) -> Iterator[str]:
    unsigned_payload = headers.get("x-tc-content-sha256") == "UNSIGNED-PAYLOAD"
    digest = hashlib.sha256(b"UNSIGNED-PAYLOAD" if unsigned_payload else body).hexdigest()
    for host in _hosts(headers.get("host", "")):
        values = {**headers, "host": host}
        lines = "".join(f"{name}:{values.get(name, '').strip()}\n" for name in signed.split(";"))
        # The document says lower-case values; the SDKs sign them as they are.
        for canonical_headers in (lines, lines.lower()):
            yield f"POST\n/\n\n{canonical_headers}\n{signed}\n{digest}"


def _hosts(host: str) -> Iterator[str]:
    bare = urlsplit(host).netloc if "://" in host else host
    yield from dict.fromkeys((host, bare, bare.rpartition(":")[0] or bare))


def _utc_date(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, timezone.utc).strftime("%Y-%m-%d")
