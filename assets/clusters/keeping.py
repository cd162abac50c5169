"""A matching's state as one file: a zip of Arrow tables, each compressed by itself.

Belongs here: the file's parts, and what makes a file of another time useless. Not here: where it lies (`ports`), what
it is good for (`following`).

The file holds nothing that could not be made again, and says by what it was made: other code, rules, or a broken file
cost a matching from scratch and nothing else.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from assets.clusters.candidates import SEARCHES, Candidates
from assets.clusters.ipc import as_ipc, from_ipc
from assets.clusters.matching import Evidence, MatchState
from assets.clusters.neighbours import Neighbours
from assets.clusters.reading import READ
from assets.clusters.rules import MatchRules
from assets.clusters.scoring import MatchModel
from assets.clusters.statistics import Statistics

MADE_BY, MODEL = "made_by.txt", "model.json"


class NotThisState(ValueError):
    """A file is no state, or one that other code or other rules made."""


def signature(code_version: str, embedding_models: Sequence[str], rules: MatchRules) -> str:
    """By what a state is made, as a digest of 32 hex digits; a judge's rules change nothing of it.

    Args:
        code_version: Version of the matcher's code.
        embedding_models: Versions of the models that the vectors are of.
        rules: The configuration.
    """
    told = asdict(rules)
    del told["judging"]
    made_by = [code_version, sorted(set(embedding_models)), told]
    return xxhash.xxh3_128_hexdigest(json.dumps(made_by, sort_keys=True, default=list).encode())


def pack(state: MatchState, made_by: str) -> bytes:
    """The state as a file.

    Args:
        state: What is to be remembered.
        made_by: The `signature` of the code, the embeddings and the rules.
    """
    pairs, evidence = state.candidates, state.evidence
    parts = {
        "offers": state.offers,
        "statistics": state.statistics.to_table(),
        "pairs": pa.table(
            {
                "left": pairs.left,
                "right": pairs.right,
                "channels": pairs.channels,
                "prior": evidence.prior,
                "log_odds": evidence.log_odds,
                "vetoes": evidence.vetoes,
            }
        ),
    }
    for search, lists in state.neighbours.items():
        parts[search] = pa.table({"row": lists.rows, "column": lists.columns, "score": lists.scores})
        parts[f"{search}_whole"] = pa.table({"whole": lists.whole})
    said = {MADE_BY: made_by.encode(), MODEL: state.model.to_json().encode()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        packed = dict(zip((f"{name}.arrow" for name in parts), pool.map(as_ipc, parts.values()), strict=True))
    return _zipped(said | packed)


def _zipped(parts: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            # Without the time of day: the same state is the same file.
            archive.writestr(zipfile.ZipInfo(name), part)
    return file.getvalue()


def unpack(data: bytes, made_by: str) -> MatchState:
    """The state that a file holds.

    Raises:
        NotThisState: see there.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _require(archive, made_by)
            parts = {name.removesuffix(".arrow"): archive.read(name) for name in archive.namelist()}
        model = MatchModel.from_json(parts[MODEL].decode())
        statistics = Statistics.from_table(from_ipc(parts["statistics"]))
        pairs = _arrays(parts["pairs"])
        neighbours = {search: _lists(_arrays(parts[search]), _arrays(parts[f"{search}_whole"])) for search in SEARCHES}
        offers = from_ipc(parts["offers"]).cast(READ)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        if isinstance(error, NotThisState):
            raise
        raise NotThisState(f"the file holds no state of a matching: {error}") from error
    return MatchState(
        offers=offers,
        statistics=statistics,
        model=model,
        neighbours=neighbours,
        candidates=Candidates(pairs["left"], pairs["right"], pairs["channels"]),
        evidence=Evidence(pairs["prior"], pairs["log_odds"], pairs["vetoes"]),
    )


def forget(data: bytes, product_id: str) -> bytes | None:
    """The same state without a word of a product; None where it holds none.

    The product's row stays, as one of nobody: the next matching finds that its offer has left, as it would have. Of its
    words remain the counts among the statistics.

    Raises:
        NotThisState: the file is no state.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        offers = from_ipc(parts["offers.arrow"]).cast(READ)
    except (zipfile.BadZipFile, KeyError, ValueError, pa.ArrowException) as error:
        raise NotThisState(f"the file holds no state of a matching: {error}") from error
    rows = np.arange(offers.num_rows)
    is_meant = pc.equal(offers.column("product_id"), product_id).to_numpy()
    if not is_meant.any():
        return None
    nobody = pa.Table.from_pylist([{field.name: _nothing(field.type) for field in READ if not field.nullable}], READ)
    parts["offers.arrow"] = as_ipc(pa.concat_tables([offers, nobody]).take(np.where(is_meant, len(rows), rows)))
    return _zipped(parts)


def _nothing(kind: pa.DataType) -> Any:
    """What stands in a column of a row of nobody."""
    if pa.types.is_list(kind):
        return []
    return "" if pa.types.is_string(kind) else 0


def kept_digests(data: bytes, made_by: str) -> pa.Table:
    """The columns `product_id` and `digest` of the offers of a state, ordered by product id.

    Raises:
        NotThisState: see there.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _require(archive, made_by)
            part = archive.read("offers.arrow")
        chosen = [READ.get_field_index(name) for name in ("product_id", "digest")]
        options = pa.ipc.IpcReadOptions(included_fields=chosen)
        table = pa.ipc.open_file(pa.BufferReader(part), options=options).read_all()
    except (zipfile.BadZipFile, KeyError, pa.ArrowException) as error:
        raise NotThisState(f"the file holds no state of a matching: {error}") from error
    return table.cast(pa.schema([(name, pa.string()) for name in table.column_names])).combine_chunks()


def _require(archive: zipfile.ZipFile, made_by: str) -> None:
    if (found := archive.read(MADE_BY).decode()) != made_by:
        raise NotThisState(f"the state was made by other code or rules ({found}, now {made_by})")


def _lists(entries: Mapping[str, Any], rows: Mapping[str, Any]) -> Neighbours:
    return Neighbours(entries["row"], entries["column"], entries["score"], rows["whole"])


def _arrays(part: bytes) -> dict[str, Any]:
    table = from_ipc(part)
    return {name: table.column(name).to_numpy() for name in table.column_names}
