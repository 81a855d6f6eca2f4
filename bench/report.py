"""How results are shown and kept."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent.parent / "docs" / "bench"
out = Console(highlight=False, width=None if sys.stdout.isatty() else 130)


class Result(NamedTuple):
    """What one part of the benchmark found."""

    name: str
    rows: dict[str, Any]


def table(title: str, rows: dict[str, dict[str, Any]]) -> None:
    """Prints ``rows``; those of ours in bold."""
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    shown.add_column("")
    for heading in next(iter(rows.values())):
        shown.add_column(heading, justify="right")
    for name, row in rows.items():
        shown.add_row(name, *(str(value) for value in row.values()), style="bold" if name.startswith("ours") else None)
    out.print(shown)
    out.print()


def keep(result: Result) -> None:
    """Writes a part's JSON, with what it ran on."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    on = {"python": platform.python_version(), "cores": os.cpu_count()}
    path = FOLDER / f"{result.name}.json"
    path.write_text(json.dumps({**on, "results": result.rows}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
