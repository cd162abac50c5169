"""The gate between two stages closes on every kind of broken promise, and only then."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from assets.clusters.schema import CLUSTER_EVENTS
from assets.contract import Column, TableContract
from assets.embeddings.schema import PRODUCT_EMBEDDINGS
from assets.listings.schema import REJECTED_LISTINGS
from assets.products.schema import CATALOGUE
from assets.quality_gate import Verdict, contract_check, expectations, validate

TEXT = pa.string()
OFFERS = TableContract(
    stage="listings",
    name="offers",
    description="One offer.",
    key=("source", "offer_id"),
    columns=(
        Column(name="source", type=TEXT, nullable=False, description="Source."),
        Column(name="offer_id", type=TEXT, nullable=False, description="Id."),
        Column(name="condition", type=TEXT, values=("new", "used"), description="Condition."),
        Column(name="price", type=pa.decimal128(18, 4), minimum=0, maximum=1000, description="Price."),
        Column(name="currency", type=TEXT, pattern=r"^[A-Z]{3}$", description="Currency."),
        Column(name="more", type=TEXT, json=True, description="JSON."),
        Column(name="words", type=pa.list_(TEXT), nullable=False, description="Words."),
        Column(name="seen", type=pa.timestamp("us", tz="UTC"), description="When."),
    ),
)
SECRET = "<script>stolen()</script>"
Offers = dict[str, list[Any]]


def sound() -> Offers:
    return {
        "source": ["shop", "shop", "other"],
        "offer_id": ["1", "2", "1"],
        "condition": ["new", None, "used"],
        "price": [Decimal("0"), None, Decimal("1000")],
        "currency": ["EUR", None, "USD"],
        "more": ['{"a": 1}', None, "{}"],
        "words": [["x", "y"], [], ["z"]],
        "seen": [datetime(2026, 11, 23, tzinfo=UTC), None, datetime(1970, 1, 1, tzinfo=UTC)],
    }


def table_of(offers: Offers) -> pa.Table:
    types = {column.name: column.type for column in OFFERS}
    return pa.table({name: pa.array(values, types[name]) for name, values in offers.items()})


def broken(**columns: list[Any]) -> Verdict:
    return validate(table_of({**sound(), **columns}), OFFERS)


def test_a_sound_table_passes_every_expectation() -> None:
    verdict = validate(table_of(sound()), OFFERS)
    assert verdict.passed
    assert verdict.expectations == len(expectations(OFFERS)) == 10


def test_every_wrong_value_fails_its_own_expectation_and_is_counted() -> None:
    verdict = broken(
        source=["shop", None, "other"],
        words=[["x"], None, None],
        condition=["new", "stolen", "used"],
        price=[Decimal("-0.0001"), Decimal("1000.0001"), Decimal("1")],
        currency=["EURO", None, "usd"],
        more=["{}", "{'a': 1}", None],
    )
    assert not verdict.passed
    assert set(verdict.failures) == {
        ("column_values_to_not_be_null", "source", 1),
        ("column_values_to_not_be_null", "words", 2),
        ("column_values_to_be_in_set", "condition", 1),
        ("column_values_to_be_between", "price", 2),
        ("column_values_to_match_regex", "currency", 2),
        ("column_values_to_be_json_parseable", "more", 1),
    }


def test_a_key_is_unique_as_a_whole() -> None:
    verdict = broken(offer_id=["1", "1", "1"])
    ((name, subject, rows),) = verdict.failures
    assert name.startswith("compound_columns_to_be_unique")
    assert (subject, rows) == ("source, offer_id", 2)


def test_a_key_of_one_column_is_unique() -> None:
    contract = TableContract(
        stage="listings", name="ids", description="Ids.", key=("offer_id",), columns=(OFFERS.columns[1],)
    )
    ((name, subject, rows),) = validate(pa.table({"offer_id": ["1", "2", "1"]}), contract).failures
    assert (name, subject, rows) == ("column_values_to_be_unique", "offer_id", 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.select(list(reversed(table.column_names))),
        lambda table: table.append_column("surplus", pa.nulls(table.num_rows, TEXT)),
        lambda table: table.drop_columns(["seen"]),
        lambda table: table.rename_columns(["source", "offer_id", "state", *table.column_names[3:]]),
    ],
    ids=["order", "surplus", "missing", "renamed"],
)
def test_columns_are_the_promised_ones_in_order(change: Callable[[pa.Table], pa.Table]) -> None:
    verdict = validate(change(table_of(sound())), OFFERS)
    assert "table_columns_to_match_ordered_list" in {name for name, _, _ in verdict.failures}


def test_a_promise_about_a_column_that_is_not_there_is_broken() -> None:
    failures = validate(table_of(sound()).drop_columns(["price"]), OFFERS).failures
    assert {subject for _, subject, _ in failures} == {"price", ", ".join(OFFERS.names)}


def test_an_expectation_that_cannot_be_evaluated_says_why() -> None:
    failures = validate(table_of(sound()).drop_columns(["price"]), OFFERS).failures
    (expectation,) = (name for name, subject, _ in failures if subject == "price")
    assert "could not be evaluated" in expectation
    assert '"price" in BatchData does not exist' in expectation


def test_a_pattern_is_matched_to_the_very_end() -> None:
    assert broken(currency=["EUR\n", None, "USD"]).failures == (("column_values_to_match_regex", "currency", 1),)


def test_json_is_an_object() -> None:
    verdict = broken(more=["[1]", "NaN", "3"])
    assert {(subject, rows) for _, subject, rows in verdict.failures} == {("more", 3)}


def test_a_stage_may_expect_more() -> None:
    def money_is_complete() -> list[Any]:
        import great_expectations.expectations as gxe

        return [
            gxe.ExpectColumnValuesToNotBeNull(
                column="currency", condition_parser="pandas", row_condition="price.notnull()"
            )
        ]

    assert validate(table_of(sound()), OFFERS, money_is_complete).passed
    halves = table_of({**sound(), "currency": [None, "EUR", "USD"]})
    assert validate(halves, OFFERS).passed
    assert validate(halves, OFFERS, money_is_complete).failures == (("column_values_to_not_be_null", "currency", 1),)


def test_a_report_is_a_page_without_a_word_of_any_listing() -> None:
    verdict = broken(
        source=[SECRET, SECRET, SECRET],
        offer_id=["secret-id", "secret-id", "secret-id"],
        condition=[SECRET, "secret-state", None],
        currency=[SECRET, "secret-money", None],
        more=["secret-json", SECRET, None],
    )
    assert len(verdict.failures) == 5
    page = verdict.report.decode()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "stolen()" not in page
    assert "secret-" not in page
    assert "offers" in page, "it says which table it is about"


@pytest.mark.parametrize(
    "contract",
    [REJECTED_LISTINGS, CATALOGUE, PRODUCT_EMBEDDINGS, CLUSTER_EVENTS],
    ids=lambda contract: contract.name,
)
def test_an_empty_table_keeps_every_promise(contract: TableContract) -> None:
    verdict = validate(contract.empty(), contract)
    assert verdict.failures == ()
    assert verdict.expectations >= 2 + sum(not column.nullable for column in contract)


class Shelf:
    """A shelf that remembers what was put on it."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}

    def publish(self, path: str, page: bytes) -> str:
        self.pages[path] = page
        return f"http://127.0.0.1/{path}"


