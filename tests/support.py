"""What tests have in common: events to send, and a handler whose output is read back."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handler.app import Handler, build

STREAM, TASK = "room-1", 1001
LONG_AGO = 1_600_000_000


@dataclass
class Run:
    """What one invocation printed, and what it returned or raised."""

    stdout: str
    returned: dict[str, Any] | None
    raised: BaseException | None

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def tasks(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["metric"] == "reaper_task"]

    @property
    def invocation(self) -> dict[str, Any]:
        *_, last = self.lines
        assert last["metric"] == "reaper_invocation"
        return last

    @property
    def outcomes(self) -> list[tuple[str, str | None]]:
        return [(line["outcome"], line.get("reason")) for line in self.tasks]


def run(event: object, context: object = None, handler: Handler | None = None) -> Run:
    """One invocation, cold unless a ``handler`` is given."""
    log = io.StringIO()
    returned, raised = None, None
    with contextlib.redirect_stdout(log):
        try:
            returned = (handler or build())(event, {} if context is None else context)
        except Exception as error:  # noqa: BLE001  what it raised is what a test asks for
            raised = error
    return Run(log.getvalue(), returned, raised)


def stream_end(stream_name: object = STREAM, task_id: object = TASK, **more: object) -> dict[str, object]:
    return {"type": "stream-end", "stream_name": stream_name, "task_id": task_id, **more}


def retention_expiry(**more: object) -> dict[str, object]:
    """Due now, unless told otherwise."""
    return {"type": "retention-expiry", "stream_name": STREAM, "task_id": TASK, "expires_at": LONG_AGO, **more}


def ckafka(*bodies: object, first_offset: int = 0) -> dict[str, object]:
    """A CKafka delivery; bodies that are no strings are sent as JSON."""
    return {
        "Records": [
            {"Ckafka": {"topic": "t", "partition": 1, "offset": offset, "msgKey": "None", "msgBody": _text(body)}}
            for offset, body in enumerate(bodies, first_offset)
        ]
    }


def timer(message: object = "") -> dict[str, object]:
    return {"Type": "Timer", "TriggerName": "tick", "Time": "2026-11-22T10:05:00Z", "Message": _text(message)}


def cmq(body: object) -> dict[str, object]:
    return {
        "Records": [{"CMQ": {"type": "topic", "topicName": "t", "msgId": "9", "msgBody": _text(body), "msgTag": ""}}]
    }


def cloud_event(data: object, **more: object) -> dict[str, object]:
    return {"specversion": "1.0", "id": "e-1", "type": "connector:kafka", "source": "s", "data": data, **more}


def dead_letter(event: object) -> dict[str, object]:
    return {"RequestId": "r", "Body": {"ClientContext": json.dumps(event)}}


def push_callback(event_type: object = 0, **more: object) -> dict[str, object]:
    """A CSS push callback; the fields as the vendor documents them, the values ours."""
    return {
        "app": "push.example.com", "appid": 1250000000, "appname": "live", "channel_id": STREAM, "errcode": 1,
        "errmsg": "client stopped", "event_time": int(time.time()) - 60, "event_type": event_type,
        "node": "203.0.113.9", "push_duration": "128581", "sequence": "2210464508206756938", "set_id": 2,
        "sign": "0" * 32, "stream_id": STREAM, "stream_param": "", "t": int(time.time()) + 600,
        "user_ip": "198.51.100.7", "width": 0, "height": 0, **more,
    }  # fmt: skip


def _text(body: object) -> str:
    return body if isinstance(body, str) else json.dumps(body)


class FakeClock:
    """A clock that only moves when told to, or when somebody sleeps."""

    def __init__(self, now: float = 1_795_341_600.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def never(_: float) -> None:
    """A sleep that takes no time."""


def handler_without_waiting(clock: Callable[[], float] = time.time) -> Handler:
    """A handler whose retries come at once."""
    return build(clock=clock, sleep=never, random=lambda: 0.0)
