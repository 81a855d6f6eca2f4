"""How results are shown and kept."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as Shown

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "bench"
README = ROOT / "README.md"
QUICK = os.environ.get("QUICK", "") not in ("", "0")
OURS = "ours"  # how the names of our rows begin
out = Console(highlight=False, width=None if sys.stdout.isatty() else 130)

Table = dict[str, dict[str, Any]]  # a row for each name; a value for each heading


class Result(NamedTuple):
    """What one part of the benchmark found: tables for the README, by name, and all that a chart is drawn from."""

    name: str
    tables: dict[str, Table]
    details: Any = None


def megabytes(kibibytes: float) -> float:
    """What the kernel calls kB, in MB."""
    return round(kibibytes * 1024 / 1e6, 1)


def show(title: str, table: Table) -> None:
    """Prints a table; our rows in bold."""
    shown = Shown(title=title, title_justify="left", box=None, pad_edge=False)
    shown.add_column("")
    for heading in next(iter(table.values())):
        shown.add_column(heading, justify="right")
    for name, row in table.items():
        shown.add_row(name, *map(str, row.values()), style="bold" if name.startswith(OURS) else None)
    out.print(shown)
    out.print()


def markdown(table: Table) -> str:
    """The same for the README, which calls us this function."""
    headings = list(next(iter(table.values())))
    lines = [["", *headings], ["---"] * (1 + len(headings))]
    for name, row in table.items():
        called = f"**{name.replace(OURS, 'this function', 1)}**" if name.startswith(OURS) else name
        lines.append([called, *map(str, row.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def block(name: str) -> re.Pattern[str]:
    """Where the README shows the table of this name: what lies between two comments."""
    return re.compile(rf"(?<=<!-- bench: {name} -->\n)[^<]*(?=\n<!-- end -->)")


def keep(result: Result) -> None:
    """Writes a part's JSON, with what it ran on, and its tables into the README.

    Raises:
        ValueError: the README has no place for a table.
    """
    text = README.read_text(encoding="utf-8")
    for name, table in result.tables.items():
        text, places = block(name).subn(lambda _, table=table: markdown(table), text)  # type: ignore[misc]
        if places != 1:
            raise ValueError(f"README.md has {places} places for the table {name!r}, not one")
    FOLDER.mkdir(parents=True, exist_ok=True)
    on = {"python": platform.python_version(), "cores": os.cpu_count()}
    kept = json.dumps({**on, "tables": result.tables, "details": result.details}, indent=2, ensure_ascii=False)
    (FOLDER / f"{result.name}.json").write_text(kept + "\n", encoding="utf-8")
    README.write_text(text, encoding="utf-8")
    out.print(f"[dim]written: docs/bench/{result.name}.json, and its tables in README.md[/]\n")
