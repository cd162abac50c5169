"""Bringing a clustering into the current catalogue, in one transaction.

Belongs here: the order of the statements in `sql/`. Not here: matching, identity, connections.
"""

from functools import partial

import pyarrow as pa

from assets.catalogue import Catalogue, column_list, upsert_columns
from assets.catalogue import sql as read_sql
from assets.clusters.identity import Identity, find_events, gather
from assets.clusters.schema import CLUSTER_EVENTS, PRODUCT_CLUSTERS, SCORED_PAIRS
from assets.clusters.tables import event_table, told_pairs

sql = partial(read_sql, "assets.clusters")

MEMBERS = pa.schema([("product_id", pa.string()), ("cluster_id", pa.string())])
IDS = pa.schema([("cluster_id", pa.string())])


def stored_members(catalogue: Catalogue) -> dict[str, str]:
    """Return `product id -> cluster id` as the catalogue has it now."""
    return _as_mapping(catalogue.read("SELECT product_id, cluster_id FROM catalog.cluster_members", MEMBERS))


def retired_ids(catalogue: Catalogue) -> frozenset[str]:
    """Return every cluster id that was ever given; none of them is given again to other members."""
    return frozenset(catalogue.read("SELECT cluster_id FROM catalog.clusters", IDS).column("cluster_id").to_pylist())


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
        transaction.stage("incoming_clusters", clusters, schema=PRODUCT_CLUSTERS.arrow)
        transaction.stage("incoming_pairs", told_pairs(scored), schema=SCORED_PAIRS.arrow)
        transaction.stage("incoming_events", events, schema=CLUSTER_EVENTS.arrow)
        for statement in ("upsert_clusters", "dissolve_clusters", "upsert_members", "drop_members", "drop_pairs"):
            transaction.execute(sql(statement))
        transaction.execute(sql("upsert_pairs").format(**upsert_columns(SCORED_PAIRS, "i")), run_id=run_id)
        transaction.execute(sql("keep_events").format(columns=column_list(CLUSTER_EVENTS)), run_id=run_id)
    return events


def _as_mapping(members: pa.Table) -> dict[str, str]:
    ids, clusters = (members.column(name).to_pylist() for name in ("product_id", "cluster_id"))
    return dict(zip(ids, clusters, strict=True))
