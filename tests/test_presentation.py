"""What Dagster shows of a table: hostile text as plain text, contracts as schemas, figures as pictures."""

import base64
import html
import re
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assets.contract import Column, TableContract
from assets.presentation import (
    CELL_WIDTH,
    asset_key,
    column_lineage,
    column_schema,
    markdown_table,
    plain,
    plot,
    png,
    preview,
    table_metadata,
)

RAW = TableContract(
    stage="listings",
    name="raw",
    description="As published.",
    key=("id",),
    columns=(
        Column(name="id", type=pa.string(), nullable=False, description="Id."),
        Column(name="name", type=pa.string(), description="Name."),
    ),
)
CLEAN = TableContract(
    stage="products",
    name="clean",
    description="Cleaned.",
    key=("id", "kind"),
    columns=(
        Column(name="id", type=pa.string(), nullable=False, description="Id."),
        Column(name="kind", type=pa.string(), nullable=False, values=("new", "used"), description="Kind."),
        Column(name="share", type=pa.float64(), minimum=0, maximum=1, description="Share."),
        Column(name="code", type=pa.string(), pattern=r"^[a-z]$", description="Code."),
    ),
)
HOSTILE = (
    "<script>alert(1)</script>",
    "![x](javascript:alert(1))",
    "[click](http://evil.example)",
    "a | b\n| --- |\n# heading",
    "`code` **bold** _it_ ~~gone~~",
    "&lt;img src=x onerror=alert(1)&gt;",
    r"\| <b>",
)
PNG = b"\x89PNG\r\n\x1a\n"
#: An ASCII mark that Markdown may read as markup and that no backslash precedes.
LIVE_MARK = re.compile(r"(?<!\\)(?:\\\\)*[`*_\[\]|!~#]")


def shown(cell: str) -> str:
    """Return a cell as a Markdown reader shows it: character references and backslash escapes resolved."""
    return html.unescape(re.sub(r"\\([\\`*_\[\]|!~#])", r"\1", cell))


@given(st.text() | st.sampled_from(HOSTILE).flatmap(lambda text: st.text(max_size=10).map(lambda more: text + more)))
@example("\\")
@example("\\|")
@example("&amp;\\`")
@example("\u2028|\x85#\x0b<")
def test_no_text_is_markup_and_none_leaves_its_cell(text: str) -> None:
    cell = plain(text, width=200)
    assert cell.splitlines() in ([], [cell]), "it stays on its line"
    assert not re.search(r"[<>]", cell), "no tag"
    assert not re.search(r"&(?!amp;|lt;|gt;)", cell), "no character reference but ours"
    assert not LIVE_MARK.search(cell), "no mark is live"
    assert shown(cell) == " ".join(text.split())[:200]


@given(st.text(max_size=300), st.integers(1, 100))
def test_a_person_sees_at_most_so_many_characters(text: str, width: int) -> None:
    seen = shown(plain(text, width))
    whole = " ".join(text.split())
    assert len(seen) <= width
    assert seen == whole if len(whole) <= width else seen == whole[: width - 1] + "…"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (3, "3"), (0.123456, "0.1235"), (1e-9, "1e-09"), (1234567.0, "1,234,567.00"), (True, "True")],
)
def test_values_that_are_no_text_read_well(value: object, text: str) -> None:
    assert plain(value) == text


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_a_table_has_a_line_per_row_and_a_cell_per_column(rows: list[tuple[str, str]]) -> None:
    lines = (markdown_table(("left", "right"), rows).md_str or "").splitlines()
    assert len(lines) == 2 + len(rows)
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3


def test_a_preview_shows_the_first_rows_of_the_chosen_columns() -> None:
    table = pa.table(
        {"id": [f"p{number}" for number in range(30)], "title": ["<b>|" + "x" * 500] * 30, "more": [1] * 30}
    )
    lines = (preview(table, ["title", "id"], rows=4).md_str or "").splitlines()
    assert lines[0] == "| title | id |"
    assert [line.rsplit("| ", 1)[1] for line in lines[2:]] == ["p0 |", "p1 |", "p2 |", "p3 |"]
    assert all(len(shown(line)) < CELL_WIDTH + 20 for line in lines)
    assert "<b>" not in "".join(lines)
    assert len((preview(table.slice(0, 0)).md_str or "").splitlines()) == 2


def test_a_contract_becomes_the_schema_that_dagster_shows() -> None:
    schema = column_schema(CLEAN)
    assert [column.name for column in schema.columns] == ["id", "kind", "share", "code"]
    by_name = {column.name: column for column in schema.columns}
    assert by_name["kind"].constraints.other == ["one of new, used"]
    assert by_name["share"].constraints.other == [">= 0", "<= 1"]
    assert by_name["code"].constraints.other == ["matches ^[a-z]$"]
    assert (by_name["id"].constraints.nullable, by_name["share"].constraints.nullable) == (False, True)
    assert not by_name["id"].constraints.unique, "only together with `kind`"
    assert schema.constraints is not None
    assert schema.constraints.other == ["unique (id, kind)"]
    assert column_schema(RAW).columns[0].constraints.unique


def test_lineage_follows_names_and_what_is_derived() -> None:
    lineage = column_lineage(CLEAN, RAW, {"code": ("name", "id")})
    assert {
        column: {(dep.asset_key, dep.column_name) for dep in deps} for column, deps in lineage.deps_by_column.items()
    } == {
        "id": {(asset_key(RAW), "id")},
        "code": {(asset_key(RAW), "name"), (asset_key(RAW), "id")},
    }
    assert "dagster/column_lineage" not in table_metadata(CLEAN)
    assert table_metadata(CLEAN, lineage)["dagster/column_lineage"] is lineage


@pytest.mark.parametrize("derived", [{"nowhere": ("id",)}, {"code": ("nowhere",)}])
def test_lineage_of_an_unknown_column_is_refused(derived: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match=r"lineage raw -> clean names unknown columns \['nowhere'\]"):
        column_lineage(CLEAN, RAW, derived)


def draw_bars(axes: Any) -> None:
    axes.bar([0, 1], [2, 3])


def test_a_plot_is_a_picture_inside_the_metadata() -> None:
    shown_plot = plot(draw_bars, width=2.0, height=1.0)
    assert isinstance(shown_plot, dg.MarkdownMetadataValue)
    match = re.fullmatch(r"!\[plot\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", shown_plot.md_str or "")
    assert match, "nothing but one picture"
    picture = base64.b64decode(match[1], validate=True)
    assert picture.startswith(PNG)
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert width == 2 * height, "as wide as was asked"


def test_plots_do_not_share_state() -> None:
    def draw_half(axes: Any) -> None:
        raise RuntimeError("nothing to draw")

    before = png(draw_bars)
    with pytest.raises(RuntimeError, match="nothing to draw"):
        png(draw_half)
    assert png(draw_bars) == before
