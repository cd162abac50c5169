"""Pictures of a cleaned batch.

Belongs here: what to draw. Not here: Dagster, cleaning.
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Columns whose share of filled values tells how good a feed is.
TELLING_COLUMNS = ("description", "brand", "gtin", "mpn", "category", "price", "colour", "url", "image_url", "language")


def draw_fill_rates(axes: "Axes", products: pa.Table) -> None:
    """Draw the share of products that have a value, one bar per telling column."""
    rows = max(products.num_rows, 1)
    shares = {name: 1 - products.column(name).null_count / rows for name in TELLING_COLUMNS}
    shares["model code"] = (
        float(pc.sum(pc.greater(pc.list_value_length(products.column("model_codes")), 0)).as_py() or 0) / rows
    )
    names = sorted(shares, key=shares.__getitem__)
    bars = axes.barh(names, [shares[name] * 100 for name in names], color="#33658a")
    axes.bar_label(bars, fmt="%.0f%%", padding=3)
    axes.set_xlim(0, 108)
    axes.set_xlabel("products with a value (%)")


def draw_quality(axes: "Axes", products: pa.Table) -> None:
    """Draw the distribution of the quality score."""
    axes.hist(products.column("quality").to_numpy(), bins=np.linspace(0, 1, 21).tolist(), color="#33658a")
    axes.set_xlabel("quality score")
    axes.set_ylabel("products")
