"""The real sentence model: what every embedder promises, and the fast one held against the reference.

Belongs here: all-MiniLM-L6-v2 on ONNX Runtime and on sentence-transformers. Not here: which texts are embedded.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.embeddings.ports import HalfVectors
from resources import onnx_export
from resources.embedder import EmbedderRules, OnnxEmbedder, SentenceTransformersEmbedder, batches_by_length
from resources.onnx_export import ExportDiffers, exported_transformer
from resources.sentence_model import ModelNotFound, ModelNotSupported, SentenceModel, find_model

PROJECT = Path(__file__).resolve().parents[2]


def varied_texts() -> list[str]:
    """A hundred and more texts: short, long, far too long, empty, and in other scripts."""
    nouns = ("kettle", "headphones", "Waschmaschine", "appareil photo", "ノートパソコン", "холодильник", "🎧")
    texts = [
        f"{brand} {noun} {number} {extra}".strip()
        for number, noun in enumerate(nouns)
        for brand in ("Sony WH-1000XM5", "Bosch", "", "HP 15s-fq5xxx")
        for extra in ("", "black, 64 GB, 2.4 GHz", "with " * (3 * number) + "box", "½ l — 230 V~")
    ]
    return [*texts, "", " ", "a", "\u200b", "word " * 1000, "x" * 5000, "1080p", "\n\t", "#" * 50]


TEXTS = varied_texts()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def onnx(cache: Path) -> OnnxEmbedder:
    return OnnxEmbedder(cache=cache)


@pytest.fixture(scope="module")
def reference() -> SentenceTransformersEmbedder:
    # One thread: torch's idle threads spin, and starve a machine that does other work beside the tests.
    return SentenceTransformersEmbedder(rules=EmbedderRules(threads=1))


@pytest.fixture(scope="module")
def library_vectors(reference: SentenceTransformersEmbedder) -> HalfVectors:
    """What the library computes by itself, in its own padded batches."""
    from sentence_transformers import SentenceTransformer

    reference.embed(["loads torch with the threads that it was told"])
    library = SentenceTransformer(str(reference.model.folder), device="cpu", local_files_only=True)
    found: HalfVectors = library.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False).astype(np.float16)
    return found


@pytest.fixture(scope="module", params=["onnx", "reference"])
def embedder(request: pytest.FixtureRequest) -> Iterator[OnnxEmbedder | SentenceTransformersEmbedder]:
    yield request.getfixturevalue(request.param)


class TestContract:
    """What every embedder promises."""

    def test_vectors_are_the_librarys_own(
        self, embedder: OnnxEmbedder | SentenceTransformersEmbedder, library_vectors: HalfVectors
    ) -> None:
        vectors = embedder.embed(TEXTS)
        assert len(TEXTS) > 100
        assert vectors.shape == (len(TEXTS), 384)
        assert vectors.dtype == np.float16
        assert np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max() < 1e-3
        assert _cosines(vectors, library_vectors).min() >= 0.9999

    def test_no_text_makes_no_vector(self, embedder: OnnxEmbedder | SentenceTransformersEmbedder) -> None:
        assert embedder.embed([]).shape == (0, 384)

    def test_order_is_kept_and_progress_adds_up(self, embedder: OnnxEmbedder | SentenceTransformersEmbedder) -> None:
        done: list[int] = []
        vectors = embedder.embed(["a kettle", "a much longer text about a lawn mower", "kettle"], progress=done.append)
        alike = vectors.astype(np.float32) @ vectors.astype(np.float32).T
        assert sum(done) == 3
        assert alike[0, 2] > 0.9 > alike[0, 1]

    def test_what_follows_the_limit_is_cut_off(self, embedder: OnnxEmbedder | SentenceTransformersEmbedder) -> None:
        limit = embedder.model.max_tokens
        assert limit == 256
        cut, longer, shorter = embedder.embed(
            ["word " * (limit - 2), "word " * (limit - 2) + "banana", "word " * (limit - 3)]
        )
        assert cut.tobytes() == longer.tobytes() != shorter.tobytes()

    def test_the_version_names_model_content_and_runtime(
        self, embedder: OnnxEmbedder | SentenceTransformersEmbedder
    ) -> None:
        name, _, rest = embedder.model_version.partition("@")
        digest, _, runtime = rest.partition("+")
        assert name == "all-MiniLM-L6-v2"
        assert len(digest) == 8 and int(digest, 16) >= 0
        assert runtime == embedder.runtime

    def test_the_models_files_are_there(self, embedder: OnnxEmbedder | SentenceTransformersEmbedder) -> None:
        files = embedder.model_files
        assert {"config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"} <= files.keys()
        assert all(path.is_file() for path in files.values())


@pytest.mark.laws
def test_a_vector_does_not_depend_on_its_neighbours(onnx: OnnxEmbedder, cache: Path) -> None:
    """The same bits alone, among others, in another order, in other batches, with other threads."""
    together = onnx.embed(TEXTS)
    alone = np.concatenate([onnx.embed([text]) for text in TEXTS])
    backwards = onnx.embed(TEXTS[::-1])[::-1]
    assert together.tobytes() == alone.tobytes() == np.ascontiguousarray(backwards).tobytes()
    for rules in (
        EmbedderRules(batch_tokens=64),
        EmbedderRules(batch_tokens=100_000, window=7),
        EmbedderRules(threads=1),
        EmbedderRules(threads=3),
    ):
        assert OnnxEmbedder(cache=cache, rules=rules).embed(TEXTS).tobytes() == together.tobytes(), rules


def test_threads_may_share_an_embedder(cache: Path) -> None:
    shared = OnnxEmbedder(cache=cache)
    found: dict[int, bytes] = {}

    def work(part: int) -> None:
        found[part] = shared.embed(TEXTS[part::4]).tobytes()

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {part: shared.embed(TEXTS[part::4]).tobytes() for part in range(4)}


def test_once_exported_no_torch_is_needed(onnx: OnnxEmbedder, cache: Path) -> None:
    onnx.embed(["make sure that it is exported"])
    program = (
        "import sys; from pathlib import Path; from resources.embedder import OnnxEmbedder;"
        "early = {'torch', 'onnxruntime', 'tokenizers', 'transformers', 'sentence_transformers'} & set(sys.modules);"
        "OnnxEmbedder(cache=Path(sys.argv[1])).embed(['kettle']);"
        "late = {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules);"
        "print(sorted(early | late))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(cache)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.strip() == "[]", ran.stderr


class TestExport:
    def test_it_happens_once(self, onnx: OnnxEmbedder, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        onnx.embed(["exported"])
        monkeypatch.setattr(onnx_export, "_export", None)
        file = exported_transformer(onnx.model, cache)
        assert onnx.model.digest[:16] in file.name
        assert [path.name for path in cache.iterdir()] == [file.name]

    def test_a_failed_export_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_model: SentenceModel, target: Path) -> None:
            target.write_bytes(b"half a file")
            raise ExportDiffers("not the same")

        monkeypatch.setattr(onnx_export, "_export", fail)
        with pytest.raises(ExportDiffers):
            OnnxEmbedder(cache=tmp_path / "models").embed(["kettle"])
        assert list((tmp_path / "models").iterdir()) == []


class TestFindingModels:
    def test_the_bundled_one_goes_by_its_name(self) -> None:
        assert find_model() == find_model("all-MiniLM-L6-v2")

    def test_a_folder_is_a_model(self, tmp_path: Path) -> None:
        folder = _copy_of_settings(tmp_path / "my-model")
        assert find_model(folder).name == "my-model"
        assert find_model(str(folder)).dimensions == 384

    def test_the_digest_follows_the_content(self, tmp_path: Path) -> None:
        one, other = _copy_of_settings(tmp_path / "one"), _copy_of_settings(tmp_path / "other")
        (other / "README.md").write_text("words about the model")
        assert find_model(one).digest == find_model(other).digest
        (other / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
        assert find_model(one).digest != find_model(other).digest

    def test_what_cannot_be_found_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match="someone/no-such-model"):
            find_model("someone/no-such-model")
        with pytest.raises(ModelNotFound, match=r"modules\.json"):
            find_model(tmp_path)

    def test_another_pooling_is_refused(self, tmp_path: Path) -> None:
        folder = _copy_of_settings(tmp_path / "cls")
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
        with pytest.raises(ModelNotSupported, match="pooling_mode_cls_token"):
            OnnxEmbedder(folder, cache=tmp_path).embed(["kettle"])

    def test_a_dense_layer_decides_the_width(self, tmp_path: Path) -> None:
        folder = _copy_of_settings(tmp_path / "dense")
        modules = json.loads((folder / "modules.json").read_text())
        modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "3_Dense").mkdir()
        (folder / "3_Dense" / "config.json").write_text('{"in_features": 384, "out_features": 512}')
        assert find_model(folder).dimensions == 512
        with pytest.raises(ModelNotSupported, match="Dense"):
            find_model(folder).require_mean_pooling()


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 2000))
def test_batches_hold_every_row_once_and_one_length(lengths: list[int], batch_tokens: int) -> None:
    batches = [batch.tolist() for batch in batches_by_length(lengths, batch_tokens)]
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len({lengths[row] for row in batch}) == 1
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= max(batch_tokens, len(batch))


def _cosines(left: HalfVectors, right: HalfVectors) -> np.ndarray:
    a, b = left.astype(np.float64), right.astype(np.float64)
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def _copy_of_settings(folder: Path) -> Path:
    """The bundled model without its weights: enough to be read about."""
    for name, path in find_model().files.items():
        if path.suffix == ".json" and "tokenizer" not in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(path.read_bytes())
    return folder