@pytest.mark.parametrize("state", ["new", "stolen"])
def test_the_check_blocks_on_a_broken_table_and_links_the_report(state: str) -> None:
    shelf = Shelf()

    class InMemory(dg.IOManager):
        def handle_output(self, context: dg.OutputContext, obj: pa.Table) -> None:
            raise NotImplementedError

        def load_input(self, context: dg.InputContext) -> pa.Table:
            return table_of({**sound(), "condition": [state, None, "used"]})

    check = contract_check(OFFERS)
    (spec,) = check.check_specs
    assert spec.blocking
    assert spec.key.to_user_string() == "listings/offers:contract"
    job = dg.Definitions(
        assets=[dg.AssetSpec(spec.asset_key)],
        asset_checks=[check],
        jobs=[dg.define_asset_job("gate", dg.AssetSelection.checks(check))],
        resources={"documents": shelf, "io_manager": InMemory()},
    ).resolve_job_def("gate")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert result.success == (state == "new")
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed == (state == "new")
    assert evaluation.severity == dg.AssetCheckSeverity.ERROR
    ((path, page),) = shelf.pages.items()
    assert path.startswith("data_docs/listings/offers/")
    assert path.endswith(".html")
    assert evaluation.metadata["data docs"] == dg.MetadataValue.url(f"http://127.0.0.1/{path}")
    assert evaluation.metadata["rows"] == dg.MetadataValue.int(3)
    assert b"<html" in page.lower()
    assert ("failures" in evaluation.metadata) == (state == "stolen")
    if state == "stolen":
        assert evaluation.description == "column_values_to_be_in_set failed on condition: 1 rows"
        assert "stolen" not in json.dumps({name: str(value) for name, value in evaluation.metadata.items()})
