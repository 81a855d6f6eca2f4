"""The role's temporary credentials, read anew for each signed request, and kept out of the log.

The platform rewrites them in the environment of a living instance before they expire, so nothing
here is ever cached (583/38176). The SDK's own environment provider reads other names and knows no
token.
"""

from __future__ import annotations

import logging
import os
import re
from urllib.parse import unquote

VARIABLES = ("TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY", "TENCENTCLOUD_SESSIONTOKEN")

# What these print at DEBUG holds the authorization and the token, whatever the platform's root logger shows.
# The last two are what ``requests`` guesses an encoding with: one of them, whichever is installed.
for _name in ("tencentcloud_sdk_common", "tencentcloud", "urllib3", "requests", "charset_normalizer", "chardet"):
    logging.getLogger(_name).setLevel(logging.WARNING)
# Prints the token at DEBUG, URLs at INFO, and at ERROR what we report ourselves.
logging.getLogger("qcloud_cos").setLevel(logging.CRITICAL)


class NoCredentials(Exception):
    """The environment holds no credentials; the text says what to do."""


class RoleCredentials:
    """A credential as the SDK wants one: an object with ``get_credential_info``."""

    def get_credential_info(self) -> tuple[str, str, str | None]:
        """Secret id, secret key and session token (None: a long-lived key).

        Raises:
            NoCredentials: id or key is missing or empty.
        """
        secret_id, secret_key, token = (os.environ.get(name, "").strip() for name in VARIABLES)
        if not secret_id or not secret_key:
            raise NoCredentials(
                "TENCENTCLOUD_SECRETID and TENCENTCLOUD_SECRETKEY are not both set: "
                "give the function a role that may call live:DeleteLiveRecord"
            )
        return secret_id, secret_key, token or None


MASK = "***"
# What the name of a credential contains, whatever separates its words; and what is one only as a word of its own.
CREDENTIAL_NAMES = (
    "secret", "token", "password", "passwd", "passphrase", "pwd", "authorization", "api key", "access key",
    "private key", "callback key", "credential", "signature", "cookie", "session",
)  # fmt: skip
CREDENTIAL_WORDS = ("sign", "sig", "auth", "jwt")


def without_secrets(text: str) -> str:
    """``text`` with everything masked that must not be logged: for what a server, a library or a message says.

    Masked are the credentials of the environment, whatever part of one stands between white space, percent-encoded
    (once or more often), too; signatures; what stands before the @ of a URL; and what is assigned to a name that looks
    like a credential's, as in ``token=…`` or ``"password": "…"``. Takes time in proportion to the text.
    """
    secrets = [secret for name in VARIABLES for secret in os.environ.get(name, "").split()]
    text = _without(secrets, text)
    if "%" in text:
        text = _without_encoded(secrets, text)
    if "TC3-" in text:
        text = re.sub(_SIGNATURE, f"TC3-HMAC-SHA256 {MASK}", text)
    if "//" in text and "@" in text:
        text = re.sub(_UNQUOTED, _without_userinfo, text)
    if ("=" in text or ":" in text) and _may_assign(text.lower()):
        text = _ASSIGNED.sub(rf"\1{MASK}", text)
    return text


def _may_assign(text: str) -> bool:
    return any(part in text for part in _PARTS)


def _without(secrets: list[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _without_encoded(secrets: list[str], text: str) -> str:
    """``text`` decoded as often as it takes to find a secret in it; as it is if there is none."""
    decoded = text
    for _ in range(_ENCODED_TIMES):
        decoded = unquote(decoded)
        masked = _without(secrets, decoded)
        if masked != decoded:
            text = decoded = masked
    return text


def _without_userinfo(match: re.Match[str]) -> str:
    run = match[0]
    begin, end = run.find("//"), run.rfind("@")
    return f"{run[:begin]}//{MASK}{run[end:]}" if 0 <= begin < end else run


_ENCODED_TIMES = 3
_SIGNATURE = r"TC3-HMAC-SHA256[^\"'}]*"
_UNQUOTED = r"[^\s\"'<>]+"
_NAMES, _WORDS = "|".join(CREDENTIAL_NAMES).replace(" ", "[-_. ]?"), "|".join(CREDENTIAL_WORDS)
_PARTS = ("secret", "token", "pass", "pwd", "key", "cred", "cookie", "session", "sig", "auth", "jwt")  # one is in each
# Repetitions are bounded, so that no text makes this slow.
_ASSIGNED = re.compile(
    rf"""
    (   (?: (?: {_NAMES}) [\w.-]{{0,40}} | \b (?: {_WORDS} ) ) (?: \s? = | \\{{0,7}} ["'] \s{{0,8}} [:=] ) \s{{0,8}}
    |   \b (?: {_NAMES} ) : \s{{0,8}}  # of a header, or in YAML
    )
    (?: (\\{{0,7}} ["']) .*? (?: (?<!\\) \2 | \Z )  # the quotes themselves may be escaped, in JSON in a string
    |   (?: (?: basic | bearer ) \s{{1,8}} )? [^\s&;,"'<>(){{}}\[\]\\]+
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
