"""Several instances on one limit, none knowing of the others: the rate they share, how evenly, and how soon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from bench.report import FOLDER, Result, Table, out, show
from bench.server import Server

LIMIT = 200
TASKS = 9_000  # of each instance: more than it can delete
SETTLED_SECONDS = 15
WINDOW = 3  # seconds over which a rate is taken
SHARE = 0.8  # of an equal part: a newcomer has arrived


def run(server: Server, *, quick: bool) -> Result:
    """1, 2, 4 and 8 instances; they begin one after the other, and at the end the first leaves."""
    counts, apart, settling = ((2,), 1.0, 6.0) if quick else ((1, 2, 4, 8), 4.0, 25.0)
    rows: Table = {}
    curves: dict[str, dict[str, list[float]]] = {}
    for count in counts:
        name = f"ours × {count}"
        out.print(f"[dim]{name} …[/]")
        rows[name], curves[name] = together(server, count, apart, settling)
    show("Instances on one limit of 200/s, at 30 ms", rows)
    return Result("instances", {"instances": rows}, curves)


def together(
    server: Server, count: int, apart: float, settling: float
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Starts ``count`` instances ``apart`` seconds from each other, lets them settle, and takes the first away."""
    ids_of = {f"i{number}": range(number * TASKS + 1, (number + 1) * TASKS + 1) for number in range(count)}
    server.reset(ids_of, LIMIT, 0.03)
    processes: list[subprocess.Popen[str]] = []
    try:
        for group, ids in ids_of.items():
            time.sleep(apart if processes else 0)
            asked = {"group": group, "deliveries": [list(ids)], "limit_ms": 900_000}
            processes.append(_start(server.environment, asked))
        joined = time.time()
        time.sleep(settling)
        left = time.time()
        if count > 1:
            processes[0].kill()
            time.sleep(settling / 2)
        ended = time.time()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    calls = [call for call in server.stats().calls if call[0] <= ended]
    settled = [call for call in calls if left - min(SETTLED_SECONDS, settling / 2) <= call[0] < left]
    seconds = min(SETTLED_SECONDS, settling / 2)
    of_each: dict[str, int] = {f"i{number}": 0 for number in range(count)}
    for _, group, code in settled:
        of_each[group] += not code
    accepted = sum(of_each.values())
    newcomer = _arrival(calls, f"i{count - 1}", joined, left, LIMIT / count)
    row = {
        "of the limit": f"{accepted / seconds / LIMIT:.3f}",
        "throttled": f"{1 - accepted / len(settled):.1%}",
        "Jain's index": f"{jain(list(of_each.values())):.3f}",
        "newcomer's share after, s": newcomer if count > 1 else "–",
        "taken over after, s": _takeover(calls, left, ended) if count > 1 else "–",
    }
    return row, _curves(calls)


def _start(environment: dict[str, str], asked: dict[str, Any]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.contender", "bench.peers.ours"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        env={"PATH": os.environ["PATH"], **environment},
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps(asked))
    process.stdin.close()
    return process


def jain(rates: Sequence[float]) -> float:
    """Jain's index of fairness: 1 if all are equal, 1/n if one has it all."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 0.0


Calls = list[tuple[float, str, str]]


def _rate(calls: Calls, group: str | None, until: float) -> float:
    since = until - WINDOW
    return sum(since <= at < until and not code and group in (None, of) for at, of, code in calls) / WINDOW


def _arrival(calls: Calls, group: str, joined: float, left: float, share: float) -> str:
    first = next((at for at, of, _ in calls if of == group), joined)
    at = first + WINDOW
    while at < left:
        if _rate(calls, group, at) >= SHARE * share:
            return f"{at - first:.0f}"
        at += 0.5
    return "never"


def _takeover(calls: Calls, left: float, ended: float) -> str:
    at = left + WINDOW
    while at < ended:
        if _rate(calls, None, at) >= 0.93 * LIMIT:
            return f"{at - left:.0f}"
        at += 0.5
    return "never"


def _curves(calls: Calls) -> dict[str, list[float]]:
    began = calls[0][0]
    rates: dict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    for at, group, code in calls:
        rates[group][int(at - began)] += not code
    last = int(calls[-1][0] - began)
    return {group: [per[second] for second in range(last)] for group, per in sorted(rates.items())}


def draw(result: Result, charts: ModuleType) -> None:
    """Each instance's rate over time."""
    title = "Instances that do not know of each other share 200 requests/s"
    charts.rates(FOLDER / "instances.png", title, result.details)
