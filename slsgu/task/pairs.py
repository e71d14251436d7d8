"""A request that is given by its images: what to forget and what to keep, without class folders.

    --forget SOURCE --retain SOURCE [--name "Oudi A1"] [--parent car] [--classes FILE]

The names to choose among are those of a taxonomy or of a list of classes, with the name that is
to be forgotten among them. A parent that has no other class below it gets one of its own name,
which stands for all of its kind that have no name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy, normalise
from slsgu.data.sources.open import open_source
from slsgu.data.sources.scan import shown
from slsgu.data.splits.pair_splits import pair_splits
from slsgu.data.splits.splits import Limits, Splits
from slsgu.errors import DataError
from slsgu.task.places import placed, usable
from slsgu.utils.names import refuse_blank
from slsgu.utils.reading import read_text

_MOST_NAMES = 16 << 20  # bytes of a list of classes


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Images to forget and images to keep.

    Attributes:
        forget: a source (`slsgu.data.sources.open`) of images of the concept.
        retain: a source of everything else; None keeps the parent instead.
        name: of the concept; None where only captions are known.
        parent: a broader name that the model may keep using; found among the classes, or added.
        classes: a file with the other names, one per line; None if they come from a taxonomy, or
            there are none.
    """

    forget: str | Path
    retain: str | Path | None = None
    name: str | None = None
    parent: str | None = None
    classes: str | Path | None = None

    def check(self) -> None:
        """Raises:
        DataError: one of the sources is not there, or a name is empty.
        """
        for what in ("forget", "retain", "name", "parent", "classes"):
            refuse_blank(getattr(self, what), what, DataError)
        for source in (self.forget, self.retain):
            if source is not None:
                open_source(source)

    def request(self, taxonomy: Taxonomy | None) -> Request:
        """The request, in the taxonomy given or in one made for it.

        Raises:
            ConceptError: the name is no leaf, or lies under another parent.
            DataError: the classes cannot be read, or nothing that is kept could be measured.
        """
        if taxonomy is not None and self.classes is not None:
            raise DataError("give a taxonomy or a file of classes, not both")
        if self.name is None:
            if taxonomy is not None or self.classes is not None or self.parent is not None:
                raise DataError(
                    "classes, a taxonomy and a parent are names to choose among: give the name of "
                    "what is to be forgotten too (--name)"
                )
            concept = Concept(f"pairs of {shown(Path(Path(self.forget).stem or 'a file'))}", None)
            request = Request(
                Taxonomy([concept], name="captions", least=1), (concept,), named=False
            )
        else:
            if self.classes is not None:
                names = read_names(Path(self.classes))
                if {normalise(name) for name in names} == {normalise(self.name)}:
                    raise DataError(
                        f"classes {self.classes}: {self.name!r} is the only name, so there is "
                        "nothing to choose among: add the names of other classes"
                    )
                taxonomy = Taxonomy([Concept(n, None) for n in names], name="classes", least=1)
            request = placed(taxonomy, self.name, self.parent)
        if self.retain is None:
            self._check_alone(request)
        return request

    def splits(self, request: Request, limits: Limits, seed: int, strict: bool) -> Splits:
        """The images, in three splits."""
        return pair_splits(
            open_source(self.forget),
            None if self.retain is None else open_source(self.retain),
            request=request,
            limits=limits,
            seed=seed,
            strict=strict,
        )

    def _check_alone(self, request: Request) -> None:
        """Whether a request without retain images keeps anything that can be measured."""
        (leaf,) = request.forget_leaves
        if leaf.parent is None:
            raise DataError(
                "without a retain set, something must say what the images may still be called: "
                "give --retain SOURCE, or --parent NAME"
            )
        if not request.keeps_above(leaf):
            raise DataError(
                f"without a retain set, and without a class beside {leaf.parent.name!r}, nothing "
                "that is kept can be measured: give --retain SOURCE, --classes FILE or --taxonomy"
            )


def read_names(path: Path, *, what: str = "classes") -> list[str]:
    """The names in a file, one per line; empty lines and lines that begin with # do not count, nor
    does a name that stands there already.

    Args:
        what: what the file lists, for messages.

    Raises:
        DataError: the file cannot be read, holds no name, or something that is none.
    """
    content = read_text(path, what, limit=_MOST_NAMES, error=DataError)
    lines = [line.strip() for line in content.splitlines()]
    names: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith("#"):
            names.setdefault(normalise(line), usable(line, f"{what} {path}"))
    if not names:
        raise DataError(f"{what} {path}: the file holds no name")
    return list(names.values())
