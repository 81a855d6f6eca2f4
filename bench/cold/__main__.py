"""``make bench-cold``: what a cold start costs until the first deletion is answered, ours and its peers'."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.progress import track

from bench.charts import bars
from bench.report import FOLDER, QUICK, Result, Table, keep, out, show
from local import package
from local.cos import CosStandIn
from local.live_api import LiveStandIn

HERE = Path(__file__).parent
ROUNDS = 25
QUICK_ROUNDS = 5
STREAM, TASK = "room-1", 1
LIVE = "tencentcloud-sdk-python-live==3.1.195"
BODY = json.dumps({"type": "stream-end", "stream_name": STREAM, "task_id": TASK})
EVENT = {"Records": [{"Ckafka": {"topic": "t", "partition": 1, "offset": 1, "msgKey": "None", "msgBody": BODY}}]}
DRIVER = """
import importlib.util, json, sys
folder, event = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, folder)
spec = importlib.util.spec_from_file_location("index", folder + "/index.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.main_handler(event, {"request_id": "r", "time_limit_in_ms": 60000})
with open("/proc/self/status") as status:  # getrusage would tell the peak of the process that started this one
    sys.stderr.write(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""


class Contender(NamedTuple):
    """One handler, in a folder of its own. ``environment`` is added to the stand-in's."""

    name: str
    folder: Path
    environment: dict[str, str]


class Cost(NamedTuple):
    """What one cold start took: seconds until the deletion was answered, CPU seconds, bytes at the peak."""

    wall: float
    cpu: float
    memory: float


def main() -> int:
    """Measures, prints a table, and writes JSON and a chart; returns the exit status."""
    rounds = QUICK_ROUNDS if QUICK else ROUNDS
    version = package.RUNTIME if package.python(package.RUNTIME) else f"{sys.version_info[0]}.{sys.version_info[1]}"
    interpreter = package.python(version)
    assert interpreter
    with LiveStandIn(qps=100_000) as api, CosStandIn() as cos, made(version, cos.ledger) as contenders:
        runs: dict[str, list[Cost]] = {contender.name: [] for contender in contenders}
        for _ in track(range(rounds), "measuring", console=out, transient=True):
            for contender in contenders:
                runs[contender.name].append(one(interpreter, contender, api))
    # Whatever else the machine does can only add: the least is what the program itself takes.
    report({name: Cost(*map(min, zip(*costs, strict=True))) for name, costs in runs.items()}, version, rounds)
    return 0


@contextmanager
def made(version: str, ledger: str) -> Iterator[list[Contender]]:
    """Every contender, installed."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        ours, floor = root / "ours", root / "floor"
        out.print("making the packages …")
        package.make(ours, version)
        shutil.copytree(ours, floor)
        shutil.copy(HERE / "floor.py", floor / "index.py")
        for compiled in (floor / "__pycache__").glob("index.*"):
            compiled.unlink()
        yield [
            Contender("ours", ours, {}),
            Contender("ours, with a ledger", ours, {"REAPER_LEDGER": ledger}),
            Contender("floor: imports, one call", floor, {}),
            Contender("floor, and one model", floor, {"BENCH_MODEL": "1"}),
            Contender("tutorial: LiveClient", peer(root, "tutorial", version), {}),
            Contender("tutorial, compiled", with_compiled(root, "tutorial", version), {}),
            Contender("Powertools, LiveClient", peer(root, "powertools", version, "aws-lambda-powertools"), {}),
            Contender("Powertools, compiled", with_compiled(root, "powertools", version), {}),
        ]


def peer(root: Path, name: str, version: str, *more: str) -> Path:
    """A peer as its tutorial would package it: what pip installs, without compiled files."""
    folder = root / name
    pins = (package.ROOT / "bench" / "requirements.txt").read_text().splitlines()
    wanted = [LIVE, "pydantic==2.14.3", *(pin for pin in pins if pin.startswith(more or "-"))][: 2 + len(more)]
    subprocess.run(
        [sys.executable, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
         "--target", str(folder), "--platform", package.PLATFORM, "--implementation", "cp",
         "--python-version", version, "--only-binary", ":all:", *wanted],
        check=True,
    )  # fmt: skip
    shutil.copy(HERE / f"{name}.py", folder / "index.py")
    return folder


def with_compiled(root: Path, name: str, version: str) -> Path:
    """The same with compiled files that fit, as if the platform kept the dates of what it unpacks."""
    folder = root / f"{name}-compiled"
    shutil.copytree(root / name, folder)
    subprocess.run([package.python(version) or "", "-m", "compileall", "-q", str(folder)], check=True)
    return folder


def one(interpreter: str, contender: Contender, api: LiveStandIn) -> Cost:
    """One cold start: a process of its own that handles one event."""
    api.reset()
    api.state.add(STREAM, TASK)
    command = [interpreter, "-I", "-S", "-B", "-c", DRIVER, str(contender.folder), json.dumps(EVENT)]
    said = {"REAPER_DRY_RUN": "false", "POWERTOOLS_TRACE_DISABLED": "true"}
    environment = {**api.environment, **contender.environment, **said}
    began = time.time()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    errors = process.stderr.read() if process.stderr else b""
    if process.stderr:
        process.stderr.close()
    if status or api.state.recordings:
        raise RuntimeError(f"{contender.name} failed: {errors.decode()[-2000:]}")
    return Cost(api.calls[-1].at - began, usage.ru_utime + usage.ru_stime, int(errors.split()[-1]) * 1024)


def report(least: dict[str, Cost], version: str, rounds: int) -> None:
    """Prints a table; keeps it, and draws a chart, if it is worth that."""
    tutorial, floor = least["tutorial: LiveClient"], least["floor: imports, one call"]
    table: Table = {
        name: {
            "ms": round(cost.wall * 1000, 1),
            "CPU ms": round(cost.cpu * 1000, 1),
            "MB": round(cost.memory / 1e6, 1),
            "CPU of the tutorial's": round(cost.cpu / tutorial.cpu, 2),
            "MB of the tutorial's": round(cost.memory / tutorial.memory, 2),
            "CPU of the floor's": round(cost.cpu / floor.cpu, 2),
        }
        for name, cost in least.items()
    }
    show(f"A cold start until the first deletion is answered, Python {version}: the least of {rounds} runs", table)
    if QUICK:
        return
    keep(Result("cold", {"cold": table}, {"python": version, "rounds": rounds}))
    panels = {
        "CPU until the first deletion, ms": {name: row["CPU ms"] for name, row in table.items()},
        "memory at the peak, MB": {name: row["MB"] for name, row in table.items()},
    }
    bars(FOLDER / "cold.png", f"A cold start (Python {version})", panels)


if __name__ == "__main__":
    sys.exit(main())
