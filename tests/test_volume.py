"""A full delivery, at speed: every message accounted for, every task deleted once, no second over the limit."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest

from local.live_api import LiveStandIn
from tests.support import ckafka, run, stream_end
from tests.test_telemetry import hold

MESSAGES, TASKS, QPS = 10_000, 9_800, 400


def stream_of(task_id: int) -> str:
    return f"room-{task_id}"


class Stalls(threading.Thread):
    """When this machine held up a process for longer than ``LONG`` seconds: what was on its way then came late."""

    LONG = 0.015

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[tuple[float, float]] = []
        self.start()

    def run(self) -> None:
        last = time.time()
        while True:
            time.sleep(0.002)
            now = time.time()
            if now - last > self.LONG:
                self.seen.append((last, now))
            last = now


def undisturbed(times: list[float], stalls: list[tuple[float, float]]) -> list[int]:
    """How many of ``times`` lie in the second after each, where no stall lay at its beginning."""
    starts = [time for time in times if not any(begin - 0.05 <= time <= end + 0.05 for begin, end in stalls)]
    return [bisect_left(times, start + 1) - bisect_left(times, start) for start in starts]


def _serve(connection: Connection) -> None:
    gc.disable()  # its pauses, too, would pass for an uneven pace
    stalls = Stalls()
    with LiveStandIn(qps=10_000) as api:
        for task_id in range(1, TASKS + 1):
            api.state.add(stream_of(task_id), task_id)
        connection.send(api.environment)
        connection.recv()
        calls = [(call.at, call.params["TaskId"]) for call in api.calls]
        connection.send((calls, len(api.state.recordings), stalls.seen))


@contextmanager
def a_stand_in_of_its_own_process() -> Iterator[Connection]:
    """So that what it sees of the pace is not what one interpreter's threads leave of it."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        process.join(5)
        process.kill()


@pytest.mark.slow
def test_a_full_delivery_is_worked_off_at_the_allowed_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[object] = [stream_end(stream_of(task_id), task_id) for task_id in range(1, TASKS + 1)]
    for place in range(100):
        again = place * 7 + 1
        bodies.insert(place * 97, stream_end(stream_of(again), again))
        bodies.insert(place * 89, "garbage")
    assert len(bodies) == MESSAGES
    monkeypatch.setenv("REAPER_MAX_QPS", str(QPS))
    with a_stand_in_of_its_own_process() as api:
        for name, value in api.recv().items():
            monkeypatch.setenv(name, value)
        stalls = Stalls()
        done = run(ckafka(*bodies), {"time_limit_in_ms": 120_000})
        api.send("done")
        calls: list[tuple[float, Any]]
        calls, left, stalls_there = api.recv()
    hold(done)
    line = done.invocation
    assert (line["messages"], line["lines"], line["deleted"], line["rejected"]) == (MESSAGES, MESSAGES, 9_900, 100)
    assert left == 0
    assert set(Counter(task_id for _, task_id in calls).values()) == {1}
    assert line["api_calls"] == len(calls) == TASKS
    seconds = undisturbed(sorted(at for at, _ in calls), stalls.seen + stalls_there)
    assert max(seconds) <= QPS * 1.02
    assert len(seconds) > TASKS / 4, "this machine is too busy to measure a pace on it"
    assert TASKS / (line["duration_ms"] / 1000) > 0.9 * QPS
