"""goldenmatch, without configuration, which is what it is documented for.

Belongs here: its call for one table, and its call for two. Not here: its language model and its embedders, which
are off by default.

`match_df` of 3.22.0 fails on tables in which it sees products (`'DataFrame' object has no attribute 'to_pylist'`).
So two sources are matched by the configuration it chooses, less the keys it would extract from products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import goldenmatch
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.peers.exchange import Alternatives, ScoredPairs, connected, serve

COLUMNS = ["title", "description", "brand", "price"]
EXTRACTED = "__"
"""How the names of columns begin that goldenmatch extracts itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenmatchRules:
    """How goldenmatch is used.

    Attributes:
        lower_by: How far below the threshold it chose pairs are scored as well, to look for a better one.
    """

    lower_by: float = 0.2


class GoldenmatchAdapter:
    """`match_df` between two sources, `dedupe_df` on one table of all offers otherwise."""

    def __init__(self, rules: GoldenmatchRules | None = None) -> None:
        self._rules = rules or GoldenmatchRules()
        self._tables: list[pa.Table] = []
        self._chosen: Any = None

    def cluster(self, offers: pa.Table) -> Sequence[int]:
        """Let it choose its configuration, and return its clusters."""
        numbered = offers.select(COLUMNS).append_column("row", pa.array([str(n) for n in range(offers.num_rows)]))
        sources = offers.column("source").unique().to_pylist()
        if len(sources) == 2:
            self._tables = [numbered.filter(pc.equal(offers.column("source"), source)) for source in sources]
            target, reference = (table.select(COLUMNS) for table in self._tables)
            self._chosen = goldenmatch.auto_configure_df(target, reference=reference)
            self._chosen.domain = None
            self._chosen.matchkeys = [
                key
                for key in self._chosen.matchkeys
                if not any((column.field or "").startswith(EXTRACTED) for column in key.fields)
            ]
            pairs = _matched(self._tables, self._chosen)
            return connected(offers.num_rows, ((left, right) for left, right, _ in pairs))
        self._tables = [numbered.select(COLUMNS)]
        result = goldenmatch.dedupe_df(self._tables[0])
        self._chosen = result.config
        labels = list(range(-offers.num_rows, 0))
        for cluster, found in result.clusters.items():
            for row in found["members"]:
                labels[row] = int(cluster)
        return labels

    def alternatives(self) -> Alternatives:
        """The pairs of a second run with the same configuration but a lower threshold."""
        lower = self._chosen.model_copy(deep=True)
        for key in lower.matchkeys:
            if key.threshold is not None:
                key.threshold -= self._rules.lower_by
        if len(self._tables) == 2:
            return Alternatives(pairs=ScoredPairs.of(_matched(self._tables, lower)))
        return Alternatives(pairs=ScoredPairs.of(goldenmatch.dedupe_df(self._tables[0], config=lower).scored_pairs))


def _matched(tables: Sequence[pa.Table], config: Any) -> list[tuple[int, int, float]]:
    matched = goldenmatch.match_df(*tables, config=config).matched
    columns = (matched.column(name).to_pylist() for name in ("target_row", "ref_row", "__match_score__"))
    return [(int(left), int(right), float(score)) for left, right, score in zip(*columns, strict=True)]


if __name__ == "__main__":
    serve(GoldenmatchAdapter())
