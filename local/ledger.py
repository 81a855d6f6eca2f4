"""``python -m local ledger``: what a ledger holds, and what may be done about it by hand."""

from __future__ import annotations

import csv
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, track
from rich.table import Table

from handler import messages
from handler.cos_ledger import Bucket, CosLedger, entry_of, fields_of, new_session
from handler.ledger import Entry, LedgerError
from handler.model import RecordTask, Rejection
from handler.settings import Place, Settings, SettingsError

HANDS = 16
PAGE = 1_000
COLUMNS = ("stream_name", "task_id", "due")
out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)


class UsageError(Exception):
    """What was asked for cannot be done; the text says what can."""


def run(command: Callable[..., int], **options: Any) -> int:
    """Runs ``command`` on the ledger that REAPER_LEDGER names; returns the exit status."""
    try:
        place = Settings.read(os.environ).ledger
        if place is None:
            return _problem("REAPER_LEDGER is not set: export it, or start `python -m local serve` for one to try")
        return command(opened(place), **options)
    except (SettingsError, LedgerError, UsageError) as error:
        return _problem(str(error))


def opened(place: Place) -> CosLedger:
    """The ledger at ``place``, as the tools use it."""
    return CosLedger(Bucket(place, new_session(HANDS), 10.0, time.sleep, random.random), random.random)


def _problem(text: str) -> int:
    err.print(f"[red]{escape(text)}[/]")
    return 1


# -- looking -----------------------------------------------------------------------------------


