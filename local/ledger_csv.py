"""A ledger as a CSV file: ``export`` and ``import``."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from handler import messages
from handler.cos_ledger import CosLedger
from handler.ledger import Entry, LedgerRefused
from handler.model import RecordTask, Rejection
from local.ledger import HANDS, UsageError, entries, err, instant, out, would

PAGE = 500
TELL_EVERY_SECONDS = 10.0
NEEDED = ("stream_name", "task_id", "due")
COLUMNS = (*NEEDED, "start_time", "domain_name", "app_name", "look")
_NO_SUCH_COLUMN = "surplus"

Row = tuple[int, dict[str, Any]]  # its line number, and its cells


def export(ledger: CosLedger) -> int:
    """Every task, in the form that ``import_csv`` reads. ``due``: what was asserted; ``look``: what a hint asks for."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries(ledger):
        asserted, look = (instant(_second_after(at)) or "" for at in (entry.asserted_at, entry.look_at))
        started = instant(entry.started_at) or ""
        names = (entry.domain_name or "", entry.app_name or "")
        writer.writerow((entry.task.stream_name, entry.task.task_id, asserted, started, *names, look))
    return 0


def _second_after(at: float | None) -> float | None:
    return None if at is None else float(math.ceil(at))  # never early


def import_csv(ledger: CosLedger, *, path: Path, dry_run: bool) -> int:
    """Remembers every row of a CSV file; run again after an interruption, it does only what is left."""
    total = _lines(path)
    counts: Counter[str] = Counter()
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeRemainingColumn())
    told_at = time.monotonic()

    def done(row: Row, told: str) -> None:
        nonlocal told_at
        if told not in ("imported", "known"):
            err.print(f"[red]{escape(f'{path}:{row[0]}: {told}')}[/]")
            told = "bad"
        counts[told] += 1
        progress.update(bar, advance=1)
        if not err.is_terminal and time.monotonic() > told_at + TELL_EVERY_SECONDS:
            told_at = time.monotonic()
            err.print(f"{counts.total()} of {total} rows")

    try:
        with (
            ThreadPoolExecutor(HANDS) as pool,
            Progress(*columns, console=err, disable=not err.is_terminal) as progress,
        ):
            bar = progress.add_task("", total=total)
            try:
                for rows in _pages(path):
                    for made in pool.map(lambda of_task: _import_rows(ledger, of_task, dry_run), _by_task(rows)):
                        for row, told in made:
                            done(row, told)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except BaseException:
        err.print(
            f"[yellow]{_sum(counts, dry_run)}: not finished. Run it again to go on: what is known is left alone[/]"
        )
        raise
    out.print(_sum(counts, dry_run))
    return 1 if counts["bad"] else 0


def _sum(counts: Counter[str], dry_run: bool) -> str:
    return (
        f"{would(dry_run)}imported {counts['imported']} rows; {counts['known']} were known already; "
        f"{counts['bad']} are bad"
    )


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return max(0, sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b"")) - 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _pages(path: Path) -> Iterator[list[Row]]:
    """The rows, a page at a time: the file may be large."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey=_NO_SUCH_COLUMN)
            _check_header(path, list(reader.fieldnames or ()))
            while rows := [(reader.line_num, row) for row in islice(reader, PAGE)]:
                yield rows
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start} of a page): save it so") from None
    except csv.Error as error:
        raise UsageError(f"{path}: is no CSV: {error}") from None


def _check_header(path: Path, header: list[str]) -> None:
    if missing := [name for name in NEEDED if name not in header]:
        raise UsageError(f"{path}: the first line must name {', '.join(NEEDED)}; missing: {', '.join(missing)}")
    if unknown := [name for name in header if name not in COLUMNS]:
        raise UsageError(f"{path}: {unknown[0]!r} is no column; there are {', '.join(COLUMNS)}")
    if len(set(header)) < len(header):
        raise UsageError(f"{path}: the first line names a column twice")


def _by_task(rows: list[Row]) -> list[list[Row]]:
    """The rows of one task together, so that no two threads work on it."""
    found: dict[tuple[object, object], list[Row]] = {}
    for row in rows:
        found.setdefault((row[1]["stream_name"], row[1]["task_id"]), []).append(row)
    return list(found.values())


def _import_rows(ledger: CosLedger, rows: list[Row], dry_run: bool) -> list[tuple[Row, str]]:
    """Each row, and "imported", "known", or what is wrong with it."""
    told = []
    known: Entry | None = None
    for row in rows:
        event = _event_of(row[1])
        if isinstance(event, str):
            told.append((row, event))
            continue
        try:
            before = known or ledger.read(RecordTask(event.stream_name, event.task_id))
        except LedgerRefused as error:
            told.append((row, str(error)))
            continue
        fresh = Entry(RecordTask(event.stream_name, event.task_id), known_since=time.time())
        wanted = _wanted(before or fresh, event, row[1])
        if wanted == before:
            told.append((row, "known"))
            continue
        known = wanted if dry_run else ledger.write(wanted)
        told.append((row, "imported"))
    return told


def _wanted(entry: Entry, event: messages.TaskCreated, row: dict[str, str]) -> Entry:
    because = {"message_id": "import", **{name: row[name] for name in NEEDED}}
    # An export has whole seconds: what it says of the start may be a little early, never to be taken for news.
    said = event.start_time
    news = said is not None and (entry.started_at is None or not 0 <= entry.started_at - said < 1)
    started_at = said if news else entry.started_at
    entry = entry._replace(
        domain_name=event.domain_name or entry.domain_name,
        app_name=event.app_name or entry.app_name,
        started_at=time.time() if started_at is None else started_at,
    )
    if event.expires_at is not None:
        entry = entry.asserted(event.expires_at, because)
    if event.end_time is not None:
        entry = entry.hinted(event.end_time, because)
    return entry


def _event_of(row: dict[str, Any]) -> messages.TaskCreated | str:
    """A row as the message that would say the same, or what is wrong with it. A look is passed as the end."""
    if row.get(_NO_SUCH_COLUMN):
        return "there are more cells than columns: an unquoted comma?"
    if short := [name for name, cell in row.items() if cell is None]:
        return f"{short[0]}: missing: there are fewer cells than columns"
    renamed = {"due": "expires_at", "look": "end_time"}
    fields = {renamed.get(name, name): cell for name, cell in row.items() if cell or name in NEEDED[:2]}
    start = fields.pop("start_time", None)
    found = _read(fields)
    if isinstance(found, str) or start is None:
        return found
    started = _read({**{name: row[name] for name in NEEDED[:2]}, "start_time": start})
    return started if isinstance(started, str) else found.model_copy(update={"start_time": started.start_time})


def _read(fields: dict[str, Any]) -> messages.TaskCreated | str:
    # A message must say when its task ends, a row need not: it is lent an end to be read.
    lent = {} if fields.keys() & {"expires_at", "end_time"} else {"expires_at": time.time()}
    [event] = messages.read([{"type": "task-created", **fields, **lent}], time.time())
    if isinstance(event, Rejection):
        return event.detail.replace("expires_at", "due").replace("end_time", "look")
    if not isinstance(event, messages.TaskCreated):
        return "cannot be read"
    return event.model_copy(update=dict.fromkeys(lent)) if lent else event
