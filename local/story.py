"""The second half of the demo: a day and a week with a ledger, on a clock that the demo moves itself."""

from __future__ import annotations

import contextlib
import io
import json
import os
from datetime import datetime, timezone

from rich.console import Console
from rich.markup import escape

from handler.app import build
from handler.settings import Settings
from local import console, dead_letters, ledger, samples
from local.cos import CosStandIn
from local.live_api import Fault, LiveStandIn, Stream

MINUTE, HOUR = 60.0, 3600.0
SHOW, RETURNS, KEPT, REFUSED = "evening-show", "comes-back", "kept-a-week", "refused"
SWEEP = {"Type": "Timer", "TriggerName": "sweep", "Time": "", "Message": ""}


class Story:
    """Both stand-ins, the handler, and the time that passes between its events."""

    def __init__(self, api: LiveStandIn, cos: CosStandIn, out: Console, clock: list[float]) -> None:
        self.api, self.cos, self._out, self._clock = api, cos, out, clock
        self._handler = build(clock=lambda: clock[0], sleep=lambda _: None)
        self._offset = 0

    @property
    def now(self) -> float:
        return self._clock[0]

    def says(self, text: str) -> None:
        """A sentence of the story, with the time at which it happens."""
        moment = datetime.fromtimestamp(self.now, timezone.utc)
        self._out.print(f"\n[bold]{moment:%a %d %b, %H:%M} UTC[/]  {text}")

    def passes(self, seconds: float) -> None:
        self._clock[0] += seconds

    def message(self, *bodies: dict[str, object]) -> None:
        """Something arrives through CKafka."""
        records = []
        for body in bodies:
            self._offset += 1
            record = {
                "topic": "live-record-events",
                "partition": 0,
                "offset": self._offset,
                "msgBody": json.dumps(body),
            }
            records.append({"Ckafka": record})
        self._deliver({"Records": records})

    def sweep(self) -> None:
        """The timer fires."""
        self._deliver(SWEEP)

    def _deliver(self, event: object) -> None:
        log = io.StringIO()
        with contextlib.redirect_stdout(log):
            self._handler(event, {})
        for line in map(json.loads, log.getvalue().splitlines()):
            if line["metric"] == "reaper_task":
                self._out.print(console.task_text(line), soft_wrap=True)


def tell(out: Console) -> None:
    """Plays the story, and prints what happens."""
    clock = [samples.MOMENT]
    with LiveStandIn(clock=lambda: clock[0]) as api, CosStandIn(clock=lambda: clock[0]) as cos:
        os.environ.update(api.environment)
        os.environ["REAPER_LEDGER"] = cos.ledger
        _play(Story(api, cos, out, clock), out)


def _created(story: Story, name: str, task_id: int, hours: float) -> dict[str, object]:
    story.api.state.add(name, task_id)
    story.api.state.push(Stream(name))
    return {
        "type": "task-created", "stream_name": name, "task_id": task_id, "start_time": story.now,
        "end_time": story.now + hours * HOUR, "domain_name": "push.example.com", "app_name": "live",
    }  # fmt: skip


def _interrupted(story: Story, name: str) -> dict[str, object]:
    story.api.state.interrupt(Stream(name))
    return {
        "event_type": 0, "app": "push.example.com", "appname": "live", "stream_id": name, "event_time": story.now,
    }  # fmt: skip


def _play(story: Story, out: Console) -> None:
    api = story.api
    out.print(f"\n[bold]The same with a ledger[/], on a stand-in of COS ({story.cos.url}). Time is the demo's to move.")
    story.says("four recordings are created, and registered right away")
    story.message(
        _created(story, SHOW, 1, 5),
        _created(story, RETURNS, 2, 5),
        _created(story, KEPT, 3, 24 * 9),
        _created(story, REFUSED, 4, 5),
    )

    story.passes(HOUR)
    story.says(f"CSS says that the pushes of {SHOW} and {RETURNS} broke off: hints, so nothing is deleted yet")
    story.message(_interrupted(story, SHOW), _interrupted(story, RETURNS))
    story.passes(10 * MINUTE)
    api.state.push(Stream(RETURNS))
    story.says(f"{RETURNS} is back on air. Nobody tells the function")

    story.passes(25 * MINUTE)
    story.says("the grace period is over: the timer sweeps, and looks before it deletes")
    story.sweep()

    story.says(f"the backend sets a retention for {KEPT}: a week")
    story.message(
        {"type": "retention-expiry", "stream_name": KEPT, "task_id": "3", "expires_at": story.now + 7 * 24 * HOUR}
    )

    api.misbehave(Fault(error="InternalError"), times=6)
    story.passes(4 * HOUR)
    story.says(f"{RETURNS} and {REFUSED} reached their end, but the API has an outage")
    story.sweep()
    api.misbehave(Fault(error="InvalidParameter.InvalidTaskId"), task_id=4)
    story.passes(5 * MINUTE)
    story.says("it has recovered, though it refuses one task for good")
    story.sweep()

    story.passes(7 * 24 * HOUR)
    story.says("a week later, the retention is over")
    story.sweep()

    place = Settings.read(os.environ).ledger
    assert place  # noqa: S101  set above
    store = ledger.opened(place)
    story.says("one dead letter is left. A person looks at it, and requeues it")
    dead_letters.dead(store, as_json=False)
    dead_letters.requeue(store, keys=[], everything=True, dry_run=False, now=story.now)
    story.passes(MINUTE)
    story.says("the next sweep")
    story.sweep()
    left = len(api.state.recordings), len(story.cos.keys())
    out.print(
        f"\nLeft: {left[0]} recordings at the API, {left[1]} objects in the bucket, after {len(api.calls)} calls."
    )
    out.print(f"[dim]{escape('README, “The ledger”, says how to have one of your own.')}[/]")
