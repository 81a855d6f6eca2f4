"""One big stream; entries that cannot be read; hints that a writer beside them overwrote."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from handler.adapters.cos_ledger import CosLedger
from handler.app import build
from handler.core.entry import Entry
from handler.core.model import RecordTask
from handler.settings import Settings
from local.cos import CosFault
from local.ledger import opened
from local.live_api import Fault, Stream
from tests.support import STREAM, TASK, ckafka, push_callback, retention_expiry, run, stream_end
from tests.test_ledger import DAY, HOUR, MINUTE, SWEEP, Direct, World, bucket, iter_random, world

__all__ = ["bucket", "world"]
pytestmark = pytest.mark.parametrize("world", [0.0], ids=[""], indirect=True)


# -- one big stream ----------------------------------------------------------------------------


def known(world: World, count: int) -> None:
    """So many tasks of one stream, stored without a request."""
    filler = CosLedger(Direct(world.cos), iter_random())  # type: ignore[arg-type]
    for task_id in range(1, count + 1):
        world.api.state.add(STREAM, task_id)
        begun, ends = world.clock.now - HOUR, world.clock.now + 300 * DAY
        task = RecordTask(STREAM, task_id)
        filler.save(Entry(task, "push.example.com", "live", begun, ends, created_at=begun), None)


class InFlight:
    """Lets every request to COS take 10 ms, and counts how many there are at a time."""

    def __init__(self, world: World) -> None:
        self.most = self._now = 0
        self._lock = threading.Lock()
        world.cos.gate = self._take

    def _take(self, _: str) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.01)
        with self._lock:
            self._now -= 1


def the_end_of_all(world: World) -> object:
    known(world, 60)
    return ckafka(stream_end(task_id="all", ended_at=world.clock.now))


def a_callback(world: World) -> object:
    known(world, 60)
    return ckafka(push_callback(0, event_time=world.clock.now))


def registrations(world: World) -> object:
    return ckafka(*(world.created(task_id=n, end_time=world.clock.now + HOUR) for n in range(1, 61)))


@pytest.mark.parametrize("event", [the_end_of_all, a_callback, registrations])
def test_the_tasks_of_one_stream_are_worked_on_side_by_side(
    world: World, monkeypatch: pytest.MonkeyPatch, event: Callable[[World], object]
) -> None:
    monkeypatch.setenv("REAPER_CONCURRENCY", "16")
    delivery, in_flight = event(world), InFlight(world)
    done = world.does(delivery)
    assert done.raised is None
    assert len(done.tasks) == 60
    assert in_flight.most > 2


@pytest.mark.slow
def test_what_one_delivery_cannot_finish_the_next_ones_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the time of one of them, the entries of the stream could not even be read one after the other."""
    monkeypatch.setenv("REAPER_CONCURRENCY", "32")
    known(world, 300)
    InFlight(world)
    handler = build()  # on the real clock, so that time passes
    event = ckafka(stream_end(task_id="all", ended_at=time.time()))
    for _ in range(12):
        if run(event, {"time_limit_in_ms": 4_500}, handler).raised is None:
            break
    else:
        pytest.fail("it was delivered again for ever")
    world.cos.gate = lambda _: None
    for _ in range(12):
        run(SWEEP, {"time_limit_in_ms": 60_000}, handler)
    assert not world.api.state.recordings


# -- entries that cannot be read ---------------------------------------------------------------


def unreadable(world: World, count: int, how: str = "garbage") -> list[str]:
    """So many tasks that are due first of all, and whose entries cannot be read; returns their keys."""
    for task_id in range(1, count + 1):
        world.does(retention_expiry(stream_name=f"bad-{task_id}", task_id=task_id, expires_at=world.clock.now + MINUTE))
    keys = world.cos.keys("tasks/")
    for key in keys:
        if how == "archived":
            world.cos.archived.add(key)
        else:
            world.cos.put(key, {"garbage": b"garbage", "cut": b'{"task"', "empty": b""}[how])
    return keys


def good(world: World, count: int) -> None:
    for task_id in range(101, 101 + count):
        world.api.state.add(f"good-{task_id}", task_id)
    soon = world.clock.now + 10 * MINUTE
    world.does(
        ckafka(
            *(retention_expiry(stream_name=f"good-{n}", task_id=n, expires_at=soon) for n in range(101, 101 + count))
        )
    )


