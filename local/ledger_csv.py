"""A ledger as a CSV file: ``export`` and ``import``."""

from __future__ import annotations

import csv
import io
import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from handler.core.entry import DEFAULT_APP, NEVER, Entry
from handler.core.events import Event, RetentionExpiry, TaskCreated
from handler.core.model import RecordTask, Rejection
from handler.core.ports import LedgerAdmin
from handler.core.storage import LedgerRefused, Stored
from handler.intake import messages
from handler.masking import describe
from local.ledger import HANDS, Problems, UsageError, entries, err, instant, out, would

PAGE = 500
TELL_EVERY_SECONDS = 10.0
TASK = ("stream_name", "task_id")
NEEDED = (*TASK, "due")
NAMES = ("domain_name", "app_name")
TIMES = ("due", "look", "start_time")
COLUMNS = (*NEEDED, "start_time", *NAMES, "look")

# What becomes of a row: one of these.
IMPORTED, KNOWN, BAD = "imported", "known", "bad"
# What is to be said of a row besides.
EARLIER_KEPT, NEVER_DUE = "earlier time kept", "will never be due"

# -- export ------------------------------------------------------------------------------------


def export(ledger: LedgerAdmin) -> int:
    """Every task, in the form that ``import_csv`` reads. ``due``: what was asserted; ``look``: what a hint asks for."""
    problems = Problems()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for _, (entry, _) in entries(ledger, problems):
        asserted, look = (instant(_second_after(at)) or "" for at in (entry.delete_at, entry.check_at))
        started = instant(entry.started_at) or ""
        app = entry.app_name or (DEFAULT_APP if look and entry.domain_name else "")  # a look is imported with both only
        writer.writerow((*entry.task, asserted, started, entry.domain_name or "", app, look))
    return problems.status


def _second_after(at: float | None) -> float | None:
    return None if at is None else float(math.ceil(at))  # never early


# -- import ------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A row of the file: its first line, how many lines it takes, its cells."""

    line: int
    lines: int
    cells: list[str]


class Said(NamedTuple):
    """What a valid row says. Times are unix seconds."""

    task: RecordTask
    due: float | None
    look: float | None
    start_time: float | None
    domain_name: str | None
    app_name: str | None
    because: dict[str, str]


class Done(NamedTuple):
    """What became of a row (IMPORTED, KNOWN or BAD), and what is to be said of it, each as a kind and a text."""

    row: Row
    outcome: str
    remarks: tuple[tuple[str, str], ...] = ()


def import_csv(ledger: LedgerAdmin, *, path: Path, dry_run: bool) -> int:
    """Remembers every row of a CSV file; run again after an interruption, it does only what is left."""
    text = _text(path)
    rows = _rows(text)
    columns = _columns(path, next(rows, None))
    counts: Counter[str] = Counter()
    total = text.count("\n")
    shape = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeRemainingColumn())
    told_at = time.monotonic()

    def count(done: Done) -> None:
        nonlocal told_at
        for kind, remark in done.remarks:
            err.print(f"[{'red' if kind == BAD else 'yellow'}]{escape(f'{path}:{done.row.line}: {remark}')}[/]")
            counts[kind] += kind != BAD
        counts[done.outcome] += done.row.lines  # so that the sum is that of all lines
        progress.update(bar, advance=done.row.lines)
        if not err.is_terminal and time.monotonic() > told_at + TELL_EVERY_SECONDS:
            told_at = time.monotonic()
            err.print(f"{done.row.line} of {total} rows")

    try:
        with ThreadPoolExecutor(HANDS) as pool, Progress(*shape, console=err, disable=not err.is_terminal) as progress:
            bar = progress.add_task("", total=total)
            try:
                for done in _import(ledger, columns, rows, dry_run, pool):
                    count(done)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except BaseException:
        err.print(
            f"[yellow]{_sum(counts, dry_run)}: not finished. Run it again to go on: what is known is left alone[/]"
        )
        raise
    out.print(_sum(counts, dry_run))
    return 1 if counts[BAD] else 0


