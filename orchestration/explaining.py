"""Why two offers are, or are not, the same product.

Belongs here: matching the current catalogue again to look inside. Not here: the explanation itself (see the clusters
room), printing (see `tables`).
"""

from assets.catalogue import Catalogue
from assets.clusters.answers import CatalogueMemory
from assets.clusters.consulting import recall
from assets.clusters.explanation import Explanation, explain
from assets.clusters.keeping import signature
from assets.clusters.ports import PairJudge
from assets.clusters.renewal import renew
from assets.clusters.rules import MatchRules
from assets.clusters.vectors import aligned_vectors
from assets.embeddings.incremental import assemble
from assets.embeddings.ports import TextEmbedder
from assets.embeddings.vector_memory import known_vectors
from assets.products.agreement import read_current
from assets.versions import code_version
from orchestration.settings import UserError


class UnknownOffer(UserError):
    """An offer is not in the current catalogue; the message says which."""


def explain_offers(
    catalogue: Catalogue,
    embedder: TextEmbedder,
    rules: MatchRules,
    kept: bytes | None,
    judge: PairJudge | None,
    left: str,
    right: str,
) -> Explanation:
    """Match the current catalogue as the pipeline does, from the state it has kept, and explain one pair.

    The whole catalogue is matched, because a pair's score depends on its rivals. What the judge has answered is
    remembered; it is not asked again.

    Raises:
        UnknownOffer: one of them is not offered now, or both are the same.
    """
    products = read_current(catalogue)
    known = set(products.column("product_id").to_pylist())
    for offer in (left, right):
        if offer not in known:
            raise UnknownOffer(
                f"{offer!r} is not offered now; expected source:listing_id, as offerline search shows it"
            )
    if left == right:
        raise UnknownOffer(f"{left!r} is compared with itself; expected two offers")
    version = embedder.model_version
    embeddings = assemble(products, known_vectors(catalogue, version), version)
    made_by = signature(code_version("assets.clusters"), [version], rules)
    matching = renew(products, aligned_vectors(products, embeddings), kept, rules=rules, made_by=made_by).matching
    if judge is not None:
        matching = recall(matching, products, judge.name, CatalogueMemory(catalogue))
    return explain(matching, left, right)