@pytest.mark.parametrize("how", ["garbage", "cut", "empty", "archived"])
def test_entries_that_cannot_be_read_stop_no_sweep(world: World, how: str) -> None:
    """More of them than workers, and the oldest."""
    keys = unreadable(world, 12, how)
    bodies = {key: world.cos.body(key) for key in keys}
    good(world, 5)
    done = world.sweep_after(HOUR)
    assert not world.api.state.recordings
    assert done.raised is None
    assert done.outcomes.count(("failed", "ledger_refused")) == 12
    assert done.invocation["unreadable"] == 12
    assert {key: world.cos.body(key) for key in keys} == bodies, "what is not understood stays where it is"
    assert world.sweep_after(MINUTE).outcomes == [("ignored", "nothing_due")], "they come again in an hour"
    assert world.sweep_after(HOUR).invocation["unreadable"] == 12


@pytest.mark.parametrize("how", ["garbage", "archived"])
def test_what_stays_unreadable_for_a_week_has_one_letter(world: World, how: str) -> None:
    unreadable(world, 1, how)
    for _ in range(10 * 8):
        world.sweep_after(3 * HOUR)
    [letter] = world.cos.keys("dead/")
    assert "tasks/" in world.cos.body(letter).decode()
    assert len(world.cos.keys("due/")) == 1
    [nonce] = {key.rpartition("-")[2] for key in world.cos.keys("due/")}
    assert nonce


def test_what_can_be_read_again_is_worked_off(world: World) -> None:
    world.api.state.add("bad-1", 1)
    unreadable(world, 1, "archived")
    world.sweep_after(HOUR)
    world.cos.archived.clear()
    assert world.sweep_after(2 * HOUR).outcomes == [("deleted", None)]
    world.sweep_after(HOUR)
    assert world.cos.keys() == []


@pytest.mark.parametrize("how", ["garbage", "archived"])
def test_a_message_that_names_an_unreadable_task_is_carried_out(world: World, how: str) -> None:
    world.api.state.add("bad-1", 1)
    unreadable(world, 1, how)
    assert world.does(ckafka(stream_end("bad-1", 1), first_offset=5)).outcomes == [("deleted", None)]


def test_what_cannot_be_written_down_of_it_is_a_letter_and_the_record_stays(world: World) -> None:
    world.api.state.add("bad-1", 1)
    [key] = unreadable(world, 1)
    world.api.misbehave(Fault(error="FailedOperation.AlterTaskState"))
    assert world.does(ckafka(stream_end("bad-1", 1), first_offset=5)).outcomes == [("failed", "ledger_refused")]
    assert world.cos.body(key) == b"garbage"
    assert len(world.cos.keys("dead/")) == 1


@pytest.mark.parametrize("how", ["garbage", "archived"])
def test_an_unreadable_entry_of_a_stream_does_not_stop_the_others_of_it(world: World, how: str) -> None:
    for task_id in (1, 2, 3):
        world.api.state.add(STREAM, task_id)
        world.does(ckafka(world.created(task_id=task_id, end_time=world.clock.now + DAY), first_offset=task_id))
    [bad] = [key for key in world.cos.keys("tasks/") if key.endswith("/2.json")]
    if how == "archived":
        world.cos.archived.add(bad)
    else:
        world.cos.put(bad, b"garbage")
    world.clock.now += 5
    done = world.does(ckafka(stream_end(task_id="all", ended_at=world.clock.now), first_offset=9))
    assert sorted(done.outcomes) == [("deleted", None), ("deleted", None), ("failed", "ledger_refused")]
    assert done.raised is None
    assert list(world.api.state.recordings) == [2]


# -- hints that a writer beside them overwrote ---------------------------------------------------


def before_the_record_is_put(world: World, does: Callable[[], object]) -> None:
    """Between the two puts of one writer, another one runs from its beginning to its end."""

    def gate(method: str, key: str) -> CosFault | None:
        if method == "PUT" and "/tasks/" in key:
            world.cos.gate_of_key = lambda *_: None
            does()
        return None

    world.cos.gate_of_key = gate


