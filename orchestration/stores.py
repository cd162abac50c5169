"""Whether all stores hold the same catalogue, and bringing those that lag behind to what its artifacts say.

Belongs here: which artifacts the stores are held against, every comparison in one report, the repair. Not here: how a
store is compared (see `agreement` in the rooms), printing (see `tables`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.agreement import Agreement
from assets.clusters.applying import MEMBERSHIPS, compare_members, restore_clusters
from assets.clusters.schema import CLUSTER_EVENTS, PRODUCT_CLUSTERS
from assets.contract import ContractBroken, TableContract
from assets.embeddings.agreement import compare_index, compare_texts
from assets.embeddings.index_sync import WantedIndex, carry_out, wanted_index
from assets.embeddings.ports import VectorIndex
from assets.embeddings.schema import PRODUCT_EMBEDDINGS
from assets.embeddings.vector_memory import EMBEDDINGS, held_vectors, keep_vectors
from assets.planning import Plan
from assets.presentation import asset_key
from assets.products.agreement import PRODUCTS, compare_products, read_current, restore_products
from assets.products.schema import CURRENT_PRODUCTS
from assets.versions import table_digest
from orchestration.jobs import CATALOGUE
from orchestration.refresh import CATALOGUE_TURN
from orchestration.runners import fail_dead_runs
from orchestration.settings import UserError
from resources.parquet_io import ParquetIOManager, uri_of
from resources.vector_index import IndexRejected, IndexUnavailable
from resources.warehouse import Warehouse
from sensors.catalogue import catalogue_runs

_DATA_VERSION = "dagster/data_version"


class NothingToCompare(UserError):
    """There is no finished catalogue to hold the stores against; the message says what to do."""


class NotRepairable(UserError):
    """The stores cannot be repaired now, or not from here; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What every store holds beside what it should.

    Attributes:
        agreements: One per store, the artifacts first.
        due: Listings that came, changed and left in PostgreSQL since the last run over the whole catalogue.
    """

    agreements: tuple[Agreement, ...]
    due: Plan

    @property
    def agrees(self) -> bool:
        """Whether every store holds what the artifacts say; a run over the catalogue may be due all the same."""
        return all(agreement.agrees for agreement in self.agreements)

    @property
    def due_by_kind(self) -> dict[str, tuple[str, ...]]:
        """The listings that are due, by what happened to them."""
        kinds = {"came": self.due.to_add, "changed": self.due.to_change, "left": self.due.to_drop}
        return {kind: listings for kind, listings in kinds.items() if listings}

    def summary(self) -> dict[str, Any]:
        """The whole comparison as plain values, every listing named."""
        return {
            "agrees": self.agrees,
            "stores": [
                {
                    "store": agreement.store,
                    "agrees": agreement.agrees,
                    "holds": agreement.holds,
                    "recall": agreement.recall,
                    "fault": agreement.fault,
                    "differing": agreement.differing,
                }
                for agreement in self.agreements
            ],
            "due": self.due_by_kind,
        }


@dataclass(frozen=True, slots=True)
class _Artifact:
    """What one materialisation wrote, when (as a number in the order of events), and what is wrong with it."""

    table: pa.Table
    order: int
    fault: str


@dataclass(frozen=True)
class Stores:
    """The stores of one catalogue, held against the artifacts of its last run.

    That run may have ended early: the indexes are held against the newest vectors and the products these were made of,
    the clusters in PostgreSQL against the newest clustering that was brought into it. Which artifacts these are is
    looked up once: whoever wants to compare again makes another one.
    """

    instance: dg.DagsterInstance
    artifacts: ParquetIOManager
    catalogue: Warehouse
    indexes: tuple[VectorIndex, ...]

    def compare(self) -> Comparison:
        """Compare all stores; reads each of them whole.

        Raises:
            NothingToCompare: no catalogue was made yet.
            ArtifactMissing: an artifact is gone.
        """
        products, due = compare_products(self._products.table, read_current(self.catalogue))
        embeddings = self._embeddings.table
        return Comparison(
            agreements=(
                *self._compare_artifacts(),
                products,
                compare_texts(EMBEDDINGS, embeddings, held_vectors(self.catalogue, embeddings)),
                compare_members(self.catalogue, self._clusters.table),
                *(self._compare_index(index) for index in self.indexes),
            ),
            due=due,
        )

    def require_rest(self) -> None:
        """Make sure that nobody is making the catalogue: what differs then may be on its way.

        Raises:
            NotRepairable: somebody is.
        """
        fail_dead_runs(self.instance)
        if catalogue_runs(self.instance, CATALOGUE.name):
            raise NotRepairable("the catalogue is being made just now; what differs may be on its way: try again later")

    def repair(self, comparison: Comparison) -> tuple[str, ...]:
        """Bring every store that differs to what the artifacts say; returns their names.

        Raises:
            NotRepairable: an artifact is at fault, a store cannot be read, or the catalogue is being made, or was since
                it was compared: then other artifacts say what the stores should hold.
        """
        mend: dict[str, Callable[[Agreement], None]] = {
            PRODUCTS: lambda found: restore_products(self.catalogue, self._products.table, found.difference.to_change),
            EMBEDDINGS: lambda _: keep_vectors(self.catalogue, _texts(self._embeddings.table)),
            MEMBERSHIPS: lambda _: restore_clusters(self.catalogue, self._clusters.table),
            **{index.name: partial(_mend_index, index, self._wanted) for index in self.indexes},
        }
        lagging = [agreement for agreement in comparison.agreements if not agreement.agrees]
        for agreement in lagging:
            if agreement.store not in mend:
                raise NotRepairable(
                    f"{agreement.store}: {agreement.description}; nothing can be repaired from it: make the catalogue "
                    "again (offerline run --force)"
                )
            if not agreement.was_read:
                raise NotRepairable(
                    f"{agreement.store}: {agreement.description}; nothing is repaired before it can be compared"
                )
        with self.catalogue.alone(CATALOGUE_TURN):  # no command begins a run meanwhile
            self.require_rest()
            if self._is_outdated():
                raise NotRepairable("the catalogue was made anew since the stores were compared: compare them again")
            for agreement in lagging:
                mend[agreement.store](agreement)
        return tuple(agreement.store for agreement in lagging)

    def _is_outdated(self) -> bool:
        applied, _ = self._newest(CLUSTER_EVENTS)
        return (applied, self._newest(PRODUCT_EMBEDDINGS)[0]) != (self._applied, self._embeddings.order)

    def _compare_artifacts(self) -> tuple[Agreement, ...]:
        products, embeddings, clusters = self._products, self._embeddings, self._clusters
        texts, embedded = (_column(part.table, "text_hash") for part in (products, embeddings))
        clustered = _column(clusters.table, "product_id")
        # Clusters of an earlier run are of other products.
        wanted = dict.fromkeys(embedded) if clusters.order > embeddings.order else dict.fromkeys(clustered)
        return (
            Agreement(store=_named(CURRENT_PRODUCTS), holds=len(texts), fault=products.fault),
            Agreement.between(_named(PRODUCT_EMBEDDINGS), texts, embedded, fault=embeddings.fault),
            Agreement.between(_named(PRODUCT_CLUSTERS), {key: key for key in wanted}, clustered, fault=clusters.fault),
        )

    def _compare_index(self, index: VectorIndex) -> Agreement:
        try:
            return compare_index(index, self._wanted)
        except (IndexUnavailable, IndexRejected) as error:
            return Agreement(store=index.name, holds=0, fault=str(error), was_read=False)

    @cached_property
    def _embeddings(self) -> _Artifact:
        return self._load(PRODUCT_EMBEDDINGS)

    @cached_property
    def _products(self) -> _Artifact:
        return self._load(CURRENT_PRODUCTS, before=self._embeddings.order)

    @cached_property
    def _applied(self) -> int:
        return self._newest(CLUSTER_EVENTS)[0]

    @cached_property
    def _clusters(self) -> _Artifact:
        return self._load(PRODUCT_CLUSTERS, before=self._applied)

    @cached_property
    def _wanted(self) -> WantedIndex:
        return wanted_index(self._products.table, self._embeddings.table)

    def _load(self, contract: TableContract, before: int | None = None) -> _Artifact:
        order, materialization = self._newest(contract, before)
        try:
            table = contract.conform(self.artifacts.read(uri_of(materialization)))
        except ContractBroken as error:
            raise NothingToCompare(
                f"{error}: another version has made it; bring it up to date (offerline run)"
            ) from error
        intact = table_digest(table) == (materialization.tags or {}).get(_DATA_VERSION)
        return _Artifact(table, order, "" if intact else "its content is not what was written")

    def _newest(self, contract: TableContract, before: int | None = None) -> tuple[int, dg.AssetMaterialization]:
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset_key(contract), before_storage_id=before), limit=1
        ).records
        if not records or records[0].asset_materialization is None:
            raise NothingToCompare(f"{contract.name} was never made: bring the catalogue up to date (offerline run)")
        return records[0].storage_id, records[0].asset_materialization


def _mend_index(index: VectorIndex, wanted: WantedIndex, found: Agreement) -> None:
    # Where it holds all that it should and does not find it, everything is written over what is there: meanwhile it
    # answers as well as it did.
    todo = found.difference or Plan(to_change=tuple(product.product_id for product in wanted.products))
    with index.held():
        carry_out(todo, index, wanted)


def _texts(embeddings: pa.Table) -> pa.Table:
    """Return each text of `PRODUCT_EMBEDDINGS` once."""
    firsts = pa.table({"text_hash": embeddings.column("text_hash"), "row": pa.array(range(embeddings.num_rows))})
    rows = firsts.group_by("text_hash").aggregate([("row", "min")]).column("row_min")
    return embeddings.take(rows)


def _column(table: pa.Table, name: str) -> dict[str, str]:
    return dict(zip(*(table.column(part).to_pylist() for part in ("product_id", name)), strict=True))


def _named(contract: TableContract) -> str:
    return f"artifact {contract.name}"
