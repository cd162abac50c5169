"""The marts against a real PostgreSQL: a small catalogue, built by dbt through Dagster."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy.engine import make_url

from assets.marts.assets import build_marts_assets
from orchestration.settings import Endpoints
from resources.dbt_runner import STARTED_BY, DbtProject, DbtProjectBroken, DbtProjectRunner
from resources.warehouse import Warehouse

pytestmark = pytest.mark.stack

PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"
DATABASE = "offerline_marts_test"
PHONE, CASE, LONER = (f"c_{letter * 16}" for letter in "abc")
MARTS = {"dim_product", "fct_offer", "price_comparison", "price_history", "source_coverage", "cluster_quality"}

# source, listing, seller, title, brand, gtin, price, currency, condition, availability, cluster, delisted
OFFERS = [
    (
        "alpha",
        "1",
        "alpha",
        "Phone X 64 GB",
        "Acme",
        "00012345678905",
        "100.00",
        "EUR",
        "new",
        "in_stock",
        PHONE,
        False,
    ),
    ("beta", "1", "beta", "Acme Phone X", "ACME", None, "80.00", "EUR", "new", "in_stock", PHONE, False),
    ("beta", "2", "beta", "Acme Phone X (used)", "Acme", None, "40.00", "EUR", "used", "out_of_stock", PHONE, False),
    ("gamma", "9", "gamma-us", "Phone X", None, None, "90.00", "USD", "unknown", "unknown", PHONE, False),
    ("alpha", "2", "alpha", "Case for Phone X", "Acme", None, "10.00", "EUR", "new", "in_stock", CASE, False),
    ("beta", "3", "beta", "Phone X case", "Bmce", None, "35.00", "EUR", "new", "preorder", CASE, False),
    ("alpha", "3", "alpha", "Something <b>else</b>", None, None, None, None, "new", "in_stock", LONER, False),
    ("alpha", "4", "alpha", "Gone", "Acme", None, "5.00", "EUR", "new", "in_stock", None, True),
]
DAY = "2026-11-{:02d}T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A database of its own with a small catalogue, and dbt at it."""

    url: str
    project: DbtProject

    @property
    def marts(self) -> dg.AssetsDefinition:
        return build_marts_assets(self.project.manifest(DATABASE))

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.url.replace("+psycopg", ""), row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url.replace("+psycopg", "")) as connection:
            connection.execute(statement)

    def materialise(self, selection: dg.AssetSelection | None = None) -> dg.ExecuteInProcessResult:
        runner = DbtProjectRunner(self.project, self.url)
        return dg.materialize([self.marts], resources={"dbt": runner}, selection=selection, raise_on_error=False)


