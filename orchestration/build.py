"""The composition root: settings become resources, rooms become definitions.

Belongs here: choosing an adapter for every port and putting the parts together. Not here: what the parts do, reading
the environment (see `settings`).
"""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path

import dagster as dg

from assets.clusters.assets import ASSETS as CLUSTER_ASSETS
from assets.clusters.checks import CHECKS as CLUSTER_CHECKS
from assets.clusters.model_judge import ModelJudge
from assets.clusters.rules import JudgeRules, MatchRules, ResolutionRules, VetoRules
from assets.embeddings.assets import ASSETS as EMBEDDING_ASSETS
from assets.embeddings.checks import CHECKS as EMBEDDING_CHECKS
from assets.listings.assets import ASSETS as LISTING_ASSETS
from assets.listings.checks import CHECKS as LISTING_CHECKS
from assets.marts.assets import build_marts_assets
from assets.products.assets import ASSETS as PRODUCT_ASSETS
from assets.products.checks import CHECKS as PRODUCT_CHECKS
from assets.products.guarding import SnapshotRules
from assets.summaries.assets import ASSETS as SUMMARY_ASSETS
from assets.summaries.checks import CHECKS as SUMMARY_CHECKS
from orchestration.jobs import CATALOGUE, INGEST
from orchestration.settings import Endpoints, Settings, endpoints
from resources.batch_archive import ArtifactArchive
from resources.batch_book import PostgresBatchBook
from resources.dbt_runner import DbtProject, DbtProjectRunner
from resources.document_shelf import DocumentShelf
from resources.embedder import OnnxEmbedder
from resources.landing_zone import LandingBucket
from resources.language_model import OpenAILanguageModel
from resources.object_store import ObjectStore
from resources.parquet_io import ParquetIOManager
from resources.pgvector_index import PgVectorIndex
from resources.qdrant_embedded import QdrantEmbeddedIndex
from resources.qdrant_server import QdrantServerIndex
from resources.state_shelf import ObjectStateShelf
from resources.tracking import MlflowTracking
from resources.tracking_outbox import TrackingOutbox
from resources.warehouse import Warehouse
from sensors.catalogue import build_catalogue_sensor
from sensors.landing import build_landing_sensor

PROJECT = Path(__file__).resolve().parent.parent


