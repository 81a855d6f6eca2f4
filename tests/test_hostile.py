"""What a hostile server, event or environment must not achieve."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.app import RedeliveryNeeded, build
from handler.settings import Settings, SettingsError
from local.live_api import Fault, LiveStandIn
from tests.support import STREAM, TASK, Run, ckafka, cloud_event, dead_letter, handler_without_waiting, run, stream_end
from tests.test_telemetry import hold

# -- servers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(api: LiveStandIn, status: int) -> None:
    """Its answer would pass for the API's, and the token would leave the endpoint."""
    with LiveStandIn() as other:
        api.misbehave(Fault(status=status, headers={"Location": other.url + "/"}), times=99)
        done = run(stream_end(), None, handler_without_waiting())
        assert done.outcomes == [("deferred", "transient")]
        assert not other.headers
    assert len(api.headers) == done.invocation["api_calls"] == 3


def test_no_cookie_is_kept(api: LiveStandIn) -> None:
    api.misbehave(Fault(headers={"Set-Cookie": "sid=1"}))
    handler = build()
    run(stream_end(), None, handler)
    run(stream_end(), None, handler)
    assert "cookie" not in api.headers[1]


def test_netrc_does_not_replace_the_signature(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    api.state.add(STREAM, TASK)
    assert run(stream_end()).outcomes == [("deleted", None)]


@pytest.mark.parametrize(
    "body",
    [
        {"Response": {"Error": {"Code": "Bad.very-secret", "Message": "very-secret"}, "RequestId": "very-secret"}},
        {"Response": {"RequestId": "very-secret"}},
    ],
)
def test_what_a_server_echoes_is_masked(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, body: object) -> None:
    api.secrets["stand-in-id"] = ("stand-in-key", "very-secret")
    monkeypatch.setenv("TENCENTCLOUD_SESSIONTOKEN", "very-secret")
    api.misbehave(Fault(body=json.dumps(body).encode()), times=9)
    assert "very-secret" not in run(stream_end(), None, handler_without_waiting()).stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TENCENTCLOUD_SESSIONTOKEN", "stand-in-token\n"),
        ("TENCENTCLOUD_SECRETID", " stand-in-id\n"),
        ("TENCENTCLOUD_SECRETKEY", "stand-in-key \n"),
    ],
)
def test_white_space_around_a_credential_does_no_harm(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    api.state.add(STREAM, TASK)
    assert run(stream_end()).outcomes == [("deleted", None)]


def test_a_credential_that_no_header_can_carry_is_not_shown(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SESSIONTOKEN", "very-secret\nsecond-secret")
    monkeypatch.setenv("TENCENTCLOUD_SECRETID", "third-secret\nx")
    done = run(stream_end(), None, handler_without_waiting())
    assert done.invocation["deferred"] == 1
    assert "secret\\n" not in done.stdout
    assert "-secret" not in done.stdout
    assert "Signature=" not in done.stdout


def test_a_proxys_password_is_not_shown(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", "http://user:hunter2@127.0.0.1:99999")
    done = run(stream_end(), None, handler_without_waiting())
    assert done.outcomes == [("deferred", "transient")]
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REAPER_LEDGER", "redis://:hunter/2@h"),
        ("REAPER_LEDGER", "mysql://u:hunter@2@h"),
        ("REAPER_LEDGER", "redis://h/0?password=hunter2"),
        ("REAPER_LIVE_ENDPOINT", "user:hunter2@host"),
    ],
)
def test_a_bad_settings_password_is_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.read({name: value})
    assert "hunter" not in str(caught.value)


# -- events ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        {"Body": {"ClientContext": json.dumps(stream_end("other", 99))}},
        {"Body": {"ClientContext": "5"}},
        {"Records": []},
        {"EventList": []},
        {"data": stream_end("other", 99), "msgBody": "x", "httpMethod": "POST"},
    ],
)
@pytest.mark.parametrize("envelope", [lambda body: body, ckafka, dead_letter], ids=["direct", "ckafka", "dead letter"])
def test_unknown_fields_never_take_the_place_of_the_message(
    api: LiveStandIn, envelope: Any, extra: dict[str, object]
) -> None:
    api.state.add(STREAM, TASK)
    api.state.add("other", 99)
    done = run(envelope(stream_end(**extra)))
    assert done.outcomes == [("deleted", None)]
    assert list(api.state.recordings) == [99]


