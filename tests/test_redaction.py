"""What must be in no line and in no object of the ledger: credentials, in whatever form they come."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from handler.masking import without_secrets
from handler.redaction import LEVELS, TOO_DEEP, redacted
from local.cos import CosStandIn
from local.live_api import Fault, LiveStandIn
from tests.support import ckafka, cloud_event, handler_without_waiting, push_callback, run, stream_end

SECRET = "aB3+dE6/gH9==.~k"


@pytest.fixture
def cos(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[CosStandIn]:
    with CosStandIn() as stand_in:
        monkeypatch.setenv("REAPER_LEDGER", stand_in.ledger)
        yield stand_in


def letters(cos: CosStandIn) -> str:
    """All that is stored below dead/."""
    found = "".join(cos.body(key).decode() for key in cos.keys("dead/"))
    assert found
    return found


# -- the credentials of the environment --------------------------------------------------------


def _every_byte(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quote": quote,
    "quote, with slashes": lambda text: quote(text, safe=""),
    "quote_plus": quote_plus,
    "lower-case": lambda text: "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in text),
    "twice": lambda text: quote(quote(text, safe=""), safe=""),
    "three times": lambda text: quote_plus(quote_plus(quote_plus(text))),
    "every byte": _every_byte,
    "in part": lambda text: text.replace("+", "%2b"),
}


@pytest.mark.parametrize("name", ["TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY", "TENCENTCLOUD_SESSIONTOKEN"])
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_credential_is_masked_however_it_is_encoded(
    monkeypatch: pytest.MonkeyPatch, name: str, encode: Callable[[str], str]
) -> None:
    monkeypatch.setenv(name, SECRET)
    masked = without_secrets(f"GET /x?y={encode(SECRET)}&z=100% of it, {encode(SECRET)}")
    assert "***" in masked
    assert encode(SECRET) not in masked
    assert "aB3" not in masked
    assert "of it" in masked


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_credential_that_a_server_echoes_is_in_no_line(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, encode: Callable[[str], str]
) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SESSIONTOKEN", SECRET)
    api.secrets["stand-in-id"] = ("stand-in-key", SECRET)
    error = {"Code": "InternalError", "Message": f"at {encode(SECRET)}"}
    api.misbehave(Fault(body=json.dumps({"Response": {"Error": error, "RequestId": "r"}}).encode()), times=9)
    done = run(stream_end(), None, handler_without_waiting())
    assert done.tasks[0]["detail"] == "at ***"


@pytest.mark.parametrize("text", ["100% of it", "a%2Fb", "%zz%", "50%25", "a+b", "x=%C3%A9", "\ud800%41"])
def test_what_is_encoded_and_no_credential_stays_as_it_is(api: LiveStandIn, text: str) -> None:
    assert without_secrets(text) == text


# -- what is assigned to a name ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "q-sign-algorithm=sha1&q-ak=x&q-signature=h1dden", "https://h/p?token=h1dden&x=1",
        "https://h/?a=b&access_token=h1dden",
        "rtmp://h/live/room?txSecret=h1dden&txTime=5", "X-Amz-Signature=h1dden", "sign=h1dden&t=1", "Password=h1dden",
        "client_secret = h1dden", "x-cos-security-token=h1dden", "apikey=h1dden", "API-KEY=h1dden",
        "private_key=h1dden",
        "Authorization: Basic h1dden", "authorization:Bearer h1dden", "Cookie: h1dden", "password: h1dden",
        "session=h1dden",
        '{"password": "h1dden"}', "{'password': 'h1dden'}", '{"sign":"h1dden"}', '{"password": "two w0rds h1dden"}',
        '{"password": "quo\\"te h1dden"}', '{"a": "{\\"password\\": \\"x h1dden\\"}"}', '{"secretKey": "h1dden',
        '{"pwd" : h1dden}',
        '{"token": 5, "pwd":"h1dden","a":1}', "TC3-HMAC-SHA256 Credential=h1dden, Signature=h1dden",
        "mysql://u:h1dden@h/d",
    ],
)  # fmt: skip
def test_what_is_assigned_to_the_name_of_a_credential_is_masked(text: str) -> None:
    masked = without_secrets(text)
    assert "h1dden" not in masked
    assert "***" in masked


@pytest.mark.parametrize(
    "text",
    [
        "HTTP 403 SignatureDoesNotMatch (The Signature you specified is invalid.)", "HTTP 403 InvalidToken (expired)",
        "AuthFailure.TokenFailure: The token is invalid or expired.",
        "not sent: AuthFailure.SecretIdNotFound stopped the batch",
        "TENCENTCLOUD_SECRETID and TENCENTCLOUD_SECRETKEY are not both set: give the function a role",
        "design=1&assign=2",
        "HTTP: sign does not match t and REAPER_CALLBACK_KEY, or t is past", "due at 2026-11-22T10:00:00Z", "task_id=7",
        "stream_name: must have 1 to 256 characters", "a@b.example, //x", "signal=5", "a key: b", "x == y",
    ],
)  # fmt: skip
def test_a_sentence_that_only_speaks_of_credentials_stays_as_it_is(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "text",
    ["token" * 200_000, "//" * 500_000, "=token " * 150_000, '"token":"' * 100_000, "%25" * 300_000,
     "pass" * 250_000 + ":",
     "authorization: basic " * 50_000, "//x@ " * 200_000, "key   " * 150_000 + "=", "TC3-HMAC-SHA256" * 60_000],
    ids=lambda text: text[:8],
)  # fmt: skip
def test_no_text_makes_masking_slow(text: str) -> None:
    began = time.process_time()
    without_secrets(text)
    assert time.process_time() - began < 3


# -- what is kept of a message -----------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    ["secret", "SecretKey", "client_secret", "token", "access-token", "sessionToken", "password", "Passwd", "pwd",
     "db.password",
     "Authorization", "proxy-authorization", "apiKey", "API_KEY", "x-api-key", "api key", "AccessKeyId", "access_key",
     "PrivateKey",
     "credentials", "sign", "SIGN", "txSign", "q-sign", "signature", "X-Signature", "Cookie", "set-cookie",
     "session_id", "auth",
     "callbackKey", "headers", "multiValueHeaders", "jwt"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["h1dden", ["h1dden"], {"x": "h1dden"}, 5128374])
def test_what_is_under_the_key_of_a_credential_is_masked(key: str, value: object) -> None:
    assert redacted({"a": [{key: value}]}) == {"a": [{key: "***"}]}


HARMLESS = {
    "type": "stream-end", "stream_name": "room-1", "task_id": "7", "TaskId": 7, "ended_at": 1.5, "hold_id": "h",
    "reason": None,
    "design": "x", "assigned_to": "y", "signal": 1, "signed_at": 2, "msgKey": "None", "key": "k", "t": 5, "ok": True,
    "author": "a",
    "domain_name": "push.example.com", "unicode": "房间 🎥", "list": [1, [2, {"a": None}]], "empty": {},
    "text": "plain, 100%", "n": 1e300,
    "json": '{"type" :  "stream-end"}', "string": '"x"', "number": "5", "broken": "{not json", "secret_until": None,
    "token": "",
}  # fmt: skip


def test_everything_else_stays_as_it_is() -> None:
    assert redacted(HARMLESS) == HARMLESS
    assert redacted([HARMLESS, json.dumps(HARMLESS)]) == [HARMLESS, json.dumps(HARMLESS)]
    values: list[object] = [None, True, 0, 1.5, "x", [], {}]
    for value in values:
        assert redacted(value) == value


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_json_in_strings_is_looked_into(levels: int) -> None:
    value: Any = {"room": "room-1", "password": ["h1dden"]}
    for _ in range(levels):
        value = {"body": json.dumps(value)}
    kept = json.dumps(redacted(value))
    assert "h1dden" not in kept
    assert "room-1" in kept


@pytest.mark.parametrize(
    "text",
    ['{"password": "h1dden", "password": 1}', '{"password": "h1dden"', "password=h1dden", '[{"a": {"sign": "h1dden"}}]',
     json.dumps(json.dumps({"token": "h1dden"})), ' \n{"pwd":"h1dden"}', "https://h/?sign=h1dden",
     '{"a": 1' + "0" * 5000 + ', "pwd": "h1dden"}'],
)  # fmt: skip
def test_a_string_that_is_nearly_json_keeps_no_credential(text: str) -> None:
    assert "h1dden" not in json.dumps(redacted({"body": text}))


def test_what_is_nested_too_deep_is_not_kept_and_does_not_raise() -> None:
    for build in (lambda inner: [inner], lambda inner: {"a": inner}):
        deep: Any = "h1dden"
        for _ in range(5000):
            deep = build(deep)
        kept = redacted({"a": deep, "b": 1})
        assert kept["b"] == 1
        assert TOO_DEEP in str(kept)
        assert "h1dden" not in str(kept)
    text = "[" * (LEVELS + 1) + '{"pwd": "h1dden"}' + "]" * (LEVELS + 1)
    assert "h1dden" not in str(redacted(text))
    assert isinstance(redacted("[" * 100_000), str)


REJECTED = [
    stream_end(task_id=0, password="h1dden"),
    stream_end(task_id=0, auth={"x": "h1dden"}),
    push_callback(0, stream_id="", sign="h1dden"),
    cloud_event({"type": "stream-end", "api_key": "h1dden"}, type="x"),
    ckafka("password=h1dden"),
    ckafka('{"password": "h1dden", "password": 1}'),
    ckafka('{"type": "stream-end", "x": {"apiKey": "a", "apiKey": "h1dden"}}'),
    ckafka('{"secretKey": "h1dden", "type": "stream-'),
    ckafka(json.dumps(json.dumps({"type": "nothing", "token": "h1dden"}))),
    {"Records": [{"Kafka": {"msgBody": json.dumps({"token": "h1dden"})}}]},
    {"foo": 1, "headers": {"x-custom": "h1dden"}, "body": "sign=h1dden"},
    "rtmp://h/live/room?txSecret=h1dden",
    ckafka(json.dumps("https://u:h1dden@h/")),
]


@pytest.mark.parametrize("event", REJECTED, ids=range(len(REJECTED)))
def test_a_rejected_message_takes_no_credential_into_the_bucket_or_the_log(cos: CosStandIn, event: object) -> None:
    done = run(event)
    assert done.invocation["rejected"] == 1
    assert "h1dden" not in letters(cos)
    assert "h1dden" not in done.stdout


@pytest.mark.parametrize("place", [0, 40, 70, 79])
@pytest.mark.parametrize("encode", [str, quote_plus])
def test_a_credential_of_ours_in_a_message_is_not_shown_in_part_either(
    cos: CosStandIn, monkeypatch: pytest.MonkeyPatch, place: int, encode: Callable[[str], str]
) -> None:
    token = "aB3+" * 300
    monkeypatch.setenv("TENCENTCLOUD_SESSIONTOKEN", token)
    monkeypatch.setattr("local.cos.SESSION_TOKEN", token)
    done = run(ckafka("." * place + encode(token) + " is no JSON"))
    assert done.outcomes == [("rejected", "not_json")]
    assert "aB3" not in done.stdout
    assert "aB3" not in letters(cos)


def test_what_is_kept_is_otherwise_what_came(cos: CosStandIn) -> None:
    body = stream_end(task_id=0, note="房间, 100%", data={"a": [1, None]})
    run(ckafka(body))
    [key] = cos.keys("dead/")
    assert json.loads(json.loads(cos.body(key))["body"]) == body


# -- the loggers of others ---------------------------------------------------------------------

LOGGERS = [
    "tencentcloud_sdk_common",
    "tencentcloud",
    "qcloud_cos",
    "urllib3",
    "requests",
    "charset_normalizer",
    "chardet",
]


@pytest.mark.parametrize(
    "name", [*LOGGERS, "urllib3.connectionpool", "qcloud_cos.cos_client", "chardet.universaldetector"]
)
def test_the_loggers_of_others_say_nothing_below_a_warning(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(logging.root, "level", logging.DEBUG)  # as the platform's may be
    assert logging.getLogger(name).getEffectiveLevel() >= logging.WARNING


GUESSING = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
import handler.app, handler.adapters.http_session, requests, charset_normalizer
charset_normalizer.from_bytes(b"\\xe9\\xff\\x81 odd" * 50)
"""


def test_no_library_writes_into_the_log_even_where_the_root_logger_shows_all() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GUESSING], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert not done.stdout


def test_a_body_in_base64_is_no_way_around() -> None:
    """Of a gateway: it is decoded before anything is kept of it."""
    body = base64.b64encode(json.dumps({"event_type": 0, "sign": "h1dden"}).encode()).decode()
    done = run({"httpMethod": "POST", "body": body, "isBase64Encoded": True, "headers": {}})
    assert "h1dden" not in done.stdout
