"""The reason to exist: one day of a platform with many live rooms, with the function and without it."""

from __future__ import annotations

import heapq
import io
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import datetime, timedelta, timezone
from types import ModuleType
from typing import Any

from bench.report import FOLDER, Result, Table, out, show
from bench.server import Server
from handler.app import build
from local.live_api import TASKS_A_DAY, ApiError, LiveStandIn, Stream

RECORDINGS = 12_000
DAY, HOUR, MINUTE = 86_400.0, 3_600.0, 60.0
CHINA = timezone(timedelta(hours=8))
MIDNIGHT = datetime(2026, 11, 23, tzinfo=CHINA).timestamp()
PLANNED = 4 * HOUR  # for how long a recording is ordered; the host mostly ends sooner
MEAN_SHOW, SHORTEST, LONGEST = 25 * MINUTE, 5 * MINUTE, 2 * HOUR
AGAIN = 0.25  # of the hosts push again within the ordered time, for something that is not to be recorded
MEAN_PAUSE, MEAN_AGAIN = 40 * MINUTE, 20 * MINUTE


class Clock:
    """The stand-in's and the handler's; the benchmark moves it."""

    def __init__(self) -> None:
        self.now = MIDNIGHT

    def __call__(self) -> float:
        return self.now


def run(server: Server, *, quick: bool) -> Result:
    """The same day twice."""
    count = RECORDINGS // 20 if quick else RECORDINGS
    rows: Table = {}
    curves = {}
    for name, reaps in (("without", False), ("ours", True)):
        out.print(f"[dim]a day {name} …[/]")
        rows[name], curves[name] = one_day(count, reaps=reaps)
    scaled = " (not enough to reach the quota of 4,000)" if count < TASKS_A_DAY else ""
    show(f"A day with {count:,} timed recordings{scaled}, a quarter of whose hosts push again later", rows)
    return Result("day", {"day": rows}, curves)


def one_day(count: int, *, reaps: bool) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Plays the day; with ``reaps``, a message follows the end of each stream; the handler gets them by the minute."""
    clock, chance = Clock(), random.Random(1)
    handler = build(clock=clock, sleep=lambda _: None)
    refused, accidental, asked = 0, 0.0, 0
    tasks: dict[str, int] = {}
    ended: list[dict[str, Any]] = []
    counted: list[float] = []
    with LiveStandIn(clock=clock, qps=1e9) as api, set_environment(api.environment | {"REAPER_DRY_RUN": "false"}):
        for at, what, room, seconds in sorted_events(count, chance):
            while at >= MIDNIGHT + len(counted) * MINUTE:
                clock.now = MIDNIGHT + len(counted) * MINUTE
                if ended:
                    with redirect_stdout(io.StringIO()):
                        asked += handler({"Records": ended}, {"time_limit_in_ms": 900_000})["api_calls"]
                    ended = []
                counted.append(sum(1 for recording in api.state.recordings.values() if recording.created >= MIDNIGHT))
            clock.now = at
            stream = Stream(room)
            if what == "begins":
                try:
                    tasks[room] = api.state.create(order(room, at))["TaskId"]
                except ApiError:
                    refused += 1
                api.state.push(stream)
            elif what == "ends":
                api.state.interrupt(stream)
                if reaps and room in tasks:
                    ended.append(message(room, tasks[room], len(ended)))
            else:
                api.state.push(stream)
                task = api.state.recordings.get(tasks.get(room, 0))
                if task and at < task.end:
                    accidental += min(seconds, task.end - at)
    row = {
        "created": count - refused,
        "refused": refused,
        "most against the 4,000": int(max(counted)),
        "recorded by accident, h": round(accidental / HOUR),
        "calls": asked,
    }
    return row, {"counted": counted[::10]}


def sorted_events(count: int, chance: random.Random) -> Iterator[tuple[float, str, str, float]]:
    """What happens, in its order: (when, what, room, for how many seconds)."""
    events: list[tuple[float, str, str, float]] = []
    for number in range(count):
        room, begins = f"room-{number}", MIDNIGHT + chance.random() * DAY
        show = min(LONGEST, max(SHORTEST, chance.expovariate(1 / MEAN_SHOW)))
        events += [(begins, "begins", room, show), (begins + show, "ends", room, 0.0)]
        if chance.random() < AGAIN:
            again = begins + show + 5 * MINUTE + chance.expovariate(1 / MEAN_PAUSE)
            length = chance.expovariate(1 / MEAN_AGAIN)
            events += [(again, "begins again", room, length), (again + length, "ends", room, 0.0)]
    heapq.heapify(events)
    while events and events[0][0] < MIDNIGHT + DAY:
        yield heapq.heappop(events)


def order(room: str, at: float) -> dict[str, Any]:
    """What CreateLiveRecord is told."""
    begin, end = (datetime.fromtimestamp(moment, CHINA) for moment in (at, at + PLANNED))
    return {"StreamName": room, "StartTime": f"{begin:%Y-%m-%d %H:%M:%S}", "EndTime": f"{end:%Y-%m-%d %H:%M:%S}"}


def message(room: str, task_id: int, offset: int) -> dict[str, Any]:
    body = f'{{"type": "stream-end", "stream_name": "{room}", "task_id": {task_id}}}'
    return {"Ckafka": {"topic": "t", "partition": 1, "offset": offset, "msgKey": "None", "msgBody": body}}


@contextmanager
def set_environment(values: dict[str, str]) -> Iterator[None]:
    """``values`` in the environment, for a while."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def draw(result: Result, charts: ModuleType) -> None:
    """The chart that opens the README."""
    charts.day(FOLDER / "day.png", result.tables["day"], result.details, TASKS_A_DAY)
