"""Warm instances, secrets, imports: what an invocation leaves behind, and what it must not."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from handler.app import build
from local.live_api import Fault, LiveStandIn
from tests import loopback
from tests.support import STREAM, TASK, ckafka, run, stream_end, timer

ROOT = Path(__file__).parent.parent
SECRETS = {
    "TENCENTCLOUD_SECRETID": "AKID-very-secret-id",
    "TENCENTCLOUD_SECRETKEY": "very-secret-key",
    "TENCENTCLOUD_SESSIONTOKEN": "very-secret-token",
    "REAPER_CALLBACK_KEY": "very-secret-callback-key",
}
SENT = [value for name, value in SECRETS.items() if name.startswith("TENCENTCLOUD_")]


def test_nothing_of_one_invocation_shows_in_the_next(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = build()
    monkeypatch.setenv("REAPER_STREAMS", "room-*")
    api.state.add(STREAM, 1)
    api.misbehave(Fault(error="RequestLimitExceeded"), times=2, task_id=1)
    api.misbehave(Fault(error="FailedOperation.AlterTaskState"), task_id=2)
    first = run(
        ckafka(stream_end(task_id=1), stream_end(task_id=2), stream_end("other", 3), "x"),
        {"request_id": "r-1"},
        handler,
    )
    assert first.raised

    with LiveStandIn() as other:
        other.secrets["other-id"] = ("other-key", "other-token")
        other.state.add("other", 3)
        for name, value in other.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TENCENTCLOUD_SECRETID", "other-id")
        monkeypatch.setenv("TENCENTCLOUD_SECRETKEY", "other-key")
        monkeypatch.setenv("TENCENTCLOUD_SESSIONTOKEN", "other-token")
        monkeypatch.setenv("REAPER_STREAMS", "other")
        before = len(api.calls)
        second = run(timer([stream_end("other", 3), stream_end(task_id=1)]), {"request_id": "r-2"}, handler)
        assert len(api.calls) == before
        assert [call.params["TaskId"] for call in other.calls] == [3]
    assert second.outcomes == [("deleted", None), ("ignored", "stream_not_allowed")]
    line = second.invocation
    assert (line["request_id"], line["source"], line["messages"], line["lines"]) == ("r-2", "timer", 2, 2)
    assert (line["api_calls"], line["throttled_calls"], line["rejected"], line["deferred"]) == (1, 0, 0, 0)
    assert (line["cold_start"], line["error"], second.raised) == (False, None, None)
    assert first.invocation["cold_start"] is True
    assert "r-1" not in second.stdout


def test_two_handlers_share_nothing(api: LiveStandIn) -> None:
    assert run(timer(), None, build()).invocation["cold_start"] is True
    assert run(timer(), None, build()).invocation["cold_start"] is True


@pytest.mark.parametrize(
    "fault",
    [
        None,
        Fault(error="InternalError"),
        Fault(status=502, body=json.dumps({"you sent": SENT}).encode()),
        Fault(body=("x " + " ".join(SENT)).encode()),
        Fault(drop="after"),
    ],
)
def test_no_secret_appears_anywhere_even_with_the_root_logger_at_debug(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, fault: Fault | None
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    api.secrets[SECRETS["TENCENTCLOUD_SECRETID"]] = (
        SECRETS["TENCENTCLOUD_SECRETKEY"], SECRETS["TENCENTCLOUD_SESSIONTOKEN"],
    )  # fmt: skip
    api.state.add(STREAM, TASK)
    if fault:
        api.misbehave(fault, times=99)
    logged = io.StringIO()
    root = logging.getLogger()
    handlers = [logging.StreamHandler(logged)]
    level = root.level
    monkeypatch.setattr(root, "handlers", [*root.handlers, *handlers])
    root.setLevel(logging.DEBUG)
    try:
        done = run(stream_end(), {"environ": json.dumps(SECRETS), "request_id": "r"})
        blocked = run(stream_end(), None)
    finally:
        root.setLevel(level)
    everything = done.stdout + blocked.stdout + str(done.raised) + logged.getvalue()
    assert done.tasks
    for secret in SECRETS.values():
        assert secret not in everything
    assert "TC3-HMAC-SHA256" not in everything
    assert "Authorization" not in everything


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=dict(os.environ)
    )


def test_stdout_carries_nothing_but_the_lines_whatever_the_root_logger_does(api: LiveStandIn) -> None:
    """As on the platform: a DEBUG handler on stdout is there before we are."""
    api.misbehave(Fault(error="InternalError", extra={"DeprecatedWarning": "old"}))
    api.misbehave(Fault(status=502))
    done = python(
        "import sys, logging; logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)\n"
        "from handler.app import main_handler\n"
        f"main_handler({[stream_end(task_id=n) for n in range(5)]!r}, {{}})"
    )
    assert [json.loads(line)["metric"] for line in done.stdout.splitlines()] == 5 * ["reaper_task"] + [
        "reaper_invocation"
    ]


def modules_after(code: str) -> set[str]:
    return set(
        json.loads(python(f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))").stdout.splitlines()[-1])
    )


NEVER = {
    "asyncio", "local", "moto", "boto3", "rich", "httpx", "aiohttp", "qcloud_cos", "tencentcloud.live",
    "tencentcloud.common.abstract_client_async", "concurrent.futures", "multiprocessing", "sqlite3", "xml.etree",
    "statistics", "difflib", "numpy",
}  # fmt: skip
NOT_BEFORE_A_DELETION = {"tencentcloud", "requests", "urllib3", "certifi", "http.client", "ssl"}


def test_importing_the_handler_loads_no_http_and_no_sdk() -> None:
    assert not modules_after("import handler.app") & (NEVER | NOT_BEFORE_A_DELETION)


def test_an_event_without_deletions_loads_no_http_and_no_sdk() -> None:
    code = f"from handler.app import main_handler; main_handler({timer()!r}, {{}})"
    assert not modules_after(code) & (NEVER | NOT_BEFORE_A_DELETION)


def test_one_deletion_loads_the_common_client_and_nothing_heavier(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    loaded = modules_after(f"from handler.app import main_handler; main_handler({stream_end()!r}, {{}})")
    assert not api.state.recordings
    assert "tencentcloud.common.common_client" in loaded
    assert not loaded & NEVER


def test_the_loopback_guard_fails_a_test_that_reaches_out() -> None:
    for attempt in (
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=0.1),
        lambda: socket.getaddrinfo("live.tencentcloudapi.com", 443),
    ):
        with pytest.raises(PermissionError):
            attempt()
    assert loopback.attempts == ["192.0.2.1", "live.tencentcloudapi.com"]
    loopback.attempts.clear()
    with pytest.raises(subprocess.CalledProcessError):
        python("import socket; socket.create_connection(('192.0.2.1', 80), timeout=0.1)")