@pytest.fixture(scope="module")
def catalogue(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    admin = make_url(stack.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    url = make_url(stack.database_url).set(database=DATABASE).render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    warehouse = Warehouse(url)
    warehouse.migrate()
    warehouse.close()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        _fill(connection)
    yield Catalogue(url, DbtProject(PROJECT, tmp_path_factory.mktemp("dbt")))
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture(scope="module")
def built(catalogue: Catalogue) -> dg.ExecuteInProcessResult:
    return catalogue.materialise()


def _insert(connection: psycopg.Connection[Any], table: str, **values: Any) -> None:
    columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
    connection.execute(f"INSERT INTO catalog.{table} ({columns}) VALUES ({places})", list(values.values()))


def _fill(connection: psycopg.Connection[Any]) -> None:
    for source, feed, day, read, rejected in (
        ("alpha", "a.csv", 1, 9, 4),
        ("alpha", "a.csv", 5, 5, 1),
        ("beta", "b.csv", 2, 3, 0),
        ("gamma", "g.csv", 3, 2, 1),
    ):
        _insert(
            connection, "batches", batch_key=f"{source}-{day}", source=source, feed_path=feed, object_key=feed,
            etag="e", mode="snapshot", contract="{}", contract_digest="d", delivered_at=DAY.format(day), rows_read=read,
            rows_accepted=read - rejected, rows_rejected=rejected, state="applied",
        )  # fmt: skip
        _insert(
            connection, "deliveries", bucket="landing", object_key=feed, etag="e", size=1,
            last_modified=DAY.format(day), prefix="", source=source, feed_path=feed, batch_key=f"{source}-{day}",
            state="ingested", run_id="r",
        )  # fmt: skip
    days = {"alpha": 5, "beta": 2, "gamma": 3}
    for source, listing, seller, title, brand, gtin, price, currency, condition, availability, cluster, gone in OFFERS:
        seen = DAY.format(days[source])
        times = {"first_seen_at": seen, "delisted_at": seen if gone else None}
        origin = {"source": source, "listing_id": listing, "seller": seller, "batch_key": f"{source}-{days[source]}"}
        _insert(
            connection, "listings", **origin, **times, title=title, attributes="{}", row_number=1, row_digest="0" * 32,
            feed_path="f", delivered_at=seen, last_seen_at=seen, changed_at=seen,
        )  # fmt: skip
        product_id = f"{source}:{listing}"
        _insert(
            connection, "products", **origin, **times, product_id=product_id, title=title, brand=brand, gtin=gtin,
            price=price, currency=currency, condition=condition, availability=availability, model_codes=[], pack_size=1,
            measures="{}", attributes="{}", issues=[], quality=0.5, quality_parts="{}", embedding_text=title,
            text_hash="0" * 32, product_digest="0" * 32, updated_at=seen,
        )  # fmt: skip
        if not gone:
            _insert(connection, "cluster_members", product_id=product_id, cluster_id=cluster, confidence=0.8)
            _insert(
                connection, "product_history", product_id=product_id, price=price, currency=currency,
                availability=availability, valid_from=seen, batch_key=origin["batch_key"],
            )  # fmt: skip
    _insert(
        connection, "product_history", product_id="alpha:1", price="125.00", currency="EUR", availability="in_stock",
        valid_from=DAY.format(1), valid_to=DAY.format(5), batch_key="alpha-1",
    )  # fmt: skip
    for cluster, size, weakest, disagreements in (
        (PHONE, 4, 0.7, {"condition": ["new", "used"]}),
        (CASE, 2, 0.4, {}),
        (LONER, 1, 1, {}),
    ):
        _insert(connection, "clusters", cluster_id=cluster, size=size, weakest_link=weakest)
        _insert(
            connection, "golden_records", cluster_id=cluster, title=f"Title of {cluster}", measures="{}", offers=size,
            sellers=size, disagreements=json.dumps(disagreements), provenance="{}", record_digest="0" * 32,
        )  # fmt: skip
        _insert(
            connection, "cluster_summaries", cluster_id=cluster, headline="It is", summary="A summary.",
            author="template", record_digest="0" * 32,
        )  # fmt: skip
    _insert(connection, "clusters", cluster_id="c_" + "z" * 16, size=0, weakest_link=1, dissolved_at=DAY.format(2))


def test_everything_is_built_and_every_test_passes(built: dg.ExecuteInProcessResult) -> None:
    assert built.success
    made = {event.asset_key.path[-1]: event for event in built.get_asset_materialization_events() if event.asset_key}
    assert set(made) >= MARTS
    assert made["fct_offer"].materialization.metadata["dagster/row_count"].value == 7
    checks = built.get_asset_check_evaluations()
    assert len(checks) > 40
    assert [check.check_name for check in checks if not check.passed] == []


def test_columns_are_described_and_their_lineage_is_known(
    built: dg.ExecuteInProcessResult, catalogue: Catalogue
) -> None:
    schema = catalogue.marts.metadata_by_key[dg.AssetKey(["marts", "fct_offer"])]["dagster/column_schema"]
    assert all(column.description and column.type != "?" for column in schema.columns)
    [made] = [
        event.materialization
        for event in built.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["marts", "stg_offers"])
    ]
    lineage = made.metadata["dagster/column_lineage"].value
    assert lineage.deps_by_column["cluster_id"] == [
        dg.TableColumnDep(asset_key=dg.AssetKey(["clusters", "product_clusters"]), column_name="cluster_id")
    ]


def test_models_depend_on_the_assets_that_write_their_tables(catalogue: Catalogue) -> None:
    marts = catalogue.marts
    upstream = {key.to_user_string() for key in marts.keys_by_input_name.values()} - {
        key.to_user_string() for key in marts.keys
    }
    assert upstream == {
        "products/catalogue", "clusters/product_clusters", "summaries/golden_records", "summaries/cluster_summaries",
    }  # fmt: skip
    for spec in marts.specs:
        assert spec.key.path[0] == spec.group_name == "marts"
        assert spec.owners == ["team:data-engineering"]
        assert spec.description and "dbt" in spec.kinds


@pytest.mark.usefixtures("built")
def test_price_comparison_names_the_cheapest_that_can_be_bought(catalogue: Catalogue) -> None:
    rows = catalogue.rows("SELECT * FROM marts.price_comparison ORDER BY cluster_id, currency")
    assert [(row["cluster_id"], row["currency"], row["offers"]) for row in rows] == [
        (PHONE, "EUR", 2), (PHONE, "USD", 1), (CASE, "EUR", 2),
    ]  # fmt: skip
    phone = rows[0]
    assert (phone["cheapest_seller"], phone["dearest_seller"]) == ("beta", "alpha")
    assert (phone["lowest_price"], phone["median_price"], phone["highest_price"]) == (80, 90, 100)
    assert (phone["spread"], phone["spread_percent"]) == (20, Decimal("25.00"))


@pytest.mark.usefixtures("built")
def test_offers_are_the_current_ones_and_flag_the_cheapest(catalogue: Catalogue) -> None:
    rows = {row["product_id"]: row for row in catalogue.rows("SELECT * FROM marts.fct_offer")}
    assert len(rows) == 7 and "alpha:4" not in rows
    assert {key for key, row in rows.items() if row["is_cheapest"]} == {"beta:1", "gamma:9", "alpha:2"}
    assert not rows["beta:2"]["is_comparable"], "an offer that is out of stock is no price to compare with"


@pytest.mark.usefixtures("built")
def test_products_carry_record_and_summary(catalogue: Catalogue) -> None:
    rows = {row["cluster_id"]: row for row in catalogue.rows("SELECT * FROM marts.dim_product")}
    assert set(rows) == {PHONE, CASE, LONER}
    assert (rows[PHONE]["disputed_fields"], rows[PHONE]["headline"], rows[PHONE]["offers"]) == (1, "It is", 4)


@pytest.mark.usefixtures("built")
def test_price_history_knows_the_change(catalogue: Catalogue) -> None:
    rows = catalogue.rows("SELECT * FROM marts.price_history WHERE product_id = 'alpha:1' ORDER BY valid_from")
    assert [(row["price"], row["is_current"], row["change"], row["change_percent"]) for row in rows] == [
        (125, False, None, None), (100, True, -25, Decimal("-20.00")),
    ]  # fmt: skip


@pytest.mark.usefixtures("built")
def test_source_coverage_counts_the_newest_delivery(catalogue: Catalogue) -> None:
    rows = {row["source"]: row for row in catalogue.rows("SELECT * FROM marts.source_coverage")}
    alpha = rows["alpha"]
    assert (alpha["feeds"], alpha["listings"], alpha["offers"]) == (1, 3, 3)
    assert (alpha["rows_read"], alpha["rows_rejected"], alpha["rejected_share"]) == (5, 1, Decimal("0.2000"))
    assert (alpha["brand_share"], alpha["price_share"]) == (Decimal("0.6667"), Decimal("0.6667"))
    assert alpha["matched_share"] == Decimal("0.6667"), "two of its three offers are offered by others too"
    assert rows["gamma"]["gtin_share"] == 0


@pytest.mark.usefixtures("built")
def test_cluster_quality_says_what_is_odd(catalogue: Catalogue) -> None:
    rows = {row["cluster_id"]: row for row in catalogue.rows("SELECT * FROM marts.cluster_quality")}
    assert rows[PHONE]["flags"] == ["seller_repeated", "conditions_differ"]
    assert rows[CASE]["flags"] == ["weak_link", "wide_price_spread", "brands_differ"]
    assert rows[LONER]["flags"] == [] and not rows[LONER]["is_suspect"]


@pytest.mark.usefixtures("built")
def test_a_selection_runs_alone_and_a_failed_mart_test_is_shown_without_failing_the_run(catalogue: Catalogue) -> None:
    catalogue.execute("UPDATE catalog.golden_records SET offers = 9 WHERE cluster_id = '" + PHONE + "'")
    result = catalogue.materialise(dg.AssetSelection.assets(dg.AssetKey(["marts", "dim_product"])))
    assert result.success
    assert [event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key] == [
        "dim_product"
    ]
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert [(check.check_name, check.severity) for check in failed] == [
        ("records_count_their_offers", dg.AssetCheckSeverity.WARN)
    ]
    catalogue.execute("UPDATE catalog.golden_records SET offers = 4 WHERE cluster_id = '" + PHONE + "'")


@pytest.mark.laws
def test_a_dbt_that_outlived_its_run_is_ended_before_the_next_one(catalogue: Catalogue) -> None:
    """Killed with its run is only who waits for it; whoever another process still waits for is left alone."""
    told = os.environ | DbtProjectRunner(catalogue.project, catalogue.url)._connection()
    dbt = [sys.executable, "-c", "import time; time.sleep(600)"]
    run = (
        "import os, subprocess; told = os.environ | {'OFFERLINE_DBT_STARTED_BY': str(os.getpid())}; "
        f"print(subprocess.Popen({dbt!r}, env=told, stdout=subprocess.DEVNULL).pid)"
    )
    killed = subprocess.run([sys.executable, "-c", run], env=told, stdout=subprocess.PIPE, text=True, check=True)
    orphan = psutil.Process(int(killed.stdout))
    assert orphan.is_running()
    with subprocess.Popen(dbt, env=told | {STARTED_BY: str(os.getpid())}) as awaited:
        assert catalogue.materialise(dg.AssetSelection.assets(["marts", "stg_clusters"])).success
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        assert awaited.poll() is None
        awaited.kill()


def test_the_manifest_is_parsed_once_per_version_of_the_project(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = catalogue.project.manifest(DATABASE)
    monkeypatch.setattr(DbtProject, "_parse_into", lambda *_: pytest.fail("parsed again"))
    assert DbtProject(PROJECT, catalogue.project.artifacts).manifest(DATABASE) == first


def test_a_broken_project_is_told_in_dbts_words(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    for name in ("dbt_project.yml", "profiles.yml"):
        (folder / name).write_bytes((PROJECT / name).read_bytes())
    (folder / "models" / "broken.sql").write_text("select * from {{ ref('nowhere') }}")
    with pytest.raises(DbtProjectBroken, match="nowhere"):
        DbtProject(folder, tmp_path / "artifacts").manifest()
