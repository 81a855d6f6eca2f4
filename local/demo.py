"""``python -m local demo``: every sample event against a stand-in, then the same world with a ledger."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape

from handler.app import Handler, RedeliveryNeeded, build
from handler.core.model import Outcome, Reason
from handler.settings import PREFIX
from local import console, samples, story
from local.live_api import LiveStandIn


def demo() -> int:
    """Plays the samples in the order of their names; returns the exit status."""
    out = Console(highlight=False, soft_wrap=True)
    began = time.time()

    def clock() -> float:
        return samples.MOMENT + time.time() - began

    played = samples.all_samples()
    with LiveStandIn(clock=clock) as stand_in:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            del os.environ[name]  # the demo shows the defaults
        os.environ.update(stand_in.environment, REAPER_DRY_RUN="false")
        tasks = [task for sample in played for task in samples.tasks_named(sample.event, clock())]
        samples.record(stand_in.state, tasks)
        recorded = len(stand_in.state.recordings)
        out.print(
            f"[bold]{recorded} recordings[/] exist on a stand-in of the Live API ({stand_in.url}); "
            f"all have stopped but the one of [bold]{samples.ON_AIR.name}[/].\n"
            f"{len(played)} events arrive. No ledger is set: what must wait cannot, and is told apart.\n"
        )
        handler = build(clock=clock)
        totals: Counter[str] = Counter()
        for sample in played:
            totals += _play(sample, handler, out)
        _show_totals(totals, stand_in, recorded, out)
    story.tell(out)
    return 0


def _play(sample: samples.Sample, handler: Handler, out: Console) -> Counter[str]:
    out.print(
        f"[bold]events/{sample.name}[/]  [dim]{samples.in_one_line(sample.event, samples.MOMENT)}[/]", soft_wrap=True
    )
    log, raised = io.StringIO(), None
    with contextlib.redirect_stdout(log):
        try:
            handler(sample.event, {"request_id": sample.name, "time_limit_in_ms": 60_000})
        except RedeliveryNeeded as error:
            raised = error
    *tasks, invocation = [json.loads(line) for line in log.getvalue().splitlines()]
    for task in tasks:
        out.print(console.task_text(task), soft_wrap=True)
    if raised:
        out.print(
            f"  [yellow]raised RedeliveryNeeded:[/] {escape(str(raised))}; the trigger would deliver it again",
            soft_wrap=True,
        )
    out.print()
    totals = Counter({name: invocation[name] for name in _counted() if invocation[name]})
    totals["duplicates"] = sum(task.get("reason") == Reason.DUPLICATE.value for task in tasks)
    return totals


def _counted() -> list[str]:
    return ["messages", "lines", *(outcome.value for outcome in Outcome), "api_calls"]


def _show_totals(totals: Counter[str], stand_in: LiveStandIn, recorded: int, out: Console) -> None:
    out.print(f"[bold]Totals[/] of {totals['lines']} lines: one for each message")
    for outcome in Outcome:
        if totals[outcome.value]:
            again = totals["duplicates"] if outcome is Outcome.DELETED else 0
            note = f" [dim]({again} of them named a task again)[/]" if again else ""
            out.print(f"  {totals[outcome.value]:3} {console.outcome(outcome.value)}{note}")
    answers: Counter[tuple[str, Any]] = Counter((call.action, call.code) for call in stand_in.calls)
    out.print(f"\n[bold]The API received {len(stand_in.calls)} calls[/] for {totals['messages']} messages")
    for (action, code), count in answers.most_common():
        out.print(f"  {count:3} × {action} → " + (f"[yellow]{code}[/]" if code else "[green]ok[/]"))
    left = list(stand_in.state.recordings.values())
    out.print(f"\n{recorded - len(left)} of {recorded} records are deleted. Left, and why:")
    for recording in left:
        state = "still recording" if stand_in.state.running(recording) else "nothing that may be acted on named it"
        out.print(f"  {recording.stream_name} {recording.task_id}  [dim]{state}[/]")