TWICE = '{"type": "stream-end", "stream_name": "room-1", "task_id": 1, "task_id": 2}'


@pytest.mark.parametrize(
    "event",
    [
        ckafka(TWICE),
        {"Body": {"ClientContext": TWICE}},
        ckafka(json.dumps({"Body": {"ClientContext": TWICE}})),
        cloud_event('{"msgBody": "x", "msgBody": ' + json.dumps(TWICE) + "}"),
        cloud_event(TWICE),
    ],
)
def test_a_key_that_says_two_things_is_believed_nowhere(api: LiveStandIn, event: object) -> None:
    done = run(event)
    assert [outcome for outcome, _ in done.outcomes] == ["rejected"]
    assert not api.calls


@pytest.mark.parametrize("depth", [100, 900, 980, 990, 995])
def test_deep_nesting_is_rejected_at_every_depth(depth: int) -> None:
    deep: Any = "x"
    for _ in range(depth):
        deep = [deep]
    for event in (stream_end(deep, StreamName=deep), stream_end(task_id=deep), {"type": deep}, {"event_type": deep}):
        done = run(event)
        assert [outcome for outcome, _ in done.outcomes] == ["rejected"]
        assert done.raised is None


def test_an_event_too_large_for_its_time_is_told_in_time_and_delivered_again() -> None:
    event = [stream_end(task_id=number) for number in range(1, 200_001)]
    began = time.monotonic()
    done = run(event, {"time_limit_in_ms": 1000})
    assert time.monotonic() - began < 2.5  # under way elsewhere; by far not the 200,000
    hold(done)
    assert isinstance(done.raised, RedeliveryNeeded)
    assert done.invocation["messages"] < 200_000
    assert any("too large for the time" in line.get("detail", "") for line in done.tasks)


