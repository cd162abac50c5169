"""A contract gives a table the promised shape, or says which column keeps it from that."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.clusters import schema as clusters
from assets.contract import Column, ContractBroken, TableContract
from assets.embeddings import schema as embeddings
from assets.listings import schema as listings
from assets.products import schema as products
from assets.summaries import schema as summaries

OFFERS = TableContract(
    stage="listings",
    name="offers",
    description="One offer.",
    key=("offer_id",),
    columns=(
        Column(name="offer_id", type=pa.string(), nullable=False, description="Id."),
        Column(name="price", type=pa.decimal128(18, 4), description="Price."),
        Column(name="stock", type=pa.int32(), description="Pieces."),
    ),
)
ROOMS = (clusters, embeddings, listings, products, summaries)
CONTRACTS = [value for room in ROOMS for value in vars(room).values() if isinstance(value, TableContract)]


def offers(**columns: object) -> pa.Table:
    return pa.table({"offer_id": ["a", "b"], "price": ["1.5", None], "stock": [1, None], **columns})


def test_conform_orders_casts_and_drops_what_is_not_promised() -> None:
    messy = offers(surplus=[1, 2]).select(["surplus", "stock", "price", "offer_id"])
    table = OFFERS.conform(messy)
    assert table.schema.equals(OFFERS.arrow)
    assert [str(price) for price in table.column("price").to_pylist()] == ["1.5000", "None"]
    assert OFFERS.conform(table).equals(table), "what conforms is left as it is"


def test_a_missing_column_is_named_with_those_that_were_found() -> None:
    with pytest.raises(ContractBroken, match=r"offers: columns \['price', 'stock'\] are missing; found \['offer_id'\]"):
        OFFERS.conform(offers().select(["offer_id"]))


def test_a_null_where_none_may_be_is_named_and_counted() -> None:
    with pytest.raises(ContractBroken, match=r"offers\.offer_id: 1 of 2 values are null"):
        OFFERS.conform(offers(offer_id=["a", None]))


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("stock", pa.array(["many", "few"]), r"offers\.stock: expected int32, got string"),
        ("stock", pa.array([1 << 40, 0]), r"offers\.stock: expected int32, got int64"),
        ("stock", pa.array([1.5, 2.0]), r"offers\.stock: expected int32, got double"),
        ("price", pa.array([[1], [2]]), r"offers\.price: expected decimal128\(18, 4\), got list"),
    ],
)
def test_a_type_that_does_not_fit_is_named(column: str, values: pa.Array, expected: str) -> None:
    with pytest.raises(ContractBroken, match=expected):
        OFFERS.conform(offers(**{column: values}))


@given(st.lists(st.tuples(st.text(), st.none() | st.integers(-(2**31), 2**31 - 1)), max_size=20))
def test_what_fits_loses_no_value(rows: list[tuple[str, int | None]]) -> None:
    given_rows = {"offer_id": [row[0] for row in rows], "stock": [row[1] for row in rows]}
    types = {"offer_id": pa.string(), "stock": pa.int64()}
    table = pa.table({name: pa.array(values, types[name]) for name, values in given_rows.items()})
    shaped = OFFERS.conform(table.append_column("price", pa.nulls(len(rows), pa.string())))
    assert {name: shaped.column(name).to_pylist() for name in given_rows} == given_rows


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_every_contract_of_the_rooms_is_sound(contract: TableContract) -> None:
    assert len(set(contract.names)) == len(contract.names), "a column is promised twice"
    assert contract.key, "rows have no identity"
    keys = [column for column in contract if column.name in contract.key]
    assert len(keys) == len(contract.key), "the key names a column that is not there"
    assert not any(column.nullable for column in keys), "a key may not be null"
    empty = contract.empty()
    assert (empty.num_rows, empty.schema) == (0, contract.arrow)
    assert contract.conform(empty).equals(empty)
    for column in contract:
        assert column.description, column.name
        bounded = column.minimum is not None or column.maximum is not None
        assert not bounded or pa.types.is_primitive(column.type) or pa.types.is_decimal(column.type), column.name
        assert not (column.json or column.pattern or column.values) or column.type == pa.string(), column.name
        if column.pattern is not None:
            assert column.pattern.startswith("^"), f"{column.name}: the author anchors the pattern"
            assert column.pattern.endswith("$"), f"{column.name}: the author anchors the pattern"
