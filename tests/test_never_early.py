"""Nothing is deleted that no message named, before its time, or on a hint that no longer holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

from handler.app import Handler, build
from local.live_api import Fault, Stream
from tests.support import STREAM, TASK, ckafka, push_callback, retention_expiry, run, stream_end
from tests.test_ledger import DAY, HOUR, MINUTE, SWEEP, World, bucket, iter_random, world

__all__ = ["bucket", "world"]
KEY = "callbackkey"


def another(world: World) -> Handler:
    """Another instance of the same deployment."""
    return build(clock=world.clock, sleep=lambda _: None, random=iter_random())


def over_http(callback: dict[str, object], now: float) -> dict[str, object]:
    t = int(now) + 600
    signed = {**callback, "t": t, "sign": hashlib.md5(f"{KEY}{t}".encode(), usedforsecurity=False).hexdigest()}
    return {"httpMethod": "POST", "path": "/", "headers": {}, "body": json.dumps(signed)}


# -- what has not begun ------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["a queue", "HTTP"])
@pytest.mark.parametrize(("begins_in", "event_in"), [(DAY, 2 * DAY), (HOUR, HOUR + 1), (5 * MINUTE, 399 * DAY)])
def test_a_callback_from_the_future_does_not_reach_a_recording_that_has_not_begun(
    world: World, monkeypatch: pytest.MonkeyPatch, through: str, begins_in: float, event_in: float
) -> None:
    monkeypatch.setenv("REAPER_CALLBACK_KEY", KEY)
    monkeypatch.setenv("REAPER_GRACE_SECONDS", "60")
    world.api.state.add(STREAM, TASK)
    begins = world.clock.now + begins_in
    world.does(ckafka(world.created(start_time=begins, end_time=begins + HOUR)))
    callback = world.interrupted(event_time=int(world.clock.now + event_in))
    event = ckafka(callback, first_offset=1) if through == "a queue" else over_http(callback, world.clock.now)
    assert world.does(event).outcomes == [("ignored", "no_known_task")]
    world.sweep_after(2 * MINUTE)
    assert not world.api.calls


@pytest.mark.parametrize("ago", [1, 20 * MINUTE])
def test_an_old_callback_over_http_does_not_reach_what_began_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch, ago: float
) -> None:
    """The time of its check is raised to a quarter of an hour ago; whom it concerns is not."""
    monkeypatch.setenv("REAPER_CALLBACK_KEY", KEY)
    world.does(ckafka(world.created(start_time=world.clock.now - ago + 1, end_time=world.clock.now + DAY)))
    callback = world.interrupted(event_time=int(world.clock.now - ago))
    assert world.does(over_http(callback, world.clock.now)).outcomes == [("ignored", "no_known_task")]


def _tomorrow(world: World) -> dict[str, object]:
    return retention_expiry(expires_at=world.clock.now + DAY)


def _ended_tomorrow(world: World) -> dict[str, object]:
    return stream_end(ended_at=world.clock.now + DAY)


@pytest.mark.parametrize("known_from", [_tomorrow, _ended_tomorrow])
@pytest.mark.parametrize("how", ["all", "hint"])
def test_a_task_of_unknown_start_is_reached_by_its_id_only(
    world: World, known_from: Callable[[World], dict[str, object]], how: str
) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(known_from(world))
    assert world.truth()["started_at"] is None
    world.clock.now += HOUR
    ended = stream_end(task_id="all", ended_at=world.clock.now)
    event = ended if how == "all" else world.interrupted()
    assert world.does(ckafka(event)).outcomes == [("ignored", "no_known_task")]
    world.sweep_after(HOUR)
    assert not world.api.calls
    assert world.sweep_after(DAY).outcomes == [("deleted", None)]


def test_a_task_that_could_not_be_deleted_at_once_has_no_start_either(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.api.misbehave(Fault(error="FailedOperation.AlterTaskState"))
    world.does(ckafka(stream_end()))
    assert world.truth()["started_at"] is None


@pytest.mark.parametrize("ended_in", [2 * HOUR, 4 * MINUTE])
def test_an_end_that_lies_ahead_reaches_only_what_has_begun_by_now(world: World, ended_in: float) -> None:
    begins = world.clock.now + MINUTE
    for task_id, start in ((1, world.clock.now - 10), (2, begins)):
        world.api.state.add(STREAM, task_id)
        world.does(ckafka(world.created(task_id=task_id, start_time=start, end_time=world.clock.now + DAY)))
    world.clock.now += 5
    world.does(ckafka(stream_end(task_id="all", ended_at=world.clock.now + ended_in), first_offset=5))
    world.sweep_after(3 * HOUR)
    assert list(world.api.state.recordings) == [2]


@pytest.mark.parametrize(
    ("narrowed", "left"),
    [
        ({}, []),
        ({"domain_name": "PUSH.example.com."}, [2, 4]),
        ({"DomainName": "push.example.com", "AppName": "live"}, [2, 3, 4]),
        ({"app_name": "live"}, [3]),
        ({"domain_name": "elsewhere.example.com"}, [1, 2, 3, 4]),
    ],
)
def test_an_end_of_all_tasks_is_narrowed_by_the_domain_and_app_that_it_names(
    world: World, narrowed: dict[str, object], left: list[int]
) -> None:
    places: list[dict[str, object]] = [
        {"domain_name": "push.example.com"},
        {"domain_name": "other.example.com", "app_name": "live"},
        {"domain_name": "push.example.com.", "app_name": "show"},
        {},
    ]
    for task_id, place in enumerate(places, 1):
        world.api.state.add(STREAM, task_id)
        fields = {"domain_name": None, "app_name": None, **place}
        created = world.created(task_id=task_id, end_time=world.clock.now + DAY, **fields)
        world.does(ckafka({name: value for name, value in created.items() if value is not None}, first_offset=task_id))
    world.clock.now += 5
    world.does(ckafka(stream_end(task_id="all", ended_at=world.clock.now, **narrowed), first_offset=9))
    assert sorted(world.api.state.recordings) == left


# -- after a check, the record is read again ---------------------------------------------------


def late_hint(world: World) -> object:
    world.does(ckafka(world.created(start_time=world.clock.now - 5 * HOUR, end_time=world.clock.now + DAY)))
    world.clock.now += 5
    return ckafka(world.interrupted(event_time=world.clock.now - 2 * HOUR), first_offset=1)


def late_hint_of_a_task_registered_beside_it(world: World) -> object:
    world.cos.lag = 0.0  # a listing shows the other instance what was registered a moment ago
    created = world.created(start_time=world.clock.now - 5 * HOUR, end_time=world.clock.now + DAY)
    return ckafka(created, world.interrupted(event_time=world.clock.now - 2 * HOUR))


def swept_hint(world: World) -> object:
    world.does(ckafka(world.created(start_time=world.clock.now - 5 * HOUR, end_time=world.clock.now + DAY)))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=1))
    world.clock.now += HOUR
    return SWEEP


CHECKED = [late_hint, late_hint_of_a_task_registered_beside_it, swept_hint]


def during_the_check(world: World, does: Callable[[], object]) -> None:
    def check(action: str) -> None:
        world.api.gate = lambda _: None
        assert action == "DescribeLiveStreamState"
        does()

    world.api.gate = check


@pytest.mark.parametrize("checked", CHECKED)
def test_a_fresh_interruption_during_a_check_postpones_the_deletion(
    world: World, checked: Callable[[World], object]
) -> None:
    world.api.state.add(STREAM, TASK)
    event, other = checked(world), another(world)
    fresh = ckafka(push_callback(0, event_time=world.clock.now), first_offset=7)
    during_the_check(world, lambda: run(fresh, {}, other))
    assert {outcome for outcome, _ in world.does(event).outcomes} == {"scheduled"}
    assert [call.action for call in world.api.calls] == ["DescribeLiveStreamState"]
    assert world.sweep_after(1_700).outcomes == [("ignored", "nothing_due")]
    assert world.sweep_after(200).outcomes == [("deleted", None)]


@pytest.mark.parametrize("checked", CHECKED)
def test_a_record_that_is_gone_after_the_check_is_not_deleted(world: World, checked: Callable[[World], object]) -> None:
    world.api.state.add(STREAM, TASK)
    event = checked(world)

    def forget() -> None:
        for key in world.cos.keys("tasks/"):
            world.cos.remove(key)

    during_the_check(world, forget)
    assert set(world.does(event).outcomes) <= {("ignored", "no_known_task"), ("ignored", "duplicate")}
    assert list(world.api.state.recordings) == [TASK]


@pytest.mark.parametrize("checked", CHECKED)
def test_a_check_that_another_instance_answered_with_on_air_counts(
    world: World, checked: Callable[[World], object]
) -> None:
    """Both check; the stream comes back between them, and the other one is the first to write."""
    world.api.state.add(STREAM, TASK)
    event, other = checked(world), another(world)

    def come_back_for_a_moment() -> None:
        world.cos.lag = 0.0  # the other one is to see what was made due a moment ago
        world.api.state.push(Stream(STREAM))
        run(SWEEP, {}, other)
        world.api.state.interrupt(Stream(STREAM))

    during_the_check(world, come_back_for_a_moment)
    world.does(event)
    assert list(world.api.state.recordings) == [TASK]


def test_a_record_that_is_registered_elsewhere_during_the_check_is_not_deleted(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    event, other = swept_hint(world), another(world)
    moved = world.created(start_time=world.clock.now - 6 * HOUR, end_time=world.clock.now + DAY, app_name="other")
    world.api.state.push(Stream(STREAM, app="other"))
    during_the_check(world, lambda: run(ckafka(moved, first_offset=7), {}, other))
    world.does(event)
    assert list(world.api.state.recordings) == [TASK]


# -- what nobody said --------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["FailedOperation.AlterTaskState", "InternalError", "SomethingNew"])
def test_the_time_of_a_hint_is_never_written_down_as_an_assertion(world: World, code: str) -> None:
    """Due by both; the hint was earlier."""
    world.api.state.add(STREAM, TASK)
    asserted_at = world.clock.now + 2 * HOUR
    world.does(ckafka(world.created(expires_at=asserted_at)))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=5))
    world.api.misbehave(Fault(error=code), times=9)
    assert world.sweep_after(3 * HOUR).outcomes[0][0] == "deferred"
    assert world.truth()["asserted_at"] == asserted_at
    world.sweep_after(8 * DAY)
    [letter] = world.cos.keys("dead/") or ["none"]
    if letter != "none":
        assert json.loads(world.cos.body(letter))["entry"]["asserted_at"] == asserted_at


# -- a later time changes nothing, and says so -------------------------------------------------


def later_retention(at: float) -> dict[str, object]:
    return retention_expiry(expires_at=at + 1)


def later_end_of_the_stream(at: float) -> dict[str, object]:
    return stream_end(ended_at=at + DAY)


def later_end_of_all(at: float) -> dict[str, object]:
    return stream_end(task_id="all", ended_at=at + DAY)


def later_registration(at: float) -> dict[str, object]:
    return {"type": "task-created", "stream_name": STREAM, "task_id": TASK, "end_time": at - 599}


@pytest.mark.parametrize("later", [later_retention, later_end_of_the_stream, later_end_of_all, later_registration])
@pytest.mark.parametrize("log", ["all", "problems"])
def test_a_later_time_is_reported_as_what_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch, later: Callable[[float], dict[str, object]], log: str
) -> None:
    monkeypatch.setenv("REAPER_LOG_TASKS", log)
    at = world.clock.now + DAY
    world.does(ckafka(world.created(expires_at=at)))
    world.clock.now += 5
    done = world.does(ckafka(later(at), first_offset=1))
    assert done.outcomes == [("scheduled", "earlier_time_kept")]
    assert world.truth()["asserted_at"] == at


def test_in_one_delivery_each_line_says_whether_its_own_time_counts(world: World) -> None:
    at = world.clock.now + DAY
    first, second, third = (retention_expiry(expires_at=at + more) for more in (60, 0, 120))
    done = world.does(ckafka(first, second, third))
    assert done.outcomes == [
        ("scheduled", "earlier_time_kept"), ("scheduled", None), ("scheduled", "earlier_time_kept"),
    ]  # fmt: skip


@pytest.mark.parametrize("equal", [retention_expiry, stream_end])
def test_an_equal_time_is_a_repetition_and_no_news(world: World, equal: Callable[..., dict[str, object]]) -> None:
    at = world.clock.now + DAY
    world.does(ckafka(retention_expiry(expires_at=at)))
    field = "expires_at" if equal is retention_expiry else "ended_at"
    assert world.does(ckafka(equal(**{field: at}), first_offset=1)).outcomes == [("scheduled", None)]


def test_the_arrival_of_a_recording_in_real_time_is_no_stated_time(world: World) -> None:
    created = {"type": "task-created", "StreamName": STREAM, "TaskId": TASK, "Highlight": 1}
    world.does(ckafka(created))
    world.clock.now += 5
    assert world.does(ckafka(created)).outcomes == [("scheduled", None)]
