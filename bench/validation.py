"""What reading a delivery costs per message: envelope and messages, beside ``json`` and plain pydantic."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel

from bench.contender import delivery
from bench.report import Result, table
from bench.server import Server
from handler import planner, triggers
from handler.messages import RetentionExpiry


class Plain(BaseModel):
    """What a program without any rule would say."""

    type: Literal["retention-expiry"]
    stream_name: str
    task_id: int
    expires_at: int


def run(server: Server, *, quick: bool) -> Result:
    """10,000 messages, ours and the floor; the least of several rounds."""
    count, rounds = (2_000, 3) if quick else (10_000, 9)
    now = time.time()
    event = delivery("room", list(range(1, count + 1)), "retention-expiry", expires_at=int(now))

    def ours() -> int:
        asked = planner.read(triggers.read(event), now, lambda: True).asked
        return sum(isinstance(item.event, RetentionExpiry) for item in asked)

    def floor() -> int:
        return sum(bool(Plain.model_validate(json.loads(record["Ckafka"]["msgBody"]))) for record in event["Records"])

    costs = {"ours": _least(ours, count, rounds), "json and plain pydantic": _least(floor, count, rounds)}
    rows = {
        name: {"µs/message": round(cost * 1e6, 1), "of the floor": round(cost / costs["json and plain pydantic"], 2)}
        for name, cost in costs.items()
    }
    table(f"Validating a delivery of {count:,} messages", rows)
    return Result("validation", rows)


def _least(read: Callable[[], int], count: int, rounds: int) -> float:
    costs: list[float] = []
    for _ in range(rounds):
        began = time.process_time()
        assert read() == count
        costs.append((time.process_time() - began) / count)
    return min(costs)
