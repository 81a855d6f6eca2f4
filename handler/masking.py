"""What may be shown and stored: text without secrets, and values in short."""

from __future__ import annotations

import os
import re
from functools import cache
from urllib.parse import unquote

# The role's temporary credentials, as the platform sets them (583/38176).
CALLBACK_KEY = "REAPER_CALLBACK_KEY"
VARIABLES = ("TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY", "TENCENTCLOUD_SESSIONTOKEN")

# -- text --------------------------------------------------------------------------------------

MASK = "***"
# What the name of a credential contains, whatever separates its words; and what is one only as a word of its own.
CREDENTIAL_NAMES = (
    "secret", "token", "password", "passwd", "passphrase", "pwd", "authorization", "api key", "access key",
    "private key", "callback key", "credential", "signature", "cookie", "session",
)  # fmt: skip
CREDENTIAL_WORDS = ("sign", "sig", "auth", "jwt", "pass", "passcode", "bearer")


def without_secrets(text: str) -> str:
    """``text`` with everything masked that must not be logged: for what a server, a library or a message says.

    Masked are the credentials of the environment, whatever part of one stands between white space, percent-encoded
    (once or more often), too; signatures; what stands before the @ of a URL; and what is assigned to a name that looks
    like a credential's, as in ``token=…`` or ``"password": "…"``. Takes time in proportion to the text.
    """
    secrets = [secret for name in VARIABLES for secret in os.environ.get(name, "").split()]
    callback_key = os.environ.get(CALLBACK_KEY, "").strip()
    if len(callback_key) >= _SHORTEST_KEY:
        secrets.append(callback_key)
    text = _masked(secrets, text)
    return _without_encoded(secrets, text) if "%" in text else text


def _masked(secrets: list[str], text: str) -> str:
    text = _without(secrets, text)
    if "TC3-" in text:
        text = re.sub(_SIGNATURE, f"TC3-HMAC-SHA256 {MASK}", text)
    if "//" in text and "@" in text:
        text = re.sub(_UNQUOTED, _without_userinfo, text)
    if ("=" in text or ":" in text) and _may_assign(text.lower()):
        text = _assigned().sub(rf"\1{MASK}", text)
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
        masked = _masked(secrets, decoded)
        if masked != decoded:
            text = decoded = masked
    return text


def _without_userinfo(match: re.Match[str]) -> str:
    run = match[0]
    begin, end = run.find("//"), run.rfind("@")
    return f"{run[:begin]}//{MASK}{run[end:]}" if 0 <= begin < end else run


_ENCODED_TIMES = 3
_SHORTEST_KEY = 6  # characters: a shorter one would mask parts of words
_SIGNATURE = r"TC3-HMAC-SHA256[^\"'}]*"
_UNQUOTED = r"[^\s\"'<>]+"
_NAMES, _WORDS = "|".join(CREDENTIAL_NAMES).replace(" ", "[-_. ]?"), "|".join(CREDENTIAL_WORDS)
# One of them is in each of these.
_PARTS = ("secret", "token", "pass", "pwd", "key", "cred", "cookie", "session", "sig", "auth", "jwt", "bearer")
# Repetitions are bounded, so that no text makes this slow.
_ASSIGNED = rf"""
    (   (?: (?: {_NAMES}) [\w.-]{{0,40}} | \b (?: {_WORDS} ) ) (?: \s? = | \\{{0,7}} ["'] \s{{0,8}} [:=] ) \s{{0,8}}
    |   \b (?: {_NAMES} ) : \s{{0,8}}  # of a header, or in YAML
    )
    (?: (\\{{0,7}} ["']) .*? (?: (?<!\\) \2 | \Z )  # the quotes themselves may be escaped, in JSON in a string
    |   (?: (?: basic | bearer ) \s{{1,8}} )? [^\s&;,"'<>(){{}}\[\]\\]+
    )"""


@cache
def _assigned() -> re.Pattern[str]:
    """Compiled when the first one is needed: it takes milliseconds, and a cold start has none to spare."""
    return re.compile(_ASSIGNED, re.IGNORECASE | re.VERBOSE | re.DOTALL)


# -- keys --------------------------------------------------------------------------------------

_KEY_NAME = "|".join(name.replace(" ", "") for name in CREDENTIAL_NAMES)
_KEY_WORD = r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])"
_KEY_WORDS = frozenset((*CREDENTIAL_WORDS, "headers", "ak", "sk"))


def is_credential(key: str) -> bool:
    """Whether ``key`` looks like the name of a credential: without case, whatever separates its words."""
    plain = re.sub(r"[\W_]", "", key).lower()
    return bool(re.search(_KEY_NAME, plain)) or any(word.lower() in _KEY_WORDS for word in re.findall(_KEY_WORD, key))


# -- values ------------------------------------------------------------------------------------

SHOWN_CHARACTERS = 80
_LONGEST_SECRET = 4_096  # characters: of a role's session token, and some to spare


def describe(value: object) -> str:
    """A value as an error message may show it: without secrets, escaped, shortened, and never a whole structure."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        masked = without_secrets(value[:_LONGEST_SECRET])  # before it is shortened: half a secret is not known as one
        text = masked[: SHOWN_CHARACTERS + 1].encode("unicode_escape").decode("ascii")
        return f'"{text[:SHOWN_CHARACTERS]}…"' if len(text) > SHOWN_CHARACTERS else f'"{text}"'
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "an array"
    return f"a value of type {type(value).__name__}"
