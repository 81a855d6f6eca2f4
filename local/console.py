"""How outcomes look to a person."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from handler.core.model import Outcome
from local.live_api import Call

STYLES = {
    Outcome.DELETED: "green",
    Outcome.ALREADY_GONE: "green",
    Outcome.PLANNED: "cyan",
    Outcome.SCHEDULED: "cyan",
    Outcome.IGNORED: "dim",
    Outcome.DEFERRED: "yellow",
    Outcome.REJECTED: "magenta",
    Outcome.FAILED: "red",
}


def outcome(name: str) -> str:
    """An outcome in its colour."""
    return f"[{STYLES[Outcome(name)]}]{name}[/]"


def task_text(line: dict[str, Any]) -> str:
    """A ``reaper_task`` line for a person: the outcome, what it was, which task, why."""
    task = " ".join(str(line[name]) for name in ("stream_name", "task_id") if name in line)
    text = f"  {outcome(line['outcome'])}{' ' * (13 - len(line['outcome']))}{line.get('event', '?'):17} {escape(task)}"
    why = ": ".join(line[name] for name in ("reason", "detail") if name in line)
    return text + (f"\n  {'':13}[dim]{escape(why)}[/]" if why else "")


def call_text(call: Call) -> str:
    """A call that a stand-in received, in one line."""
    asked = " ".join([call.action or "(no action)", *(f"{name}={value}" for name, value in call.params.items())])
    return f"{escape(asked)} → " + (f"[yellow]{escape(call.code)}[/]" if call.code else "[green]ok[/]")
