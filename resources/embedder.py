"""Sentence models as a `TextEmbedder`: a fast one on ONNX Runtime, and the reference on sentence-transformers.

Belongs here: batching, running and pooling a model. Not here: finding its files (see `sentence_model`), exporting it
(see `onnx_export`), deciding which texts need a vector (see `assets.embeddings`).

A text's vector must not depend on the texts beside it, or an incremental run would differ from a full one. So texts
are batched by their exact number of tokens, which needs no padding, and pooled outside the graph, row by row.
Threads wait without spinning where the runtime can be told here; for torch the process has to be started with
`OMP_WAIT_POLICY=PASSIVE`.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from assets.embeddings.ports import HalfVectors
from resources.onnx_export import exported_transformer
from resources.sentence_model import SentenceModel, find_model

Progress = Callable[[int], None]
Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderRules:
    """How the work is cut up; none of it changes a vector.

    Attributes:
        batch_tokens: Tokens computed at once (rows times length).
        window: Texts tokenised and sorted by length at once, which bounds memory.
        threads: Threads of the runtime; 0 leaves the choice to it.
    """

    batch_tokens: int = 2048
    window: int = 8192
    threads: int = 0


class _SentenceEmbedder(ABC):
    """What both runtimes share: loading once, cutting up the work, putting the vectors in order.

    Nothing is loaded before the first text; afterwards the object may be used from several threads.
    """

    #: Runtime and precision, the end of `model_version`.
    runtime: ClassVar[str]

    def __init__(self, model: str | Path | None, *, offline: bool, rules: EmbedderRules | None) -> None:
        self._source = model
        self._offline = offline
        self._rules = rules or EmbedderRules()
        self._loading = threading.Lock()
        self._is_loaded = False

    @cached_property
    def model(self) -> SentenceModel:
        """The model's files.

        Raises:
            ModelNotFound: there are none.
        """
        return find_model(self._source, offline=self._offline)

    @property
    def model_version(self) -> str:
        """Name, digest of the files, and runtime, e.g. `all-MiniLM-L6-v2@0123abcd+onnx-fp32`."""
        return f"{self.model.name}@{self.model.digest[:8]}+{self.runtime}"

    @property
    def model_files(self) -> Mapping[str, Path]:
        """The files that decide what a vector is, by their path inside the model."""
        return self.model.files

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> HalfVectors:
        """Return one unit vector per text, shape (len(texts), dimensions); see `TextEmbedder`.

        Texts longer than the model reads are cut off by its tokenizer.

        Raises:
            ModelNotFound: the model's files are missing.
            ModelNotSupported: the model is not built as this runtime needs.
        """
        vectors = np.empty((len(texts), self.model.dimensions), np.float16)
        if not texts:
            return vectors
        with self._loading:
            if not self._is_loaded:
                self._load()
                self._is_loaded = True
        for start in range(0, len(texts), self._rules.window):
            window = texts[start : start + self._rules.window]
            tokens = self._tokenize(list(window))
            for rows in batches_by_length([len(ids) for ids in tokens], self._rules.batch_tokens):
                batch = self._compute([window[row] for row in rows], [tokens[row] for row in rows])
                vectors[start + rows] = batch.astype(np.float16)
                if progress:
                    progress(len(rows))
        return vectors

    @abstractmethod
    def _load(self) -> None:
        """Load tokenizer and model."""

    @abstractmethod
    def _tokenize(self, texts: list[str]) -> list[Tokens]:
        """Return each text's token ids, cut off at the model's limit."""

    @abstractmethod
    def _compute(self, texts: list[str], tokens: list[Tokens]) -> NDArray[np.float32]:
        """Return the unit vectors of texts that have equally many tokens."""


class OnnxEmbedder(_SentenceEmbedder):
    """A mean-pooling sentence model on ONNX Runtime, in single precision.

    Only the first use of a model on a machine imports torch, to export it into `cache`.

    >>> embedder = OnnxEmbedder(cache=Path("cache"))  # doctest: +SKIP
    >>> embedder.embed(["a red bicycle"]).shape  # doctest: +SKIP
    (1, 384)
    """

    runtime = "onnx-fp32"

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        cache: Path,
        offline: bool = True,
        rules: EmbedderRules | None = None,
    ) -> None:
        """Remember what to load.

        Args:
            model: See `resources.sentence_model.find_model`.
            cache: Folder for the exported model; made when needed.
            offline: Whether a named model must have been downloaded before.
            rules: How the work is cut up.
        """
        super().__init__(model, offline=offline, rules=rules)
        self._cache = cache

    def _load(self) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self.model.require_mean_pooling()
        self._tokenizer = Tokenizer.from_file(str(self.model.folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.model.max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._rules.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = exported_transformer(self.model, self._cache)
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def _tokenize(self, texts: list[str]) -> list[Tokens]:
        return [np.array(encoding.ids, np.int64) for encoding in self._tokenizer.encode_batch_fast(texts)]

    def _compute(self, texts: list[str], tokens: list[Tokens]) -> NDArray[np.float32]:
        ids = np.stack(tokens)
        (found,) = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        return _pooled(found)


class SentenceTransformersEmbedder(_SentenceEmbedder):
    """Any sentence-transformers model through its own library: slower to start and to run, and the reference."""

    runtime = "torch-fp32"

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        offline: bool = True,
        device: str = "cpu",
        rules: EmbedderRules | None = None,
    ) -> None:
        """Remember what to load.

        Args:
            model: See `resources.sentence_model.find_model`.
            offline: Whether a named model must have been downloaded before.
            device: Where torch computes, e.g. `cuda`.
            rules: How the work is cut up; `threads` applies to the whole process.
        """
        super().__init__(model, offline=offline, rules=rules)
        self._device = device

    def _load(self) -> None:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        if self._rules.threads:
            torch.set_num_threads(self._rules.threads)
        folder = str(self.model.folder)
        self._transformer: Any = SentenceTransformer(folder, device=self._device, local_files_only=True)

    def _tokenize(self, texts: list[str]) -> list[Tokens]:
        limit = self._transformer.max_seq_length
        encoded = self._transformer.tokenizer(texts, truncation=True, max_length=limit)
        return [np.array(ids, np.int64) for ids in encoded["input_ids"]]

    def _compute(self, texts: list[str], tokens: list[Tokens]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._transformer.encode(
            texts, batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False
        )
        return found


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[NDArray[np.intp]]:
    """Cut rows into batches in which every row has the same length, shortest first.

    Args:
        lengths: Tokens of each row.
        batch_tokens: Most tokens in a batch; a row that is longer is a batch of its own.

    Yields:
        Row numbers in ascending order; every row is in exactly one batch.
    """
    sizes = np.asarray(lengths, dtype=np.intp)
    order = np.argsort(sizes, kind="stable")
    ordered = sizes[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    for group in np.split(order, starts[1:]):
        if not len(group):
            continue
        rows = max(1, batch_tokens // max(1, int(sizes[group[0]])))
        for start in range(0, len(group), rows):
            yield group[start : start + rows]


def _pooled(token_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of each row's token vectors (rows, tokens, dimensions), brought to unit length."""
    means: NDArray[np.float32] = token_vectors.mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means
