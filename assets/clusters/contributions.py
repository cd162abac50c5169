"""Which pairs are told about, and what each feature adds to their log-odds, as text.

Belongs here: keeping the features of those pairs, and writing the text. Not here: comparing, weights (`scoring`), the
stage's tables.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import logit

from assets.clusters.features import Features
from assets.clusters.scoring import Doubles, MatchModel

#: Contributions that would be printed as zero are left out.
DECIMALS = 3
#: Pairs that are less likely by their features alone are not told about, unless their offers are in one cluster.
LEAST_TOLD = 0.01
#: The features of each pair, or null; null takes no room, and nearly all candidates are unlikely.
LIKELY = pa.large_list(pa.float32())


def keep_likely(features: Features, log_odds: Doubles) -> pa.Array:
    """Return the features of likely pairs as `LIKELY`, shape (pairs,).

    Args:
        features: Of every pair.
        log_odds: Of the same pairs by the model that tells what is likely, shape (pairs,).
    """
    is_likely: NDArray[np.bool_] = log_odds >= logit(LEAST_TOLD)
    ends = np.append(0, np.cumsum(is_likely, dtype=np.int64)) * len(features.names)
    kept = pa.array(features.values[is_likely].reshape(-1), pa.float32())
    return pa.LargeListArray.from_arrays(pa.array(ends), kept, type=LIKELY, mask=pa.array(~is_likely))


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
    return pc.binary_join_element_wise("{", body, "}", "")
