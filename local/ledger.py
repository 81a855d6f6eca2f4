"""``python -m local ledger``: what a ledger holds, and what may be done about it by hand."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from handler.cos_bucket import Bucket
from handler.cos_ledger import CosLedger, entry_of, fields_of
from handler.credentials import VARIABLES
from handler.http_session import HttpSession
from handler.ledger import Entry, LedgerError, LedgerRefused
from handler.settings import Place, Settings, SettingsError

HANDS = 16
PAGE = 1_000
out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)


class UsageError(Exception):
    """What was asked for cannot be done; the text says what can."""


def run(command: Callable[..., int], **options: Any) -> int:
    """Runs ``command`` on the ledger that REAPER_LEDGER names; returns the exit status."""
    try:
        return command(opened(_place()), **options)
    except (SettingsError, LedgerError, UsageError) as error:
        return _problem(str(error))


def opened(place: Place) -> CosLedger:
    """The ledger at ``place``, as the tools use it."""
    return CosLedger(Bucket(place, HttpSession(), 10.0, time.sleep, random.random), random.random)


def _place() -> Place:
    place = Settings.for_tools(os.environ).ledger
    if place is None:
        raise UsageError("REAPER_LEDGER is not set: export it, or start `python -m local serve` for one to try")
    if not all(os.environ.get(name) for name in VARIABLES[:2]):
        raise UsageError(
            f"{VARIABLES[0]} and {VARIABLES[1]} are not both set: export the credentials of somebody who may read and "
            f"write the bucket (with {VARIABLES[2]} where they are temporary)"
        )
    return place


def _problem(text: str) -> int:
    err.print(f"[red]{escape(text)}[/]")
    return 1


# -- looking -----------------------------------------------------------------------------------


def status(ledger: CosLedger, *, as_json: bool) -> int:
    """Counts, from listings alone: no entry is read."""
    tasks = {key.removeprefix("tasks/").removesuffix(".json") for key, _ in ledger.bucket.keys("tasks/")}
    pointers = [parts for key, _ in ledger.bucket.keys("due/") if len(parts := key.split("/")) == 4]  # only ours
    pointed = {f"{digest}/{name.partition('-')[0]}" for _, _, digest, name in pointers} & tasks
    minutes = [minute for _, minute, digest, name in pointers if f"{digest}/{name.partition('-')[0]}" in tasks]
    this_minute = datetime.fromtimestamp(time.time(), timezone.utc).strftime("%Y%m%d%H%M")
    overdue = [minute for minute in minutes if minute <= this_minute]
    later = [minute for minute in minutes if minute > this_minute]
    dead = [key for key, _ in ledger.bucket.keys("dead/")]
    counts = {
        "tasks": len(tasks),
        "due_now": len(overdue),
        "oldest_due": _readable(overdue[0]) if overdue else None,
        "next_due": _readable(later[0]) if later else None,
        "no_due_time": len(tasks - pointed),
        "dead_tasks": sum("/message-" not in key for key in dead),
        "dead_messages": sum("/message-" in key for key in dead),
        "old_pointers": len(pointers) - len(minutes),  # which sweeps tidy up
    }
    if as_json:
        print(json.dumps(counts))
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), "–" if count is None else str(count))
    out.print(table)
    return 0


def show(ledger: CosLedger, *, stream_name: str, task_id: int | None) -> int:
    """What is known of one stream's tasks, or of one task, as JSON."""
    known, unreadable = ledger.of_stream(stream_name)
    for error in unreadable:
        err.print(f"[red]{escape(str(error))}[/]")
    found = [entry for entry in known if task_id in (None, entry.task.task_id)]
    if not found:
        raise UsageError(f"the ledger knows no such task of {stream_name} (given up? see `ledger dead`)")
    print(json.dumps([_shown(entry) for entry in found], indent=2, ensure_ascii=False))
    return 0


def due(ledger: CosLedger, *, as_json: bool) -> int:
    """What is due now, the oldest first; of what is stored, only that is read."""
    now = time.time()
    keys = dict.fromkeys(ledger.truth_of(pointer) for pointer in ledger.pointers(now))
    found = [entry for entry in _read(ledger, list(keys)) if entry.is_due(now)]
    for entry in sorted(found, key=lambda entry: entry.due_at or 0.0):
        if as_json:
            print(json.dumps(_shown(entry), ensure_ascii=False))
        else:
            kind = "a look" if entry.needs_look(now) else "due"
            out.print(f"{instant(entry.due_at)}  {escape(entry.task.stream_name)} {entry.task.task_id}  [dim]{kind}[/]")
    if not found:
        err.print("[dim]nothing is due[/]")
    return 0


def dead(ledger: CosLedger, *, as_json: bool) -> int:
    """The dead letters, by their keys."""
    found = False
    for key, letter in _letters(ledger):
        found = True
        if as_json:
            print(json.dumps({"key": key, **letter}, ensure_ascii=False))
        elif "task_id" in letter:
            errors = ", ".join(f"{error['times']} × {error['code']}" for error in letter["errors"])
            out.print(f"{key}\n  {escape(letter['stream_name'])} {letter['task_id']}  [dim]{escape(errors)}[/]")
        else:
            out.print(f"{key}\n  {escape(letter['message_id'])}  [dim]{escape('; '.join(letter['details']))}[/]")
    if not found:
        err.print("[dim]there are no dead letters[/]")
    return 0


