"""What each feature adds to a pair's log-odds, as text that is stored and shown.

Belongs here: writing it, and which pairs are worth it. Not here: comparing, weights (`scoring`), the stage's tables.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import logit

from assets.clusters.features import Features
from assets.clusters.matrices import PAIRS_AT_ONCE
from assets.clusters.scoring import Doubles, MatchModel

#: Contributions that would be printed as zero are left out.
DECIMALS = 3
#: Pairs that are less likely by their features alone are not told of, unless their offers are in one cluster.
LEAST_TOLD = 0.01
#: Texts of many pairs together are more than 2 GiB.
TEXT = pa.large_string()


def tell_likely(features: Features, log_odds: Doubles, model: MatchModel) -> pa.Array:
    """Return the contributions to likely pairs as `tell` does, and null for the others: nearly all candidates.

    Args:
        features: Of every pair.
        log_odds: Of the same pairs by the model, shape (pairs,).
        model: The weights.
    """
    is_likely: NDArray[np.bool_] = log_odds >= logit(LEAST_TOLD)
    likely = np.flatnonzero(is_likely)
    # In chunks, for the texts of all parts of all pairs at once are many times the memory of the matcher.
    chunks = [likely[start : start + PAIRS_AT_ONCE] for start in range(0, len(likely), PAIRS_AT_ONCE)]
    texts = [tell(Features(features.names, features.values[chunk]), model) for chunk in chunks]
    told = pa.concat_arrays([pa.array([], TEXT), *texts])
    return told.take(pa.array(np.cumsum(is_likely) - 1, mask=~is_likely))


def tell(features: Features, model: MatchModel) -> pa.Array:
    """Return, for every pair, a JSON object of what each feature adds to its log-odds, with the intercept."""
    columns = dict(zip(features.names, model.contributions(features).T, strict=True))
    columns["intercept"] = np.full(len(features.values), model.intercept)
    parts = []
    for name in sorted(columns):
        rounded = np.round(columns[name], DECIMALS)
        number = pa.array(rounded, pa.float64(), mask=rounded == 0).cast(pa.string())
        parts.append(pc.binary_join_element_wise(f'"{name}":', number, "", null_handling="emit_null"))
    body = pc.binary_join_element_wise(*parts, ",", null_handling="skip")
    return pc.binary_join_element_wise("{", body, "}", "").cast(TEXT)
