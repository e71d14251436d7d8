"""Records of a source: one picture each, with a caption, a label, or both, not yet decoded.

A source is read lazily, from its beginning: whoever has enough stops.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from slsgu.concepts.taxonomy import Concept
from slsgu.data.sizes import MOST_BYTES, too_large
from slsgu.errors import DataError
from slsgu.utils.reading import open_descriptor
from slsgu.utils.wording import printable, some

if TYPE_CHECKING:
    from PIL import Image


class Picture(Protocol):
    """Where the bytes of a picture are. Can be pickled."""

    def data(self) -> bytes:
        """The bytes.

        Raises:
            OSError: they cannot be read.
        """


def content_of(data: bytes) -> str:
    """Identity of a picture by its bytes: their SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class FilePicture:
    """A picture in a file of its own."""

    path: Path

    def data(self) -> bytes:
        with os.fdopen(open_descriptor(self.path), "rb") as file:
            if problem := too_large(os.fstat(file.fileno()).st_size):
                raise OSError(problem)
            return file.read(MOST_BYTES)


@dataclass(frozen=True)
class PartPicture:
    """A picture inside a larger file, such as a member of a tar file that is not unpacked."""

    path: Path
    offset: int
    size: int

    def data(self) -> bytes:
        file = open_descriptor(self.path)  # `open` takes as long as the reading
        try:
            data = os.pread(file, self.size, self.offset)
        finally:
            os.close(file)
        if len(data) < self.size:
            raise OSError("the file that holds it is cut short")
        return data


@dataclass(frozen=True)
class Record:
    """One entry of a source.

    Attributes:
        name: what people are shown.
        caption: the picture's own words, or None.
        label: the name of its class, or None.
    """

    name: str
    picture: Picture
    caption: str | None = None
    label: str | None = None


class RecordSource(Protocol):
    """Where records come from.

    Attributes:
        left_out: entries that cannot be used, by reason; filled while records are read.
    """

    left_out: LeftOut

    def records(self) -> Iterator[Record]:
        """The records, each once, always in the same order.

        Raises:
            DataError: the source cannot be read.
        """

    def describe(self) -> dict[str, Any]:
        """Kind and name, as JSON values. No full path: artifacts travel."""


@dataclass
class LeftOut:
    """Entries of a source that were not used, and why."""

    reasons: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Note an entry; one that is met again, in another reading, counts once."""
        self.reasons.setdefault(reason, {})[printable(name)] = None

    def update(self, other: LeftOut) -> None:
        """Note all that another has."""
        for reason, names in other.reasons.items():
            self.reasons.setdefault(reason, {}).update(names)

    def notes(self, what: str = "") -> list[str]:
        """One line per reason, for people; `what` it is about comes first."""
        what = what and f"{what}: "
        return [
            f"{what}{len(names)} left out, {reason}: {some(list(names), 3)}"
            for reason, names in self.reasons.items()
        ]

    def entries(self, what: str) -> list[dict[str, str]]:
        """All of them, as JSON values."""
        return [
            {"set": what, "name": name, "reason": reason}
            for reason, names in self.reasons.items()
            for name in names
        ]

    def refuse(self, what: str) -> None:
        """Raises:
        DataError: anything was left out.
        """
        if notes := self.notes(what):
            raise DataError(f"{notes[0]} (strict: nothing may be left out)")


@dataclass(frozen=True)
class PairSample:
    """A record as a sample: `slsgu.data.samples.Sample`.

    Attributes:
        sides: of the picture in pixels, the shorter first; None where they were not looked up, or
            it is not a picture.
    """

    leaf: Concept | None
    caption: str | None
    name: str
    fingerprint: str
    picture: Picture
    sides: tuple[int, int] | None = None

    def read(self) -> Image.Image:
        from slsgu.data.images import UnreadableImageError, read_image

        try:
            return read_image(io.BytesIO(self.picture.data()), self.name)
        except UnreadableImageError as error:
            raise UnreadableImageError(error.reason, self.name) from None
        except OSError as error:
            raise UnreadableImageError(error.strerror or str(error), self.name) from None
