"""The charts that the README shows, all in one style."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

OURS, OTHERS = "#0b6e99", "#b8c4cc"


def bars(path: Path, title: str, panels: dict[str, dict[str, float]], ours: str) -> None:
    """Horizontal bars, a panel for each quantity; those whose names begin with ``ours`` stand out."""
    rows = len(next(iter(panels.values())))
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 0.45 * rows + 1.2), sharey=True, layout="constrained")
    for axis, (quantity, values) in zip(axes, panels.items(), strict=True):
        names = list(values)
        drawn = axis.barh(names, values.values(), color=[OURS if name.startswith(ours) else OTHERS for name in names])
        axis.bar_label(drawn, fmt="%.0f", padding=3)
        axis.set_title(quantity, fontsize=10, loc="left")
        axis.invert_yaxis() if axis is axes[0] else None
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_xticks([])
        axis.margins(x=0.12)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.savefig(path, dpi=110)
    plt.close(figure)
