"""The whole function with ports in memory and workers that run inline: no HTTP, no threads, a clock of one's own."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest

from handler.app import assemble
from handler.application import Application
from handler.core.attempt import Reply
from handler.core.entry import Check, Delete
from handler.core.model import Outcome
from handler.core.policy import ErrorClass
from handler.intake import triggers
from handler.runtime.deadline import Deadline
from handler.runtime.worker_pool import InlineWorkers
from handler.settings import Settings
from handler.telemetry import Invocation
from local.memory_ledger import MemoryLedger
from tests.support import STREAM, TASK, FakeClock, ckafka, push_callback, retention_expiry, stream_end, timer

HOUR = 3_600.0


class LiveInMemory:
    """Deletes what it is asked to; ``on_air``: what it says of every stream."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.on_air = False
        self.busy = False

    def client(self) -> LiveInMemory:
        return self

    def send(self, call: Delete | Check) -> Reply:
        self.sent.append(type(call).__name__)
        if isinstance(call, Check):
            return Reply(request_id="r", off_air=not self.on_air)
        return (
            Reply(ErrorClass.BUSY, "FailedOperation.AlterTaskState", "no", "r") if self.busy else Reply(request_id="r")
        )


class Parts:
    def __init__(self) -> None:
        self.live, self.ledger, self.clock = LiveInMemory(), MemoryLedger(), FakeClock()
        settings = Settings.read(
            {"REAPER_DRY_RUN": "false", "REAPER_LEDGER": "cos://b-1250000000/p?region=ap-guangzhou"}
        )
        self.application: Application = assemble(
            settings, self.live, self.ledger, InlineWorkers(), self.clock,
            sleep=self.clock.sleep, random=lambda: 0.5,
        )  # fmt: skip

    def does(self, event: object) -> list[tuple[str, Any]]:
        """Hands in one event; returns the outcomes of its lines, with their reasons."""
        log = io.StringIO()
        with contextlib.redirect_stdout(log):
            delivery = triggers.read(event)
            self.application.handle(delivery, Deadline.after(self.clock(), 60), Invocation(None))
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        return [(line["outcome"], line.get("reason")) for line in lines]


@pytest.fixture
def parts() -> Parts:
    return Parts()


def created(now: float) -> dict[str, object]:
    return {
        "type": "task-created", "stream_name": STREAM, "task_id": TASK, "start_time": now - 60,
        "end_time": now + 9 * HOUR, "domain_name": "push.example.com", "app_name": "live",
    }  # fmt: skip


def test_a_retention_is_remembered_and_swept(parts: Parts) -> None:
    assert parts.does(retention_expiry(expires_at=parts.clock.now + HOUR)) == [("scheduled", None)]
    assert parts.does(timer()) == [("ignored", "nothing_due")]
    parts.clock.now += HOUR + 60
    assert parts.does(timer()) == [("deleted", None)]
    assert parts.live.sent == ["Delete"]
    assert parts.ledger.tasks_of(STREAM) == []


def test_a_hint_is_checked_and_what_is_on_air_stays(parts: Parts) -> None:
    parts.does(ckafka(created(parts.clock.now)))
    parts.does(ckafka(push_callback(0, event_time=parts.clock.now)))
    parts.live.on_air = True
    parts.clock.now += HOUR
    assert parts.does(timer()) == [("scheduled", "stream_is_live")]
    assert parts.live.sent == ["Check"]


def test_the_end_of_all_tasks_needs_no_thread(parts: Parts) -> None:
    parts.does(ckafka(created(parts.clock.now)))
    assert parts.does(stream_end(task_id="all", ended_at=parts.clock.now)) == [("deleted", None)]


def test_what_fails_waits_in_the_ledger(parts: Parts) -> None:
    parts.live.busy = True
    assert parts.does(stream_end()) == [(Outcome.DEFERRED.value, "busy")]
    parts.live.busy = False
    parts.clock.now += HOUR
    assert parts.does(timer()) == [("deleted", None)]


def test_a_rejected_message_becomes_a_letter(parts: Parts) -> None:
    assert parts.does(ckafka("plain text")) == [("rejected", "not_json")]
    assert len(parts.ledger.letters) == 1
