"""Whether the catalogue's matching follows the last one, or is made from scratch.

Belongs here: the decision, and the reason for it in words. Not here: matching, following, where a state is kept.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assets.clusters.following import follow
from assets.clusters.keeping import NotThisState, kept_digests, unpack
from assets.clusters.matching import Matching, MatchState, Progress, match
from assets.clusters.reading import catalogue_digests
from assets.clusters.rules import MatchRules


@dataclass(frozen=True, slots=True)
class Renewal:
    """A matching of the catalogue of now.

    Attributes:
        matching: The matching.
        way: How it was made and why, for people.
    """

    matching: Matching
    way: str


def renew(
    products: pa.Table,
    vectors: NDArray[np.float16],
    kept: bytes | None,
    *,
    rules: MatchRules,
    made_by: str,
    from_scratch: bool = False,
    progress: Progress | None = None,
) -> Renewal:
    """Match the catalogue of now, from where the last matching left off if that still serves.

    It serves where the same code and rules made it, and the catalogue is not of another size than what is known of it.

    Args:
        products: Columns of `CLEANED_PRODUCTS`, one row per product.
        vectors: Embeddings of the same rows, shape (n, dimensions), unit rows.
        kept: The state that was kept, if any.
        rules: The configuration.
        made_by: The `signature` of the code and the rules of now.
        from_scratch: Whether somebody wants everything anew, the model as well.
        progress: Told the name of each stage as it begins.

    Raises:
        ValueError: the vectors do not match the rows, or a product id repeats.
    """
    state, reason = (None, "it was asked for") if from_scratch else usable(kept, products, rules, made_by)
    if state is None:
        matching = match(products, vectors, rules=rules, progress=progress)
    else:
        matching = follow(state, products, vectors, rules=rules, progress=progress)
    if (change := matching.change) is None:
        return Renewal(matching, f"from scratch, with a model of its own: {reason}")
    return Renewal(
        matching,
        f"followed the last one: {change.came:,} offers came or changed, {change.left:,} left, "
        f"{change.compared:,} of {len(matching.candidates):,} pairs were compared",
    )


def is_current(kept: bytes | None, products: pa.Table, made_by: str) -> bool:
    """Whether the kept state is of these very products, made by the same code and rules: then there is nothing to do.

    Args:
        kept: The state that was kept, if any.
        products: Columns `product_id`, `product_digest` and `text_hash` of the catalogue of now.
        made_by: The `signature` of the code and the rules of now.
    """
    if kept is None:
        return False
    try:
        return bool(kept_digests(kept, made_by).equals(catalogue_digests(products)))
    except NotThisState:
        return False


def usable(kept: bytes | None, products: pa.Table, rules: MatchRules, made_by: str) -> tuple[MatchState | None, str]:
    """The state that was kept, if it serves, and otherwise why not."""
    if kept is None:
        return None, "no earlier matching is kept"
    try:
        state = unpack(kept, made_by)
    except NotThisState as error:
        return None, str(error)
    offerers = products.select(["source", "seller"]).group_by(["source", "seller"]).aggregate([]).num_rows
    if state.statistics.is_outgrown(products.num_rows, offerers, rules.freezing):
        known = state.statistics
        return None, (
            f"{products.num_rows:,} offers of {offerers:,} sellers are no longer the {known.offers:,} of "
            f"{known.offerers:,} that the model was learned from"
        )
    return state, ""