def _sum(counts: Counter[str], dry_run: bool) -> str:
    remarks = (f"; {kind}: {counts[kind]}" for kind in (EARLIER_KEPT, NEVER_DUE) if counts[kind])
    return (
        f"{would(dry_run)}imported {counts[IMPORTED]} rows; {counts[KNOWN]} were known already; "
        f"{counts[BAD]} are bad{''.join(remarks)}"
    )


def _import(
    ledger: LedgerAdmin, columns: list[str], rows: Iterator[Row], dry_run: bool, pool: ThreadPoolExecutor
) -> Iterator[Done]:
    """What became of each row. A page at a time: so the next rows wait for those before them."""
    planned: dict[RecordTask, Entry] = {}  # what a dry run would have written, in place of the ledger
    while page := list(islice(rows, PAGE)):
        by_task: dict[RecordTask, list[tuple[Row, Said]]] = {}  # so that no two threads work on one
        for row in page:
            said = _said(columns, row, time.time())
            if isinstance(said, str):
                yield Done(row, BAD, ((BAD, said),))
            else:
                by_task.setdefault(said.task, []).append((row, said))
        for done in pool.map(partial(_import_task, ledger, planned if dry_run else None), by_task.values()):
            yield from done


def _import_task(
    ledger: LedgerAdmin, planned: dict[RecordTask, Entry] | None, rows: Iterable[tuple[Row, Said]]
) -> list[Done]:
    """Imports the rows of one task; into ``planned``, if that is given."""
    found = []
    for row, said in rows:
        try:
            stored = _planned_or_stored(ledger, planned, said.task)
            before = stored.entry if stored else None
            wanted = _wanted(before, said)
            if wanted == before:
                outcome = KNOWN
            else:
                outcome = IMPORTED
                if planned is None:
                    ledger.save(wanted, stored)
                else:
                    planned[said.task] = wanted._replace(cause=None)  # a file may hold very many
        except LedgerRefused as error:
            found.append(Done(row, BAD, ((BAD, str(error)),)))
        else:
            found.append(Done(row, outcome, _remarks(before, wanted, said)))
    return found


def _planned_or_stored(ledger: LedgerAdmin, planned: dict[RecordTask, Entry] | None, task: RecordTask) -> Stored | None:
    """What is known of ``task``: by the ledger, or to a dry run that has not written it there."""
    if planned and task in planned:
        return Stored(planned[task], None)
    return ledger.load(task)


def _wanted(before: Entry | None, said: Said) -> Entry:
    """What is to be known of the task: ``before``, and what the row says."""
    entry = before or Entry(said.task, said.domain_name, said.app_name, created_at=time.time())
    # An export has whole seconds: what it says of the start may be a little early, never to be taken for news.
    start = said.start_time
    news = start is not None and (entry.started_at is None or not 0 <= entry.started_at - start < 1)
    same_app = said.app_name in (None, entry.app_name or DEFAULT_APP)
    entry = entry._replace(
        domain_name=said.domain_name or entry.domain_name,
        app_name=entry.app_name if same_app else said.app_name,
        started_at=start if news else entry.started_at,
    )
    if said.due is not None:
        entry = entry.asserted(said.due, said.because)
    if said.look is not None:
        entry = entry.hinted(said.look, said.because)
    return entry


def _remarks(before: Entry | None, wanted: Entry, said: Said) -> tuple[tuple[str, str], ...]:
    name = f"{said.task.stream_name} {said.task.task_id}"
    known_at = _second_after(before.delete_at) if before else None
    if said.due is not None and known_at is not None and said.due > known_at:
        return ((EARLIER_KEPT, f"{name}: {EARLIER_KEPT}: {instant(known_at)}"),)
    if wanted.due_at == NEVER:
        return ((NEVER_DUE, f"{name}: {NEVER_DUE}: neither due nor look says when"),)
    return ()


# -- reading a file ----------------------------------------------------------------------------


