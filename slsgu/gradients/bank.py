"""Retain gradients that were computed before, by what they were computed from.

One retain gradient serves every request on the same model and retain set: the second request
costs only its own forget pass. The name of a file is a hash of everything that decides it: model,
preprocessing, tokens, the pictures with their captions in their order, and the loss.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slsgu.errors import ArtifactError, SlsguError, SlsguWarning
from slsgu.gradients.accumulate import LossGradient
from slsgu.utils.artifact import read_artifact, read_header, write_artifact
from slsgu.utils.cache import cache_folder as cache_folder
from slsgu.utils.files import json_sha256
from slsgu.utils.schema import anything, count, list_of, map_of, number, record, text
from slsgu.utils.temporaries import remove_stale
from slsgu.utils.wording import printable

SCHEMA = 1
KIND = "slsgu-retain-gradient"
FILES = "retain-*.safetensors"
HEADER = record(
    {
        "key": map_of(anything),
        "title": text,
        "loss": number,
        "count": count,
        "hashes": list_of(text),
    }
)


@dataclass(frozen=True)
class RetainCache:
    """A folder of retain gradients."""

    folder: Path

    def path(self, key: Mapping[str, Any]) -> Path:
        """Where the gradient of a key lies, if it is there."""
        return self.folder / f"retain-{json_sha256(dict(key))[:32]}.safetensors"

    def load(self, key: Mapping[str, Any]) -> tuple[LossGradient, list[str]] | None:
        """The gradient that was computed from the same, and the pixel hashes of the pictures, of
        which none was left out; None if nothing was, or it is damaged."""
        path = self.path(key)
        try:
            header, tensors = read_artifact(
                path, kind=KIND, schema=SCHEMA, what="retain gradient", holds=HEADER
            )
        except ArtifactError:
            return None
        if header["key"] != dict(key):
            return None
        loss, images = header["loss"], header["count"]
        return LossGradient(tensors, None, loss, images, finished=True), header["hashes"]

    def save(
        self, key: Mapping[str, Any], result: LossGradient, hashes: Sequence[str], *, title: str
    ) -> None:
        """Keep a finished gradient. A disk that refuses is no reason to stop; it is told.

        Args:
            hashes: the pixel hashes of the pictures.
            title: what people are shown: the retain set and the model.
        """
        header = {
            "key": dict(key),
            "title": title,
            "loss": result.loss,
            "count": result.count,
            "hashes": list(hashes),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_artifact(
                self.path(key), result.gradients, kind=KIND, schema=SCHEMA, header=header
            )
        except (OSError, SlsguError) as error:
            warnings.warn(
                f"the retain gradient is not kept for later requests: {error}",
                SlsguWarning,
                stacklevel=2,
            )

    def entries(self) -> Iterator[tuple[Path, int, str]]:
        """Every entry: its path, its bytes, and what it is of, or what is wrong with it. One that
        goes away meanwhile, because somebody clears the cache, is passed over."""
        for path in sorted(self.folder.glob(FILES)):
            with contextlib.suppress(FileNotFoundError):
                yield path, path.lstat().st_size, _title(path)

    def clear(self) -> tuple[int, int]:
        """Remove every file, and what killed writers have left.

        Returns:
            How many gradients there were, and their bytes.

        Raises:
            SlsguError: some cannot be removed; the others are.
        """
        count = size = 0
        refused: list[str] = []
        remove_stale(self.folder, FILES)
        for path in sorted(self.folder.glob(FILES)):
            try:
                bytes_ = path.lstat().st_size
                path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                refused.append(f"{path} ({error.strerror})")
                continue
            count, size = count + 1, size + bytes_
        if refused:
            raise SlsguError(f"cannot remove {', '.join(refused)}; removed {count} other(s)")
        return count, size


def _title(path: Path) -> str:
    """What an entry is of, for people."""
    try:
        header = read_header(path, kind=KIND, schema=SCHEMA, what="retain gradient", holds=HEADER)
    except ArtifactError as error:
        return f"unusable: {error}" if path.is_file() else "unusable: it is no regular file"
    return printable(f"{header['title']}, {header['count']} images")
