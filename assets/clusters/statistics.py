"""What the matcher knows of a whole catalogue: how rare terms are, how codes are spelt, who lists a product once.

Belongs here: taking it from a catalogue, keeping it, and asking it. Not here: what follows from it.

It is frozen with the model that was learned beside it. Every feature of a pair is then a function of the two offers
alone, and every offer's neighbours are a function of the offers there are: a change of the catalogue touches what it
touches, and the others stay as they are, to the last bit.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from assets.clusters.ipc import as_ipc
from assets.clusters.matrices import Floats, Indicators, Ints, frequency
from assets.clusters.rules import FreezingRules

_NO_COUNTS = pa.schema([("kind", pa.string()), ("term", pa.string()), ("offers", pa.int32())]).empty_table()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Knowledge of a catalogue as it was at one moment.

    Attributes:
        offers: How many there were.
        offerers: How many sellers offered them.
        counts: For each kind of term, how many offers held each.
        spellings: Codes that tokens are glued to.
        listing_twice: Sellers that list a product more than once.
        centres: Embeddings around which a large catalogue is searched, shape (cells, dimensions); none in a small one.
    """

    offers: int
    offerers: int
    counts: Mapping[str, Mapping[str, int]]
    spellings: frozenset[str]
    listing_twice: frozenset[str] = frozenset()
    centres: NDArray[np.float16] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float16))

    def frequency(self, kind: str, terms: Sequence[str]) -> Ints:
        """Offers that held each term, shape (terms,)."""
        counts = self.counts.get(kind, {})
        return np.fromiter((counts.get(term, 0) for term in terms), dtype=np.int32, count=len(terms))

    def rarity(self, frequency: Ints) -> Floats:
        """Inverse document frequency of terms, given the offers that held each, shape (terms,).

        It is between 0 (everybody held it) and 1 (one did, or nobody yet).
        """
        held = np.maximum(frequency, 1)
        weights = np.log1p((self.offers + 1) / (held + 1.0)) / np.log1p((self.offers + 1) / 2)
        return np.asarray(weights, dtype=np.float32)

    def list_once(self, offerers: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each seller lists a product once, shape (offerers,). One that nobody knows is taken to do so.

        A catalogue of one seller is open: there is nobody else to compare with.
        """
        if self.offerers < 2:
            return np.zeros(len(offerers), dtype=np.bool_)
        return np.fromiter((name not in self.listing_twice for name in offerers), np.bool_, count=len(offerers))

    def is_outgrown(self, offers: int, offerers: int, rules: FreezingRules) -> bool:
        """Whether a catalogue is so much larger or smaller than it was that it should be looked at anew."""
        grown = offers > self.offers * rules.growth or offers * rules.growth < self.offers
        return grown or (self.offerers < 2 <= offerers)

    def to_table(self) -> pa.Table:
        """One row per term, with the other facts and the centres in the schema's metadata."""
        parts = [_NO_COUNTS]
        for kind, counts in sorted(self.counts.items()):
            terms = pa.array(list(counts), pa.string())
            held = pa.array(list(counts.values()), pa.int32())
            order = pc.sort_indices(terms)
            kinds = pa.repeat(pa.scalar(kind, pa.string()), len(counts))
            parts.append(pa.table([kinds, terms.take(order), held.take(order)], schema=_NO_COUNTS.schema))
        table = pa.concat_tables(parts).combine_chunks()
        facts = {
            "offers": self.offers,
            "offerers": self.offerers,
            "spellings": sorted(self.spellings),
            "listing_twice": sorted(self.listing_twice),
            "shape": self.centres.shape,
        }
        return table.set_column(0, "kind", table.column("kind").dictionary_encode()).replace_schema_metadata(
            {"facts": json.dumps(facts).encode(), "centres": self.centres.tobytes()}
        )

    def digest(self) -> str:
        """xxh3-64 of the statistics, 16 hex digits; takes about as long as writing them."""
        return xxhash.xxh3_64_hexdigest(as_ipc(self.to_table()))

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """The inverse of `to_table`."""
        metadata = table.schema.metadata
        facts = json.loads(metadata[b"facts"])
        counts: dict[str, dict[str, int]] = {}
        for kind in pc.unique(table.column("kind")).to_pylist():
            part = table.filter(pc.equal(table.column("kind"), kind))
            terms, held = (part.column(name).to_pylist() for name in ("term", "offers"))
            counts[kind] = dict(zip(terms, held, strict=True))
        return cls(
            offers=facts["offers"],
            offerers=facts["offerers"],
            counts=counts,
            spellings=frozenset(facts["spellings"]),
            listing_twice=frozenset(facts["listing_twice"]),
            centres=np.frombuffer(metadata[b"centres"], np.float16).reshape(facts["shape"]),
        )


def count_terms(indicators: Indicators) -> dict[str, int]:
    """How many rows hold each term."""
    return dict(zip(indicators.terms, frequency(indicators.matrix).tolist(), strict=True))


def pick_centres(vectors: NDArray[np.float16], exact: int) -> NDArray[np.float16]:
    """Evenly drawn rows of a large catalogue, about as many as the root of its size; none of one of at most `exact`."""
    if len(vectors) <= exact:
        return np.empty((0, vectors.shape[1]), dtype=np.float16)
    return vectors[np.linspace(0, len(vectors) - 1, int(np.sqrt(len(vectors)))).astype(np.int64)]
