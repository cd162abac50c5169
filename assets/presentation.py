"""How an asset introduces itself in Dagster: owners, column schema and lineage, previews and plots.

Belongs here: turning contracts, tables and figures into Dagster metadata. Not here: what a stage computes.
"""

import base64
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from assets.contract import Column, TableContract

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OWNERS = ("team:data-engineering",)
ML_OWNERS = ("team:machine-learning",)
#: Longest text a preview shows of one cell.
CELL_WIDTH = 80
#: Colours of a plot, shades of the edges of letters included.
PALETTE = 128


def asset_key(contract: TableContract) -> dg.AssetKey:
    """Return the key of the asset that holds the contract's table."""
    return dg.AssetKey([contract.stage, contract.name])


def column_schema(contract: TableContract) -> dg.TableSchema:
    """Return the contract as Dagster shows it: types, descriptions and constraints of every column."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.type),
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable,
                    unique=contract.key == (column.name,),
                    other=_constraints(column),
                ),
            )
            for column in contract
        ],
        constraints=dg.TableConstraints(other=[f"unique ({', '.join(contract.key)})"]),
    )


def _constraints(column: Column) -> list[str]:
    stated = [
        f"one of {', '.join(column.values)}" if column.values else None,
        f">= {column.minimum:g}" if column.minimum is not None else None,
        f"<= {column.maximum:g}" if column.maximum is not None else None,
        f"matches {column.pattern}" if column.pattern else None,
    ]
    return [constraint for constraint in stated if constraint]


def column_lineage(
    contract: TableContract, origin: TableContract, derived: Mapping[str, Iterable[str]] | None = None
) -> dg.TableColumnLineage:
    """Return Dagster's column lineage from `origin`: a column comes from its namesake, or from what `derived` says.

    Raises:
        ValueError: `derived` names a column that one of the contracts does not have.
    """
    sources: dict[str, Iterable[str]] = {name: (name,) for name in contract.names if name in origin.names}
    sources.update(derived or {})
    unknown = {*sources} - {*contract.names} | {name for names in sources.values() for name in names} - {*origin.names}
    if unknown:
        raise ValueError(f"lineage {origin.name} -> {contract.name} names unknown columns {sorted(unknown)}")
    return dg.TableColumnLineage(
        deps_by_column={
            column: [dg.TableColumnDep(asset_key=asset_key(origin), column_name=name) for name in names]
            for column, names in sources.items()
        }
    )


def table_metadata(contract: TableContract, lineage: dg.TableColumnLineage | None = None) -> dict[str, Any]:
    """Return the definition-time metadata of an asset that holds the contract's table."""
    metadata: dict[str, Any] = {"dagster/column_schema": column_schema(contract)}
    if lineage is not None:
        metadata["dagster/column_lineage"] = lineage
    return metadata


def plain(value: object, width: int = CELL_WIDTH) -> str:
    """Return `value` as text that is safe inside a Markdown table: one line, no markup, at most `width` characters."""
    shown = "" if value is None else _number(value) if isinstance(value, float) else str(value)
    text = " ".join(shown.split())
    if len(text) > width:
        text = text[: width - 1] + "…"
    escaped = html.escape(text, quote=False)
    for character in "\\`*_[]|!~#":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped


def _number(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.4g}"


def preview(table: pa.Table, columns: Sequence[str] | None = None, rows: int = 10) -> dg.MarkdownMetadataValue:
    """Return the first `rows` rows as a Markdown table; listing text is escaped, for it is hostile."""
    names = list(columns or table.column_names)
    records = table.select(names).slice(0, rows).to_pylist()
    return markdown_table(names, ([record[name] for name in names] for record in records))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """Return a Markdown table with every cell escaped."""
    lines = ["| " + " | ".join(plain(name) for name in header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(plain(cell) for cell in row) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def plot(*draws: "Callable[[Axes], None]", width: float = 7.0, height: float = 3.2) -> dg.MarkdownMetadataValue:
    """Return a plot as Dagster metadata; see `png`."""
    return picture(png(*draws, width=width, height=height))


def picture(image: bytes) -> dg.MarkdownMetadataValue:
    """Return a PNG file as Dagster metadata."""
    encoded = base64.b64encode(image).decode("ascii")
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{encoded})")


def png(*draws: "Callable[[Axes], None]", width: float = 7.0, height: float = 3.2) -> bytes:
    """Return a plot as a PNG file, without touching matplotlib's global state.

    Args:
        draws: Each receives empty axes; several are panels, one below the other.
        width: Inches.
        height: Inches of a panel.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(width, height * len(draws)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, draw in zip(figure.subplots(len(draws), squeeze=False).flat, draws, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    # A palette makes it a third as large, and the event log keeps one of every run.
    palette = BytesIO()
    Image.open(drawn).convert("RGB").quantize(PALETTE).save(palette, format="png", optimize=True)
    return palette.getvalue()
