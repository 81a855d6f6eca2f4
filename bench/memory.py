"""What a large delivery takes in memory, beside a small one."""

from __future__ import annotations

from bench.report import Result, Table, megabytes, out, show
from bench.server import Server
from bench.throughput import contender

SMALL = 10


def run(server: Server, *, quick: bool) -> Result:
    """10 and 10,000 messages, each in one delivery to a process of its own."""
    rows: Table = {}
    least = 0.0
    for count in (SMALL, 1_000 if quick else 10_000):
        out.print(f"[dim]a delivery of {count:,} …[/]")
        ids = list(range(1, count + 1))
        server.reset({"room": range(1, count + 1)}, 1e9, 0.0)
        environment = server.environment | {"REAPER_MAX_QPS": "1000"}
        done = contender(environment, "bench.peers.ours", {"group": "room", "deliveries": [ids]})
        if server.stats().left or done["raised"]:
            raise RuntimeError("not everything was deleted: this is no measurement")
        beyond = done["memory_kb"] - done["events_kb"]
        least = least or beyond
        rows[f"ours: {count:,} messages"] = {
            "peak MB": megabytes(done["memory_kb"]),
            "the event itself": megabytes(done["events_kb"]),
            "beyond the event": megabytes(beyond),
            f"of what is beyond with {SMALL}": round(beyond / least, 2),
        }
    show("Memory of one delivery", rows)
    return Result("memory", {"memory": rows})
