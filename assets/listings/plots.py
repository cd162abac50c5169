"""Pictures of one batch's intake.

Belongs here: what to draw. Not here: Dagster, reading feeds.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_intake(axes: "Axes", accepted: int, repeats: int, reasons: Mapping[str, int]) -> None:
    """Draw one horizontal bar per fate of a row: accepted, exact repeat, and each reason of rejection."""
    fates = [("accepted", accepted, "#2b7a4b"), ("exact repeat", repeats, "#8a8f98")]
    fates += [(reason.replace("_", " "), rows, "#b23b3b") for reason, rows in sorted(reasons.items())]
    names, rows, colours = zip(*reversed(fates), strict=True)
    bars = axes.barh(names, rows, color=colours)
    axes.bar_label(bars, padding=3)
    axes.set_xscale("symlog")
    axes.set_xlabel("rows (log scale)")
    axes.margins(x=0.12)