def build_definitions(settings: Settings, overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """Return everything Dagster shows and runs.

    Args:
        settings: Where the services are; nothing is contacted before an asset needs it.
        overrides: Resources by name that replace those of the settings, e.g. in tests.
    """
    parts = Parts(settings)
    return dg.Definitions(
        assets=[
            *LISTING_ASSETS,
            *PRODUCT_ASSETS,
            *EMBEDDING_ASSETS,
            *CLUSTER_ASSETS,
            *SUMMARY_ASSETS,
            build_marts_assets(parts.dbt_project.manifest()),
        ],
        asset_checks=[*LISTING_CHECKS, *PRODUCT_CHECKS, *EMBEDDING_CHECKS, *CLUSTER_CHECKS, *SUMMARY_CHECKS],
        jobs=[INGEST, CATALOGUE],
        sensors=[
            build_landing_sensor(INGEST.name),
            build_catalogue_sensor(CATALOGUE.name, INGEST.name),
        ],
        resources={**_resources(parts), **(overrides or {})},
        # The steps are short, and every process of its own would spend longer importing than working.
        executor=dg.in_process_executor,
    )


class Parts:
    """Every adapter, each made when it is first needed, so that loading the definitions contacts nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def where(self) -> Endpoints:
        """Where the services are; raises `StackNotStarted` where nobody can know."""
        return endpoints(self._settings)

    @cached_property
    def store(self) -> ObjectStore:
        """The object store."""
        at = self.where
        return ObjectStore(at.s3_endpoint, at.s3_access_key, at.s3_secret_key, at.s3_region)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The current catalogue in PostgreSQL."""
        return Warehouse(self.where.database_url)

    @cached_property
    def io_manager(self) -> ParquetIOManager:
        """Immutable Parquet objects in the artifacts bucket, one per asset, partition and run."""
        return ParquetIOManager(self.store, self.where.artifacts_bucket)

    @cached_property
    def batch_book(self) -> PostgresBatchBook:
        """Every batch that was ever delivered, and the ledger of deliveries."""
        return PostgresBatchBook(self.warehouse, self.where.landing_bucket)

    def batch_archive(self, instance: dg.DagsterInstance) -> ArtifactArchive:
        """The tables that were made of every batch."""
        return ArtifactArchive(self.io_manager, instance)

    @cached_property
    def landing_zone(self) -> LandingBucket:
        """The bucket where sources deliver their feeds."""
        return LandingBucket(self.store, self.where.landing_bucket)

    @cached_property
    def documents(self) -> DocumentShelf:
        """Reports for people, kept in the artifacts bucket."""
        at = self.where
        shown = ObjectStore(at.s3_public_endpoint, at.s3_access_key, at.s3_secret_key, at.s3_region)
        return DocumentShelf(self.store, shown, at.artifacts_bucket)

    @cached_property
    def embedder(self) -> OnnxEmbedder:
        """Texts to unit vectors."""
        return OnnxEmbedder(cache=self._settings.home / "models")

    @cached_property
    def pgvector(self) -> PgVectorIndex:
        """Vector search in PostgreSQL."""
        return PgVectorIndex(self.where.database_url)

    @cached_property
    def qdrant(self) -> QdrantServerIndex | QdrantEmbeddedIndex:
        """Vector search in Qdrant: its server where one is configured, else its engine in this process."""
        at = self.where
        if at.qdrant_url is not None:
            return QdrantServerIndex(at.qdrant_url, at.qdrant_api_key)
        return QdrantEmbeddedIndex(at.qdrant_path)

    @cached_property
    def language_model(self) -> OpenAILanguageModel | None:
        """The language model that words summaries and judges pairs; none unless an OpenAI key or base URL is set."""
        at = self.where
        if at.openai_api_key is None and at.openai_base_url is None:
            return None
        return OpenAILanguageModel(at.openai_api_key, at.openai_base_url, at.openai_model)

    @cached_property
    def match_rules(self) -> MatchRules:
        """The matcher's configuration."""
        at = self.where
        return MatchRules(
            vetoes=VetoRules(colours=at.colours_apart),
            resolution=ResolutionRules(precision_first=at.precision_first),
            judging=JudgeRules(questions=at.judge_questions),
        )

    @cached_property
    def snapshot_rules(self) -> SnapshotRules:
        """How much a snapshot may delist."""
        return SnapshotRules(most_delisted=self.where.most_delisted)

    @cached_property
    def match_state(self) -> ObjectStateShelf:
        """The state of the last matching, from which the next one goes on."""
        return ObjectStateShelf(self.store, self.where.artifacts_bucket)

    @cached_property
    def judge(self) -> ModelJudge | None:
        """Who decides uncertain pairs; nobody unless questions are allowed."""
        if self.language_model is None or not self.match_rules.judging.questions:
            return None
        return ModelJudge(self.language_model, colours=self.match_rules.vetoes.colours)

    @cached_property
    def dbt_project(self) -> DbtProject:
        """The marts as dbt models; reading it contacts nothing."""
        return DbtProject(PROJECT / "dbt_project", self._settings.home / "dbt")

    @cached_property
    def dbt(self) -> DbtProjectRunner:
        """Builds the marts in PostgreSQL."""
        return DbtProjectRunner(self.dbt_project, self.where.database_url)

    @cached_property
    def tracking(self) -> TrackingOutbox:
        """Experiments and model versions in MLflow; kept for later while it is away."""
        at = self.where
        mlflow = MlflowTracking(
            tracking_uri=at.mlflow_tracking_uri, artifact_root=at.mlflow_artifact_root, ui_url=at.mlflow_url
        )
        # A run in a terminal and one of Dagster's daemon may deliver at once.
        alone = partial(self.warehouse.alone, "tracking")
        return TrackingOutbox(mlflow, self.store, at.artifacts_bucket, alone=alone)


#: Resource in Dagster -> the part that it is.
RESOURCES = {
    "catalogue": "warehouse",
    "batch_book": "batch_book",
    "landing_zone": "landing_zone",
    "documents": "documents",
    "embedder": "embedder",
    "pgvector": "pgvector",
    "qdrant": "qdrant",
    "writer": "language_model",
    "match_rules": "match_rules",
    "snapshot_rules": "snapshot_rules",
    "match_state": "match_state",
    "judge": "judge",
    "tracking": "tracking",
    "dbt": "dbt",
}


def _resources(parts: Parts) -> dict[str, object]:
    return {
        "io_manager": dg.IOManagerDefinition(
            resource_fn=lambda _: parts.io_manager, description=Parts.io_manager.__doc__
        ),
        "batch_archive": dg.ResourceDefinition(
            resource_fn=lambda context: parts.batch_archive(_instance_of(context)),
            description=Parts.batch_archive.__doc__,
        ),
        **{
            name: dg.ResourceDefinition(resource_fn=_lazily(parts, part), description=getattr(Parts, part).__doc__)
            for name, part in RESOURCES.items()
        },
    }


def _instance_of(context: dg.InitResourceContext) -> dg.DagsterInstance:
    if context.instance is None:
        raise dg.DagsterInvariantViolationError("a batch's artifacts are found by the events of an instance")
    return context.instance


def _lazily(parts: Parts, part: str) -> Callable[[dg.InitResourceContext], object]:
    return lambda _: getattr(parts, part)
