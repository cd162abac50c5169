"""Only new texts are embedded, and the table is what a full run would have made."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.embeddings.incremental import (
    EmbeddedCatalogue,
    KnownVectors,
    VectorsMissing,
    assemble,
    embed_catalogue,
    missing_texts,
    vectors_of,
)
from assets.embeddings.ports import HalfVectors
from assets.embeddings.schema import DIMENSIONS, PRODUCT_EMBEDDINGS


class RecordingEmbedder:
    """A vector that follows from the text alone, and a record of every call."""

    def __init__(self, model_version: str = "test@1") -> None:
        self.model_version = model_version
        self.calls: list[list[str]] = []

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> HalfVectors:
        self.calls.append(list(texts))
        if progress:
            progress(len(texts))
        return np.array([vector_of(self.model_version, text) for text in texts], np.float16).reshape(-1, DIMENSIONS)


def vector_of(model_version: str, text: str) -> HalfVectors:
    seed = hashlib.sha256(f"{model_version}/{text}".encode()).digest()
    raw = np.random.default_rng(np.frombuffer(seed, np.uint32)).normal(size=DIMENSIONS)
    return (raw / np.linalg.norm(raw)).astype(np.float16)


def catalogue(texts: dict[str, str]) -> pa.Table:
    """Products by id with their texts, as the stage before hands them over."""
    return pa.table(
        {
            "product_id": pa.array(texts.keys(), pa.string()),
            "text_hash": pa.array(map(text_hash, texts.values()), pa.string()),
            "embedding_text": pa.array(texts.values(), pa.string()),
        }
    )


def text_hash(text: str) -> str:
    return xxhash.xxh3_128_hexdigest(text.encode())


def run(
    texts: dict[str, str], embedder: RecordingEmbedder, before: EmbeddedCatalogue | None = None
) -> EmbeddedCatalogue:
    known = KnownVectors.of(before.table, embedder.model_version) if before else KnownVectors.none()
    return embed_catalogue(catalogue(texts), known, embedder)


def test_every_product_gets_its_own_texts_vector() -> None:
    texts = {"b:2": "kettle", "a:1": "toaster", "c:3": "kettle"}
    outcome = run(texts, RecordingEmbedder())

    assert outcome.table["product_id"].to_pylist() == ["a:1", "b:2", "c:3"]
    for product_id, vector in zip(outcome.table["product_id"].to_pylist(), vectors_of(outcome.table), strict=True):
        assert vector.tobytes() == vector_of("test@1", texts[product_id]).tobytes()
    assert outcome.table.schema == PRODUCT_EMBEDDINGS.arrow


def test_a_text_is_embedded_once_however_many_products_share_it() -> None:
    embedder = RecordingEmbedder()
    outcome = run({"a:1": "kettle", "a:2": "kettle", "b:1": "kettle"}, embedder)
    assert embedder.calls == [["kettle"]]
    assert len(outcome.fresh) == 1
    assert len(outcome.table) == 3


def test_only_new_texts_are_embedded() -> None:
    embedder = RecordingEmbedder()
    first = run({"a:1": "kettle", "a:2": "toaster"}, embedder)
    second = run({"a:1": "kettle", "a:2": "toaster, red", "a:3": "kettle"}, embedder, first)
    assert embedder.calls[1:] == [["toaster, red"]]
    assert second.fresh["text_hash"].to_pylist() == [text_hash("toaster, red")]
    assert second.reused == 1


@pytest.mark.laws
def test_again_is_free() -> None:
    embedder = RecordingEmbedder()
    texts = {"a:1": "kettle", "a:2": "toaster"}
    first = run(texts, embedder)
    second = run(texts, embedder, first)
    assert len(embedder.calls) == 1
    assert second.table.equals(first.table)
    assert not len(second.fresh)


def test_a_new_model_embeds_everything_again() -> None:
    texts = {"a:1": "kettle", "a:2": "toaster"}
    first = run(texts, RecordingEmbedder("test@1"))
    newer = RecordingEmbedder("test@2")
    second = run(texts, newer, first)
    assert sorted(newer.calls[0]) == ["kettle", "toaster"]
    assert set(second.table["model_version"].to_pylist()) == {"test@2"}


@pytest.mark.laws
@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a:1", "a:2", "b:1", "b:2", "c:1"]), st.sampled_from(["", "x", "y", "ñ ✓"])),
        min_size=1,
        max_size=5,
    )
)
def test_any_sequence_of_batches_ends_like_one_full_run(states: list[dict[str, str]]) -> None:
    embedder = RecordingEmbedder()
    outcome = None
    known = KnownVectors.none()
    for texts in states:
        outcome = embed_catalogue(catalogue(texts), known, embedder)
        # What the warehouse does: it keeps every text's vector for ever.
        known = known.with_more(outcome.fresh["text_hash"].combine_chunks(), vectors_of(outcome.fresh))

    assert outcome is not None
    assert outcome.table.equals(run(states[-1], RecordingEmbedder()).table)
    asked = [text for call in embedder.calls for text in call]
    assert sorted(asked) == sorted({text for texts in states for text in texts.values()})


def test_an_empty_catalogue_makes_an_empty_table() -> None:
    embedder = RecordingEmbedder()
    outcome = run({}, embedder)
    assert outcome.table.equals(PRODUCT_EMBEDDINGS.empty())
    assert embedder.calls == []


def test_known_vectors_are_read_from_tables_of_several_models_with_repeats() -> None:
    vectors = [vector_of("x", str(i)) for i in range(4)]
    table = pa.table(
        {
            "text_hash": ["h1", "h2", "h1", "h1"],
            "model_version": ["new", "new", "new", "old"],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(vectors)), DIMENSIONS),
        }
    )
    table = pa.concat_tables([table.slice(1), table.slice(0, 1)])  # several chunks, with offsets
    known = KnownVectors.of(table, "new")
    assert len(known) == 2
    found = dict(zip(known.hashes.to_pylist(), known.vectors, strict=True))
    assert found["h2"].tobytes() == vectors[1].tobytes()
    assert found["h1"].tobytes() in {vectors[0].tobytes(), vectors[2].tobytes()}


def test_the_table_survives_parquet(tmp_path_factory: pytest.TempPathFactory) -> None:
    table = run({"a:1": "kettle", "a:2": "toaster"}, RecordingEmbedder()).table
    path = tmp_path_factory.mktemp("parquet") / "embeddings.parquet"
    pq.write_table(table, path)
    assert vectors_of(pq.read_table(path)).tobytes() == vectors_of(table).tobytes()


def test_missing_texts_are_in_the_order_of_their_hashes() -> None:
    found = missing_texts(catalogue({"a:1": "x", "a:2": "y", "a:3": "z", "a:4": "x"}), KnownVectors.none())
    assert found["text_hash"].to_pylist() == sorted({text_hash(text) for text in "xyz"})
    assert dict(zip(found["text_hash"].to_pylist(), found["embedding_text"].to_pylist(), strict=True)) == {
        text_hash(text): text for text in "xyz"
    }


def test_a_text_without_a_vector_is_named() -> None:
    with pytest.raises(VectorsMissing, match=f"1 products.*{text_hash('kettle')}"):
        assemble(catalogue({"a:1": "kettle"}), KnownVectors.none(), "test@1")


def test_progress_is_handed_on() -> None:
    done: list[int] = []
    embed_catalogue(catalogue({"a:1": "x", "a:2": "y"}), KnownVectors.none(), RecordingEmbedder(), progress=done.append)
    assert sum(done) == 2
