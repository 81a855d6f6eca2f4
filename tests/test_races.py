"""Several events of one task in one delivery, and several invocations at one task: nothing is lost or hastened."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from handler.app import RedeliveryNeeded, build
from handler.intake import reading
from local.cos import CosFault
from local.live_api import Fault, Stream
from tests.support import STREAM, TASK, ckafka, retention_expiry, run, stream_end
from tests.test_ledger import DAY, HOUR, MINUTE, SWEEP, World, bucket, iter_random, world

__all__ = ["bucket", "world"]
ON_AIR = Stream(STREAM)


# -- one delivery ------------------------------------------------------------------------------


def test_the_last_interruption_of_a_delivery_counts(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + DAY)))
    world.clock.now += HOUR
    first, second = world.interrupted(), world.interrupted(event_time=world.clock.now + HOUR - 10)
    world.clock.now += HOUR
    assert world.does(ckafka(first, second)).outcomes == [("scheduled", None)] * 2
    assert not world.api.calls
    assert world.sweep_after(1_900).outcomes == [("deleted", None)]


@pytest.mark.parametrize("second", ["retention", "end"])
def test_a_look_that_is_due_does_not_swallow_the_assertion_beside_it(world: World, second: str) -> None:
    world.api.state.add(STREAM, TASK)
    world.api.state.push(ON_AIR)
    world.does(ckafka(world.created()))
    world.clock.now += 5
    late = world.interrupted()
    world.clock.now += HOUR
    at = world.clock.now + 6 * HOUR
    other = retention_expiry(expires_at=at) if second == "retention" else world.created(end_time=at - 600)
    assert world.does(ckafka(late, other)).outcomes == [("scheduled", "stream_is_live"), ("scheduled", "duplicate")]
    assert world.truth()["asserted_at"] == at
    assert world.sweep_after(6 * HOUR + MINUTE).outcomes == [("deleted", None)]


def test_what_begins_and_ends_in_one_delivery_leaves_nothing_behind(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + 300 * DAY)))
    done = world.does(ckafka(world.created(end_time=world.clock.now + DAY), stream_end(), first_offset=1))
    assert done.outcomes == [("deleted", None), ("deleted", "duplicate")]
    assert world.cos.keys() == []


def test_ends_of_tasks_that_began_later_do_not_concern_them(world: World) -> None:
    """Nobody said when it began: at the latest when it was first heard of."""
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + DAY))
    world.clock.now += 5
    ended = stream_end(task_id="all", ended_at=world.clock.now - HOUR)
    assert world.does(ckafka(ended)).outcomes == [("ignored", "no_known_task")]
    assert not world.api.calls


def test_a_start_that_is_said_later_takes_the_place_of_the_assumed_one(world: World) -> None:
    began = world.clock.now - HOUR
    created = world.created(end_time=world.clock.now + DAY)
    del created["start_time"]
    world.does(ckafka(created))
    assert world.truth()["started_at"] == world.clock.now
    world.does(ckafka({**created, "start_time": began}, first_offset=1))
    assert world.truth()["started_at"] == began


# -- two invocations ---------------------------------------------------------------------------


def at_each_request(world: World, one: Callable[[], object], other: Callable[[], object]) -> int:
    """Runs what ``one`` prepares, and before each of its requests in turn the other; returns how many there are."""
    at, requests = 0, 0
    while at <= requests:  # the first time not at all, to count them
        world.cos.reset()
        world.api.reset()
        world.api.state.add(STREAM, TASK)
        event, another = one(), other()
        seen, second = [0], build(clock=world.clock, sleep=lambda _: None)

        def between(_: str, at: int = at, seen: list[int] = seen, second: Any = second, event: Any = another) -> None:
            seen[0] += 1
            if seen[0] == at:
                seen[0] = -99  # its own requests do not count
                assert run(event, {}, second).raised is None
                seen[0] = at

        world.cos.gate = world.api.gate = between
        world.does(event)
        world.cos.gate = world.api.gate = lambda _: None
        requests = requests or seen[0]
        for _ in range(8):
            world.sweep_after(HOUR)
        assert at == 0 or not world.api.state.recordings, f"lost when the other came before request {at}"
        at += 1
    return requests


def test_a_retention_that_comes_while_its_task_is_registered_is_kept(world: World) -> None:
    def registered() -> object:
        return ckafka(world.created())

    def retention() -> object:
        return retention_expiry(expires_at=world.clock.now + 2 * HOUR)

    assert at_each_request(world, registered, retention) == 3


def test_a_retention_that_comes_while_a_sweep_finds_the_stream_on_air_is_kept(world: World) -> None:
    def sweep() -> object:
        world.api.state.push(ON_AIR)
        world.does(ckafka(world.created(start_time=world.clock.now - 2 * HOUR)))
        world.clock.now += 5
        world.does(ckafka(world.interrupted(event_time=world.clock.now - 1_700), first_offset=1))
        world.clock.now += 10 * MINUTE
        return SWEEP

    def retention() -> object:
        return ckafka(retention_expiry(expires_at=world.clock.now + 6 * HOUR), first_offset=9)

    assert at_each_request(world, sweep, retention) == 6


def test_an_interruption_between_the_look_and_the_deletion_moves_it(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(end_time=world.clock.now + DAY)))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=1))
    world.clock.now += HOUR
    again = build(clock=world.clock, sleep=lambda _: None, random=iter_random())

    def look(action: str) -> None:
        world.api.gate = lambda _: None
        assert run(ckafka(world.interrupted(), first_offset=2), {}, again).outcomes == [("scheduled", None)]

    world.api.gate = look
    assert world.does(SWEEP).outcomes == [("scheduled", None)]
    assert [call.action for call in world.api.calls] == ["DescribeLiveStreamState"]
    assert world.sweep_after(1_700).outcomes == [("ignored", "nothing_due")]
    assert world.sweep_after(200).outcomes == [("deleted", None)]


# -- what lies in the bucket -------------------------------------------------------------------

UNREADABLE = {
    "a time that no clock shows": b"1" + b"0" * 400,
    "a name that cannot be written": b'"\\ud800"',
    "empty": b"",
    "cut": b'{"task"',
    "no object": b"null",
    "another program's": b'{"v": 2}',
    "a time that is none": None,
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_entry_that_cannot_be_read_harms_nothing_beside_it(world: World, kind: str) -> None:
    soon = world.clock.now + MINUTE
    for task_id in (1, 2, 3):
        world.api.state.add(f"room-{task_id}", task_id)
        world.does(retention_expiry(stream_name=f"room-{task_id}", task_id=task_id, expires_at=soon))
    [key] = [key for key in world.cos.keys("tasks/") if key.endswith("/1.json")]
    fields = json.loads(world.cos.body(key))
    body = UNREADABLE[kind]
    if body is None:
        body = json.dumps({**fields, "asserted_at": "soon"}).encode()
    elif kind == "a time that no clock shows":
        body = json.dumps({**fields, "asserted_at": "@"}).encode().replace(b'"@"', body)
    elif kind == "a name that cannot be written":
        body = json.dumps({**fields, "task": {"stream_name": "@", "task_id": 1}}).encode().replace(b'"@"', body)
    world.cos.put(key, body)
    done = world.sweep_after(3 * MINUTE)
    assert sorted(done.outcomes) == [("deleted", None), ("deleted", None), ("failed", "ledger_refused")]
    assert done.invocation["oldest_overdue_s"] >= 120
    assert list(world.api.state.recordings) == [1]
    ends = ckafka(stream_end("room-1", 1), stream_end("room-1", 4))
    assert world.does(ends).outcomes == [("deleted", None), ("already_gone", "not_found")]
    assert world.cos.keys("tasks/") == []


def test_objects_that_nobody_may_read_do_not_stop_the_others(world: World) -> None:
    """Not even if there are as many as there are hands, and they are the oldest."""
    world.handler = build(clock=world.clock, sleep=lambda _: None)
    soon = world.clock.now + MINUTE
    for task_id in range(1, 10):
        world.api.state.add(f"room-{task_id}", task_id)
        world.does(retention_expiry(stream_name=f"room-{task_id}", task_id=task_id, expires_at=soon + task_id))
    world.cos.locked = {
        key for key in world.cos.keys("tasks/") if key.endswith(tuple(f"/{n}.json" for n in range(1, 6)))
    }
    try:
        done = world.sweep_after(3 * MINUTE)
    finally:
        world.cos.locked = set()
    assert sorted(world.api.state.recordings) == [1, 2, 3, 4, 5]
    assert done.outcomes.count(("deferred", "ledger_unavailable")) == 5
    assert done.raised


def test_an_unreadable_entry_harms_no_other_of_its_stream(world: World) -> None:
    for task_id in (1, 2):
        world.api.state.add(STREAM, task_id)
        world.does(ckafka(world.created(task_id=task_id)))
    [key] = [key for key in world.cos.keys("tasks/") if key.endswith("/2.json")]
    world.cos.put(key, b"{}")
    world.clock.now += 5
    ended = stream_end(task_id="all", ended_at=world.clock.now)
    assert world.does(ckafka(ended)).outcomes == [("deleted", None), ("failed", "ledger_refused")]


def test_an_assertion_of_an_earlier_life_does_not_count(world: World) -> None:
    """The pointer of a task that was forgotten could not be deleted; then the task is registered anew."""
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + 2 * DAY))
    [pointer] = world.cos.keys("due/")
    left = world.cos.body(pointer)
    world.does(ckafka(stream_end()))
    world.cos.put(pointer, left)
    world.cos._written[f"reaper/{pointer}"] = world.clock.now
    world.clock.now += DAY
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + 7 * DAY))
    for _ in range(3):
        assert world.sweep_after(DAY).outcomes == [("ignored", "nothing_due")]
    assert world.sweep_after(5 * DAY).outcomes == [("deleted", None)]


@pytest.mark.parametrize("registered", [True, False])
def test_a_hint_that_comes_late_is_followed_up(world: World, registered: bool) -> None:
    world.api.state.add(STREAM, TASK)
    created = world.created(start_time=world.clock.now - 2 * HOUR)
    late = world.interrupted(event_time=world.clock.now - HOUR)
    if registered:
        world.does(ckafka(created))
        world.clock.now += 5
        assert world.does(ckafka(late, first_offset=1)).outcomes == [("deleted", None)]
    else:
        assert world.does(ckafka(created, late)).outcomes == [("deleted", None), ("deleted", "duplicate")]
    assert not world.api.state.recordings


def test_many_hints_of_one_stream_list_it_once(world: World) -> None:
    world.does(ckafka(world.created()))
    world.clock.now += 5
    world.cos.requests.clear()
    world.does(ckafka(*(world.interrupted() for _ in range(50)), first_offset=1))
    assert len(world.cos.requests) == 5


def test_what_an_older_version_did_not_write_is_no_obstacle(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + MINUTE))
    [key] = world.cos.keys("tasks/")
    older = {name: value for name, value in world.truth().items() if name not in ("pointer", "known_since")}
    world.cos.put(key, json.dumps(older).encode())
    assert world.sweep_after(3 * MINUTE).outcomes == [("deleted", None)]


def test_what_a_newer_version_wrote_besides_is_no_obstacle(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + MINUTE))
    [key] = world.cos.keys("tasks/")
    world.cos.put(key, json.dumps({**world.truth(), "colour": "blue"}).encode())
    assert world.sweep_after(3 * MINUTE).outcomes == [("deleted", None)]


@pytest.mark.parametrize("key", ["tasks/", "due/", "due/000000000000/" + "0" * 32 + "/1-a", "dead/", "due/notes.txt"])
def test_foreign_objects_below_the_prefix_are_left_alone(world: World, key: str) -> None:
    world.api.state.add(STREAM, TASK)
    world.cos.put(key, b"")
    world.does(retention_expiry(expires_at=world.clock.now + MINUTE))
    world.clock.now += 5
    assert world.sweep_after(3 * MINUTE).outcomes == [("deleted", None)]
    assert world.cos.keys() == [key]


# -- what COS answers --------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 307, 404, 409, 429, 500])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_answer_that_is_no_word_about_the_task_is_never_taken_for_one(
    world: World, method: str, status: int
) -> None:
    world.cos.faults.append(CosFault(status=status, method=method, times=99))
    done = world.does(ckafka(world.created(end_time=world.clock.now + HOUR)))
    assert done.outcomes == [("deferred", "ledger_unavailable")]
    assert isinstance(done.raised, RedeliveryNeeded)


def test_what_cos_says_is_masked(world: World) -> None:
    token = world.api.environment["TENCENTCLOUD_SESSIONTOKEN"]
    world.cos.faults.append(CosFault(status=403, code=token))
    done = world.does(ckafka(world.created()))
    assert done.outcomes == [("deferred", "ledger_unavailable")]
    assert token not in done.stdout


def test_a_ledger_that_hangs_does_not_keep_the_invocation_beyond_its_time(world: World) -> None:
    world.cos.faults.append(CosFault(delay=30.0, method="GET", times=9))
    handler = build()
    done = run(SWEEP, {"time_limit_in_ms": 2_000}, handler)
    assert done.outcomes == [("deferred", "ledger_unavailable")]
    assert done.invocation["duration_ms"] < 2_000


# -- giving up, and dead letters ---------------------------------------------------------------


def test_giving_up_counts_from_the_first_try(world: World) -> None:
    """A task may be due for long before anybody hears of it."""
    world.api.misbehave(Fault(error="FailedOperation.AlterTaskState"), times=9)
    world.api.state.add(STREAM, TASK)
    ended = stream_end(ended_at=world.clock.now - 30 * DAY)
    assert world.does(ckafka(ended)).outcomes == [("deferred", "busy")]
    assert world.sweep_after(HOUR).outcomes == [("deferred", "busy")]
    assert world.sweep_after(8 * DAY).outcomes == [("failed", "gave_up")]


@pytest.mark.parametrize(
    "event",
    [
        {"stream_name": STREAM, "task_id": 987_654_321},
        {"Records": [{"Sqs": {"task_id": 987_654_321}}]},
        {"Records": [{"Ckafka": {"offset": 1, "note": 987_654_321}}]},
        {"EventList": [{"data": {"task_id": 987_654_321}}]},
        ckafka("987654321 is no event"),
    ],
)
def test_what_is_rejected_is_kept_whole(world: World, event: object) -> None:
    assert world.does(event).outcomes[0][0] == "rejected"
    [key] = world.cos.keys("dead/")
    assert b"987654321" in world.cos.body(key)


def test_different_messages_with_one_name_are_both_kept(world: World) -> None:
    for body in ("one", "another", "another"):  # a topic that was made anew begins at offset 0 again
        world.does(ckafka(body))
    assert len(world.cos.keys("dead/")) == 2


def test_a_message_nested_as_deep_as_can_be_is_rejected(world: World) -> None:
    body: object = 1
    for _ in range(900):
        body = [body]
    assert world.does({"type": "stream-end", "stream_name": body}).outcomes == [("rejected", "invalid_field")]
    assert len(world.cos.keys("dead/")) == 1


def test_many_rejected_messages_are_all_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_REJECTION_LINES", 20)
    done = world.does(ckafka(*["x"] * 30))
    assert done.invocation["rejected"] == 30
    assert len(world.cos.keys("dead/")) == 30


def test_an_end_before_its_start_is_rejected(world: World) -> None:
    done = world.does(world.created(start_time=world.clock.now + HOUR, end_time=world.clock.now - HOUR))
    assert done.outcomes == [("rejected", "conflicting_fields")]
