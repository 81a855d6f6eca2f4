"""What a million deletions cost, from what the throughput was measured to be."""

from __future__ import annotations

from bench.report import Table, out, show

SIZES_MB = (128, *range(256, 3_072 + 128, 128))  # the sizes that SCF offers (583/11637), but for 64
SPARE = 1.25  # times the peak that was measured: nobody configures a function to the megabyte
ASSUMED = (
    "Assumed: what is billed is time × configured memory, the smallest size from 128 MB on that leaves a quarter "
    "above the peak; up to 1,000 messages a delivery, at 30 ms; redeliveries included, cold starts not; CPU as of this "
    "machine."
)


def of(measured: Table) -> Table:
    """A row for each contender in one setting's table; prints them."""
    rows = {}
    for name, row in measured.items():
        size = next(size for size in SIZES_MB if size >= row["peak MB"] * SPARE)
        rows[name] = {
            "CPU s per 1,000": row["CPU ms/task"],
            "memory, MB": size,
            "hours per million": round(1e6 / row["tasks/s"] / 3_600, 1),
            "GB-seconds per million": round(1e6 / row["tasks/s"] * size / 1024),
        }
    show("What a million deletions cost", rows)
    out.print(f"[dim]{ASSUMED}[/]\n")
    return rows
