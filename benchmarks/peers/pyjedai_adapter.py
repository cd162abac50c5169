"""pyJedAI, by the workflow that it calls its default.

Belongs here: `BlockingBasedWorkFlow.default_blocking_workflow_ccer` for two sources and `..._der` for any other
number, step by step. Not here: its evaluation, and its modules that need torch, which no step of these uses.

The workflow class itself is not used: it imports those modules; its default for two sources passes the metric and
the threshold under keys that it never reads (the one for one source passes the same values, and they arrive); and its
default for one source ends with pairs, which its clustering for that case, connected components, turns into clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyjedai.block_building import StandardBlocking
from pyjedai.block_cleaning import BlockFiltering, BlockPurging
from pyjedai.clustering import ConnectedComponentsClustering, UniqueMappingClustering
from pyjedai.comparison_cleaning import CardinalityNodePruning
from pyjedai.datamodel import Data
from pyjedai.matching import EntityMatching

from benchmarks.peers.exchange import Alternatives, ScoredPairs, connected, serve


@dataclass(frozen=True, slots=True, kw_only=True)
class PyJedaiRules:
    """The values of pyJedAI's default workflows; it keeps pairs *above* the threshold."""

    metric: str = "cosine"
    threshold: float = 0.55
    smoothing_factor: float = 1.0
    weighting_scheme_of_one_source: str = "JS"
    attributes: tuple[str, ...] = ("title", "description", "brand")


class PyJedaiAdapter:
    """Token blocking, purging, filtering, cardinality node pruning, cosine of tokens, then clusters.

    Two sources are matched one to one (unique mapping). It takes the pairs by falling score, so a higher threshold
    only cuts its list short: one run without a threshold holds the outcome of every threshold.
    """

    def __init__(self, rules: PyJedaiRules | None = None) -> None:
        self._rules = rules or PyJedaiRules()
        self._pairs: list[tuple[int, int, float]] = []

    def cluster(self, offers: pa.Table) -> Sequence[int]:
        """Run the default workflow."""
        rules = self._rules
        data = _data_of(offers, rules.attributes)
        blocks = StandardBlocking().build_blocks(data, tqdm_disable=True)
        blocks = BlockPurging(smoothing_factor=rules.smoothing_factor).process(blocks, data, tqdm_disable=True)
        blocks = BlockFiltering().process(blocks, data, tqdm_disable=True)
        pruning = (
            CardinalityNodePruning(weighting_scheme=rules.weighting_scheme_of_one_source)
            if data.is_dirty_er
            else CardinalityNodePruning()
        )
        candidates = pruning.process(blocks, data, tqdm_disable=True)
        graph = EntityMatching(metric=rules.metric, similarity_threshold=0.0).predict(
            candidates, data, tqdm_disable=True
        )
        if data.is_dirty_er:
            groups = ConnectedComponentsClustering().process(graph, data)
        else:
            groups = UniqueMappingClustering().process(graph, data, similarity_threshold=0.0)
        row_of = [int(value) for value in data.entities["id"]]
        group_of = {node: number for number, group in enumerate(groups) for node in group}
        # Connected components of a group's edges are that group's clusters at any threshold; unique mapping leaves
        # the one edge between the two.
        self._pairs = [
            (row_of[left], row_of[right], float(score))
            for left, right, score in graph.edges(data="weight")
            if left in group_of and group_of[left] == group_of.get(right)
        ]
        kept = [(left, right) for left, right, score in self._pairs if score > rules.threshold]
        return connected(offers.num_rows, kept)

    def alternatives(self) -> Alternatives:
        """All pairs of the matching, whatever their score."""
        return Alternatives(pairs=ScoredPairs.of(self._pairs))


def _data_of(offers: pa.Table, attributes: Sequence[str]) -> Any:
    frame = offers.select(["source", *attributes]).to_pandas()
    frame.insert(0, "id", [str(row) for row in range(len(frame))])
    parts = [part.drop(columns="source").reset_index(drop=True) for _, part in frame.groupby("source", sort=False)]
    if len(parts) != 2:
        parts = [frame.drop(columns="source")]
    named: dict[str, Any] = {}
    for number, part in enumerate(parts, start=1):
        named |= {f"dataset_{number}": part.fillna(""), f"id_column_name_{number}": "id"}
        named[f"attributes_{number}"] = list(attributes)
    return Data(**named)


if __name__ == "__main__":
    serve(PyJedaiAdapter())
