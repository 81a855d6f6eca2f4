"""``python -m local ledger``: what a ledger holds, and its repair. Dead letters have a file of their own."""

from __future__ import annotations

import io
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from handler.adapters.cos_admin import CosLedgerAdmin
from handler.adapters.cos_bucket import Bucket
from handler.adapters.http_session import HttpSession
from handler.adapters.records import fields_of
from handler.core.entry import NEVER, Delete, next_step
from handler.core.ports import LedgerAdmin
from handler.core.storage import IndexKey, LedgerError, LedgerRefused, LedgerUnavailable, Stored
from handler.masking import VARIABLES
from handler.settings import CosLocation, Settings, SettingsError

HANDS = 16
PAGE = 1_000
# As it is: a name may look like an emoji's code.
out, err = (Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False) for stderr in (False, True))

Found = TypeVar("Found")


class UsageError(Exception):
    """What was asked for cannot be done; the text says what can."""


def run(command: Callable[..., int], **options: Any) -> int:
    """Runs ``command`` on the ledger that REAPER_LEDGER names; returns the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # JSON may hold a lone surrogate, which no output takes
    try:
        return command(opened(_place()), **options)
    except (SettingsError, LedgerError, UsageError) as error:
        err.print(f"[red]{escape(str(error))}[/]")
        return 1


def opened(place: CosLocation) -> LedgerAdmin:
    """The ledger at ``place``, as the tools use it."""
    return CosLedgerAdmin(_Bucket(place, HttpSession(), 10.0, time.sleep, random.random), random.random)


class _Bucket(Bucket):
    """A bucket of which one object that cannot be read (archived, say) does not stop a tool."""

    def get(self, key: str) -> bytes | None:
        try:
            return super().get(key)
        except LedgerUnavailable as error:
            next(self.keys("dead/"), None)  # raises if more is wrong than this object
            raise LedgerRefused(str(error)) from None


def _place() -> CosLocation:
    place = Settings.for_tools(os.environ).ledger
    if place is None:
        raise UsageError("REAPER_LEDGER is not set: export it, or start `python -m local serve` for one to try")
    if not all(os.environ.get(name) for name in VARIABLES[:2]):
        raise UsageError(
            f"{VARIABLES[0]} and {VARIABLES[1]} are not both set: export the credentials of somebody who may read and "
            f"write the bucket (with {VARIABLES[2]} where they are temporary)"
        )
    return place


class Problems:
    """What was wrong with single objects: reported on stderr by their keys, while the command goes on.

    ``status`` is the exit status that follows: 1 after the first one.
    """

    def __init__(self) -> None:
        self.status = 0

    def report(self, key: str, problem: object) -> None:
        """Says that ``problem`` kept the object at ``key`` from being read or changed."""
        self.status = 1
        err.print(f"[red]{escape(f'{key}: {problem}')}[/]")


# -- looking -----------------------------------------------------------------------------------


def status(ledger: LedgerAdmin, *, as_json: bool) -> int:
    """Counts, from listings: of the entries, only those that no index key leads to are read."""
    problems = Problems()
    tasks = set(ledger.records())
    index = [(key.due_at, ledger.record_of(key)) for key in _index_keys(ledger, NEVER, problems)]
    live = [due_at for due_at, record in index if record in tasks]
    this_minute = time.time() // 60 * 60
    overdue = [due_at for due_at in live if due_at <= this_minute]
    later = [due_at for due_at in live if due_at > this_minute]
    unindexed = _without_index_key(ledger, sorted(tasks - {record for _, record in index}), problems)
    of_message = [ledger.is_of_message(letter) for letter in ledger.letters()]
    counts = {
        "tasks": len(tasks),
        "due_now": len(overdue),
        "oldest_due": _readable(overdue[0]) if overdue else None,
        "next_due": _readable(later[0]) if later else None,
        "no_due_time": unindexed["no_due_time"],
        "unindexed": unindexed["unindexed"],  # which no sweep finds
        "dead_tasks": len(of_message) - sum(of_message),
        "dead_messages": sum(of_message),
        "old_pointers": len(index) - len(live),  # which sweeps tidy up
    }
    if as_json:
        print(json.dumps(counts))
    else:
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, count in counts.items():
            table.add_row(name.replace("_", " "), "–" if count is None else str(count))
        out.print(table)
    if counts["unindexed"]:
        err.print(f"[yellow]unindexed: {counts['unindexed']} tasks have a due time that no sweep finds: run reindex[/]")
    return problems.status


def _without_index_key(ledger: LedgerAdmin, records: list[str], problems: Problems) -> Counter[str]:
    """How many of the entries in ``records`` have no due time, and how many have one but no index key.

    An entry may have been changed between two listings: so the key that it names now is asked for.
    """

    def kind(record: str) -> str | None:
        stored = ledger.read(record)
        if stored is None:
            return None
        if stored.entry.due_at == NEVER:
            return "no_due_time"
        return "indexed" if ledger.is_indexed(stored) else "unindexed"

    return Counter(found for _, found in read_all(records, kind, problems))


def _index_keys(ledger: LedgerAdmin, until: float, problems: Problems) -> Iterator[IndexKey]:
    """The index keys of what is due by ``until``, in order; what else lies among them is reported."""
    for key in ledger.index_keys():
        if isinstance(key, str):
            problems.report(key, "is no index key")
        elif key.due_at > until:
            return
        else:
            yield key


def show(ledger: LedgerAdmin, *, stream_name: str, task_id: int | None) -> int:
    """What is known of one stream's tasks, or of one task, as JSON."""
    problems = Problems()
    try:
        records = ledger.records(stream_name)
    except UnicodeEncodeError:
        raise UsageError("the name of the stream is not UTF-8") from None
    wanted = [record for record in records if task_id in (None, ledger.task_id_of(record))]
    found = [stored for _, stored in read_all(wanted, ledger.read, problems)]
    if found:
        print(json.dumps([_shown(stored) for stored in found], indent=2, ensure_ascii=False))
    elif not problems.status:
        raise UsageError(f"the ledger knows no such task of {stream_name} (given up? see `ledger dead`)")
    return problems.status


