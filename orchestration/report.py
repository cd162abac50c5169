"""What a person wants to know of the catalogue: figures, examples, one cluster, one search.

Belongs here: questions to the catalogue and their answers as values. Not here: printing (see `cli`).
"""

import json
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from assets.catalogue import Catalogue
from orchestration.settings import UserError

TEXT = pa.string()
COUNT = pa.int64()
MONEY = pa.decimal128(18, 4)

FIGURES = pa.schema(
    [
        (name, COUNT)
        for name in "read accepted rejected repeated unusable products clusters joined sources".split()  # noqa: SIM905
    ]
)
REASONS = pa.schema([("reasons", TEXT)])
OFFERS = pa.schema(
    [
        ("cluster_id", TEXT),
        ("product_id", TEXT),
        ("seller", TEXT),
        ("title", TEXT),
        ("price", MONEY),
        ("currency", TEXT),
        ("condition", TEXT),
        ("availability", TEXT),
        ("url", TEXT),
        ("confidence", pa.float64()),
    ]
)
HEADS = pa.schema(
    [
        ("cluster_id", TEXT),
        ("size", pa.int64()),
        ("weakest_link", pa.float64()),
        ("headline", TEXT),
        ("summary", TEXT),
        ("author", TEXT),
        ("provenance", TEXT),
    ]
)
EVENTS = pa.schema([("occurred_at", pa.timestamp("us", tz="UTC")), ("kind", TEXT), ("successors", pa.list_(TEXT))])
IDS = pa.schema([("id", TEXT)])

_FIGURES_SQL = """
WITH sizes AS (
    SELECT cluster_id, count(*) AS size FROM catalog.cluster_members GROUP BY cluster_id
)
SELECT coalesce(sum(rows_read), 0)::bigint AS read,
       coalesce(sum(rows_accepted), 0)::bigint AS accepted,
       coalesce(sum(rows_rejected), 0)::bigint AS rejected,
       coalesce(sum(rows_repeated), 0)::bigint AS repeated,
       coalesce(sum(products_rejected), 0)::bigint AS unusable,
       (SELECT count(*) FROM catalog.products WHERE delisted_at IS NULL) AS products,
       (SELECT count(*) FROM sizes) AS clusters,
       (SELECT coalesce(sum(size), 0) FROM sizes WHERE size > 1)::bigint AS joined,
       (SELECT count(DISTINCT source) FROM catalog.products WHERE delisted_at IS NULL) AS sources
FROM catalog.current_batches
"""
_REASONS_SQL = "SELECT reject_reasons::text AS reasons FROM catalog.current_batches"
_HEADS_SQL = """
SELECT c.cluster_id, c.size::bigint AS size, c.weakest_link, s.headline, s.summary, s.author,
       g.provenance::text AS provenance
FROM catalog.clusters c
LEFT JOIN catalog.cluster_summaries s USING (cluster_id)
LEFT JOIN catalog.golden_records g USING (cluster_id)
"""
_OFFERS_SQL = """
SELECT m.cluster_id, p.product_id, p.seller, p.title, p.price, p.currency, p.condition, p.availability, p.url,
       m.confidence
FROM catalog.cluster_members m
JOIN catalog.products p USING (product_id)
WHERE m.cluster_id = ANY(:ids)
ORDER BY m.cluster_id, p.price NULLS LAST, p.product_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How much there is: rows of the current batches by fate, products, clusters, offers that were joined.

    `unusable` listings kept the contract and could not be made into a product.
    """

    read: int
    accepted: int
    rejected: int
    repeated: int
    unusable: int
    products: int
    clusters: int
    joined: int
    sources: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One member of a cluster."""

    product_id: str
    seller: str
    title: str
    price: Decimal | None
    currency: str | None
    condition: str
    availability: str
    url: str | None
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster as a person sees it.

    Attributes:
        asked_for: The id that was asked for, where it led to another one.
        events: What happened to it, oldest first: time, kind, successors.
    """

    cluster_id: str
    asked_for: str | None
    headline: str
    summary: str
    author: str
    weakest_link: float
    provenance: dict[str, str]
    offers: list[Offer]
    events: list[dict[str, Any]]


class UnknownCluster(UserError):
    """No cluster ever had this id."""