WRITERS: dict[str, Callable[[World], dict[str, object]]] = {
    "a registration": lambda world: world.created(start_time=world.clock.now - 3 * HOUR),
    "a retention": lambda world: retention_expiry(expires_at=world.clock.now + 200 * DAY),
    "an end": lambda world: stream_end(ended_at=world.clock.now + 100 * DAY),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_hint_is_not_lost_to_a_writer_beside_it(world: World, writer: str) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(start_time=world.clock.now - 2 * HOUR)))
    world.clock.now += 5
    other = build(clock=world.clock, sleep=lambda _: None, random=iter_random())
    hint = ckafka(world.interrupted(), first_offset=5)
    told: list[Any] = []
    before_the_record_is_put(world, lambda: told.append(run(hint, {}, other).outcomes))
    world.does(ckafka(WRITERS[writer](world), first_offset=9))
    assert told == [[("scheduled", None)]]
    outcomes = [world.sweep_after(10 * MINUTE).outcomes for _ in range(6)]
    assert [("deleted", None)] in outcomes
    assert [call.action for call in world.api.calls] == ["DescribeLiveStreamState", "DeleteLiveRecord"]


def test_a_hint_that_was_answered_does_not_come_back_with_an_old_key(world: World) -> None:
    """The key of a hint stays behind; a check has found the stream on air since."""
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created(start_time=world.clock.now - 2 * HOUR)))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=5))
    [key] = world.cos.keys("due/")
    body = world.cos.body(key)
    world.api.state.push(Stream(STREAM))
    assert world.sweep_after(HOUR).outcomes == [("scheduled", "stream_is_live")]
    assert world.truth()["checked_at"] == world.clock.now
    world.api.state.interrupt(Stream(STREAM))
    world.cos.put(key, body)
    for _ in range(5):
        assert world.sweep_after(20 * MINUTE).outcomes == [("ignored", "nothing_due")]
    assert key not in world.cos.keys("due/"), "it is tidied up"


# -- what is on disk ---------------------------------------------------------------------------


def test_the_record_keeps_its_fields_and_has_two_more(world: World) -> None:
    world.api.misbehave(Fault(error="FailedOperation.AlterTaskState"))
    world.does(ckafka(stream_end()))
    record = world.truth()
    assert set(record) == {
        "version", "task", "domain_name", "app_name", "started_at", "asserted_at", "look_at", "checked_at",
        "not_before", "first_due_at", "tries", "failures", "because", "pointer", "known_since",
    }  # fmt: skip
    assert (record["tries"], record["first_due_at"]) == (1, world.clock.now)
    assert json.loads(world.cos.body(record["pointer"]))["asserted_at"] == record["asserted_at"]


def test_a_sweep_in_the_same_delivery_does_not_try_a_task_twice(world: World) -> None:
    world.api.state.add(STREAM, TASK)
    world.does(retention_expiry(expires_at=world.clock.now + MINUTE))
    world.clock.now += HOUR
    done = world.does(ckafka({"type": "sweep"}, stream_end(), first_offset=3))
    assert done.outcomes == [("ignored", "nothing_due"), ("deleted", None)]
    assert len(world.api.calls) == 1


@pytest.mark.parametrize("listed", ["before", "after"])
@pytest.mark.parametrize("code", ["UnauthorizedOperation", "RequestLimitExceeded", "InternalError"])
def test_an_assertion_that_only_its_key_still_knows_is_not_held_up_by_a_check(
    world: World, listed: str, code: str
) -> None:
    """Two keys lead to the task: the record's own, for a hint, and one that another writer's record was lost for."""
    world.api.state.add(STREAM, TASK)
    world.does(ckafka(world.created()))
    world.clock.now += 5
    world.does(ckafka(world.interrupted(), first_offset=1))
    record = world.truth()
    lost = record["pointer"].rpartition("-")[0] + ("-00000000" if listed == "before" else "-ffffffff")
    world.cos.put(lost, json.dumps({"asserted_at": record["look_at"], "because": {"message_id": "m"}}).encode())
    world.api.misbehave(Fault(error=code), times=9_999, action="DescribeLiveStreamState")
    world.clock.now += HOUR
    outcomes = []
    for _ in range(3):
        outcomes += run(SWEEP, {"time_limit_in_ms": 4_000}, world.handler).outcomes
        world.clock.now += MINUTE
    assert ("deleted", None) in outcomes


