"""Choose records by their captions, and keep them as a shard of their own."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from slsgu.data.records import Record, Source
from slsgu.files import replacing
from slsgu.taxonomy import normalise


def matching(source: Source, phrases: Iterable[str]) -> Iterator[Record]:
    """The records whose caption names one of some phrases, as whole words, without regard to
    case, dashes and underscores.

    >>> [bool(_pattern(["elon musk"]).search(normalise(text)))
    ...  for text in ("Elon Musk, 2019", "the elon-musk of frogs", "elon muskrat")]
    [True, True, False]
    """
    pattern = _pattern(phrases)
    for record in source.records():
        if record.caption is not None and pattern.search(normalise(record.caption)):
            yield record


def write_shard(records: Iterable[Record], path: Path) -> None:
    """Write a WebDataset shard, whole or not at all. The same records give the same bytes."""
    with replacing(path) as part, tarfile.open(part, "w") as tar:
        for number, record in enumerate(records):
            members = {record.picture.kind: record.picture.data()}
            for kind, text in (("txt", record.caption), ("cls", record.label)):
                if text is not None:
                    members[kind] = text.encode()
            for kind, data in members.items():
                info = tarfile.TarInfo(f"{number:09d}.{kind}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    words = "|".join(re.escape(normalise(phrase)) for phrase in phrases)
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)")