def figures(catalogue: Catalogue) -> Figures:
    """Count what the catalogue holds."""
    (counts,) = catalogue.read(_FIGURES_SQL, FIGURES).to_pylist()
    reasons: Counter[str] = Counter()
    for row in catalogue.read(_REASONS_SQL, REASONS).to_pylist():
        reasons.update(json.loads(row["reasons"]))
    return Figures(**counts, reasons=dict(reasons.most_common()))


def example_clusters(catalogue: Catalogue, limit: int = 3) -> list[Cluster]:
    """Return clusters worth showing: offers of the most sellers, then by id so that the choice lasts."""
    chosen = catalogue.read(
        "SELECT m.cluster_id AS id FROM catalog.cluster_members m JOIN catalog.products p USING (product_id) "
        "GROUP BY m.cluster_id HAVING count(*) > 1 "
        "ORDER BY count(DISTINCT p.seller) DESC, count(p.price) DESC, m.cluster_id LIMIT :limit",
        IDS,
        limit=limit,
    )
    return _clusters(catalogue, chosen.column("id").to_pylist())


def show(catalogue: Catalogue, cluster_id: str) -> list[Cluster]:
    """Return the cluster, or those that hold its former members now.

    Raises:
        UnknownCluster: no cluster ever had this id.
    """
    living = _successors(catalogue, cluster_id)
    clusters = _clusters(catalogue, living)
    return [cluster if cluster.cluster_id == cluster_id else _asked_for(cluster, cluster_id) for cluster in clusters]


def _asked_for(cluster: Cluster, cluster_id: str) -> Cluster:
    from dataclasses import replace

    return replace(cluster, asked_for=cluster_id)


def _successors(catalogue: Catalogue, cluster_id: str) -> list[str]:
    """Follow an id to the living clusters that hold its members now; an id may dissolve more than once on the way."""
    known = catalogue.read("SELECT cluster_id AS id FROM catalog.clusters WHERE cluster_id = :id", IDS, id=cluster_id)
    if not known.num_rows:
        raise UnknownCluster(f"no cluster ever had the id {cluster_id!r}; ids look like c_0123456789abcdef")
    found = catalogue.read(
        """
        WITH RECURSIVE step (id) AS (
            SELECT CAST(:id AS text)
            UNION
            SELECT successor
            FROM step
            JOIN catalog.clusters c ON c.cluster_id = step.id AND c.dissolved_at IS NOT NULL
            CROSS JOIN LATERAL (
                SELECT successors FROM catalog.cluster_events e
                WHERE e.cluster_id = step.id ORDER BY event_id DESC LIMIT 1
            ) AS last_event
            CROSS JOIN LATERAL unnest(last_event.successors) AS successor
        )
        SELECT id FROM step JOIN catalog.clusters c ON c.cluster_id = step.id WHERE c.dissolved_at IS NULL
        """,
        IDS,
        id=cluster_id,
    )
    return [str(value) for value in found.column("id").to_pylist()]


def _clusters(catalogue: Catalogue, ids: list[str]) -> list[Cluster]:
    heads = {
        row["cluster_id"]: row
        for row in catalogue.read(f"{_HEADS_SQL} WHERE c.cluster_id = ANY(:ids)", HEADS, ids=ids).to_pylist()
    }
    offers: dict[str, list[Offer]] = {cluster_id: [] for cluster_id in ids}
    for row in catalogue.read(_OFFERS_SQL, OFFERS, ids=ids).to_pylist():
        offers[row.pop("cluster_id")].append(Offer(**row))
    return [
        Cluster(
            cluster_id=cluster_id,
            asked_for=None,
            headline=heads[cluster_id]["headline"] or "",
            summary=heads[cluster_id]["summary"] or "",
            author=heads[cluster_id]["author"] or "",
            weakest_link=heads[cluster_id]["weakest_link"],
            provenance=json.loads(heads[cluster_id]["provenance"] or "{}"),
            offers=offers[cluster_id],
            events=_events(catalogue, cluster_id),
        )
        for cluster_id in ids
        if cluster_id in heads
    ]


def _events(catalogue: Catalogue, cluster_id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = catalogue.read(
        "SELECT occurred_at, kind, successors FROM catalog.cluster_events WHERE cluster_id = :id ORDER BY event_id",
        EVENTS,
        id=cluster_id,
    ).to_pylist()
    return rows