def status(ledger: CosLedger, *, as_json: bool) -> int:
    """Counts, from listings alone: no entry is read."""
    tasks = {key.removeprefix("tasks/").removesuffix(".json") for key, _ in ledger.bucket.keys("tasks/")}
    pointers = [key.split("/") for key, _ in ledger.bucket.keys("due/")]
    pointed = {f"{digest}/{name.partition('-')[0]}" for _, _, digest, name in pointers} & tasks
    minutes = [minute for _, minute, digest, name in pointers if f"{digest}/{name.partition('-')[0]}" in tasks]
    this_minute = datetime.fromtimestamp(time.time(), timezone.utc).strftime("%Y%m%d%H%M")
    dead = [key for key, _ in ledger.bucket.keys("dead/")]
    counts = {
        "tasks": len(tasks),
        "due_now": sum(minute <= this_minute for minute in minutes),
        "oldest_due": _readable(minutes[0]) if minutes else None,
        "no_due_time": len(tasks - pointed),
        "stale_pointers": len(pointers) - len(minutes),
        "dead_tasks": sum("/message-" not in key for key in dead),
        "dead_messages": sum("/message-" in key for key in dead),
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
    found = [entry for entry in ledger.of_stream(stream_name) if task_id in (None, entry.task.task_id)]
    for entry in found:
        print(json.dumps({"due_at": _instant(entry.due_at), **fields_of(entry)}, indent=2))
    if not found:
        raise UsageError(f"the ledger knows no such task of {stream_name}")
    return 0


def due(ledger: CosLedger, *, as_json: bool) -> int:
    """What is due now, the oldest first."""
    now = time.time()
    entries = [entry for entry in _entries(ledger) if entry.is_due(now)]
    for entry in sorted(entries, key=lambda entry: entry.due_at or 0.0):
        _tell(entry, as_json)
    return 0


def export(ledger: CosLedger) -> int:
    """Every task as CSV, in the form that ``import`` reads; tasks without a due time have none."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in _entries(ledger):
        writer.writerow((entry.task.stream_name, entry.task.task_id, _instant(entry.due_at) or ""))
    return 0


def dead(ledger: CosLedger, *, as_json: bool) -> int:
    """The dead letters, by their keys."""
    for key, letter in _letters(ledger):
        if as_json:
            print(json.dumps({"key": key, **letter}))
        elif "task_id" in letter:
            errors = ", ".join(f"{error['count']} × {error['code']}" for error in letter["errors"])
            out.print(f"{key}\n  {escape(letter['stream_name'])} {letter['task_id']}  [dim]{escape(errors)}[/]")
        else:
            out.print(f"{key}\n  {escape(letter['message_id'])}  [dim]{escape('; '.join(letter['details']))}[/]")
    return 0


# -- doing -------------------------------------------------------------------------------------


def requeue(ledger: CosLedger, *, keys: list[str], everything: bool, dry_run: bool, now: float | None = None) -> int:
    """Makes dead tasks due again, now; the next sweep tries them. A dead message has to be mended and sent anew."""
    for key, letter in _chosen(ledger, keys, everything):
        if "task_id" not in letter:
            err.print(
                f"[yellow]{key} is a message that was not valid: mend it and send it anew[/] (`dead --json` shows it)"
            )
            continue
        entry = _entry_of_letter(letter)
        fresh = replace(
            entry,
            asserted_at=time.time() if now is None else now,
            not_before=None,
            first_due_at=None,
            tries=0,
            failures=(),
            index=None,
        )
        if not dry_run:
            ledger.write(fresh)
            ledger.bucket.delete(key)
        out.print(f"{_would(dry_run)}requeued {escape(entry.task.stream_name)} {entry.task.task_id}")
    return 0


def drop(ledger: CosLedger, *, keys: list[str], everything: bool, dry_run: bool) -> int:
    """Forgets dead letters for good."""
    for key, _ in _chosen(ledger, keys, everything):
        if not dry_run:
            ledger.bucket.delete(key)
        out.print(f"{_would(dry_run)}dropped {key}")
    return 0


def import_csv(ledger: CosLedger, *, path: Path, dry_run: bool) -> int:
    """Schedules every row of a CSV file; run again after an interruption, it does only what is left."""

    def schedule(row: tuple[int, dict[str, str]]) -> str:
        """ "imported", "known", or what is wrong with the row."""
        entry = _entry_of_row(row[1])
        if isinstance(entry, str):
            return f"{path}:{row[0]}: {entry}"
        known = ledger.read(entry.task)
        wanted = (known or Entry(entry.task)).asserted(entry.asserted_at or 0.0, entry.because)
        if wanted == known:
            return "known"
        if not dry_run:
            ledger.write(wanted)
        return "imported"

    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(HANDS) as pool, Progress(console=err, transient=True) as progress:
        bar = progress.add_task("importing", total=None)
        for rows in _pages(path):
            for told in pool.map(schedule, rows):
                if told not in ("imported", "known"):
                    err.print(f"[red]{escape(told)}[/]")
                    told = "bad"
                counts[told] += 1
            progress.update(bar, advance=len(rows), description=f"{sum(counts.values())} rows")
    out.print(
        f"{_would(dry_run)}imported {counts['imported']} tasks; {counts['known']} were known already; "
        f"{counts['bad']} rows are bad"
    )
    return 1 if counts["bad"] else 0


def _pages(path: Path) -> Iterator[list[tuple[int, dict[str, str]]]]:
    """The rows of a CSV file with their line numbers, a page at a time: the file may be large."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if missing := set(COLUMNS) - set(reader.fieldnames or ()):
                raise UsageError(f"{path}: the first line must name {', '.join(COLUMNS)}; {', '.join(missing)} missing")
            while rows := [(reader.line_num, row) for row in islice(reader, PAGE)]:
                yield rows
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def reindex(ledger: CosLedger, *, dry_run: bool) -> int:
    """Rebuilds the pointers from the truth: every task with a due time has one again."""
    pointers = {key for key, _ in ledger.bucket.keys("due/")}
    mended = 0
    for entry in _entries(ledger):
        if entry.due_at is not None and entry.index not in pointers:
            mended += 1
            if not dry_run:
                ledger.write(replace(entry, index=None))
    out.print(f"{_would(dry_run) or 'has '}given {mended} tasks a pointer again")
    return 0


# -- shared ------------------------------------------------------------------------------------


def _entries(ledger: CosLedger) -> Iterator[Entry]:
    keys = [key for key, _ in ledger.bucket.keys("tasks/")]
    with ThreadPoolExecutor(HANDS) as pool:
        for body in track(pool.map(ledger.bucket.get, keys), "reading", total=len(keys), console=err, transient=True):
            if body is not None:
                yield entry_of(body)


def _letters(ledger: CosLedger) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, _ in ledger.bucket.keys("dead/"):
        body = ledger.bucket.get(key)
        if body is not None:
            yield key, json.loads(body)


def _chosen(ledger: CosLedger, keys: list[str], everything: bool) -> list[tuple[str, dict[str, Any]]]:
    letters = dict(_letters(ledger))
    if everything:
        return list(letters.items())
    if not keys:
        raise UsageError("name the keys that `ledger dead` lists, or say --all")
    if unknown := [key for key in keys if key not in letters]:
        raise UsageError(f"there is no dead letter {unknown[0]}: `ledger dead` lists them")
    return [(key, letters[key]) for key in keys]


def _entry_of_letter(letter: dict[str, Any]) -> Entry:
    return entry_of(json.dumps(letter["entry"]).encode())


def _entry_of_row(row: dict[str, str]) -> Entry | str:
    fields = {"type": "retention-expiry", **{name: row[name] for name in COLUMNS[:2]}, "expires_at": row["due"]}
    [event] = messages.read([fields], time.time())
    if isinstance(event, Rejection):
        return event.detail.replace("expires_at", "due")
    if not isinstance(event, messages.RetentionExpiry):
        return "cannot be read"
    task = RecordTask(event.stream_name, event.task_id)
    return Entry(task, asserted_at=event.expires_at, because={"message_id": "import", **fields})


def _tell(entry: Entry, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"due_at": _instant(entry.due_at), **fields_of(entry)}))
    else:
        kind = "a look" if entry.needs_look(time.time()) else "due"
        out.print(f"{_instant(entry.due_at)}  {escape(entry.task.stream_name)} {entry.task.task_id}  [dim]{kind}[/]")


def _instant(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _readable(minute: str) -> str:
    return datetime.strptime(minute, "%Y%m%d%H%M").strftime("%Y-%m-%dT%H:%MZ")


def _would(dry_run: bool) -> str:
    return "would have " if dry_run else ""
