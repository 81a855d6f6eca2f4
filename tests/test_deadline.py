"""Time: what starts, what is waited for, and what an abandoned request may still change."""

from __future__ import annotations

import os
import re
import threading
import time

import pytest

from handler.adapters.live_api import LiveApi
from handler.app import RedeliveryNeeded, build
from handler.core.entry import Delete
from handler.core.model import RecordTask
from handler.runtime.deadline import Deadline
from handler.settings import Settings
from local.cos import CosFault, CosStandIn
from local.live_api import Fault, LiveStandIn
from tests.support import STREAM, TASK, ckafka, handler_without_waiting, run, stream_end, timer


@pytest.mark.parametrize(
    ("limit", "timeout", "reporting"), [(60, 10, 3), (900, 10, 3), (20, 5, 2), (3, 0.75, 0.3), (1, 0.25, 0.1)]
)
def test_timeouts_derive_from_the_time_limit(limit: float, timeout: float, reporting: float) -> None:
    deadline = Deadline.after(1000.0, limit)
    assert deadline.request_timeout == timeout
    assert deadline.end == pytest.approx(1000 + limit - reporting)
    assert deadline.last_start == pytest.approx(deadline.end - timeout)


def test_what_cannot_finish_in_time_is_not_started(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPER_MAX_QPS", "10")
    for task_id in range(1, 101):
        api.state.add(STREAM, task_id)
    began = time.monotonic()
    done = run(ckafka(*(stream_end(task_id=task_id) for task_id in range(1, 101))), {"time_limit_in_ms": 2000})
    assert time.monotonic() - began < 1.9
    assert isinstance(done.raised, RedeliveryNeeded)
    assert done.invocation["deleted"] == len(api.calls) == 100 - len(api.state.recordings)
    assert 10 <= done.invocation["deleted"] <= 20
    late = [line for line in done.tasks if line["outcome"] == "deferred"]
    assert {(line["reason"], line["calls"]) for line in late} == {("out_of_time", 0)}


@pytest.mark.slow
def test_a_request_that_outlives_the_deadline_is_abandoned_and_changes_nothing(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that trickles holds a request beyond its timeout, which counts anew for each read."""
    for task_id in (1, 2, 3):
        api.state.add(STREAM, task_id)
    api.misbehave(Fault(trickle=0.06), task_id=1)
    api.misbehave(Fault(trickle=0.025, error="RequestLimitExceeded"), task_id=2)
    handler, context = build(), {"time_limit_in_ms": 3000}
    began = time.monotonic()
    first = run([stream_end(task_id=1), stream_end(task_id=2)], context, handler)
    assert time.monotonic() - began < 3.0
    assert first.outcomes == [("deferred", "out_of_time")] * 2
    assert [line["calls"] for line in first.tasks] == [1, 1]
    assert isinstance(first.raised, RedeliveryNeeded)

    second = run(stream_end(task_id=3), context, handler)
    time.sleep(3)  # the late answers of the first come in
    third = run([stream_end(task_id=1), stream_end(task_id=2)], context, handler)
    assert second.outcomes == [("deleted", None)]
    assert (second.invocation["api_calls"], second.invocation["throttled_calls"]) == (1, 0)
    assert third.outcomes == [("already_gone", "not_found"), ("deleted", None)]
    assert (third.invocation["api_calls"], third.invocation["throttled_calls"]) == (2, 0)


def test_request_timeouts_follow_the_limit_of_each_invocation(api: LiveStandIn) -> None:
    handler = build()
    run(stream_end(), {"time_limit_in_ms": 60_000}, handler)
    api.misbehave(Fault(delay=3), times=99)
    began = time.monotonic()
    assert run(stream_end(), {"time_limit_in_ms": 2000}, handler).tasks[0]["error_class"] == "transient"
    assert time.monotonic() - began < 2


def test_threads_and_connections_survive_from_one_invocation_to_the_next(api: LiveStandIn) -> None:
    for task_id in range(1, 41):
        api.state.add(STREAM, task_id)
    handler = build()
    events = [ckafka(*(stream_end(task_id=first + step) for step in range(10))) for first in (1, 11, 21, 31)]
    run(events[0], None, handler)
    threads = reaper_threads()
    for event in events[1:]:
        assert run(event, None, handler).invocation["deleted"] == 10
    assert reaper_threads() <= threads + 2
    assert len(api.connections) <= threads + 2


def reaper_threads() -> int:
    return sum(thread.name == "reaper" for thread in threading.enumerate())


def test_no_more_requests_are_in_flight_than_allowed(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPER_CONCURRENCY", "3")
    for task_id in range(1, 10):
        api.state.add(STREAM, task_id)
    api.misbehave(Fault(delay=0.2), times=99)
    began = time.monotonic()
    assert run(ckafka(*(stream_end(task_id=task_id) for task_id in range(1, 10)))).invocation["deleted"] == 9
    assert 0.6 <= time.monotonic() - began < 1.5


def test_a_mistake_of_ours_loses_no_task(api: LiveStandIn) -> None:
    api.state.add(STREAM, TASK)

    def broken(_: float) -> None:
        raise ZeroDivisionError("oops")

    api.misbehave(Fault(error="InternalError"))
    done = run(stream_end(), None, build(sleep=broken))
    assert done.outcomes == [("deferred", "internal_error")]
    assert isinstance(done.raised, RedeliveryNeeded)
    frames = done.tasks[0]["traceback"].split(" < ")
    assert re.fullmatch(r"tests/test_deadline\.py:\d+ in broken", frames[0])
    assert re.fullmatch(r"handler/runtime/driving\.py:\d+ in _sleep", frames[1])
    assert 2 < len(frames) <= 5


def test_a_mistake_outside_of_any_task_says_where_it_was(api: LiveStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for broken in ("application.lines", "intake.reading.read", "intake.triggers.read"):
        with monkeypatch.context() as patch:
            patch.setattr(f"handler.{broken}", None)
            done = run(stream_end())
        assert isinstance(done.raised, RedeliveryNeeded)
        assert re.search(
            r"internal error: TypeError: .* \(at handler/app(lication)?\.py:\d+ in \w+( < |\))", str(done.raised)
        )
        assert "\n" not in str(done.raised)


@pytest.mark.parametrize("secret", ["h1dden", "stand-in-token", "stand%2din-token"])
def test_where_a_mistake_was_is_said_without_values(api: LiveStandIn, secret: str) -> None:
    def broken(_: float) -> None:
        raise ZeroDivisionError(f"password={secret}")

    api.misbehave(Fault(error="InternalError"), times=9)
    done = run(stream_end(), None, build(sleep=broken))
    assert "in broken" in done.tasks[0]["traceback"]
    assert secret not in done.stdout


def test_a_mistake_far_down_names_the_last_frames_only(api: LiveStandIn) -> None:
    def deeper(_: float) -> None:
        deeper(0.0)

    api.misbehave(Fault(error="InternalError"), times=9)
    done = run(stream_end(), None, build(sleep=deeper))
    frames = done.tasks[0]["traceback"].split(" < ")
    assert len(frames) == 5
    assert all(frame.endswith("in deeper") for frame in frames)


# -- a request that the function's own limit cuts short ----------------------------------------


@pytest.mark.parametrize(
    ("limit_in_ms", "said"),
    [
        (1200, "the function's own time limit of 1.2 s allows a request 0.3 s: raise the timeout"),
        (2000, "the function's own time limit of 2 s allows a request 0.5 s: raise the timeout"),
        (3000, "the function's own time limit of 3 s allows a request 0.75 s: raise the timeout"),
    ],
)
def test_a_request_that_the_functions_own_limit_cut_short_names_it(
    api: LiveStandIn, limit_in_ms: int, said: str
) -> None:
    api.misbehave(Fault(delay=3), times=99)
    done = run(stream_end(), {"time_limit_in_ms": limit_in_ms}, handler_without_waiting())
    assert done.outcomes == [("deferred", "transient")]
    assert "Read timed out" in done.tasks[0]["detail"]
    assert done.tasks[0]["detail"].endswith(said)


def test_a_body_that_the_functions_own_limit_cut_short_names_it(api: LiveStandIn) -> None:
    api.misbehave(Fault(trickle=3), times=99)
    done = run(stream_end(), {"time_limit_in_ms": 1500}, handler_without_waiting())
    assert "time limit of 1.5 s" in done.tasks[0]["detail"]


def test_a_ledger_that_the_functions_own_limit_cut_short_names_it(
    api: LiveStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CosStandIn() as cos:
        monkeypatch.setenv("REAPER_LEDGER", cos.ledger)
        cos.faults.append(CosFault(delay=1, times=99))
        done = run(timer(), {"time_limit_in_ms": 2000}, handler_without_waiting())
        assert "time limit of 2 s allows a request 0.25 s" in done.tasks[0]["detail"]


@pytest.mark.parametrize("fault", [Fault(error="InternalError"), Fault(drop="before"), Fault(status=500)])
def test_what_is_no_timeout_does_not_name_the_limit(api: LiveStandIn, fault: Fault) -> None:
    api.misbehave(fault, times=99)
    done = run(stream_end(), {"time_limit_in_ms": 3000}, handler_without_waiting())
    assert "limit" not in done.tasks[0]["detail"]


def test_a_request_with_all_the_time_that_it_may_have_does_not_name_the_limit(api: LiveStandIn) -> None:
    api.misbehave(Fault(delay=1), times=9)
    client = LiveApi(Settings.read(os.environ).live_endpoint, 0.3, Deadline.after(0.0, 40.0).limit).client()
    detail = client.send(Delete(RecordTask(STREAM, TASK))).detail
    assert detail
    assert "timed out" in detail
    assert "limit" not in detail


@pytest.mark.parametrize("limit", [3, 20, 39.9, 40, 60, 900])
def test_only_a_limit_that_shortens_requests_is_named(limit: float) -> None:
    deadline = Deadline.after(0.0, limit)
    assert deadline.limit == (limit if limit < 40 else None)
    assert deadline.leaving(1.0).limit == deadline.limit


@pytest.mark.parametrize("runner", [3, 60, 900, 0.5])
def test_a_runner_that_passes_seconds_gets_the_default_time(api: LiveStandIn, runner: float) -> None:
    """Taken for milliseconds, they would leave no time for anything."""
    api.state.add(STREAM, TASK)
    api.misbehave(Fault(delay=0.3))
    assert run(stream_end(), {"time_limit_in_ms": runner}).outcomes == [("deleted", None)]