def test_a_flood_of_garbage_does_not_cost_its_memory(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    garbage = json.dumps([0] * 30_000)
    event = ckafka(garbage, garbage, garbage, stream_end())
    tracemalloc.start()
    try:
        done = run(event)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    hold(done)
    line = done.invocation
    assert (line["messages"], line["rejected"], line["deleted"]) == (90_001, 90_000, 1)
    assert len(done.tasks) == 3_000
    assert line["task_lines_dropped"] == 87_001
    assert peak < 15_000_000  # most of it 3,000 lines
    assert not api.state.recordings


@pytest.mark.slow
def test_redeliveries_of_a_batch_that_is_too_large_get_through_it(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each begins at another place: the same head again and again would leave the tail for ever."""
    monkeypatch.setenv("REAPER_MAX_QPS", "30")
    for task_id in range(1, 101):
        api.state.add(STREAM, task_id)
    event = ckafka(*(stream_end(task_id=task_id) for task_id in range(1, 101)))
    places = iter([0.0, 0.25, 0.5, 0.75, 0.9])
    place = [0.0]

    def deliver() -> Run:
        place[0] = next(places)
        return run(event, {"time_limit_in_ms": 1500}, build(random=lambda: place[0]))

    deleted = [deliver().invocation["deleted"] for _ in range(5)]
    assert all(count > 5 for count in deleted[:3])
    assert len(api.state.recordings) < 100 - 3 * 15


# -- environments ------------------------------------------------------------------------------


class Broken:
    """A stdout that cannot be written, or not to its end."""

    def __init__(self, error: Exception, lines: int = 0, flush: bool = False) -> None:
        self._error, self._lines, self._flush = error, lines, flush

    def write(self, text: str) -> int:
        self._lines -= 1
        if self._lines < 0 and not self._flush:
            raise self._error
        return len(text)

    def flush(self) -> None:
        if self._flush:
            raise self._error


def closed() -> io.StringIO:
    stdout = io.StringIO()
    stdout.close()
    return stdout


Stdout = Callable[[], object]
STDOUTS: dict[str, Stdout] = {
    "a broken pipe": lambda: Broken(BrokenPipeError("nobody reads")),
    "a disk that is full": lambda: Broken(OSError(28, "No space left on device"), flush=True),
    "an encoding": lambda: Broken(UnicodeEncodeError("ascii", "x", 0, 1, "no")),
    "after one line": lambda: Broken(BrokenPipeError("nobody reads any more"), lines=1),
    "closed": closed,
    "none at all": lambda: None,
    "not a file": object,
}


# Set by the test itself: pytest puts its own stdout in place after a fixture.
broken_stdouts = pytest.mark.parametrize("stdout", STDOUTS.values(), ids=STDOUTS)


@broken_stdouts
def test_a_stdout_that_cannot_be_written_does_not_undo_what_was_done(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, stdout: Stdout
) -> None:
    monkeypatch.setattr(sys, "stdout", stdout())
    api.state.add(STREAM, TASK)
    returned = build()([stream_end(), stream_end(task_id=2), "x"], {})
    assert (returned["deleted"], returned["already_gone"], returned["rejected"], returned["lines"]) == (1, 1, 1, 3)
    assert returned["error"] is None
    assert not api.state.recordings


@broken_stdouts
def test_a_stdout_that_cannot_be_written_is_no_third_exception(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, stdout: Stdout
) -> None:
    monkeypatch.setattr(sys, "stdout", stdout())
    api.misbehave(Fault(error="FailedOperation.AlterTaskState"))
    with pytest.raises(RedeliveryNeeded, match=r"deferred are 1 busy$"):
        build()(stream_end(), {})


@broken_stdouts
def test_unusable_settings_are_said_without_a_stdout(monkeypatch: pytest.MonkeyPatch, stdout: Stdout) -> None:
    monkeypatch.setattr(sys, "stdout", stdout())
    monkeypatch.delenv("REAPER_DRY_RUN")
    with pytest.raises(SettingsError, match="REAPER_DRY_RUN"):
        build()(stream_end(), {})


@pytest.mark.usefixtures("api")
@broken_stdouts
def test_a_log_that_cannot_be_written_is_told_on_stderr(monkeypatch: pytest.MonkeyPatch, stdout: Stdout) -> None:
    monkeypatch.setattr(sys, "stdout", stdout())
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    build()(stream_end(), {})
    assert "the log could not be written: " in stderr.getvalue()
    assert len(stderr.getvalue().splitlines()) <= 2


@pytest.mark.usefixtures("api")
@broken_stdouts
@pytest.mark.parametrize("stderr", [Broken(BrokenPipeError("nor here")), None])
def test_a_stderr_that_cannot_be_written_either_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, stdout: Stdout, stderr: object
) -> None:
    monkeypatch.setattr(sys, "stdout", stdout())
    monkeypatch.setattr(sys, "stderr", stderr)
    assert build()(stream_end(), {})["already_gone"] == 1


@pytest.mark.parametrize("qps", ["1e20", "1e308", "1e-300", "0.001"])
def test_any_positive_rate_works(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, qps: str) -> None:
    monkeypatch.setenv("REAPER_MAX_QPS", qps)
    api.state.add(STREAM, TASK)
    assert run(stream_end()).outcomes == [("deleted", None)]


def test_a_changing_time_limit_does_not_restart_the_pace(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPER_MAX_QPS", "5")
    handler = build()
    began = time.monotonic()
    for number in range(6):
        run(stream_end(), {"time_limit_in_ms": 8000 + number}, handler)
    assert time.monotonic() - began > 0.9


def test_a_platform_out_of_threads_is_worked_with(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for task_id in range(1, 21):
        api.state.add(STREAM, task_id)
    event = ckafka(*(stream_end(task_id=task_id) for task_id in range(1, 21)))
    real, left = threading.Thread.start, [3]

    def start(thread: threading.Thread) -> None:
        if thread.name == "reaper":
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert run(event).invocation["deleted"] == 20
    left[0] = 0
    done = run(event)
    assert isinstance(done.raised, RedeliveryNeeded)
    assert "can't start new thread" in str(done.raised)