# -- doing -------------------------------------------------------------------------------------


def requeue(ledger: CosLedger, *, keys: list[str], everything: bool, dry_run: bool, now: float | None = None) -> int:
    """Makes dead tasks due again, now; the next sweep tries them. A dead message has to be mended and sent anew.

    What only a hint had made due is looked at again before it is deleted.
    """
    at = time.time() if now is None else now
    status = 0
    for key, letter in _chosen(ledger, keys, everything):
        if "task_id" not in letter:
            status = 1
            err.print(
                f"[yellow]{key} is a message that was not valid: mend it and send it anew[/] (`dead --json` shows it)"
            )
            continue
        entry = entry_of(json.dumps(letter["entry"]).encode())
        again: dict[str, Any] = {"look_at" if entry.needs_look(at) else "asserted_at": at}
        if ledger.read(entry.task) is not None:
            status = 1
            err.print(
                f"[yellow]{key}: {escape(entry.task.stream_name)} {entry.task.task_id} has been registered anew: "
                "drop the letter, or send a stream-end[/]"
            )
            continue
        fresh = entry._replace(
            **again, not_before=None, first_due_at=None, tries=0, failures=(), pointer=None, known_since=at
        )
        if not dry_run:
            ledger.write(fresh)
            ledger.bucket.delete(key)
        out.print(f"{would(dry_run)}requeued {escape(entry.task.stream_name)} {entry.task.task_id}")
    return status


def drop(ledger: CosLedger, *, keys: list[str], everything: bool, dry_run: bool) -> int:
    """Forgets dead letters for good."""
    for key, _ in _chosen(ledger, keys, everything):
        if not dry_run:
            ledger.bucket.delete(key)
        out.print(f"{would(dry_run)}dropped {key}")
    return 0


def reindex(ledger: CosLedger, *, dry_run: bool) -> int:
    """Rebuilds the pointers from the truth: every task with a due time has one again."""
    pointers = {key for key, _ in ledger.bucket.keys("due/")}
    mended = 0
    for entry in entries(ledger):
        if entry.due_at is not None and entry.pointer not in pointers:
            mended += 1
            if not dry_run:
                # Where the truth names a pointer, it is not touched: somebody may be changing it.
                ledger.point(entry) if entry.pointer else ledger.write(entry)
    out.print(f"{would(dry_run)}mended {mended} tasks that no sweep would have found")
    return 0


# -- shared ------------------------------------------------------------------------------------


def entries(ledger: CosLedger) -> Iterator[Entry]:
    """Every task of the ledger; what cannot be read is told, and left out."""
    yield from _read(ledger, [key for key, _ in ledger.bucket.keys("tasks/")])


def _read(ledger: CosLedger, keys: list[str]) -> Iterator[Entry]:
    def read(key: str) -> Entry | LedgerRefused | None:
        try:
            return ledger.entry_at(key)
        except LedgerRefused as error:
            return error

    with (
        ThreadPoolExecutor(HANDS) as pool,
        Progress(console=err, transient=True, disable=not err.is_terminal) as progress,
    ):
        bar = progress.add_task("reading", total=len(keys))
        for first in range(0, len(keys), PAGE):
            page = keys[first : first + PAGE]
            for key, found in zip(page, pool.map(read, page), strict=True):
                progress.advance(bar)
                if isinstance(found, Entry):
                    yield found
                elif found is not None:
                    err.print(f"[red]{key}: {escape(str(found))}[/]")


def _letters(ledger: CosLedger) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, _ in ledger.bucket.keys("dead/"):
        body = ledger.bucket.get(key)
        try:
            if body is not None:
                yield key, dict(json.loads(body))
        except (ValueError, TypeError):
            err.print(f"[red]{key}: is no dead letter[/]")


def _chosen(ledger: CosLedger, keys: list[str], everything: bool) -> list[tuple[str, dict[str, Any]]]:
    if keys and everything:
        raise UsageError("name keys, or say --all: not both")
    letters = dict(_letters(ledger))
    if everything:
        return list(letters.items())
    if not keys:
        raise UsageError("name the keys that `ledger dead` lists, or say --all")
    if unknown := [key for key in keys if key not in letters]:
        raise UsageError(f"there is no dead letter {unknown[0]}: `ledger dead` lists them")
    return [(key, letters[key]) for key in keys]


def _shown(entry: Entry) -> dict[str, Any]:
    """An entry for people and programs: times as instants, the id as text, which every reader can hold."""
    fields = fields_of(entry)
    times = {name: instant(at) for name, at in fields.items() if name.endswith(("_at", "_before"))}
    failures = [
        {**failure, "first_at": instant(failure["first_at"]), "last_at": instant(failure["last_at"])}
        for failure in fields["failures"]
    ]
    task = {"stream_name": entry.task.stream_name, "task_id": str(entry.task.task_id)}
    return {**task, "due_at": instant(entry.due_at), **fields, **times, "failures": failures, "task": task}


def instant(at: float | None) -> str | None:
    """A moment as people and ``import`` read it."""
    return None if at is None else datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _readable(minute: str) -> str:
    return datetime.strptime(minute, "%Y%m%d%H%M").strftime("%Y-%m-%dT%H:%MZ")


def would(dry_run: bool) -> str:
    """How a sentence about what was done begins."""
    return "would have " if dry_run else ""
