"""``make bench``: every part, or those that are named; tables here, JSON and charts in ``docs/bench``."""

from __future__ import annotations

import os
import sys
import time

from bench import day, instances, ledger, memory, report, throughput, validation
from bench.server import Server

PARTS = {
    "day": (day.run, day.draw),
    "throughput": (throughput.run, throughput.draw),
    "instances": (instances.run, instances.draw),
    "ledger": (ledger.run, None),
    "memory": (memory.run, None),
    "validation": (validation.run, None),
}


def main(names: list[str]) -> int:
    """Runs the parts; returns the exit status."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        report.out.print(f"[red]no such part: {unknown[0]}; there are {', '.join(PARTS)}[/]")
        return 2
    quick = bool(os.environ.get("QUICK"))
    began = time.monotonic()
    with Server() as server:
        for name in names or PARTS:
            run, draw = PARTS[name]
            result = run(server, quick=quick)
            if not quick:
                report.keep(result)
                if draw:
                    from bench import charts  # takes a second, and only where something is drawn

                    draw(result, charts)
    report.out.print(f"[dim]{time.monotonic() - began:.0f} s{', too short to be more than a hint' if quick else ''}[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
