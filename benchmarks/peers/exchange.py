"""What crosses the border between the benchmark and a peer's process: offers in, clusters out, as Parquet and JSON.

Belongs here: the port that every adapter satisfies, the files, and the main function of a peer's process. Not here:
the truth, which a peer's process never sees, and anything but pyarrow, for this runs in every peer's environment.
"""

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

OFFERS = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("seller", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("brand", pa.string()),
        ("codes", pa.list_(pa.string())),
        ("price", pa.float64()),
        ("embedding", pa.list_(pa.float32())),
    ]
)
"""The columns a peer is given: cleaned products, `codes` being the model codes found in them.

Source and seller are empty where the benchmark hides them.
"""

LABELS, PAIRS, SWEPT, COST = "labels.parquet", "pairs.parquet", "swept.parquet", "cost.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPairs:
    """Pairs of rows with a score, of which the connected components of all at or above a threshold are clusters."""

    left: Sequence[int]
    right: Sequence[int]
    score: Sequence[float]

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int, float]]) -> "ScoredPairs":
        """Turn triples into columns."""
        columns = list(zip(*pairs, strict=True)) or [(), (), ()]
        return cls(left=columns[0], right=columns[1], score=columns[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """What the best setting is chosen from, without running the peer again.

    Attributes:
        pairs: Scored pairs, whose threshold is swept.
        labels: Clusters by the value of a setting, where the peer's clusters do not come from pairs.
    """

    pairs: ScoredPairs | None = None
    labels: Mapping[float, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a peer's process leaves behind: clusters at its defaults, the alternatives, and what the former cost."""

    labels: Sequence[int]
    alternatives: Alternatives
    seconds: float


class Adapter(Protocol):
    """One peer, used as its documentation says. Rows are those of the offers; equal labels are one cluster."""

    def cluster(self, offers: pa.Table) -> Sequence[int]:
        """One label per offer, at the documented defaults. This is what is timed."""
        ...

    def alternatives(self) -> Alternatives:
        """What the last call of `cluster` allows to choose from."""
        ...


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Labels of the connected components, without any library that a peer's environment may lack."""
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for left, right in pairs:
        parent[root(left)] = root(right)
    return [root(row) for row in range(count)]


def serve(adapter: Adapter, arguments: Sequence[str] | None = None) -> None:
    """Be a peer's process: read offers, cluster, write the answer."""
    parser = argparse.ArgumentParser(description=f"Cluster offers with {type(adapter).__name__}.")
    parser.add_argument("offers", type=Path, help="Parquet file with the columns of OFFERS")
    parser.add_argument("into", type=Path, help="folder for the answer")
    given = parser.parse_args(arguments)
    offers = pq.read_table(given.offers).cast(OFFERS)
    started = time.perf_counter()
    labels = adapter.cluster(offers)
    seconds = time.perf_counter() - started
    write_answer(Answer(labels=labels, alternatives=adapter.alternatives(), seconds=seconds), given.into)


def write_answer(answer: Answer, into: Path) -> None:
    """Write an answer; the file of its cost comes last, so that an answer that has it is whole."""
    pq.write_table(pa.table({"label": pa.array(answer.labels, pa.int64())}), into / LABELS)
    if (pairs := answer.alternatives.pairs) is not None:
        columns = {"left": pairs.left, "right": pairs.right}
        table = pa.table({name: pa.array(rows, pa.int64()) for name, rows in columns.items()})
        pq.write_table(table.append_column("score", pa.array(pairs.score, pa.float64())), into / PAIRS)
    swept = answer.alternatives.labels
    labels = pa.array([list(labels) for labels in swept.values()], pa.list_(pa.int64()))
    pq.write_table(pa.table({"setting": pa.array(list(swept), pa.float64()), "labels": labels}), into / SWEPT)
    (into / COST).write_text(json.dumps({"seconds": answer.seconds}), encoding="utf-8")


def read_answer(folder: Path) -> Answer:
    """Read what `write_answer` wrote."""
    pairs = None
    if (folder / PAIRS).is_file():
        table = pq.read_table(folder / PAIRS)
        left, right, score = (table.column(name).to_numpy() for name in ("left", "right", "score"))
        pairs = ScoredPairs(left=left, right=right, score=score)
    swept = pq.read_table(folder / SWEPT).to_pylist()
    return Answer(
        labels=pq.read_table(folder / LABELS).column("label").to_numpy(),
        alternatives=Alternatives(pairs=pairs, labels={row["setting"]: row["labels"] for row in swept}),
        seconds=json.loads((folder / COST).read_text(encoding="utf-8"))["seconds"],
    )
