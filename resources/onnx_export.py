"""Writes a sentence model's transformer as an ONNX file, once per model.

Belongs here: the export, its cache and the proof that both compute the same. Not here: running the file (see
`embedder`).
"""

import contextlib
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from resources.sentence_model import SentenceModel

if TYPE_CHECKING:
    import torch

#: Part of the file's name: to be raised whenever the graph that is written here changes.
EXPORT_VERSION = 1
_OPSET = 17
#: Largest difference between the two runtimes' token vectors (whose components are of the order of 1).
_TOLERANCE = 1e-4

_log = structlog.get_logger(__name__)


class ExportDiffers(RuntimeError):
    """The exported graph does not compute what the model computes."""


def exported_transformer(model: SentenceModel, cache: Path) -> Path:
    """Return the model's transformer as an ONNX file in `cache`, exporting it the first time.

    The graph ends at the token vectors on purpose. Pooling inside it would sum in an order that depends on the
    batch, and a text's vector must not depend on its neighbours.

    The file appears in one piece: a killed export leaves nothing that would be read later, and two processes that
    export at once write the same file.

    Raises:
        ExportDiffers: the graph's output is not the model's.
    """
    target = cache / f"{model.name}-{model.digest[:16]}-v{EXPORT_VERSION}.onnx"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    _log.info("exporting the embedding model to ONNX", model=model.name, file=target.name)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f"{target.stem}.") as folder:
        draft = Path(folder) / target.name
        _export(model, draft)
        draft.replace(target)
    return target


def _export(model: SentenceModel, target: Path) -> None:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    class TokenVectors(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        """The transformer alone: token ids and mask in, one vector per token out."""

        def __init__(self, transformer: Any) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformer = AutoModel.from_pretrained(
        model.folder, attn_implementation="eager", local_files_only=True, dtype=torch.float32
    )
    module = TokenVectors(transformer.eval()).eval()
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        # The exporter warns that it is the older of two and that it traces; the comparison below is the answer.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            _sample_input(rows=2, tokens=8),
            str(target),
            dynamo=False,
            opset_version=_OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["token_vectors"],
            dynamic_axes={
                "input_ids": {0: "rows", 1: "tokens"},
                "attention_mask": {0: "rows", 1: "tokens"},
                "token_vectors": {0: "rows", 1: "tokens"},
            },
        )
    _compare(module, target)


def _compare(module: "torch.nn.Module", target: Path) -> None:
    import onnxruntime
    import torch

    # Another shape than the traced one: a constant that slipped into the graph shows.
    ids, mask = _sample_input(rows=3, tokens=21)
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    with torch.inference_mode():
        difference = float((module(ids, mask) - torch.from_numpy(found)).abs().max())
    if not difference < _TOLERANCE:
        raise ExportDiffers(f"{target.name}: token vectors differ by up to {difference:g} from the model's")


def _sample_input(*, rows: int, tokens: int) -> "tuple[torch.Tensor, torch.Tensor]":
    import torch

    ids = torch.arange(1, rows * tokens + 1, dtype=torch.long).reshape(rows, tokens)
    return ids, torch.ones_like(ids)
