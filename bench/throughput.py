"""Deleting N tasks from CKafka deliveries, ours and its peers': with the API's limit, and without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import ModuleType
from typing import Any, NamedTuple

from bench import cost
from bench.report import FOLDER, Result, Table, megabytes, out, show
from bench.server import Server

LIMIT = 200
DELIVERY = 1_000
TIMEOUT = 180
UNSETTLED_SECONDS = 1.0
CONTENDERS = {
    "ours": "bench.peers.ours",
    "threads and a limiter of one's own": "bench.peers.limiter",
    "SDK's async client, semaphore": "bench.peers.async_sdk",
    "threads and StandardRetryer": "bench.peers.threads",
    "Powertools' batch processor": "bench.peers.powertools",
    "tutorial: one after the other": "bench.peers.tutorial",
}
BARE = {"(a bare loop, on threads)": "bench.peers.bare"}
SEQUENTIAL = ("bench.peers.powertools", "bench.peers.tutorial")


class Setting(NamedTuple):
    """Which API: its limit per second (0: none) and its latency in seconds; how many tasks, fewer for who is slow."""

    name: str
    limit: int
    latency: float
    tasks: int
    peers: int
    sequential: int

    def count(self, module: str) -> int:
        """How many tasks this contender gets."""
        if module in SEQUENTIAL:
            return self.sequential
        return self.tasks if module in ("bench.peers.ours", "bench.peers.bare") else self.peers


FULL = (
    Setting("200/s, 30 ms", LIMIT, 0.03, tasks=4_000, peers=2_000, sequential=300),
    Setting("200/s, 100 ms", LIMIT, 0.1, tasks=4_000, peers=2_000, sequential=120),
    Setting("no limit, 30 ms", 0, 0.03, tasks=4_000, peers=2_000, sequential=300),
)
QUICK = (
    Setting("200/s, 30 ms", LIMIT, 0.03, tasks=600, peers=220, sequential=20),
    Setting("no limit, 30 ms", 0, 0.03, tasks=600, peers=220, sequential=20),
)


def run(server: Server, *, quick: bool) -> Result:
    """Every contender in every setting."""
    found: dict[str, Table] = {}
    for setting in QUICK if quick else FULL:
        rows: Table = {}
        for name, module in (CONTENDERS if setting.limit else CONTENDERS | BARE).items():
            out.print(f"[dim]{setting.name}: {name} …[/]")
            rows[name] = one(server, setting, module)
        found[setting.name] = rows
        show(f"Deleting from CKafka deliveries: {setting.name}", rows)
    *limited, unlimited = found.values()
    costs = cost.of(limited[0])
    tables = {
        "throughput": {name: _together(*(rows[name] for rows in limited)) for name in CONTENDERS},
        "headroom": headroom(unlimited),
        "cost": costs,
    }
    return Result("throughput", tables, found)


def _together(*rows: dict[str, Any]) -> dict[str, Any]:
    """One contender's rows at all latencies in one."""
    headings = ("tasks", "tasks/s", "of the limit", "throttled", "left", "misreported", "CPU ms/task", "peak MB")
    return {heading: " · ".join(str(row[heading]) for row in rows) for heading in headings}


def headroom(rows: Table) -> Table:
    """Without a limit: what is left of a bare loop's rate, and how much more CPU it takes. Prints it."""
    [bare] = (rows[name] for name in BARE)
    beside = {
        name: {
            "tasks/s": row["tasks/s"],
            "of the bare loop's": round(row["tasks/s"] / bare["tasks/s"], 2),
            "CPU ms/task": row["CPU ms/task"],
            "of the bare loop's CPU": round(row["CPU ms/task"] / bare["CPU ms/task"], 2),
        }
        for name, row in rows.items()
    }
    show("Without a limit, beside a bare loop of CommonClient.call_json on as many threads", beside)
    return beside


def one(server: Server, setting: Setting, module: str) -> dict[str, Any]:
    """One contender, in a process of its own."""
    count = setting.count(module)
    ids = range(1, count + 1)
    server.reset({"room": ids}, setting.limit or 1e9, setting.latency)
    deliveries = [list(ids[first : first + DELIVERY]) for first in range(0, count, DELIVERY)]
    ceiling = {} if setting.limit else {"REAPER_MAX_QPS": "100000"}
    done = contender(server.environment | ceiling, module, {"group": "room", "deliveries": deliveries})
    stats = server.stats()
    said = {int(task): ok for task, ok in done["said"].items()}
    gone = set(ids) - stats.left
    throttled = sum(code == "RequestLimitExceeded" for _, _, code in stats.calls)
    misreported = sum(said.get(task, False) != (task in gone) for task in ids)
    rate = steady([at for at, _, code in stats.calls if not code], done["worked"])
    return {
        "tasks": count,
        "tasks/s": round(len(gone) / done["seconds"], 1),
        "of the limit": f"{rate / setting.limit:.3f}" if setting.limit and rate else "–",
        "throttled": f"{throttled / len(stats.calls):.1%}",
        "left": len(stats.left),
        "misreported": f"{misreported} ({misreported / count:.0%})",
        "CPU ms/task": round(done["cpu"] * 1000 / max(1, len(gone)), 2),
        "peak MB": megabytes(done["memory_kb"]),
        "raised": done["raised"],
    }


def contender(environment: dict[str, str], module: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What a contender's process says of itself."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.contender", module],
        input=json.dumps(asked), capture_output=True, text=True, timeout=TIMEOUT, check=False,
        env={"PATH": os.environ["PATH"], "POWERTOOLS_TRACE_DISABLED": "true", **environment},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{module}: {done.stderr[-2_000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def steady(moments: list[float], worked: list[tuple[float, float]]) -> float:
    """How many per second were let in while a delivery was worked off, from its second second to its last call."""
    count, seconds = 0, 0.0
    for began, ended in worked:
        settled = began + UNSETTLED_SECONDS
        taken = [at for at in moments if settled <= at <= ended]
        if taken:
            count, seconds = count + len(taken), seconds + taken[-1] - settled
    return count / seconds if seconds else 0.0


def draw(result: Result, charts: ModuleType) -> None:
    """Deletions per second and CPU per deletion, with the API's limit on."""
    near, far = (result.details[setting.name] for setting in FULL if setting.limit)
    panels = {
        "tasks/s at 30 ms": {name: row["tasks/s"] for name, row in near.items()},
        "tasks/s at 100 ms": {name: row["tasks/s"] for name, row in far.items()},
        "CPU ms per task, at 30 ms": {name: row["CPU ms/task"] for name, row in near.items()},
    }
    charts.bars(FOLDER / "throughput.png", f"Deleting at an API that allows {LIMIT} a second", panels)
