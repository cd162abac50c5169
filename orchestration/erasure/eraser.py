"""Removing one listing from every store.

Belongs here: the order in which stores are emptied, and when that is done. Not here: how each is (see `database`,
`objects`, `events`), keeping the listing from coming in again (see `assets.listings.intake`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import dagster as dg

from assets.embeddings.ports import VectorIndex
from assets.presentation import asset_key
from assets.products.schema import CATALOGUE
from orchestration.erasure.database import Rows
from orchestration.erasure.events import erase_from_events
from orchestration.erasure.mentions import Mentions
from orchestration.erasure.objects import Objects
from orchestration.erasure.receipt import Removed
from orchestration.runners import OPEN, fail_dead_runs
from orchestration.settings import UserError
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectStore
from resources.warehouse import Warehouse

#: A run that begins meanwhile may bring back what was removed: the stores are gone through until nothing is left.
MOST_ROUNDS = 3
BEGUN = [status for status in dg.DagsterRunStatus if status is not dg.DagsterRunStatus.QUEUED]


class NotErasable(UserError):
    """Nothing can be erased for good now; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eraser:
    """Every store that may hold a listing."""

    warehouse: Warehouse
    store: ObjectStore
    artifacts_bucket: str
    landing: LandingBucket
    indexes: tuple[VectorIndex, ...]
    instance: dg.DagsterInstance
    dagster_database_url: str = field(repr=False)

    def erase(
        self,
        source: str,
        listing_id: str,
        *,
        keep_landed: bool = False,
        watch: Callable[[Removed], None] = lambda removed: None,
    ) -> list[Removed]:
        """Remove a listing from every store and keep it from coming in again; erasing it again finishes what broke off.

        Delivered files that hold it are deleted from the landing bucket, because a file cannot be changed without
        becoming another delivery; what else they hold is in the artifacts. What stays, for it names nobody: how often
        words occur in all titles together, in the files of registered models. What MLflow keeps outside the artifacts
        bucket is not reached.

        Args:
            source: Its source.
            listing_id: The source's own id of it.
            keep_landed: Leave delivered files alone; its row in them does not come in again all the same.
            watch: Told of everything that was removed, at once: should a store fail, the rest is still to be done.

        Returns:
            What was removed where.

        Raises:
            UserError: no store knows such a listing.
            NotErasable: a run is under way, which may hold it in memory and write it anywhere afterwards.
        """
        self._runs_at_rest()
        rows = Rows(self.warehouse)
        mentions = rows.mentions(source, listing_id)
        is_new = rows.forbid(mentions)
        was_held = rows.is_held(mentions)
        objects = Objects(
            store=self.store,
            bucket=self.artifacts_bucket,
            landing=None if keep_landed else self.landing,
            rows=rows,
        )
        receipt: list[Removed] = []
        for _ in range(MOST_ROUNDS):
            runs, before = self._runs_at_rest(), len(receipt)
            for removed in self._round(mentions, rows, objects, runs):
                receipt.append(removed)
                watch(removed)
            if len(receipt) == before and self._runs_at_rest() == runs:
                break
        else:
            raise NotErasable("runs that begin meanwhile bring it back: stop them (offerline down) and erase it again")
        if not receipt and is_new:
            rows.allow(mentions)
            raise UserError(f"no store knows a listing {listing_id!r} of {source}; see catalog.listings for its ids")
        if was_held or not is_new:
            self._report(rows.newest_batch(source))
        return receipt

    def _runs_at_rest(self) -> int:
        """Return how many runs ever began, none of which is under way; those that wait in the queue have read nothing.

        Raises:
            NotErasable: one is.
        """
        fail_dead_runs(self.instance)
        under_way = self.instance.get_runs(dg.RunsFilter(statuses=list(OPEN)), limit=1)
        if under_way:
            raise NotErasable(
                f"run {under_way[0].run_id} of {under_way[0].job_name} is under way and could bring the listing back: "
                "erase it when it has ended"
            )
        return self.instance.get_runs_count(dg.RunsFilter(statuses=BEGUN))

    def _report(self, newest_batch: str | None) -> None:
        """Let Dagster know that the catalogue has changed; the newest batch of the source speaks for it.

        Also where it was erased before: whether that was told is not known, nor by how much.
        """
        if newest_batch is not None:
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    asset_key(CATALOGUE), description="A listing was erased.", partition=newest_batch
                )
            )

    def _round(self, mentions: Mentions, rows: Rows, objects: Objects, runs: int) -> Iterator[Removed]:
        """Go through every store once.

        The catalogue, which knows the listing's titles and clusters, comes last, and only where no run has begun since
        there were `runs`: what breaks off is begun anew by them.
        """
        yield from objects.erase(mentions)
        for index in self.indexes:
            with index.held():
                if mentions.product_id not in index.fingerprints():
                    continue
                index.delete([mentions.product_id])
            yield Removed(store=index.name, place=mentions.product_id, count=1, what="vectors")
        yield from erase_from_events(self.dagster_database_url, mentions)
        yield from rows.erase_from_marts(mentions)
        if self._runs_at_rest() == runs:
            yield from rows.erase_from_catalogue(mentions)
