"""Every outcome, every error class and every trigger's way to fail: through the real SDK, over real HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from handler.app import RedeliveryNeeded, build
from local.live_api import Fault, LiveStandIn, Stream
from tests.support import (
    STREAM,
    TASK,
    Run,
    ckafka,
    cloud_event,
    cmq,
    dead_letter,
    handler_without_waiting,
    push_callback,
    retention_expiry,
    run,
    stream_end,
    timer,
)

IN_AN_HOUR, AN_HOUR_AGO = time.time() + 3600, time.time() - 3600
CHARSET = "application/json; charset=utf-8"


def run_at_once(event: object, context: object = None) -> Run:
    return run(event, context, handler_without_waiting())


# -- decisions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        stream_end(),
        stream_end(task_id=str(TASK)),
        stream_end(ended_at=AN_HOUR_AGO),
        retention_expiry(),
        retention_expiry(expires_at=AN_HOUR_AGO),
    ],
)
def test_what_is_due_is_deleted(api: LiveStandIn, event: object) -> None:
    api.state.add(STREAM, TASK)
    done = run(event)
    assert done.outcomes == [("deleted", None)]
    assert done.returned == done.invocation
    line = done.tasks[0]
    assert (line["stream_name"], line["task_id"], line["calls"]) == (STREAM, str(TASK), 1)
    assert line["live_request_id"] == api.calls[0].request_id
    assert not api.state.recordings


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (timer(""), ("ignored", "no_ledger")),
        ({"type": "sweep"}, ("ignored", "no_ledger")),
        (
            {"type": "task-created", "stream_name": STREAM, "task_id": TASK, "end_time": IN_AN_HOUR},
            ("ignored", "no_ledger"),
        ),
        (stream_end(task_id="all", ended_at=AN_HOUR_AGO), ("ignored", "no_task_id")),
        (push_callback(0), ("ignored", "no_ledger")),
        (push_callback(1), ("ignored", "no_ledger")),
        (push_callback(100), ("ignored", "no_ledger")),
        (retention_expiry(expires_at=IN_AN_HOUR), ("rejected", "not_due_yet")),
        (stream_end(ended_at=IN_AN_HOUR), ("rejected", "not_due_yet")),
    ],
)
def test_what_is_not_due_is_left_alone(api: LiveStandIn, event: object, outcome: tuple[str, str]) -> None:
    api.state.add(STREAM, TASK)
    done = run(event)
    assert done.outcomes == [outcome]
    assert done.raised is None
    assert not api.calls


def test_a_retention_in_the_future_points_to_the_ledger_that_would_hold_it() -> None:
    assert "REAPER_LEDGER" in run(retention_expiry(expires_at=IN_AN_HOUR)).tasks[0]["detail"]


def test_a_stream_end_just_ahead_of_our_clock_is_no_reason_to_refuse(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    assert run(stream_end(ended_at=time.time() + 200)).outcomes == [("deleted", None)]


def test_a_task_named_twice_is_sent_once_and_reported_for_each_message(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    done = run(ckafka(stream_end(), stream_end(task_id=str(TASK)), [retention_expiry(), stream_end()]))
    assert done.outcomes == [("deleted", None)] + 3 * [("deleted", "duplicate")]
    assert len(api.calls) == done.invocation["api_calls"] == sum(line.get("calls", 0) for line in done.tasks) == 1
    assert len({line["message_id"] for line in done.tasks}) == 4
    assert ["latency_ms" in line for line in done.tasks] == [True, False, False, False]


@pytest.mark.parametrize("task_id", [2**53 + 2, 710_000_001_234_567_900, 2**63 - 1024])
def test_an_id_that_javascript_may_have_rounded_says_so_where_it_is_not_found(api: LiveStandIn, task_id: int) -> None:
    for body in (stream_end(task_id=task_id), retention_expiry(task_id=task_id, expires_at=1_600_000_000)):
        done = run(ckafka(body))
        assert done.outcomes == [("already_gone", "not_found")]
        assert "send it as a string" in done.tasks[0]["detail"]


@pytest.mark.parametrize("task_id", [2**53, 7, str(2**53 + 2), str(2**63 - 1024)])
def test_an_id_that_nobody_can_have_rounded_says_nothing_of_it(api: LiveStandIn, task_id: object) -> None:
    done = run(ckafka(stream_end(task_id=task_id)))
    assert done.outcomes == [("already_gone", "not_found")]
    assert "string" not in done.tasks[0].get("detail", "")


def test_one_id_under_two_streams_is_two_tasks(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    done = run(ckafka(stream_end("other"), stream_end()))
    assert done.outcomes == [("already_gone", "not_found"), ("deleted", None)]


def test_a_redelivery_finds_nothing_left(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    assert [run(stream_end()).outcomes for _ in range(2)] == [[("deleted", None)], [("already_gone", "not_found")]]


def test_dry_run_plans_and_calls_nothing(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    api.state.add(STREAM, TASK)
    monkeypatch.setenv("REAPER_DRY_RUN", "true")
    done = run(ckafka(stream_end(), stream_end()))
    assert done.outcomes == [("planned", "dry_run"), ("planned", "duplicate")]
    assert done.invocation["dry_run"] is True
    assert not api.calls


def test_a_running_recording_is_busy(api: LiveStandIn) -> None:
    api.state.push(Stream(STREAM))
    api.state.add(STREAM, TASK, stopped=False)
    done = run(stream_end())
    assert done.outcomes == [("deferred", "busy")]
    assert done.tasks[0]["error_code"] == "FailedOperation.AlterTaskState"
    assert isinstance(done.raised, RedeliveryNeeded)


# -- error classes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error_class", "outcome", "calls"),
    [
        ("ResourceNotFound.TaskId", "gone", "already_gone", 1),
        ("FailedOperation.AlterTaskState", "busy", "deferred", 1),
        ("InternalError", "transient", "deferred", 3),
        ("InternalError.GetConfigError", "transient", "deferred", 3),
        ("ServiceUnavailable", "transient", "deferred", 3),
        ("ResourceNotFound.StopService", "blocked", "deferred", 1),
        ("UnauthorizedOperation", "blocked", "deferred", 1),
        ("InvalidAction", "blocked", "deferred", 1),
        ("InvalidParameterValue", "invalid", "failed", 1),
        ("ResourceNotFound.ChannelNotExist", "invalid", "failed", 1),
        ("FailedOperation.NeverHeardOf", "unknown", "deferred", 3),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", CHARSET])
def test_each_error_class_has_its_tries_and_its_outcome(
    api: LiveStandIn, code: str, error_class: str, outcome: str, calls: int, content_type: str
) -> None:
    """With a charset in the content type the SDK returns an error as if it were success."""
    api.state.add(STREAM, TASK)
    api.misbehave(Fault(error=code, content_type=content_type), times=99)
    done = run_at_once(stream_end())
    line = done.tasks[0]
    assert (line["outcome"], line["error_class"], line["error_code"], line["calls"]) == (
        outcome, error_class, code, calls,
    )  # fmt: skip
    assert line["live_request_id"] == api.calls[-1].request_id
    assert isinstance(done.raised, RedeliveryNeeded) is (outcome == "deferred")
    assert api.state.recordings


def test_throttled_then_answered_is_deleted(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    api.misbehave(Fault(error="RequestLimitExceeded"), times=5)
    done = run_at_once(stream_end())
    assert done.outcomes == [("deleted", None)]
    assert (done.tasks[0]["calls"], done.invocation["throttled_calls"], done.invocation["api_calls"]) == (6, 5, 6)
    assert "error_code" not in done.tasks[0]


@pytest.mark.parametrize(
    "code",
    ["RequestLimitExceeded", "RequestLimitExceeded.UinLimitExceeded", "LimitExceeded.RateLimitExceeded"],
)
def test_throttled_until_the_deadline_is_deferred(api: LiveStandIn, code: str) -> None:
    api.state.add(STREAM, TASK)
    api.misbehave(Fault(error=code), times=10_000)
    done = run(stream_end(), {"time_limit_in_ms": 1500})
    assert done.outcomes == [("deferred", "throttled")]
    assert done.tasks[0]["calls"] > 1
    assert isinstance(done.raised, RedeliveryNeeded)


UNREADABLE = {
    "HTTP 502": (Fault(status=502, content_type="text/html", body=b"<html>bad gateway</html>"), "ServerNetworkError"),
    "HTTP 404": (Fault(status=404), "ServerNetworkError"),
    "cut body": (Fault(cut=True), "UnreadableAnswer"),
    "garbage": (Fault(body=b"\xff\xfe{{{"), "UnreadableAnswer"),
    "empty body": (Fault(body=b""), "UnreadableAnswer"),
    "no Response": (Fault(body=b"{}"), "UnreadableAnswer"),
    "an array": (Fault(body=b"[]"), "UnreadableAnswer"),
    "Response no object": (Fault(body=b'{"Response": "ok"}'), "UnreadableAnswer"),
    "no RequestId": (Fault(body=b'{"Response": {}}', content_type=CHARSET), "UnreadableAnswer"),
    "Error null": (Fault(body=b'{"Response": {"Error": null, "RequestId": "r"}}'), "UnreadableAnswer"),
    "Error without Code": (Fault(body=b'{"Response": {"Error": {}, "RequestId": "r"}}'), "UnreadableAnswer"),
    "garbage with charset": (Fault(body=b"ok", content_type=CHARSET), "UnreadableAnswer"),
    "dropped": (Fault(drop="before"), "ClientNetworkError"),
}


@pytest.mark.parametrize(("fault", "code"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_answer_that_is_none_is_transient(api: LiveStandIn, fault: Fault, code: str) -> None:
    """Deleted by the next try if the first did not act; found gone by the next try if it did."""
    api.state.add(STREAM, TASK)
    api.misbehave(fault)
    done = run_at_once(stream_end())
    assert done.outcomes == [("deleted", None) if fault.drop else ("already_gone", "after_retry")]
    assert done.tasks[0]["calls"] == 2
    api.reset()
    api.misbehave(fault, times=99)
    done = run_at_once(stream_end())
    assert done.outcomes == [("deferred", "transient")]
    assert (done.tasks[0]["error_code"], done.tasks[0]["calls"]) == (code, 3)


def test_a_connection_dropped_after_acting_ends_already_gone(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)
    api.misbehave(Fault(drop="after"))
    done = run_at_once(stream_end())
    assert done.outcomes == [("already_gone", "after_retry")]
    assert done.raised is None


def test_a_refused_connection_was_never_sent(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with LiveStandIn() as closed:
        url = closed.url
    monkeypatch.setenv("REAPER_LIVE_ENDPOINT", url)
    done = run_at_once(stream_end())
    assert done.outcomes == [("deferred", "transient")]
    assert done.tasks[0]["error_code"] == "ClientNetworkError"


@pytest.mark.parametrize(
    "fault", [Fault(delay=2.0), Fault(delay=2.0, trickle=0.01)], ids=["late", "late and trickling"]
)
def test_a_late_answer_is_transient(api: LiveStandIn, fault: Fault) -> None:
    api.state.add(STREAM, TASK)
    api.misbehave(fault)
    done = run(stream_end(), {"time_limit_in_ms": 4000})
    assert done.outcomes == [("already_gone", "after_retry")]


def test_a_deprecation_notice_in_every_answer_does_not_flood_the_log(api: LiveStandIn) -> None:
    """In a process of its own, because pytest replaces what shows warnings."""
    api.misbehave(Fault(extra={"DeprecatedWarning": "use DeleteRecordTask"}), times=99)
    events = [stream_end(task_id=task_id) for task_id in range(1, 11)]
    for event in events:
        api.state.add(STREAM, int(str(event["task_id"])))
    done = subprocess.run(
        [sys.executable, "-m", "local", "invoke", "-"], input=json.dumps(events), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["deleted"] == 10
    assert "Deprecat" not in done.stderr


# -- credentials -------------------------------------------------------------------------------


def test_expired_credentials_stop_the_batch(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SESSIONTOKEN", "expired")
    monkeypatch.setenv("REAPER_CONCURRENCY", "2")
    for task_id in range(1, 51):
        api.state.add(STREAM, task_id)
    event = ckafka(*(stream_end(task_id=task_id) for task_id in range(1, 51)))
    handler = handler_without_waiting()
    done = run(event, None, handler)
    assert done.outcomes == 50 * [("deferred", "blocked")]
    assert len(api.calls) <= 2
    assert {line.get("error_code") for line in done.tasks} == {"AuthFailure.TokenFailure", None}
    assert "AuthFailure.TokenFailure" in done.tasks[-1]["detail"]
    assert isinstance(done.raised, RedeliveryNeeded)

    monkeypatch.setenv("TENCENTCLOUD_SESSIONTOKEN", "stand-in-token")
    assert run(event, None, handler).outcomes == 50 * [("deleted", None)]


def test_credentials_are_read_for_each_request(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform rewrites them while the instance lives: a retry must sign with the new ones."""
    api.state.add(STREAM, TASK)
    api.secrets["new-id"] = ("new-key", "new-token")
    api.misbehave(Fault(error="InternalError"))

    def rotate(_: float) -> None:
        for name, value in (("ID", "new-id"), ("KEY", "new-key")):
            monkeypatch.setenv(f"TENCENTCLOUD_SECRET{name}", value)
        monkeypatch.setenv("TENCENTCLOUD_SESSIONTOKEN", "new-token")
        api.secrets.pop("stand-in-id", None)

    assert run(stream_end(), None, build(sleep=rotate)).outcomes == [("deleted", None)]


