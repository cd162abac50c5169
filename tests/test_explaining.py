"""Why two offers are one product is explained from where the pipeline's matching left off."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from assets.clusters.rules import MatchRules
from assets.embeddings.schema import DIMENSIONS, EMBEDDED_TEXTS
from assets.products.schema import CURRENT_PRODUCTS
from orchestration import explaining
from orchestration.explaining import UnknownOffer, explain_offers


class Catalogue:
    """Two current products and the vectors of their texts."""

    def read(self, sql: str, schema: pa.Schema, **params: Any) -> pa.Table:
        if schema.equals(EMBEDDED_TEXTS):
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(2 * DIMENSIONS, np.float16)), DIMENSIONS)
            return pa.table([pa.array(["h1", "h2"]), pa.array(["m", "m"]), vectors], schema=schema)
        rows = [{"product_id": f"a:{number}", "text_hash": f"h{number}"} for number in (1, 2)]
        fields = [field.with_nullable(True) for field in CURRENT_PRODUCTS.arrow]
        return pa.Table.from_pylist(rows, schema=pa.schema(fields))


class Embedder:
    model_version = "m"


class Matched(Exception):
    """The matcher was reached with this state."""


def explained(left: str, right: str) -> None:
    explain_offers(Catalogue(), Embedder(), MatchRules(), b"the kept state", None, left, right)  # type: ignore[arg-type]


def test_the_matcher_goes_on_from_the_state_that_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def renew(products: pa.Table, vectors: Any, kept: bytes | None, **options: Any) -> None:
        raise Matched(kept, products.num_rows, len(vectors))

    monkeypatch.setattr(explaining, "renew", renew)
    with pytest.raises(Matched) as reached:
        explained("a:1", "a:2")
    assert reached.value.args == (b"the kept state", 2, 2)


@pytest.mark.parametrize(("left", "right", "words"), [("a:1", "a:9", "'a:9' is not offered"), ("a:1", "a:1", "itself")])
def test_offers_that_cannot_be_explained_are_named(left: str, right: str, words: str) -> None:
    with pytest.raises(UnknownOffer, match=words):
        explained(left, right)
