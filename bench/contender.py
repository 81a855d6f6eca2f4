"""Runs one handler over deliveries that come on stdin, as CKafka would; a process of its own.

    python -m bench.contender MODULE < {"deliveries": [[task ids] …], "group": …}

A delivery whose handler raises is delivered again, whole. Prints what it took (``events_kb``: what the deliveries
themselves take of the memory), and what the handler said of each task.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any

from bench.tasks import stream_of

REDELIVERIES = 3


def main() -> None:
    """Handles all deliveries."""
    handler = importlib.import_module(sys.argv[1]).main_handler
    asked = json.load(sys.stdin)
    kind, fields = asked.get("type", "stream-end"), asked.get("fields", {})
    without_events = _kb("VmRSS")
    events = [delivery(asked["group"], ids, kind, **fields) for ids in asked["deliveries"]]
    events_kb = _kb("VmRSS") - without_events
    context = {"request_id": "r", "time_limit_in_ms": asked.get("limit_ms", 60_000)}
    log = Log()
    raised = 0
    used, began = _cpu(), time.time()
    worked: list[tuple[float, float]] = []
    for event in events:
        for _ in range(1 + REDELIVERIES):
            called = time.time()
            try:
                with contextlib.redirect_stdout(log):
                    handler(event, context)
                break
            except Exception:  # noqa: BLE001  CKafka would deliver again
                raised += 1
            finally:
                worked.append((called, time.time()))
    seconds, cpu = time.time() - began, _cpu() - used
    memory = {"memory_kb": _kb("VmHWM"), "events_kb": events_kb}
    said = read(log.lines())
    print(json.dumps({"seconds": seconds, "worked": worked, "cpu": cpu, **memory, "raised": raised, "said": said}))


class Log(io.TextIOBase):
    """A stdout for several threads that takes no memory, as the platform's takes none."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  as long as the process

    def write(self, text: str) -> int:
        return self._file.write(text.encode())

    def lines(self) -> Iterator[str]:
        """All that was written."""
        self._file.seek(0)
        return (line.decode() for line in self._file)


def delivery(group: str, ids: list[int], kind: str = "stream-end", **fields: object) -> dict[str, Any]:
    """A CKafka delivery with a message for each task; a sweep if there are none."""
    if not ids:
        return {"type": "sweep"}
    bodies = (
        json.dumps({"type": kind, "stream_name": stream_of(group, task_id), "task_id": task_id, **fields})
        for task_id in ids
    )
    return {
        "Records": [
            {"Ckafka": {"topic": group, "partition": 1, "offset": offset, "msgKey": "None", "msgBody": body}}
            for offset, body in enumerate(bodies)
        ]
    }


def read(log: Iterable[str]) -> dict[str, bool]:
    """What a handler's log says of each task: ours, and the peers', which say ``ok``."""
    said = {}
    for line in log:
        with contextlib.suppress(ValueError):
            fields = json.loads(line)
            if isinstance(fields, dict) and "task_id" in fields:
                said[str(fields["task_id"])] = fields.get("ok", fields.get("outcome") in ("deleted", "already_gone"))
    return said


def _kb(field: str) -> int:
    """Memory that this process has (``VmRSS``), or had at its peak (``VmHWM``)."""
    with open("/proc/self/status") as status:  # noqa: PTH123  what the kernel tells
        return int(next(line for line in status if line.startswith(field)).split()[1])


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
