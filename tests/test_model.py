"""Random lives of both stand-ins against a small model of what must be true of every one.

Nothing is deleted before any assertion or its end, nothing on a hint while it is on air, and in the end nothing that is
due is left over. What was raised is delivered again, as the platform would.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from handler.app import build
from local.cos import CosFault, CosStandIn
from local.live_api import Fault, LiveStandIn, Stream
from tests.support import FakeClock, ckafka, push_callback, retention_expiry, run, stream_end, timer
from tests.test_ledger import HOUR, MINUTE, SWEEP, World, bucket, iter_random, world

__all__ = ["bucket", "world"]
NEVER = float("inf")
STREAMS = ["room-a", "room-b"]
MARGIN = 600.0
_FEW = st.integers(1, 4)

streams = st.sampled_from(STREAMS)
hours = st.sampled_from([0.1, 1.0, 3.0])


class Lives(RuleBasedStateMachine):
    """``asserted``: from when on a record has to go; ``allowed``: from when on it may."""

    cos: CosStandIn
    api: LiveStandIn
    clock: FakeClock

    @initialize()
    def begin(self) -> None:
        self.cos.reset()
        self.api.reset()
        self.clock.now = FakeClock().now
        self.handlers = [build(clock=self.clock, sleep=lambda _: None, random=iter_random()) for _ in range(2)]
        self.created: dict[int, tuple[str, float]] = {}
        self.asserted: dict[int, float] = {}
        self.allowed: dict[int, float] = {}
        self.interruptions: list[tuple[str, float]] = []
        self.ends: list[tuple[str, float]] = []
        self.again: list[object] = []
        self.offset = 0

    # -- the world

    @rule(stream=streams, end=st.one_of(st.just(300 * 24.0), hours))
    def a_recording_is_created(self, stream: str, end: float) -> None:
        task_id = len(self.created) + 1
        self.created[task_id] = (stream, self.clock.now)
        self.api.state.add(stream, task_id)
        self._assert(task_id, self.clock.now + end * HOUR + MARGIN)
        self._deliver(
            ckafka(
                {
                    "type": "task-created", "stream_name": stream, "task_id": task_id, "start_time": self.clock.now,
                    "end_time": self.clock.now + end * HOUR, "domain_name": "push.example.com", "app_name": "live",
                },
                first_offset=self._next(),
            )
        )  # fmt: skip

    @rule(stream=streams)
    def a_push_begins(self, stream: str) -> None:
        self.api.state.push(Stream(stream))

    @rule(stream=streams, late=st.sampled_from([0.0, HOUR]))
    def a_push_breaks_off(self, stream: str, late: float) -> None:
        self.api.state.interrupt(Stream(stream))
        at = self.clock.now - late
        self.interruptions.append((stream, at))
        callback = {**push_callback(0), "stream_id": stream, "event_time": at}
        self._deliver(ckafka(callback, first_offset=self._next()))

    @precondition(lambda self: self.created)
    @rule(data=st.data())
    def the_backend_ends_a_task(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.created)))
        self._assert(task_id, self.clock.now)
        self._deliver(ckafka(stream_end(self.created[task_id][0], task_id), first_offset=self._next()))

    @rule(stream=streams)
    def the_backend_ends_a_stream(self, stream: str) -> None:
        self.ends.append((stream, self.clock.now))
        ended = stream_end(stream, "all", ended_at=self.clock.now)
        self._deliver(ckafka(ended, first_offset=self._next()))

    @precondition(lambda self: self.created)
    @rule(data=st.data(), after=hours)
    def a_retention_is_set(self, data: st.DataObject, after: float) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.created)))
        at = self.clock.now + after * HOUR
        self._assert(task_id, at)
        event = retention_expiry(stream_name=self.created[task_id][0], task_id=task_id, expires_at=at)
        self._deliver(ckafka(event, first_offset=self._next()))

    @rule(seconds=st.sampled_from([7.0, 10 * MINUTE, HOUR]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(which=st.sampled_from([0, 1]))
    def a_timer_sweeps(self, which: int) -> None:
        self._deliver(SWEEP, which)

    @rule(
        code=st.sampled_from(["InternalError", "FailedOperation.AlterTaskState", "AuthFailure"]),
        times=st.integers(1, 4),
    )
    def the_api_has_a_bad_moment(self, code: str, times: int) -> None:
        self.api.misbehave(Fault(error=code), times=times)

    @rule(how=st.sampled_from([CosFault(status=503), CosFault(silent=True), CosFault(status=503, times=5)]))
    def cos_has_a_bad_moment(self, how: CosFault) -> None:
        self.cos.faults.append(CosFault(status=how.status, silent=how.silent, times=how.times))

    @precondition(lambda self: self.again)
    @rule()
    def the_platform_delivers_again(self) -> None:
        self._deliver(self.again.pop(0))

    # -- the model

    def _assert(self, task_id: int, at: float) -> None:
        self.asserted[task_id] = min(at, self.asserted.get(task_id, NEVER))
        self._may(task_id, at)

    def _may(self, task_id: int, at: float) -> None:
        self.allowed[task_id] = min(at, self.allowed.get(task_id, NEVER))

    def _next(self) -> int:
        self.offset += 1
        return self.offset

    def _deliver(self, event: object, which: int = 0) -> None:
        before = set(self.api.state.recordings)
        done = run(event, {}, self.handlers[which])
        if done.raised:
            self.again.append(event)
        for task_id in before - set(self.api.state.recordings):
            stream, _ = self.created[task_id]
            on_air = self.api.state.streams.get(Stream(stream)) == "active"
            said = self.allowed.get(task_id, NEVER) <= self.clock.now or self._was(self.ends, task_id)
            hinted = self._was(self.interruptions, task_id)
            assert said or (hinted and not on_air), f"task {task_id} was deleted too early"

    def _was(self, what: list[tuple[str, float]], task_id: int) -> bool:
        """Whether any of these events, even one that is delivered again late, concerns a task."""
        stream, start = self.created[task_id]
        return any(name == stream and at >= start for name, at in what)

    @invariant()
    def a_truth_with_a_due_time_has_its_pointer(self) -> None:
        if self.cos.faults:
            return
        pointers = set(self.cos.keys("due/"))
        for key in self.cos.keys("tasks/"):
            index = json.loads(self.cos.body(key))["pointer"]
            assert index is None or index in pointers

    def teardown(self) -> None:
        if not hasattr(self, "again"):
            return
        self.cos.faults.clear()
        with self.api._lock:
            self.api._plans.clear()
        while self.again:
            self._deliver(self.again.pop(0))
        for _ in range(8):
            self.clock.now += HOUR
            self._deliver(SWEEP)
        due = {task for task, at in self.asserted.items() if at <= self.clock.now - HOUR}
        assert not due & set(self.api.state.recordings), "a task was lost"


@pytest.mark.slow
def test_random_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    with CosStandIn(clock=clock) as cos, LiveStandIn(clock=clock, qps=100_000) as api:
        monkeypatch.setenv("REAPER_LEDGER", cos.ledger)
        monkeypatch.setenv("REAPER_CONCURRENCY", "2")
        for name, value in api.environment.items():
            monkeypatch.setenv(name, value)
        Lives.cos, Lives.api, Lives.clock = cos, api, clock
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Lives,
            settings=settings(
                max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )


def test_two_sweeps_at_once_lose_nothing_and_tell_no_deletion_twice(world: World) -> None:
    count = 40
    for task_id in range(1, count + 1):
        world.api.state.add(f"room-{task_id}", task_id)
    soon = world.clock.now + MINUTE
    world.does(
        ckafka(*(retention_expiry(stream_name=f"room-{n}", task_id=n, expires_at=soon) for n in range(1, count + 1)))
    )
    world.clock.now += 3 * MINUTE
    told: list[Any] = []

    def sweep() -> None:
        handler = build(clock=world.clock, sleep=lambda _: None, random=iter_random())
        told.append(handler(timer(""), {}))

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(line["deleted"] for line in told) == count
    assert not world.api.state.recordings
    assert sum(line["api_calls"] for line in told) <= 2 * count
    world.sweep_after(30 * MINUTE)
    assert world.cos.keys() == []


def _another(world: World, what: str) -> object:
    """What happens while a sweep is at work."""
    if what == "a sweep":
        return SWEEP
    if what == "an end":
        return ckafka(stream_end("plain", 1), first_offset=90)
    return ckafka({**push_callback(0), "stream_id": "hinted", "event_time": world.clock.now - 10}, first_offset=91)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2.0], ids=["lagging listings"], indirect=True)
@pytest.mark.parametrize("what", ["a sweep", "an end", "an interruption"])
def test_whatever_comes_between_any_two_requests_of_a_sweep_nothing_is_lost_or_told_twice(
    world: World, what: str
) -> None:
    """At each request of the sweep in turn, the other runs from its beginning to its end before that is answered."""
    at, requests = 0, 1
    while at < requests:
        at += 1
        world.cos.reset()
        world.api.reset()
        for task_id, name in enumerate(("plain", "busy", "hinted"), 1):
            world.api.state.add(name, task_id)
        world.api.misbehave(Fault(error="FailedOperation.AlterTaskState"), task_id=2)
        soon = world.clock.now + MINUTE
        created = world.created(stream_name="hinted", task_id=3, end_time=world.clock.now + 24 * HOUR)
        world.does(
            ckafka(
                *(retention_expiry(stream_name=n, task_id=t, expires_at=soon) for t, n in ((1, "plain"), (2, "busy")))
            )
        )
        world.does(ckafka(created, first_offset=10))
        world.clock.now += 5
        world.does(ckafka({**push_callback(0), "stream_id": "hinted", "event_time": world.clock.now}, first_offset=20))
        world.clock.now += HOUR
        seen, told = [0], list[dict[str, Any]]()
        other = build(clock=world.clock, sleep=lambda _: None, random=iter_random())

        def between(_: str, at: int = at, seen: list[int] = seen, told: list[Any] = told, other: Any = other) -> None:
            seen[0] += 1
            if seen[0] == at:
                told += run(_another(world, what), {}, other).tasks

        world.cos.gate = world.api.gate = between
        told += run(SWEEP, {}, world.handler).tasks
        requests = seen[0]
        world.cos.gate = world.api.gate = lambda _: None
        for _ in range(12):
            told += world.sweep_after(HOUR).tasks
        told += world.sweep_after(24 * HOUR).tasks
        assert not world.api.state.recordings, at
        deleted = [line["task_id"] for line in told if line["outcome"] == "deleted"]
        assert sorted(deleted) == ["1", "2", "3"], at
        assert world.cos.keys("tasks/") == [], at
