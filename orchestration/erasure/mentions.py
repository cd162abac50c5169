"""Where a listing is named: in rows of tables, in files of text, in what Dagster keeps of a run.

Belongs here: finding and cutting out, in values alone. Not here: stores (see `eraser`).
"""

import csv
import html
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from assets.listings.feeds import FeedContract
from assets.listings.intake import ids_of
from assets.presentation import plain
from assets.summaries.facts import plain as in_prose

#: What stands in a text where the listing was named.
ERASED = "(erased)"
#: Tables whose rows are texts about all members of a cluster.
CLUSTER_TEXTS = ("golden_records", "cluster_summaries")
#: Labels of pictures that show single offers end so.
PICTURED = "step by step"
#: Shorter titles are no name: they would be found where something else is meant.
SHORTEST_TITLE = 8
#: Most of a title that a summary or a table shows.
LONGEST_TITLE = 160
#: So much of the beginning of a longer one is a name where the rest is cut off.
TELLING_HEAD = 40


@dataclass(frozen=True)
class Mentions:
    """What a listing is known by.

    Attributes:
        source: Its source.
        listing_id: The source's own id of it.
        titles: Titles it ever had, as published and cleaned.
        clusters: Clusters that it was ever in.
        contracts: Batch -> the contract it was read by, for the batches of its source.
    """

    source: str
    listing_id: str
    titles: Collection[str] = ()
    clusters: Collection[str] = ()
    contracts: Mapping[str, FeedContract] = field(default_factory=dict)

    @property
    def product_id(self) -> str:
        """Its id in the catalogue."""
        return f"{self.source}:{self.listing_id}"

    @cached_property
    def _names(self) -> frozenset[str]:
        """What names it in a text, and nothing else."""
        return frozenset({self.product_id, *(title for title in self.titles if len(title) >= SHORTEST_TITLE)})

    @cached_property
    def _spellings(self) -> list[str]:
        """The names as they are, as summaries and as tables in Markdown write them, longest first."""
        written = {text for name in self._names for text in (name, in_prose(name, LONGEST_TITLE)) if text}
        return sorted({spelling for text in written for spelling in (text, plain(text))}, key=len, reverse=True)

    @cached_property
    def _heads(self) -> list[str]:
        """How long names begin: they name the listing too where a text is cut off within the rest."""
        return sorted({spelling[:TELLING_HEAD] for spelling in self._spellings if len(spelling) > TELLING_HEAD})

    @cached_property
    def _word(self) -> re.Pattern[str]:
        whole = [re.escape(spelling) for spelling in self._spellings]
        cut_off = [rf"{re.escape(head)}[^\n]{{0,{LONGEST_TITLE}}}?…" for head in self._heads]
        return re.compile(rf"(?<![\w:-])(?:{'|'.join(whole + cut_off)})(?![\w:-])")

    @cached_property
    def in_json(self) -> frozenset[str]:
        """The names, and how long ones begin, as they stand inside a JSON text."""
        return frozenset(
            json.dumps(name, ensure_ascii=ascii_only)[1:-1]
            for name in (*self._spellings, *self._heads)
            for ascii_only in (True, False)
        )

    def in_table(self, table: pa.Table, name: str, batch_key: str | None = None) -> pa.ChunkedArray:
        """Return a mask of the rows of a stage's table that are of the listing, or speak of it.

        Args:
            table: Any stage's table.
            name: Which one it is, e.g. `cleaned_products`.
            batch_key: Its batch, where it is one of a batch's tables.
        """
        mask = pa.chunked_array([pa.repeat(False, table.num_rows)])
        for column_field in table.schema:
            column, kind = table.column(column_field.name), column_field.type
            if pa.types.is_string(kind):
                found = pc.equal(column, self.product_id)
            elif pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
                found = pa.chunked_array([[self.product_id in (ids or ()) for ids in column.to_pylist()]], pa.bool_())
            else:
                continue
            mask = pc.or_(mask, pc.fill_null(found, False))
        if {"source", "listing_id"} <= {*table.column_names}:
            own = pc.and_(pc.equal(table["source"], self.source), pc.equal(table["listing_id"], self.listing_id))
            mask = pc.or_(mask, own)
        if name in CLUSTER_TEXTS:
            mask = pc.or_(mask, pc.is_in(table["cluster_id"], pa.array(sorted(self.clusters), pa.string())))
        contract = self.contracts.get(batch_key or "")
        if name == "rejected_listings" and contract is not None:
            rows = zip(table["raw"].to_pylist(), table["field"].to_pylist(), strict=True)
            found = [self._in_rejected(raw, contract, parsed=broken is not None) for raw, broken in rows]
            mask = pc.or_(mask, pa.chunked_array([found], pa.bool_()))
        return mask

    def _in_rejected(self, raw: str, contract: FeedContract, *, parsed: bool) -> bool:
        """Whether a rejected row is the listing's: by its id column, or by its text where it could not be parsed."""
        if not parsed:
            return re.search(rf"(?<![\w-]){re.escape(self.listing_id)}(?![\w-])", raw) is not None
        return self.listing_id in ids_of(json.loads(raw), contract)

    def in_text(self, text: str) -> bool:
        """Whether a text names the listing, also as HTML writes it."""
        return any(self._word.search(written) for written in (text, html.unescape(text)))

    def cut_from_csv(self, data: bytes) -> tuple[bytes, int]:
        """Return a CSV file without the rows that name the listing, and how many they were."""
        rows = list(csv.reader(io.StringIO(data.decode(errors="surrogateescape"))))
        kept = [row for row in rows if not self._names & {*row}]
        out = io.StringIO()
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(kept)
        return out.getvalue().encode(errors="surrogateescape"), len(rows) - len(kept)

    def cut_from_event(self, event: Any) -> Any:
        """Return one of Dagster's events, as JSON values, with nothing in it that names the listing.

        Lines of tables go as a whole; elsewhere the name is replaced. Pictures of single offers go where a text of the
        same event named the listing, for nobody can tell whom they show.
        """
        # Its texts one by one: written as JSON they have escapes in them, and are other texts.
        return self._cut(event) if any(map(self.in_text, _texts(event))) else event

    def _cut(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._cut_text(value)
        if isinstance(value, list):
            return [self._cut(each) for each in value]
        if isinstance(value, dict):
            label = value.get("label")
            if isinstance(label, str) and label.endswith(PICTURED):
                return {**value, "entry_data": _without_text(value.get("entry_data"))}
            return {key: self._cut(each) for key, each in value.items()}
        return value

    def _cut_text(self, text: str) -> str:
        if not self._word.search(text):
            return text
        lines = [line for line in text.split("\n") if not (line.startswith("|") and self._word.search(line))]
        return self._word.sub(ERASED, "\n".join(lines))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _without_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: each if key.startswith("__") else ERASED for key, each in value.items()}
    return ERASED
