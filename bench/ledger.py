"""The ledger: taking tasks in, and sweeping what is due out of few and out of many."""

from __future__ import annotations

import time
from typing import Any

from bench.report import Result, Table, megabytes, out, show
from bench.server import Server, Stats
from bench.tasks import stream_of
from bench.throughput import contender, steady
from handler.adapters.cos_ledger import CosLedger
from handler.core.entry import Entry
from handler.core.model import RecordTask

LIMIT = 200
COS_LATENCY = 0.01  # seconds


def run(server: Server, *, quick: bool) -> Result:
    """10,000 registrations; 2,500 streams that end; 5,000 due out of 5,000, and out of 50,000."""
    scale = 20 if quick else 1
    rows: Table = {}
    count = 10_000 // scale
    out.print("[dim]taking in …[/]")
    rows[f"ours: taking in {count:,}"] = taking_in(server, count)
    count //= 4
    out.print("[dim]ending …[/]")
    rows[f"ours: {count:,} stream-ends"] = ending(server, count)
    due = 5_000 // scale
    for stored in (due, 10 * due):
        out.print(f"[dim]sweeping {due:,} out of {stored:,} …[/]")
        rows[f"ours: sweeping {due:,} due out of {stored:,}"] = sweeping(server, due, stored)
    show(f"The ledger, with COS at {COS_LATENCY * 1000:.0f} ms", rows)
    return Result("ledger", {"ledger": rows})


def taking_in(server: Server, count: int) -> dict[str, Any]:
    ids = list(range(1, count + 1))
    server.reset({}, LIMIT, 0.03, COS_LATENCY)
    asked = {
        "group": "room", "deliveries": [ids[first : first + 1_000] for first in range(0, count, 1_000)],
        "type": "task-created", "fields": {"end_time": int(time.time()) + 86_400}, "limit_ms": 300_000,
    }  # fmt: skip
    done = contender(server.environment | {"REAPER_LEDGER": server.ledger}, "bench.peers.ours", asked)
    requests = server.stats().cos_requests
    if done["raised"] or requests < 3 * count:
        raise RuntimeError("not everything was taken in: this is no measurement")
    return _row(count, done, requests, "–")


def ending(server: Server, count: int) -> dict[str, Any]:
    ids = list(range(1, count + 1))
    server.reset({"room": range(1, count + 1)}, LIMIT, 0.03, COS_LATENCY)
    server.store("reaper/", objects(0, count))
    asked = {"group": "room", "deliveries": [ids[first : first + 1_000] for first in range(0, count, 1_000)]}
    done = contender(server.environment | {"REAPER_LEDGER": server.ledger}, "bench.peers.ours", asked)
    return _deleted(count, done, server.stats())


def sweeping(server: Server, due: int, stored: int) -> dict[str, Any]:
    ids = range(1, due + 1)
    server.reset({"room": ids}, LIMIT, 0.03, COS_LATENCY)
    server.store("reaper/", objects(due, stored))
    asked = {"group": "room", "deliveries": [[]], "limit_ms": 300_000}
    done = contender(server.environment | {"REAPER_LEDGER": server.ledger}, "bench.peers.ours", asked)
    return _deleted(due, done, server.stats())


def _deleted(count: int, done: dict[str, Any], stats: Stats) -> dict[str, Any]:
    if stats.left:
        raise RuntimeError(f"{len(stats.left)} are left")
    rate = steady([at for at, _, code in stats.calls if not code], done["worked"])
    share = f"{rate / LIMIT:.3f}"
    return _row(count, done, stats.cos_requests, share)


def objects(due: int, stored: int) -> dict[str, bytes]:
    """What the ledger would have written for so many tasks, as many of them due."""
    bucket = _Keeper()
    ledger = CosLedger(bucket, iter([number / 1e6 for number in range(stored + 1)]).__next__)  # type: ignore[arg-type]
    now = time.time()
    for task_id in range(1, stored + 1):
        at = now - 60 if task_id <= due else now + 86_400
        ledger.save(Entry(RecordTask(stream_of("room", task_id), task_id), delete_at=at), None)
    return bucket.bodies


class _Keeper:
    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        self.bodies[key] = body


def _row(count: int, done: dict[str, Any], cos_requests: int, share: str) -> dict[str, Any]:
    return {
        "tasks/s": round(count / done["seconds"], 1),
        "of the limit": share,
        "COS requests/task": round(cos_requests / count, 2),
        "CPU ms/task": round(done["cpu"] * 1000 / count, 2),
        "peak MB": megabytes(done["memory_kb"]),
    }
