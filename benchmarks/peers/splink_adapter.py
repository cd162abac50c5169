"""Splink, by the steps of its tutorial.

Belongs here: columns, comparisons, blocking and training for offers. Not here: labels; Splink learns without them.

Splink has no default for what to compare. These are its comparisons at their own default levels, on columns that
anyone who reads its documentation would make of offers; training, prediction and clustering use the tutorial's values.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on
from splink.blocking_rule_library import CustomRule

from benchmarks.peers.exchange import Alternatives, ScoredPairs, serve

WORD = re.compile(r"[a-z0-9]+")
SAME_FIRST_CODE = 'l."codes"[1] = r."codes"[1]'
"""The first code only: rules that explode arrays are for prediction, not for training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplinkRules:
    """How Splink is used.

    Attributes:
        rare: A word of at most so many titles makes candidates; Splink needs blocking rules that make few pairs.
        recall: Of the deterministic rule, as in the tutorial.
        max_pairs: Random pairs to estimate u from, as in the tutorial.
        least_weight: Match weight below which no pair is predicted, as in the tutorial.
        threshold: Match probability from which pairs are clustered, as in the tutorial.
    """

    rare: int = 30
    recall: float = 0.7
    max_pairs: float = 1e6
    least_weight: float = -10
    threshold: float = 0.95


class SplinkAdapter:
    """Fellegi-Sunter by expectation maximisation, then connected components."""

    def __init__(self, rules: SplinkRules | None = None) -> None:
        self._rules = rules or SplinkRules()
        self._pairs: ScoredPairs | None = None

    def cluster(self, offers: pa.Table) -> Sequence[int]:
        """Train, predict, and cluster at the threshold of the tutorial."""
        rules = self._rules
        api = DuckDBAPI()
        linker = Linker(api.register(_columns(offers, rules), dataset_display_name="offers"), _settings(offers))
        training = linker.training
        training.estimate_probability_two_random_records_match([CustomRule(SAME_FIRST_CODE)], recall=rules.recall)
        training.estimate_u_using_random_sampling(max_pairs=rules.max_pairs, seed=1)
        training.estimate_parameters_using_expectation_maximisation(block_on("brand"))
        training.estimate_parameters_using_expectation_maximisation(CustomRule(SAME_FIRST_CODE))
        predicted = linker.inference.predict(threshold_match_weight=rules.least_weight)
        pairs = predicted.as_pyarrow_table()
        self._pairs = ScoredPairs(
            left=pairs.column("unique_id_l").to_pylist(),
            right=pairs.column("unique_id_r").to_pylist(),
            # The weight, not the probability: it still tells apart what the probability rounds to 1.
            score=pairs.column("match_weight").to_pylist(),
        )
        clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(
            predicted, threshold_match_probability=rules.threshold
        ).as_pyarrow_table()
        labels = [0] * offers.num_rows
        for row, cluster in zip(
            clusters.column("unique_id").to_pylist(), clusters.column("cluster_id").to_pylist(), strict=True
        ):
            labels[row] = int(cluster)
        return labels

    def alternatives(self) -> Alternatives:
        """All predicted pairs by match weight."""
        return Alternatives(pairs=self._pairs)


def _columns(offers: pa.Table, rules: SplinkRules) -> pa.Table:
    words = [sorted(set(WORD.findall(title.lower()))) for title in offers.column("title").to_pylist()]
    titles_with = Counter(word for title in words for word in title)
    rare = [[word for word in title if titles_with[word] <= rules.rare] for title in words]
    dimensions = len(offers.column("embedding")[0])
    return pa.table(
        {
            "unique_id": pa.array(range(offers.num_rows), pa.int64()),
            "seller": offers.column("seller"),
            "brand": offers.column("brand"),
            # An array without a member is a difference to Splink, one that is not there is not known.
            "codes": pa.array([codes or None for codes in offers.column("codes").to_pylist()], pa.list_(pa.string())),
            "rare": pa.array(rare, pa.list_(pa.string())),
            "embedding": offers.column("embedding").cast(pa.list_(pa.float32(), dimensions)),
        }
    )


def _settings(offers: pa.Table) -> SettingsCreator:
    # Where sellers are known, two offers of one seller are no candidates: what `link_only` does between tables.
    apart = ' AND l."seller" <> r."seller"' if any(offers.column("seller").to_pylist()) else ""
    return SettingsCreator(
        link_type="dedupe_only",
        comparisons=[
            cl.CosineSimilarityAtThresholds("embedding"),
            cl.ArrayIntersectAtSizes("codes"),
            cl.ExactMatch("brand").configure(term_frequency_adjustments=True),
        ],
        blocking_rules_to_generate_predictions=[
            CustomRule(f'l."{words}" = r."{words}"{apart}', arrays_to_explode=[words]) for words in ("codes", "rare")
        ],
    )


if __name__ == "__main__":
    serve(SplinkAdapter())