@pytest.mark.parametrize("missing", ["TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY"])
def test_no_credentials_is_blocked_and_says_what_to_do(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delenv(missing)
    done = run(stream_end())
    assert done.outcomes == [("deferred", "blocked")]
    assert "give the function a role" in done.tasks[0]["detail"]
    assert not api.calls
    assert (done.tasks[0]["calls"], done.invocation["api_calls"], done.invocation["latency_ms_max"]) == (0, 0, None)


# -- what each trigger does with what could not be done ----------------------------------------

TRIGGERS = {
    "ckafka": ckafka,
    "timer": timer,
    "cmq": cmq,
    "eventbridge": cloud_event,
    "direct": lambda body: body,
    "dead letter": dead_letter,
}


@pytest.mark.parametrize("envelope", TRIGGERS.values(), ids=TRIGGERS)
class TestWithoutALedger:
    def test_what_is_deferred_is_raised_after_all_lines_are_out(self, api: LiveStandIn, envelope: object) -> None:
        api.misbehave(Fault(error="FailedOperation.AlterTaskState"))
        done = run(envelope(stream_end()))  # type: ignore[operator]
        assert isinstance(done.raised, RedeliveryNeeded)
        assert str(done.raised) == "not everything could be done yet: deferred are 1 busy"
        assert done.outcomes == [("deferred", "busy")]
        assert done.invocation["error"] == str(done.raised)

    def test_what_failed_for_good_is_not_raised(self, api: LiveStandIn, envelope: object) -> None:
        api.misbehave(Fault(error="InvalidParameter"))
        done = run(envelope(stream_end()))  # type: ignore[operator]
        assert (done.outcomes, done.raised) == ([("failed", "invalid")], None)

    def test_a_poison_message_does_not_block_its_partition(self, api: LiveStandIn, envelope: object) -> None:
        done = run(envelope(stream_end(task_id="abc")))  # type: ignore[operator]
        assert (done.outcomes, done.raised) == ([("rejected", "invalid_field")], None)


def test_one_deferred_task_redelivers_the_batch_and_the_rest_is_done_already(api: LiveStandIn) -> None:
    for task_id in (1, 2, 3):
        api.state.add(STREAM, task_id)
    api.misbehave(Fault(error="FailedOperation.AlterTaskState"), task_id=2)
    event = ckafka(*(stream_end(task_id=task_id) for task_id in (1, 2, 3)), "poison")
    first, second = run(event), run(event)
    assert first.outcomes == [("deleted", None), ("deferred", "busy"), ("deleted", None), ("rejected", "not_json")]
    assert isinstance(first.raised, RedeliveryNeeded)
    assert [outcome for outcome, _ in second.outcomes] == ["already_gone", "deleted", "already_gone", "rejected"]
    assert second.raised is None
