"""Equal content has an equal digest, other content another: what keeps downstream assets fresh, or makes them again."""

import importlib
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.versions import code_version, table_digest

SCHEMA = pa.schema([("text", pa.string()), ("number", pa.int64()), ("words", pa.list_(pa.string()))])
ROWS = st.lists(
    st.tuples(
        st.none() | st.text(max_size=5),
        st.none() | st.integers(-9, 9),
        st.none() | st.lists(st.text(max_size=3), max_size=3),
    ),
    max_size=30,
)
Rows = list[tuple[Any, ...]]


def table_of(rows: Rows) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    arrays = [pa.array(list(values), field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA)


@given(ROWS, st.lists(st.integers(0, 30), max_size=5))
def test_how_a_table_is_cut_does_not_show(rows: Rows, cuts: list[int]) -> None:
    table = table_of(rows)
    ends = sorted({0, *(cut for cut in cuts if cut < len(rows)), len(rows)})
    cut = pa.concat_tables([table.slice(start, end - start) for start, end in pairwise(ends)] or [table])
    assert cut.equals(table)
    assert table_digest(cut) == table_digest(table)


@given(ROWS, st.integers(1, 9), st.integers(0, 9))
def test_where_a_table_was_cut_from_does_not_show(rows: Rows, before: int, after: int) -> None:
    more = [("other", 7, ["x"])]
    whole = table_of(more * before + rows + more * after)
    assert table_digest(whole.slice(before, len(rows))) == table_digest(table_of(rows))


@given(ROWS, ROWS)
def test_the_digest_tells_contents_apart(left: Rows, right: Rows) -> None:
    assert (table_digest(table_of(left)) == table_digest(table_of(right))) == (left == right)


@given(ROWS.filter(bool), st.data())
def test_one_changed_value_shows(rows: Rows, data: st.DataObject) -> None:
    row, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, 2))
    other = [["changed"], 10**6, "changed"][2 - column]
    changed = [
        tuple(other if (r, c) == (row, column) else value for c, value in enumerate(values))
        for r, values in enumerate(rows)
    ]
    assert table_digest(table_of(changed)) != table_digest(table_of(rows))


def test_what_lies_under_a_null_does_not_show() -> None:
    numbers = pa.array([1, 2, 3])
    validity = pa.array([True, False, True])
    masked = pa.Array.from_buffers(pa.int64(), 3, [validity.buffers()[1], numbers.buffers()[1]])
    assert masked.equals(pa.array([1, None, 3]))
    assert table_digest(pa.table({"n": masked})) == table_digest(pa.table({"n": pa.array([1, None, 3])}))


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.rename_columns(["text", "number", "other"]),
        lambda table: table.set_column(1, "number", table.column("number").cast(pa.int32())),
        lambda table: table.select(["number", "text", "words"]),
        lambda table: table.take([1, 0]),
        lambda table: table.slice(0, 1),
    ],
    ids=["name", "type", "order of columns", "order of rows", "rows"],
)
def test_schema_and_order_show(change: Callable[[pa.Table], pa.Table]) -> None:
    table = table_of([("a", 1, ["x"]), ("b", 2, [])])
    assert table_digest(change(table)) != table_digest(table)


def test_metadata_of_the_schema_does_not_show() -> None:
    table = table_of([("a", 1, ["x"])])
    digest = table_digest(table)
    assert len(digest) == 32
    assert table_digest(table.replace_schema_metadata({"pandas": "{}"})) == digest


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of a room's shape that may be changed."""
    folder = tmp_path / "some_room"
    (folder / "sql").mkdir(parents=True)
    (folder / "inner").mkdir()
    for name in ("__init__.py", "logic.py", "sql/keep.sql", "inner/__init__.py", "inner/deep.py"):
        (folder / name).write_text(f"-- {name}\n" if name.endswith(".sql") else f"# {name}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "some_room"]:
        del sys.modules[name]
    code_version.cache_clear()


def version() -> str:
    code_version.cache_clear()
    importlib.invalidate_caches()
    return code_version("some_room")


@pytest.mark.parametrize("name", ["logic.py", "sql/keep.sql", "inner/deep.py"])
def test_a_change_of_code_shows_and_taking_it_back_too(room: Path, name: str) -> None:
    before, text = version(), (room / name).read_text()
    (room / name).write_text(text + "# more\n")
    assert version() != before
    (room / name).write_text(text)
    assert version() == before


def test_new_moved_and_renamed_code_shows(room: Path) -> None:
    versions = [version()]
    (room / "extra.py").write_text("")
    versions.append(version())
    (room / "extra.py").rename(room / "other.py")
    versions.append(version())
    (room / "other.py").rename(room / "inner" / "other.py")
    versions.append(version())
    assert len(set(versions)) == 4


def test_what_is_no_code_does_not_show(room: Path) -> None:
    before = version()
    (room / "notes.md").write_text("nothing that runs")
    (room / "__pycache__").mkdir(exist_ok=True)
    (room / "__pycache__" / "logic.cpython-311.pyc").write_bytes(b"\0")
    assert version() == before


def test_rooms_have_versions_of_their_own() -> None:
    rooms = ("assets.listings", "assets.products", "assets.embeddings", "assets.clusters", "assets.summaries")
    assert len({code_version(room) for room in rooms}) == len(rooms)
    with pytest.raises(ModuleNotFoundError):
        code_version("assets.nowhere")
