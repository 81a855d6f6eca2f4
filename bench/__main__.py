"""Measures every part, or those that are named; writes the README's tables, and JSON and charts in docs/bench."""

from __future__ import annotations

import argparse
import signal
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


def main(arguments: list[str]) -> int:
    """Runs the parts; returns the exit status."""
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"{', '.join(PARTS)}; all if none is named")
    names = parser.parse_args(arguments).part
    for name in names:
        if name not in PARTS:
            parser.error(f"no such part: {name}; there are {', '.join(PARTS)}")
    if report.QUICK:
        report.out.print("[bold]QUICK: too few and too short to be more than a hint; nothing is written[/]\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no contender is left behind
    began = time.monotonic()
    with Server() as server:
        for name in names or PARTS:
            run, draw = PARTS[name]
            result = run(server, quick=report.QUICK)
            if not report.QUICK:
                report.keep(result)
                if draw:
                    from bench import charts  # takes a second, and only where something is drawn

                    draw(result, charts)
    report.out.print(f"[dim]{time.monotonic() - began:.0f} s[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
