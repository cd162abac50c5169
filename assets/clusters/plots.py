"""Pictures of a clustering.

Belongs here: what to draw, from the stage's tables. Not here: Dagster, MLflow, matching.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.clusters.evaluation import Reliability
from assets.clusters.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, RED, GREY = "#33658a", "#b23b3b", "#8a8f98"
#: Features shown in a picture of the weights.
SHOWN_WEIGHTS = 20
#: Contributions shown one by one in a waterfall, and the height in inches that it then needs.
SHOWN_STEPS = 12
WATERFALL_HEIGHT = 4.2
#: Letters of a title above a waterfall.
TITLE_WIDTH = 88


def draw_channels(axes: "Axes", candidates: pa.Table) -> None:
    """Draw how many pairs each search proposed, and how many it alone did."""
    lists = candidates.column("channels").combine_chunks()
    total = _counted(pc.list_flatten(lists))
    alone = _counted(pc.list_flatten(lists.filter(pc.equal(pc.list_value_length(lists), 1))))
    names = sorted(total, key=total.__getitem__)
    axes.barh(names, [total[name] for name in names], color=GREY, label="proposed")
    axes.barh(names, [alone.get(name, 0) for name in names], color=BLUE, label="by it alone")
    axes.set_xlabel("candidate pairs")
    axes.legend(frameon=False)


def _counted(names: pa.Array) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(names).to_pylist()}


def draw_scores(axes: "Axes", scored: pa.Table) -> None:
    """Draw the distribution of the probabilities, vetoed pairs apart."""
    vetoed = scored.column("veto").is_valid()
    free = scored.filter(pc.invert(vetoed)).column("probability").to_numpy()
    axes.hist(free, bins=np.linspace(0, 1, 41).tolist(), color=BLUE)
    axes.set_yscale("symlog")
    axes.set_xlabel(f"probability that both are one product ({scored.num_rows - len(free):,} vetoed pairs left out)")
    axes.set_ylabel("pairs (log scale)")


def draw_sizes(axes: "Axes", clusters: pa.Table) -> None:
    """Draw how many clusters there are of each size."""
    distinct = clusters.group_by("cluster_id").aggregate([("cluster_size", "max")])
    sizes, counts = np.unique(distinct.column("cluster_size_max").to_numpy(), return_counts=True)
    axes.bar(sizes, counts, color=BLUE)
    axes.set_yscale("symlog")
    axes.set_xlabel("offers in the cluster")
    axes.set_ylabel("clusters (log scale)")


def price_spreads(clusters: pa.Table, products: pa.Table) -> NDArray[np.float64]:
    """Return `dearest / cheapest - 1` in percent of every cluster with two prices or more in one currency.

    Args:
        clusters: `PRODUCT_CLUSTERS`.
        products: Columns `product_id`, `price` and `currency`.
    """
    priced = products.select(["product_id", "currency"]).append_column("price", products["price"].cast(pa.float64()))
    priced = priced.filter(pc.greater(priced["price"], 0))
    groups = (
        clusters.select(["product_id", "cluster_id"])
        .join(priced, "product_id", join_type="inner")
        .group_by(["cluster_id", "currency"])
        .aggregate([("price", "min"), ("price", "max"), ("price", "count")])
    )
    groups = groups.filter(pc.greater(groups["price_count"], 1))
    spreads: NDArray[np.float64] = (groups["price_max"].to_numpy() / groups["price_min"].to_numpy() - 1) * 100
    return spreads


def draw_price_spread(axes: "Axes", clusters: pa.Table, products: pa.Table) -> None:
    """Draw how far the prices inside a cluster are apart: a wide spread may be a wrong join."""
    axes.hist(np.clip(price_spreads(clusters, products), 0, 100), bins=np.arange(0, 105, 5).tolist(), color=BLUE)
    axes.set_xlabel("dearest above cheapest offer of one cluster and currency (%; last bar: 95 or more)")
    axes.set_ylabel("clusters")


def draw_reliability(axes: "Axes", measured: Mapping[str, Reliability]) -> None:
    """Draw what share of the pairs of each probability are one product; on the diagonal, the scores are calibrated."""
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="dashed")
    for name, reliability in measured.items():
        label = f"{name} (expected error {reliability.error:.3f})"
        axes.plot(reliability.predicted, reliability.observed, marker="o", markersize=4, label=label)
    axes.set_xlabel("probability that both are one product")
    axes.set_ylabel("share that are, by the truth")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, fontsize=8)


def draw_weights(axes: "Axes", model: pa.Table) -> None:
    """Draw the heaviest weights of the model, for and against."""
    rows = sorted(model.to_pylist(), key=lambda row: abs(row["weight"]))[-SHOWN_WEIGHTS:]
    weights = [row["weight"] for row in rows]
    axes.barh([row["feature"] for row in rows], weights, color=[BLUE if w > 0 else RED for w in weights])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("weight in the log-odds")


def draw_waterfall(axes: "Axes", explanation: Explanation) -> None:
    """Draw how a pair came to its probability: every step from the log-odds before any evidence to the last ones."""
    steps = explanation.steps(SHOWN_STEPS)
    parts = np.array([step.part for step in steps])
    after = np.cumsum(parts)
    places = np.arange(len(steps))
    axes.barh(places, parts, left=after - parts, height=0.7, color=[BLUE if part > 0 else RED for part in parts])
    axes.barh(len(steps), after[-1], height=0.7, color=GREY)
    # Thin lines lead from the end of one step to the start of the next.
    axes.vlines(after, places - 0.35, places + 1.35, color=GREY, linewidth=0.6)
    axes.axvline(0, color="black", linewidth=0.8)
    ends = [*np.maximum(after, after - parts), max(after[-1], 0.0)]
    for place, (end, amount) in enumerate(zip(ends, [*parts, after[-1]], strict=True)):
        axes.annotate(
            # Rounded first: what would read as -0.00 is nothing.
            f"{round(amount, 2) + 0.0:+.2f}",
            (end, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.3},
        )
    names = [step.name if step.value is None else f"{step.name}  {step.value:.2g}" for step in steps]
    axes.set_yticks([*places, len(steps)], [*names, "log-odds"], fontsize=7.5)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    lowest, highest = min(after.min(), 0.0), max(after.max(), 0.0)
    axes.set_xlim(lowest - 0.02 * (highest - lowest), highest + 0.08 * (highest - lowest))
    axes.tick_params(axis="x", labelsize=7.5)
    veto = f", their {explanation.veto} conflicts" if explanation.veto else ""
    axes.set_xlabel(f"log-odds; probability {explanation.probability:.3f}{veto}", fontsize=8.5)
    lines = [shortened(explanation.left.title), shortened(explanation.right.title), explanation.verdict]
    # A dollar sign in a title is a dollar sign. The lines begin above the names of the steps.
    axes.set_title("\n".join(lines), loc="left", x=-0.2, fontsize=8, parse_math=False)


def shortened(title: str) -> str:
    """A title on one line that fits above a waterfall."""
    line = " ".join(title.split())
    return line if len(line) <= TITLE_WIDTH else line[: TITLE_WIDTH - 1] + "…"


def waterfalls(explanations: Sequence[Explanation]) -> "list[Callable[[Axes], None]]":
    """One panel for each explanation."""
    return [partial(draw_waterfall, explanation=explanation) for explanation in explanations]
