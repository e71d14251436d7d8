"""Shards and tables made for tests, and what is read out of them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from slsgu.data.sources.open import open_source
from slsgu.data.sources.records import Record

Members = list[tuple[str, bytes]]


def png(seed: int) -> bytes:
    """The bytes of a small picture, another one for every seed."""
    noise = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (4, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "png")
    return buffer.getvalue()


def pairs(*numbers: int, folder: str = "") -> Members:
    """Members of whole records: a picture, a caption and a class each."""
    return [
        (f"{folder}{number:03}.{kind}", data)
        for number in numbers
        for kind, data in (
            ("png", png(number)),
            ("txt", f"picture {number}\n".encode()),
            ("cls", b"1"),
        )
    ]


def write_tar(path: Path, members: Members, *, layout: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=layout) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def read(path: Path | str) -> tuple[list[Record], dict[str, list[str]]]:
    """The records of a source, and what it left out, by reason."""
    source = open_source(path)
    records = list(source.records())
    return records, {reason: list(names) for reason, names in source.left_out.reasons.items()}


def captions(path: Path | str) -> list[str | None]:
    return [record.caption for record in read(path)[0]]
