"""The ledger on COS, through the vendor's SDK, against moto over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from handler.adapters.cos_ledger import CosLedger
from handler.app import Handler, RedeliveryNeeded, build
from handler.core.entry import Entry
from handler.core.model import RecordTask
from local.cos import CosFault, CosStandIn
from local.live_api import Fault, LiveStandIn, Stream
from tests.support import STREAM, TASK, FakeClock, Run, ckafka, push_callback, retention_expiry, run, stream_end, timer

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
SWEEP = timer("")


class World:
    """Both stand-ins and a handler, on a clock that only the test moves."""

    def __init__(self, cos: CosStandIn, api: LiveStandIn, clock: FakeClock) -> None:
        self.cos, self.api, self.clock = cos, api, clock
        self.handler: Handler = build(clock=clock, sleep=lambda _: None, random=iter_random())

    def does(self, event: object) -> Run:
        return run(event, {}, self.handler)

    def sweep_after(self, seconds: float) -> Run:
        self.clock.now += seconds
        return self.does(SWEEP)

    def created(self, **more: object) -> dict[str, object]:
        return {
            "type": "task-created", "stream_name": STREAM, "task_id": TASK, "start_time": self.clock.now - 10,
            "end_time": self.clock.now + 300 * DAY, "domain_name": "push.example.com", "app_name": "live", **more,
        }  # fmt: skip

    def interrupted(self, **more: object) -> dict[str, object]:
        return push_callback(0, **{"event_time": self.clock.now, **more})

    def truth(self) -> dict[str, Any]:
        [key] = self.cos.keys("tasks/")
        found: dict[str, Any] = json.loads(self.cos.body(key))
        return found

    def without_end(self) -> None:
        """The one task as an older version may have stored it, which took tasks that had no end."""
        [key], [pointer] = self.cos.keys("tasks/"), self.cos.keys("due/")
        self.cos.put(key, json.dumps({**self.truth(), "asserted_at": None, "pointer": None}).encode())
        self.cos.remove(pointer)


def iter_random() -> Callable[[], float]:
    """Different each time, so that no two pointers have one name."""
    numbers = (number * 0.6180339887 % 1 for number in range(1, 10**9))
    return numbers.__next__


@pytest.fixture(scope="module")
def bucket() -> Iterator[CosStandIn]:
    with CosStandIn() as stand_in:
        yield stand_in


@pytest.fixture(params=[0.0, 2.0], ids=["", "lagging listings"])
def world(request: pytest.FixtureRequest, bucket: CosStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    clock = FakeClock()
    bucket._clock, bucket.lag = clock, request.param
    bucket.reset()
    with LiveStandIn(clock=clock, qps=100_000) as api:
        for name, value in api.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("REAPER_LEDGER", bucket.ledger)
        monkeypatch.setenv("REAPER_CONCURRENCY", "4")
        yield World(bucket, api, clock)


def test_a_created_task_is_deleted_a_margin_after_its_end(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    done = world.does(ckafka(world.created(end_time=world.clock.now + HOUR)))
    assert done.outcomes == [("scheduled", None)]
    assert done.invocation["ledger"] is True
    assert not world.api.calls
    assert world.sweep_after(HOUR + 599).outcomes == [("ignored", "nothing_due")]
    done = world.sweep_after(120)
    assert done.outcomes == [("deleted", None)]
    assert done.tasks[0]["event"] == "sweep"
    assert (done.tasks[0]["stream_name"], done.tasks[0]["task_id"]) == (STREAM, str(TASK))
    assert 0 <= done.invocation["lag_s_p95"] <= 180
    assert done.invocation["oldest_overdue_s"] == 0
    assert world.cos.keys() == []


def test_an_assertion_deletes_at_once_and_leaves_nothing_behind(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + HOUR)))
    world.clock.now += 5
    assert world.does(ckafka(stream_end())).outcomes == [("deleted", None)]
    assert world.cos.keys() == []


def test_a_stream_end_without_a_task_ends_all_that_had_started(world: World) -> None:
    for task_id, start in ((1, -100), (2, -50), (3, 50)):
        world.api.state.add(STREAM, task_id)
        created = world.created(task_id=task_id, start_time=world.clock.now + start, end_time=world.clock.now + HOUR)
        world.does(ckafka(created))
    world.clock.now += 5
    ended = stream_end(task_id="all", ended_at=world.clock.now)
    done = world.does(ckafka(ended))
    assert [(line["task_id"], line["outcome"]) for line in done.tasks] == [("1", "deleted"), ("2", "deleted")]
    assert list(world.api.state.recordings) == [3]
    world.clock.now += 5
    assert world.does(ckafka(ended)).outcomes == [("ignored", "no_known_task")]


def test_a_retention_in_the_future_is_held_until_then(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    assert world.does(retention_expiry(expires_at=world.clock.now + DAY)).outcomes == [("scheduled", None)]
    assert world.sweep_after(DAY - 10).outcomes == [("ignored", "nothing_due")]
    assert world.sweep_after(70).outcomes == [("deleted", None)]


def test_the_earliest_assertion_wins_whatever_the_order(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    for hours in (5, 1, 3):
        world.does(retention_expiry(expires_at=world.clock.now + hours * HOUR))
        world.clock.now += 3
    world.does(ckafka(world.created(end_time=world.clock.now + 9 * HOUR)))
    assert world.sweep_after(HOUR + MINUTE).outcomes == [("deleted", None)]
    assert world.cos.keys("tasks/") == []


def test_a_hint_waits_for_its_grace_and_looks_first(world: World) -> None:
    stream = Stream(STREAM)
    world.api.state.add(STREAM, TASK)
    world.api.state.push(stream)
    world.does(ckafka(world.created(end_time=world.clock.now + DAY)))
    world.clock.now += 5
    world.api.state.interrupt(stream)
    assert world.does(ckafka(world.interrupted())).outcomes == [("scheduled", None)]
    assert world.sweep_after(1799).outcomes == [("ignored", "nothing_due")]
    done = world.sweep_after(MINUTE)
    assert done.outcomes == [("deleted", None)]
    assert [call.action for call in world.api.calls] == ["DescribeLiveStreamState", "DeleteLiveRecord"]
    assert done.tasks[0]["calls"] == 2


@pytest.mark.parametrize("back", ["push", "forbid"])
def test_a_stream_that_came_back_keeps_its_task_until_its_end(world: World, back: str) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + DAY)))
    world.clock.now += 5
    world.does(ckafka(world.interrupted()))
    getattr(world.api.state, back)(Stream(STREAM))
    assert world.sweep_after(HOUR).outcomes == [("scheduled", "stream_is_live")]
    assert world.sweep_after(HOUR).outcomes == [("ignored", "nothing_due")]
    world.api.state.interrupt(Stream(STREAM))
    assert world.sweep_after(DAY).outcomes == [("deleted", None)]


def test_a_look_that_fails_counts_as_on_air(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created()))
    world.without_end()
    world.clock.now += 5
    world.does(ckafka(world.interrupted()))
    world.api.misbehave(Fault(error="InternalError"), times=3)
    assert world.sweep_after(HOUR).outcomes == [("scheduled", "stream_is_live")]
    assert world.sweep_after(1700).outcomes == [("ignored", "nothing_due")]
    assert world.sweep_after(200).outcomes == [("deleted", None)]


def test_a_later_interruption_moves_the_look_back(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created()))
    world.clock.now += 5
    world.does(ckafka(world.interrupted()))
    world.clock.now += 1000
    world.does(ckafka(world.interrupted()))
    world.does(ckafka(world.interrupted(event_time=world.clock.now - 900)))  # late, and older
    assert world.sweep_after(1790).outcomes == [("ignored", "nothing_due")]
    assert world.sweep_after(MINUTE).outcomes == [("deleted", None)]


@pytest.mark.parametrize(
    "more", [{"app": "other.example.com"}, {"appname": "other"}, {"stream_id": "other"}, {"event_time": 1_795_341_000}]
)
def test_a_hint_concerns_only_what_was_recorded_there_and_then(world: World, more: dict[str, object]) -> None:
    world.does(ckafka(world.created()))
    world.clock.now += 5
    assert world.does(ckafka(world.interrupted(**more))).outcomes == [("ignored", "no_known_task")]


@pytest.mark.parametrize("event_type", [1, 100, 332])
def test_other_callbacks_change_nothing(world: World, event_type: int) -> None:
    assert world.does(ckafka(push_callback(event_type))).outcomes == [("ignored", "not_an_interruption")]
    assert world.cos.keys() == []


# -- what could not be done --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "waits"),
    [
        ("FailedOperation.AlterTaskState", "busy", [300, 600, 1200, 2400, 3600, 3600]),
        ("InternalError", "transient", [60, 120, 240, 480]),
        ("FailedOperation.NeverHeardOf", "unknown", [60, 120, 240]),
    ],
)
def test_a_task_that_cannot_be_deleted_yet_waits_longer_each_time(
    world: World, code: str, reason: str, waits: list[float]
) -> None:
    world.api.state.add(STREAM, TASK)
    world.api.misbehave(Fault(error=code), times=1000)
    done = world.does(ckafka(stream_end()))
    assert done.outcomes == [("deferred", reason)]
    assert done.raised is None  # it is parked
    for wait in waits:
        assert world.truth()["not_before"] == world.clock.now + wait
        assert world.sweep_after(wait - 61).outcomes in ([("ignored", "nothing_due")], [])
        assert world.sweep_after(61).outcomes == [("deferred", reason)]


def test_after_a_week_it_becomes_a_dead_letter_that_says_all(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.api.misbehave(Fault(error="FailedOperation.AlterTaskState"), times=2)
    world.api.misbehave(Fault(error="InternalError"), times=1000)
    first = world.clock.now
    world.does(ckafka(stream_end()))
    outcomes = []
    while world.cos.keys("tasks/"):
        outcomes += world.sweep_after(HOUR + MINUTE).outcomes
    assert 604_800 <= world.clock.now - first < 604_800 + 3 * HOUR
    assert outcomes[-1] == ("failed", "gave_up")
    [key] = world.cos.keys("dead/")
    letter = json.loads(world.cos.body(key))
    assert (letter["stream_name"], letter["task_id"], letter["first_due_at"]) == (STREAM, str(TASK), first)
    assert letter["message"]["message_id"] == "ckafka:t:1:0"
    assert [(error["code"], error["times"] > 1) for error in letter["errors"]] == [
        ("FailedOperation.AlterTaskState", True),
        ("InternalError", True),
    ]
    assert world.cos.keys("due/") == []


@pytest.mark.parametrize(
    ("code", "reason"), [("RequestLimitExceeded", "throttled"), ("AuthFailure.TokenFailure", "blocked")]
)
def test_throttled_and_blocked_tasks_stay_due_as_they_are(
    world: World, code: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + HOUR))
    before = world.truth()
    world.handler = build(clock=world.clock, sleep=world.clock.sleep, random=iter_random())
    world.api.misbehave(Fault(error=code), times=100_000)
    done = world.sweep_after(2 * HOUR)
    assert done.outcomes == [("deferred", reason)]
    assert done.invocation["oldest_overdue_s"] >= HOUR
    assert done.raised is None
    assert world.truth() == before


def test_what_the_api_refuses_for_good_is_buried(world: World) -> None:
    world.api.misbehave(Fault(error="InvalidParameter"))
    assert world.does(ckafka(stream_end())).outcomes == [("failed", "invalid")]
    [key] = world.cos.keys()
    assert key.startswith("dead/")


def test_rejected_messages_are_buried_whole(world: World) -> None:
    done = world.does(ckafka("Hello from CKafka!", [stream_end(task_id=0), 7]))
    assert len(done.outcomes) == 3
    letters = [json.loads(world.cos.body(key)) for key in world.cos.keys("dead/")]
    assert {letter["message_id"]: letter["body"] for letter in letters} == {
        "ckafka:t:1:0": "Hello from CKafka!",
        "ckafka:t:1:1": json.dumps([stream_end(task_id=0), 7]),
    }
    assert len(next(letter for letter in letters if letter["message_id"].endswith("1"))["details"]) == 2


def test_dry_run_keeps_what_would_have_been_deleted_due(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.api.state.add(STREAM, TASK)
    monkeypatch.setenv("REAPER_DRY_RUN", "true")
    assert world.does(ckafka(stream_end())).outcomes == [("planned", "dry_run")]
    assert world.sweep_after(HOUR).outcomes == [("planned", "dry_run")]
    assert not world.api.calls
    monkeypatch.setenv("REAPER_DRY_RUN", "false")
    assert world.sweep_after(HOUR).outcomes == [("deleted", None)]


def test_a_narrowed_deployment_leaves_the_task_as_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + HOUR))
    monkeypatch.setenv("REAPER_STREAMS", "other")
    assert world.sweep_after(2 * HOUR).outcomes == [("scheduled", "stream_not_allowed")]
    assert world.sweep_after(MINUTE).outcomes == [("ignored", "nothing_due")]
    monkeypatch.delenv("REAPER_STREAMS")
    assert world.sweep_after(MINUTE).outcomes == [("deleted", None)]


# -- COS ---------------------------------------------------------------------------------------


def test_a_ledger_that_cannot_be_reached_is_raised_after_the_lines(world: World) -> None:
    world.cos.faults.append(CosFault(status=503, times=1000))
    done = world.does(ckafka(world.created(end_time=world.clock.now + HOUR)))
    assert done.outcomes == [("deferred", "ledger_unavailable")]
    assert isinstance(done.raised, RedeliveryNeeded)
    done = world.does(SWEEP)
    assert done.outcomes == [("deferred", "ledger_unavailable")]
    assert isinstance(done.raised, RedeliveryNeeded)


def test_a_hiccup_of_cos_is_retried(world: World) -> None:
    for fault in (CosFault(status=503), CosFault(status=500), CosFault(silent=True, method="PUT")):
        world.cos.faults.append(fault)
    assert world.does(ckafka(world.created(end_time=world.clock.now + HOUR))).outcomes == [("scheduled", None)]


def test_a_write_that_cos_refuses_for_good_is_that_lines_failure(world: World) -> None:
    world.cos.faults.append(CosFault(status=400, method="PUT"))
    done = world.does(ckafka(world.created(end_time=world.clock.now + HOUR)))
    assert (done.outcomes, done.raised) == ([("failed", "ledger_refused")], None)


def test_a_wrong_token_is_not_let_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SESSIONTOKEN", "old")
    done = world.does(ckafka(world.created()))
    assert done.outcomes == [("deferred", "ledger_unavailable")]
    assert isinstance(done.raised, RedeliveryNeeded)


def test_a_deleted_task_stays_deleted_even_if_the_ledger_cannot_be_told(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + HOUR))
    world.cos.faults.append(CosFault(status=503, times=1000, method="DELETE"))
    done = world.sweep_after(2 * HOUR)
    assert (done.outcomes, done.raised) == ([("deleted", None)], None)
    world.cos.faults.clear()
    assert world.sweep_after(MINUTE).outcomes == [("already_gone", "not_found")]
    assert world.cos.keys() == []


def test_a_stale_pointer_is_removed_only_when_no_writer_can_be_between_its_puts(world: World) -> None:
    world.does(retention_expiry(expires_at=world.clock.now + MINUTE))
    [truth] = world.cos.keys("tasks/")
    world.cos.remove(truth)
    assert world.sweep_after(10 * MINUTE).outcomes == [("ignored", "nothing_due")]
    assert len(world.cos.keys("due/")) == 1
    assert world.sweep_after(11 * MINUTE).outcomes == [("ignored", "nothing_due")]
    assert world.cos.keys("due/") == []


class Direct:
    """A bucket that is filled without requests."""

    def __init__(self, cos: CosStandIn) -> None:
        self.put = cos.put

    def delete(self, key: str) -> None: ...


@pytest.mark.slow
def test_a_sweep_costs_by_what_is_due_not_by_what_is_stored(
    bucket: CosStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    due = 500
    with LiveStandIn(clock=clock, qps=100_000) as api:
        for name, value in api.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("REAPER_LEDGER", bucket.ledger)
        monkeypatch.setenv("REAPER_CONCURRENCY", "4")
        filler = CosLedger(Direct(bucket), iter_random())  # type: ignore[arg-type]
        bucket._clock, bucket.lag = clock, 0.0
        requests = {}
        for stored in (1_000, 20_000):
            bucket.reset()
            for task_id in range(1, stored + 1):
                at = clock.now if task_id <= due else clock.now + DAY
                filler.save(Entry(RecordTask(f"room-{task_id}", task_id), delete_at=at), None)
            done = run(SWEEP, {"time_limit_in_ms": 300_000}, build(clock=clock, sleep=lambda _: None))
            assert done.invocation["already_gone"] == done.invocation["lines"] == due
            requests[stored] = len(bucket.requests)
        assert requests[1_000] == requests[20_000] == 1 + 3 * due


def test_cos_requests_per_task_over_its_life(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + HOUR)))
    assert [request.method for request in world.cos.requests] == ["GET", "PUT", "PUT"]
    world.cos.requests.clear()
    world.clock.now += 5
    world.does(ckafka(stream_end()))
    assert [request.method for request in world.cos.requests] == ["GET", "DELETE", "DELETE"]
