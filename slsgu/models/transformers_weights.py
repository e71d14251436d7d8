"""The weights in a folder that transformers saved: one file, or shards with an index.

Only tensors are read: safetensors, or pickles with `weights_only`. Nothing in a folder is run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from slsgu.errors import ModelError
from slsgu.models.checkpoint import headers, read_state_dict
from slsgu.utils.reading import read_text
from slsgu.utils.wording import printable

CONFIG = "config.json"
# Where transformers looks, in its order.
_FILES = ("model.safetensors", "pytorch_model.bin")
_INDICES = tuple(f"{name}.index.json" for name in _FILES)
_MOST_INDEX = 64 << 20  # bytes


@dataclass(frozen=True)
class FolderWeights:
    """Which file of a folder holds which tensor.

    Attributes:
        folder: the folder.
        files: the name of a file, by the name of the tensor.
        index: the name of the index of shards; None where one file holds all.
    """

    folder: Path
    files: Mapping[str, str]
    index: str | None = None

    @property
    def used(self) -> frozenset[str]:
        """Every file that makes up the weights."""
        return frozenset(self.files.values()) | ({self.index} if self.index else frozenset())

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Some tensors, as they are stored, on the CPU; of safetensors nothing else is read.

        Raises:
            ModelError: a file is damaged, or does not hold what the index says.
        """
        by_file: dict[str, list[str]] = {}
        for name in names:
            by_file.setdefault(self.files[name], []).append(name)
        found: dict[str, Tensor] = {}
        for file, wanted in by_file.items():
            path = self.folder / file
            _refuse_missing(wanted, headers(path), path)  # which says it where a file is damaged
            if path.suffix == ".safetensors":
                found |= _read_safetensors(path, wanted)
            else:
                tensors = read_state_dict(path)
                found |= {name: tensors[name] for name in wanted}
        return found


def _read_safetensors(path: Path, names: Iterable[str]) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{path} can no longer be read: {error}") from None


def find_weights(folder: Path) -> FolderWeights:
    """The weights of a folder: `model.safetensors`, its shards, or else a pickle.

    Raises:
        ModelError: there are none, or they cannot be read.
    """
    for single, index in zip(_FILES, _INDICES, strict=True):
        if (folder / single).is_file():
            return _one_file(folder, single)
        if (folder / index).is_file():
            return _shards(folder, index)
    # A variant (`model.fp16.safetensors`) serves where it is all that there is.
    variants = sorted(path.name for path in folder.glob("model.*.safetensors") if path.is_file())
    if len(variants) == 1:
        return _one_file(folder, variants[0])
    several = (
        f", but only variants ({', '.join(variants)}): save the one that you want in a folder of "
        "its own, without `variant`"
        if variants
        else ""
    )
    raise ModelError(
        f"{folder} has no weights that transformers would load, neither {_FILES[0]} nor "
        f"{_INDICES[0]}{several}"
    )


def read_json(path: Path, what: str, *, limit: int = 4 << 20) -> dict[str, Any]:
    """A JSON object of a model's folder.

    Raises:
        ModelError: the file is missing, too large, or no JSON object.
    """
    text = read_text(path, what, limit=limit, error=ModelError)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not readable JSON ({error})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a {what}: it must hold a JSON object")
    return content


def _one_file(folder: Path, name: str) -> FolderWeights:
    return FolderWeights(folder, dict.fromkeys(headers(folder / name), name))


def _shards(folder: Path, index: str) -> FolderWeights:
    path = folder / index
    files = read_json(path, "index of shards", limit=_MOST_INDEX).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ModelError(f"{path} is not an index of shards: it has no weight_map")
    for file in set(map(str, files.values())):
        if Path(file).name != file or not (folder / file).is_file():
            raise ModelError(
                f"{path} names {printable(file)}, which is no file of this folder: copy or "
                "download the folder again"
            )
    return FolderWeights(folder, {str(k): str(v) for k, v in files.items()}, index)


def _refuse_missing(wanted: Collection[str], stored: Collection[str], path: Path) -> None:
    missing = [name for name in wanted if name not in stored]
    if missing:
        raise ModelError(
            f"{path} does not hold {printable(missing[0])}, which the index says is there: copy "
            "or download the folder again"
        )
