"""Bringing a clustering into the current catalogue, in one transaction.

Belongs here: the order of the statements in `sql/`, and whether the catalogue still holds it. Not here: matching,
identity, connections.
"""

from collections.abc import Collection, Hashable, Mapping
from functools import partial

import pyarrow as pa

from assets.agreement import Agreement
from assets.catalogue import Catalogue, Transaction, column_list, upsert_columns
from assets.catalogue import sql as read_sql
from assets.clusters.identity import GoneHome, Identity, assign_ids, find_events, gather
from assets.clusters.schema import CLUSTER_EVENTS, PRODUCT_CLUSTERS, SCORED_PAIRS
from assets.clusters.tables import event_table, told_pairs

sql = partial(read_sql, "assets.clusters")

MEMBERS = pa.schema([("product_id", pa.string()), ("cluster_id", pa.string())])
GONE_HOMES = MEMBERS.append(pa.field("members", pa.list_(pa.string())))
CONFIDENT_MEMBERS = MEMBERS.append(pa.field("confidence", pa.float64()))
#: Name of the store in reports.
MEMBERSHIPS = "PostgreSQL cluster_members"
IDS = pa.schema([("cluster_id", pa.string())])


def stored_members(catalogue: Catalogue) -> dict[str, str]:
    """Return `product id -> cluster id` as the catalogue has it now."""
    return _as_mapping(catalogue.read("SELECT product_id, cluster_id FROM catalog.cluster_members", MEMBERS))


def given_ids(catalogue: Catalogue) -> list[str]:
    """Return every cluster id that was ever given, oldest first; none of them is given again to other members."""
    given: list[str] = (
        catalogue.read('SELECT cluster_id FROM catalog.clusters ORDER BY created_at, cluster_id COLLATE "C"', IDS)
        .column("cluster_id")
        .to_pylist()
    )
    return given


def lasting_ids(catalogue: Catalogue, labels: Mapping[str, Hashable]) -> Identity:
    """Give ids to a partition of the products, from those that the catalogue knows; see `assign_ids`."""
    return assign_ids(
        stored_members(catalogue), labels, given=given_ids(catalogue), gone_homes=partial(gone_homes, catalogue)
    )


def gone_homes(catalogue: Catalogue, products: Collection[str]) -> dict[str, GoneHome]:
    """Return, of these products, those that were in a cluster whose id is gone: `product id -> the last such one`."""
    rows = catalogue.read(sql("gone_homes"), GONE_HOMES, product_ids=sorted(products)).to_pylist()
    return {row["product_id"]: GoneHome(row["cluster_id"], frozenset(row["members"])) for row in rows}


def apply_clusters(catalogue: Catalogue, clusters: pa.Table, scored: pa.Table, run_id: str) -> pa.Table:
    """Store the clustering and return what happened to the clusters, as `CLUSTER_EVENTS`.

    All of it or nothing, and nothing where nothing has changed. Of the pairs, those that somebody may ask about are
    stored: unlikely ones are nearly all candidates, and the artifact has them.

    Args:
        catalogue: The current catalogue.
        clusters: `PRODUCT_CLUSTERS`, ids already carried over.
        scored: `SCORED_PAIRS`.
        run_id: The run that found them.
    """
    with catalogue.transaction() as transaction:
        transaction.lock("clusters")
        before = _as_mapping(transaction.query("SELECT product_id, cluster_id FROM catalog.cluster_members", MEMBERS))
        after = _as_mapping(clusters)
        happened = find_events(gather(before), {str(name): members for name, members in gather(after).items()})
        events = event_table(Identity(after, tuple(happened)))
        _store_clusters(transaction, clusters)
        transaction.stage("incoming_pairs", told_pairs(scored), schema=SCORED_PAIRS.arrow)
        transaction.stage("incoming_events", events, schema=CLUSTER_EVENTS.arrow)
        transaction.execute(sql("drop_pairs"))
        transaction.execute(sql("upsert_pairs").format(**upsert_columns(SCORED_PAIRS, "i")), run_id=run_id)
        transaction.execute(sql("keep_events").format(columns=column_list(CLUSTER_EVENTS)), run_id=run_id)
    return events


def compare_members(catalogue: Catalogue, clusters: pa.Table) -> Agreement:
    """Compare the stored memberships with `PRODUCT_CLUSTERS`."""
    held = catalogue.read("SELECT product_id, cluster_id, confidence FROM catalog.cluster_members", CONFIDENT_MEMBERS)
    return Agreement.between(MEMBERSHIPS, _as_digests(clusters), _as_digests(held))


def restore_clusters(catalogue: Catalogue, clusters: pa.Table) -> None:
    """Bring back a clustering that was applied before; nothing happens to the clusters, so there are no events."""
    with catalogue.transaction() as transaction:
        transaction.lock("clusters")
        _store_clusters(transaction, clusters)


def _store_clusters(transaction: Transaction, clusters: pa.Table) -> None:
    transaction.stage("incoming_clusters", clusters, schema=PRODUCT_CLUSTERS.arrow)
    for statement in ("upsert_clusters", "dissolve_clusters", "upsert_members", "drop_members"):
        transaction.execute(sql(statement))


def _as_digests(members: pa.Table) -> dict[str, str]:
    columns = (members.column(name).to_pylist() for name in CONFIDENT_MEMBERS.names)
    return {product: f"{cluster} {confidence!r}" for product, cluster, confidence in zip(*columns, strict=True)}


def _as_mapping(members: pa.Table) -> dict[str, str]:
    ids, clusters = (members.column(name).to_pylist() for name in ("product_id", "cluster_id"))
    return dict(zip(ids, clusters, strict=True))
