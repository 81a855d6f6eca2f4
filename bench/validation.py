"""What reading a delivery costs per message: envelope and messages, beside ``json`` and plain pydantic."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel

from bench.contender import delivery
from bench.report import Result, show
from bench.server import Server
from handler.core.events import RetentionExpiry
from handler.intake import reading, triggers


class Plain(BaseModel):
    """What a program without any rule would say."""

    type: Literal["retention-expiry"]
    stream_name: str
    task_id: int
    expires_at: int


def run(server: Server, *, quick: bool) -> Result:
    """10,000 messages, ours and the floor, both kept as a whole; the least of several rounds, by turns."""
    count, rounds = (2_000, 3) if quick else (10_000, 25)
    now = time.time()
    event = delivery("room", list(range(1, count + 1)), "retention-expiry", expires_at=int(now))

    def ours() -> int:
        received = reading.read(triggers.read(event), now, lambda: True).received
        return sum(isinstance(item.event, RetentionExpiry) for item in received)

    def floor() -> int:
        return len([Plain.model_validate(json.loads(record["Ckafka"]["msgBody"])) for record in event["Records"]])

    costs = dict(zip(("ours", "json and plain pydantic"), _least((ours, floor), count, rounds), strict=True))
    rows = {
        name: {"µs/message": round(cost * 1e6, 1), "of the floor": round(cost / costs["json and plain pydantic"], 2)}
        for name, cost in costs.items()
    }
    show(f"Validating a delivery of {count:,} messages", rows)
    return Result("validation", {"validation": rows})


def _least(readers: tuple[Callable[[], int], ...], count: int, rounds: int) -> list[float]:
    """CPU seconds per message of each reader."""
    costs: list[list[float]] = [[] for _ in readers]
    for _ in range(rounds):
        for read, taken in zip(readers, costs, strict=True):
            began = time.process_time()
            assert read() == count
            taken.append((time.process_time() - began) / count)
    return [min(taken) for taken in costs]