# -- what a reviewer found ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["the key", "the record and its key"])
def test_archived_index_keys_stop_no_sweep_and_leave_a_letter(world: World, how: str) -> None:
    """More of them than a sweep takes for a ledger that is out of order, and the oldest."""
    for task_id in range(1, 13):
        due_in = MINUTE if how != "the key" else 300 * DAY
        world.does(retention_expiry(stream_name=f"bad-{task_id}", task_id=task_id, expires_at=world.clock.now + due_in))
    for key in world.cos.keys("due/"):
        if how == "the key":
            _, _, digest, name = key.split("/")
            key = f"due/202611221000/{digest}/{name.partition('-')[0]}-abcdef01"
            world.cos.put(key, b"{}")
        world.cos.archived.add(key)
    if how != "the key":
        world.cos.archived.update(world.cos.keys("tasks/"))
    good(world, 3)
    done = world.sweep_after(HOUR)
    assert not world.api.state.recordings
    assert done.raised is None
    assert done.invocation["unreadable"] == done.outcomes.count(("failed", "ledger_refused")) == 12
    assert len(world.cos.keys("dead/")) == 12, "what such a key knew can be lost: a letter says so at once"
    assert world.sweep_after(MINUTE).outcomes == [("ignored", "nothing_due")]


def test_two_sweeps_of_one_unreadable_entry_keep_since_when_it_is(world: World) -> None:
    unreadable(world, 1)
    world.sweep_after(HOUR)
    [key] = world.cos.keys("due/")
    before = json.loads(world.cos.body(key))
    world.clock.now += 8 * DAY
    other = build(clock=world.clock, sleep=lambda _: None, random=iter_random())

    def gate(method: str, key: str) -> CosFault | None:
        if method == "GET" and "/tasks/" in key:
            world.cos.gate_of_key = lambda *_: None
            run(SWEEP, {}, other)
        return None

    world.cos.gate_of_key = gate
    world.does(SWEEP)
    [key] = world.cos.keys("due/")
    after = json.loads(world.cos.body(key))
    assert after == {**before, "has_letter": True}
    assert len(world.cos.keys("dead/")) == 1


def test_rejected_messages_whose_letters_were_not_written_in_time_are_raised(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REAPER_CONCURRENCY", "1")
    world.cos.gate = lambda _: CosFault(delay=0.2)
    bodies = [{"type": "stream-end", "stream_name": STREAM, "taskid": number} for number in range(20)]
    done = run(ckafka(*bodies), {"time_limit_in_ms": 2_000}, build())
    assert done.raised is not None
    undone = done.outcomes.count(("deferred", "ledger_unavailable"))
    assert 0 < undone < 20
    assert done.outcomes.count(("rejected", "unknown_field")) == 20 - undone <= len(world.cos.keys("dead/"))


def test_workers_that_are_late_begin_nothing_any_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPER_CONCURRENCY", "2")
    world.cos.gate = lambda _: CosFault(delay=0.1)
    bodies = [world.created(task_id=number, end_time=time.time() + DAY) for number in range(1, 61)]
    assert run(ckafka(*bodies), {"time_limit_in_ms": 2_000}, build()).raised
    requests = len(world.cos.requests)
    time.sleep(1.5)
    assert len(world.cos.requests) <= requests + 2 * 4, "what was in hand, and no more"


def test_a_task_that_cannot_have_its_letter_yet_has_not_failed(world: World) -> None:
    world.does(retention_expiry(expires_at=world.clock.now + MINUTE))
    world.api.misbehave(Fault(error="InvalidParameter"), times=2)
    world.cos.gate_of_key = lambda method, key: CosFault(status=500) if method == "PUT" and "/dead/" in key else None
    done = world.sweep_after(HOUR)
    assert (done.outcomes, done.raised) == ([("deferred", "ledger_unavailable")], None)
    world.cos.gate_of_key = lambda *_: None
    assert world.sweep_after(MINUTE).outcomes == [("failed", "invalid")]


def test_a_message_that_is_delivered_again_and_fails_again_has_one_letter(world: World) -> None:
    event = ckafka(stream_end("a", 1), retention_expiry(expires_at=world.clock.now + DAY), first_offset=4)
    world.cos.gate_of_key = lambda method, key: CosFault(status=500) if method == "PUT" and "/tasks/" in key else None
    for _ in range(4):
        world.api.misbehave(Fault(error="InvalidParameter"))
        assert world.does(event).raised
        world.clock.now += MINUTE
    assert len(world.cos.keys("dead/")) == 1


def test_a_stream_of_many_pages_is_listed_to_its_end(world: World) -> None:
    """What names the next page need not be in the order of the keys."""
    known(world, 3_500)
    location = Settings.for_tools({"REAPER_LEDGER": world.cos.ledger}).ledger
    assert location
    world.cos.requests.clear()
    assert len(opened(location).tasks_of(STREAM)) == 3_500
    assert len(world.cos.requests) == 4
