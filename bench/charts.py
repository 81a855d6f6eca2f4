"""The charts that the README shows, all in one style."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from bench.report import OURS

BLUE, GREY = "#0b6e99", "#b8c4cc"


def bars(path: Path, title: str, panels: dict[str, dict[str, float]]) -> None:
    """Horizontal bars, a panel for each quantity; ours stand out."""
    rows = len(next(iter(panels.values())))
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 0.45 * rows + 1.2), sharey=True, layout="constrained")
    for axis, (quantity, values) in zip(axes, panels.items(), strict=True):
        colours = [BLUE if name.startswith(OURS) else GREY for name in values]
        drawn = axis.barh(list(map(_called, values)), values.values(), color=colours)
        axis.bar_label(drawn, fmt=_short, padding=3)
        axis.set_title(quantity, fontsize=10, loc="left")
        axis.invert_yaxis() if axis is axes[0] else None
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_xticks([])
        axis.margins(x=0.12)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def rates(path: Path, title: str, panels: dict[str, dict[str, list[float]]]) -> None:
    """A panel for each number of instances: what each of them was allowed per second, and all together."""
    figure, axes = plt.subplots(1, len(panels), figsize=(12, 3), sharey=True, layout="constrained")
    for axis, (name, curves) in zip([axes] if len(panels) == 1 else axes, panels.items(), strict=True):
        smooth = {group: _smooth(curve) for group, curve in curves.items()}
        for curve in smooth.values():
            axis.plot(curve, color=BLUE, alpha=0.6, linewidth=1)
        axis.plot([sum(second) for second in zip(*smooth.values(), strict=True)], color="black", linewidth=1.4)
        axis.axhline(200, color="#c0392b", linewidth=0.8, linestyle=":")
        axis.set_title(_called(name), fontsize=10, loc="left")
        axis.set_xlabel("s", fontsize=8)
        axis.set_ylabel("let in per second (mean of 3 s)" if axis.get_subplotspec().is_first_col() else "", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title + "  (black: together; dotted: the limit)", x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _called(name: str) -> str:
    return name.replace(OURS, "this function", 1) if name.startswith(OURS) else name


def _smooth(curve: list[float], seconds: int = 3) -> list[float]:
    return [sum(part) / len(part) for part in (curve[max(0, end - seconds) : end] for end in range(1, len(curve) + 1))]


def day(path: Path, rows: dict[str, dict[str, float]], curves: dict[str, dict[str, list[float]]], quota: int) -> None:
    """The tasks that count against the quota over a day, and what the rest of the day looked like."""
    figure, (line, bar) = plt.subplots(1, 2, figsize=(11, 3.2), width_ratios=[2, 1.3], layout="constrained")
    for name, colour in (("without", GREY), ("ours", BLUE)):
        counted = curves[name]["counted"]
        line.plot([number / 6 for number in range(len(counted))], counted, color=colour, linewidth=2)
        line.annotate(
            "with live-record-reaper" if name == "ours" else "without", (len(counted) / 6, counted[-1]),
            xytext=(-4, 6), textcoords="offset points", ha="right", color=colour if name == "ours" else "#6b7780",
        )  # fmt: skip
    line.axhline(quota, color="#c0392b", linewidth=1, linestyle=":")
    line.annotate(f"quota: {quota:,} a day", (0.2, quota), xytext=(0, 4), textcoords="offset points", color="#c0392b")
    line.set_title("tasks that count against the quota, by the hour of the day", fontsize=10, loc="left")
    line.set_ylim(0, quota * 1.15)
    line.set_xlim(0, 24)
    line.set_xticks(range(0, 25, 4))
    line.spines[["top", "right"]].set_visible(False)
    names = ["recordings refused", "hours recorded\nby accident"]
    for offset, (name, colour) in enumerate((("without", GREY), ("ours", BLUE))):
        values = [rows[name]["refused"], rows[name]["recorded by accident, h"]]
        drawn = bar.barh([place + 0.35 * offset for place in (0, 1)], values, height=0.33, color=colour)
        bar.bar_label(drawn, fmt="{:,.0f}", padding=3)
    bar.set_title("grey: without; blue: with live-record-reaper", fontsize=10, loc="left")
    bar.set_yticks([0.17, 1.17], names)
    bar.invert_yaxis()
    bar.set_xticks([])
    bar.margins(x=0.15)
    bar.spines[["top", "right", "bottom"]].set_visible(False)
    created = f"{rows['ours']['created'] + rows['ours']['refused']:,.0f}"
    figure.suptitle(f"One day, {created} timed recordings", x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.savefig(path, dpi=110)
    plt.close(figure)
