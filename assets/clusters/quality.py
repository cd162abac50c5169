"""How good a clustering is where somebody wrote down the truth.

Belongs here: reading a truth file and scoring against it. Not here: anything that the matcher could see; no stage but
the one that reports quality reads a truth.
"""

import io
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from assets.clusters.evaluation import Quality, evaluate

COLUMNS = ("source", "listing_id", "product_id")

#: Millions of listings; anybody may deliver such a file, and it is held whole.
MAX_TRUTH_BYTES = 64 << 20


class TruthError(ValueError):
    """A truth file cannot be used; the message names file and expectation."""


def read_truth(data: bytes, origin: str) -> dict[str, str]:
    """Return `product id (source:listing_id) -> true product`.

    Raises:
        TruthError: the file is too large, not a CSV with the expected columns, or names a listing twice.
    """
    if len(data) > MAX_TRUTH_BYTES:
        raise TruthError(f"{origin}: expected at most {MAX_TRUTH_BYTES} bytes, and it has more")
    types = dict.fromkeys(COLUMNS, pa.string())
    try:
        table = pacsv.read_csv(io.BytesIO(data), convert_options=pacsv.ConvertOptions(column_types=types))
        missing = [name for name in COLUMNS if name not in table.column_names]
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise TruthError(f"{origin}: expected a CSV with the columns {', '.join(COLUMNS)}; {error}") from error
    if missing:
        raise TruthError(f"{origin}: expected the columns {', '.join(COLUMNS)}; {', '.join(missing)} missing")
    if twice := [name for name in COLUMNS if table.column_names.count(name) > 1]:
        raise TruthError(f"{origin}: expected every column once; {', '.join(twice)} appear more than once")
    rows = table.select(COLUMNS).to_pylist()
    truth = {f"{row['source']}:{row['listing_id']}": row["product_id"] for row in rows}
    if len(truth) != len(rows):
        raise TruthError(f"{origin}: {len(rows) - len(truth)} listings are named more than once")
    return truth


def score_clusters(clusters: pa.Table, truth: Mapping[str, str]) -> Quality | None:
    """Score the clustering on the products the truth names; None where it names none of them.

    Args:
        clusters: `PRODUCT_CLUSTERS`.
        truth: What `read_truth` returned.
    """
    ids, labels = (clusters.column(name).to_pylist() for name in ("product_id", "cluster_id"))
    found = dict(zip(ids, labels, strict=True))
    if found.keys().isdisjoint(truth):
        return None
    # A listing that never became a product is alone: what was lost on the way counts as not found.
    predicted = np.array([found.get(product_id, product_id) for product_id in truth])
    return evaluate(
        np.unique(predicted, return_inverse=True)[1], np.unique(list(truth.values()), return_inverse=True)[1]
    )