def _text(path: Path) -> str:
    """The whole file, so that nothing is imported of one that cannot be read to its end."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{path}: is UTF-16, not UTF-8: save it as UTF-8")
    if b"\0" in data:
        raise UsageError(f"{path}:{_line(data, data.index(0))}: has NUL bytes. Is it UTF-16? Save it as UTF-8")
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}:{_line(data, error.start)}: is not UTF-8 ({error.reason}): save it as UTF-8"
        ) from None


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def _rows(text: str) -> Iterator[Row]:
    """The rows that are not empty, the first line among them."""
    csv.field_size_limit(max(131_072, len(text)))  # a quote that is not closed takes all that follows into one cell
    reader = csv.reader(io.StringIO(text, newline=""))
    line = 1
    for cells in reader:
        if cells:
            yield Row(line, reader.line_num - line + 1, cells)
        line = reader.line_num + 1


def _columns(path: Path, first: Row | None) -> list[str]:
    """The names in the first line.

    Raises:
        UsageError: they are not the columns that an import needs; the text says what is wrong.
    """
    must = f"{path}: the first line must name {', '.join(NEEDED)}"
    if first is None:
        raise UsageError(f"{must}; the file is empty")
    header = first.cells
    if _has_line_break(first):
        raise UsageError(f"{must}; a quote in it is not closed")
    if len(header) == 1 and (separators := [mark for mark in ";\t|" if mark in header[0]]):
        raise UsageError(f"{must}; its columns are separated by {separators[0]!r}: save it with commas")
    if padded := [name for name in header if name not in COLUMNS and name.strip() in COLUMNS]:
        raise UsageError(f"{must}; {padded[0]!r} has blanks around it: take them away")
    if not set(header) & set(COLUMNS):
        raise UsageError(f"{must}; {describe(','.join(header))} names none of them: is the header missing?")
    if missing := [name for name in NEEDED if name not in header]:
        raise UsageError(f"{must}; missing: {', '.join(missing)}")
    if unknown := [name for name in header if name not in COLUMNS]:
        raise UsageError(f"{path}: {unknown[0]!r} is no column; there are {', '.join(COLUMNS)}")
    if len(set(header)) < len(header):
        raise UsageError(f"{path}: the first line names a column twice")
    return header


def _has_line_break(row: Row) -> bool:
    return row.lines > 1 or any("\n" in cell or "\r" in cell for cell in row.cells)


# -- reading a row -----------------------------------------------------------------------------


def _said(columns: list[str], row: Row, now: float) -> Said | str:
    """What ``row`` says, or what is wrong with it. ``now`` is unix seconds; times are held against it."""
    if _has_line_break(row):
        lines = f"{row.lines} lines, to line {row.line + row.lines - 1}" if row.lines > 1 else "1 line"
        return f"a cell that begins here has a line break and takes {lines}: is a quote not closed?"
    if len(row.cells) > len(columns):
        return "there are more cells than columns: an unquoted comma?"
    if len(row.cells) < len(columns):
        return f"{columns[len(row.cells)]}: missing: there are fewer cells than columns"
    cells = dict(zip(columns, row.cells, strict=True))
    given = {name: cell for name, cell in cells.items() if cell}
    # Each field is read as that of a message which has nothing else that could be wrong.
    names = {name: cells[name] for name in TASK} | {name: given[name] for name in NAMES if name in given}
    about = _message(now, type="task-created", expires_at=now, **names)
    times = {name: _time(given[name], now) for name in TIMES if name in given}
    mistakes = [about.detail] if isinstance(about, Rejection) else []
    mistakes += [f"{name}: {time}" for name, time in times.items() if isinstance(time, str)]
    if "look" in given and any(name not in given for name in NAMES):
        mistakes.append("look: needs both domain_name and app_name: without them no check can be made")
    if mistakes or not isinstance(about, TaskCreated):
        return "; ".join(mistakes)
    valid = {name: time for name, time in times.items() if isinstance(time, float)}
    due, look, start = map(valid.get, TIMES)
    task = RecordTask(about.stream_name, about.task_id)
    because = {"message_id": "import", **{name: cells[name] for name in NEEDED}}
    return Said(task, due, look, start, about.domain_name, about.app_name, because)


def _time(cell: str, now: float) -> float | str:
    """A time as unix seconds, or what is wrong with it."""
    found = _message(now, type="retention-expiry", stream_name="-", task_id=1, expires_at=cell)
    if isinstance(found, RetentionExpiry) and found.expires_at is not None:
        return found.expires_at
    return found.detail.removeprefix("expires_at: ") if isinstance(found, Rejection) else "is no time"


def _message(now: float, **fields: object) -> Event | Rejection:
    [found] = messages.read(fields, now)
    return found