def due(ledger: LedgerAdmin, *, as_json: bool) -> int:
    """What is due now, the oldest first; of what is stored, only that is read."""
    now, problems = time.time(), Problems()
    records = dict.fromkeys(ledger.record_of(key) for key in _index_keys(ledger, now, problems))
    found = [stored for _, stored in read_all(list(records), ledger.read, problems) if stored.entry.due_at <= now]
    for stored in sorted(found, key=lambda stored: stored.entry.due_at):
        entry = stored.entry
        if as_json:
            print(json.dumps(_shown(stored), ensure_ascii=False))
        else:
            kind = "due" if isinstance(next_step(entry, now), Delete) else "a look"
            out.print(f"{instant(entry.due_at)}  {escape(entry.task.stream_name)} {entry.task.task_id}  [dim]{kind}[/]")
    if not found:
        err.print("[dim]nothing is due[/]")
    return problems.status


# -- doing -------------------------------------------------------------------------------------


def reindex(ledger: LedgerAdmin, *, dry_run: bool) -> int:
    """Rebuilds the pointers from the truth: every task with a due time has one again."""
    problems = Problems()
    index = {key.ref for key in _index_keys(ledger, NEVER, problems)}
    mended = 0
    for key, stored in entries(ledger, problems):
        if stored.entry.due_at == NEVER or stored.ref in index:
            continue
        try:
            if not dry_run:
                ledger.index(stored)
        except LedgerRefused as error:
            problems.report(key, error)
        else:
            mended += 1
    out.print(f"{would(dry_run)}mended {mended} tasks that no sweep would have found")
    return problems.status


# -- shared ------------------------------------------------------------------------------------


def entries(ledger: LedgerAdmin, problems: Problems) -> Iterator[tuple[str, Stored]]:
    """Every task of the ledger, and its key; what cannot be read is reported, and left out."""
    yield from read_all(ledger.records(), ledger.read, problems)


def read_all(keys: list[str], read: Callable[[str], Found | None], problems: Problems) -> Iterator[tuple[str, Found]]:
    """What ``read`` makes of each key, in order; None is left out, and a LedgerRefused reported."""

    def attempt(key: str) -> Found | LedgerRefused | None:
        try:
            return read(key)
        except LedgerRefused as error:
            return error

    with (
        ThreadPoolExecutor(HANDS) as pool,
        Progress(console=err, transient=True, disable=not err.is_terminal) as progress,
    ):
        bar = progress.add_task("reading", total=len(keys))
        for first in range(0, len(keys), PAGE):
            page = keys[first : first + PAGE]
            for key, found in zip(page, pool.map(attempt, page), strict=True):
                progress.advance(bar)
                if isinstance(found, LedgerRefused):
                    problems.report(key, found)
                elif found is not None:
                    yield key, found


def _shown(stored: Stored) -> dict[str, Any]:
    """An entry for people and programs: times as instants, the id as text, which every reader can hold."""
    entry, fields = stored.entry, fields_of(*stored)
    times = {name: instant(at) for name, at in fields.items() if name.endswith(("_at", "_before"))}
    failures = [
        {**failure, "first_at": instant(failure["first_at"]), "last_at": instant(failure["last_at"])}
        for failure in fields["failures"]
    ]
    task = {"stream_name": entry.task.stream_name, "task_id": str(entry.task.task_id)}
    return {**task, "due_at": instant(entry.due_at), **fields, **times, "failures": failures, "task": task}


def instant(at: float | None) -> str | None:
    """A moment as people and ``import`` read it."""
    return (
        None if at is None or at == NEVER else datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    )


def _readable(minute: float) -> str:
    return datetime.fromtimestamp(minute, timezone.utc).strftime("%Y-%m-%dT%H:%MZ")


def would(dry_run: bool) -> str:
    """How a sentence about what was done begins."""
    return "would have " if dry_run else ""
