"""The process stops at every write to COS and at every call to Live in turn: the end is the same as without.

"Stops" is: from some request on, both stand-ins refuse everything until the invocation has ended; the request
itself is either refused, or applied without an answer. Then a new process is delivered the same event again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from handler.app import build
from local.cos import CosFault, CosStandIn
from local.live_api import Fault, LiveStandIn, Stream
from tests.support import FakeClock, ckafka, push_callback, retention_expiry, run, stream_end, timer
from tests.test_ledger import DAY, HOUR, iter_random

ROOT = Path(__file__).parent.parent
SWEEP = timer("")
BACK, OVER, BUSY, POISON = "comes-back", "is-over", "is-busy", "is-poison"
READS = {"GET", "HEAD"}


@dataclass
class Story:
    """One life of both stand-ins; ``stop_at`` is the number of the request at which the process stops."""

    cos: CosStandIn
    api: LiveStandIn
    clock: FakeClock
    stop_at: int = 10**9
    applied: bool = False
    kill: bool = False
    seen: int = 0
    stopped: bool = False
    child: subprocess.Popen[str] | None = None
    deleted_after: dict[int, float] = field(default_factory=dict)  # seconds since the story began, by task id

    def gate(self, writes: bool) -> str:
        """What becomes of a request: "" as usual, "refused", or "applied" without an answer."""
        if self.stopped:
            return "refused"
        self.seen += writes
        if not writes or self.seen < self.stop_at:
            return ""
        self.stopped = True
        if self.kill and self.child:
            os.kill(self.child.pid, signal.SIGKILL)
        return "applied" if self.applied else "refused"

    def of_cos(self, method: str) -> CosFault | None:
        fate = self.gate(method not in READS)
        return {"": None, "refused": CosFault(status=503), "applied": CosFault(silent=True)}[fate]

    def of_live(self, _: str) -> Fault | None:
        fate = self.gate(writes=True)
        return {"": None, "refused": Fault(drop="before"), "applied": Fault(drop="after")}[fate]

    def deliver(self, event: object) -> None:
        """Until an invocation lives to its end, and needs no redelivery."""
        for _ in range(3):
            raised = self._invoke(event)
            for task_id in {1, 2, 3} - self.api.state.recordings.keys():
                self.deleted_after.setdefault(task_id, self.clock.now - FakeClock().now)
            if not self.stopped and not raised:
                return
            # The process is gone, and the outage with it; a new one is delivered the same.
            self.stopped, self.stop_at = False, 10**9
        raise AssertionError("redelivered without end")

    def _invoke(self, event: object) -> bool:
        soon = self.seen < self.stop_at <= self.seen + 15  # else nobody would notice the difference
        if not self.kill or not soon:
            handler = build(clock=self.clock, sleep=lambda _: None, random=iter_random())
            return run(event, {}, handler).raised is not None
        code = (
            "import sys, json; from handler.app import build\n"
            f"build(clock=lambda: {self.clock.now}, sleep=lambda _: None)(json.load(sys.stdin), {{}})"
        )
        self.child = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.child.communicate(json.dumps(event), timeout=60)
        return self.child.returncode != 0

    def tell(self) -> dict[str, Any]:
        """The whole story; returns its end."""
        now, clock = self.clock.now, self.clock
        for task_id, name in enumerate((BACK, OVER, BUSY), 1):
            self.api.state.add(name, task_id)
            self.api.state.push(Stream(name))
        self.api.misbehave(Fault(error="FailedOperation.AlterTaskState"), times=1, task_id=3)
        self.api.misbehave(Fault(error="InvalidParameter"), times=99, task_id=4)
        self.cos.gate, self.api.gate = self.of_cos, self.of_live
        steps: list[Callable[[], object]] = [
            lambda: ckafka(*(self._created(task_id, name, now) for task_id, name in ((1, BACK), (2, OVER), (3, BUSY)))),
            lambda: self._interrupt(BACK),
            lambda: self._interrupt(OVER),
            lambda: self.api.state.push(Stream(BACK)),
            lambda: ckafka(retention_expiry(stream_name=BUSY, task_id=3, expires_at=now + 2 * HOUR), first_offset=20),
            lambda: ckafka(stream_end(POISON, 4), "garbage", first_offset=30),
        ]
        for event in chain((step() for step in steps), repeat(SWEEP, 5)):
            clock.now += 7 if event is not SWEEP else HOUR
            if event is not None:
                self.deliver(event)
        clock.now = now + DAY
        self.api.state.interrupt(Stream(BACK))
        for _ in range(3):
            clock.now += HOUR
            self.deliver(SWEEP)
        self.cos.gate, self.api.gate = (lambda _: None), (lambda _: None)
        return {
            "recordings": sorted(self.api.state.recordings),
            "tasks": self.cos.keys("tasks/"),
            "dead": sorted(key.partition("/")[2].partition("/")[2] for key in self.cos.keys("dead/")),
        }

    def _created(self, task_id: int, name: str, now: float) -> dict[str, object]:
        return {
            "type": "task-created", "stream_name": name, "task_id": task_id, "start_time": now - 60,
            "end_time": now + 20 * HOUR, "domain_name": "push.example.com", "app_name": "live",
        }  # fmt: skip

    def _interrupt(self, name: str) -> object:
        self.api.state.interrupt(Stream(name))
        return ckafka({**push_callback(0), "stream_id": name, "event_time": self.clock.now}, first_offset=len(name))


@pytest.fixture(scope="module")
def _stand_ins() -> Iterator[tuple[CosStandIn, LiveStandIn, FakeClock]]:
    clock = FakeClock()
    with CosStandIn(clock=clock) as cos, LiveStandIn(clock=clock, qps=100_000) as api:
        yield cos, api, clock


@pytest.fixture
def new_story(
    _stand_ins: tuple[CosStandIn, LiveStandIn, FakeClock], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Story]:
    cos, api, clock = _stand_ins
    monkeypatch.setenv("REAPER_LEDGER", cos.ledger)
    monkeypatch.setenv("REAPER_CONCURRENCY", "1")  # so that the n-th request is the same one each time
    for name, value in api.environment.items():
        monkeypatch.setenv(name, value)

    def start(**more: Any) -> Story:
        cos.reset()
        api.reset()
        clock.now = FakeClock().now
        return Story(cos, api, clock, **more)

    return start


def stops(new_story: Callable[..., Story]) -> int:
    story = new_story()
    story.tell()
    return story.seen


def test_the_story_ends_well_without_a_crash(new_story: Callable[..., Story]) -> None:
    story = new_story()
    end = story.tell()
    assert end["recordings"] == end["tasks"] == []
    assert len(end["dead"]) == 2  # what the API refused for good, and the garbage
    looks = [call.params["StreamName"] for call in story.api.calls if call.action == "DescribeLiveStreamState"]
    assert sorted(set(looks)) == [BACK, OVER]
    assert 25 < story.seen < 80


def hold(story: Story) -> None:
    """Nothing was deleted too early: on air until its end, before its grace was over, before its retention."""
    assert story.deleted_after[1] >= 20 * HOUR
    assert 1800 <= story.deleted_after[2] < 20 * HOUR
    assert 2 * HOUR <= story.deleted_after[3] < 20 * HOUR


@pytest.mark.slow
@pytest.mark.parametrize("applied", [False, True], ids=["refused", "applied but unanswered"])
def test_a_stop_at_any_request_changes_nothing_in_the_end(new_story: Callable[..., Story], applied: bool) -> None:
    good = new_story().tell()
    for stop_at in range(1, stops(new_story) + 1):
        story = new_story(stop_at=stop_at, applied=applied)
        assert story.tell() == good, f"stopped at request {stop_at}"
        hold(story)


@pytest.mark.slow
def test_ten_of_them_with_a_real_kill(new_story: Callable[..., Story]) -> None:
    good, last = new_story().tell(), stops(new_story)
    points = [1 + round(step * (last - 1) / 9) for step in range(10)]
    for stop_at in points:
        story = new_story(stop_at=stop_at, kill=True)
        assert story.tell() == good, f"killed at request {stop_at}"
        hold(story)
