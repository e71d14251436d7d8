"""What `--data` and `--taxonomy` name: a tree of concepts, and the images for it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept, Taxonomy
from slsgu.data.sources.folders import FolderSource, taxonomy_of_folders
from slsgu.data.sources.open import is_class_folders, open_source
from slsgu.data.sources.scan import title_of
from slsgu.data.sources.shards import NAMES, ShardSource
from slsgu.data.splits.labelled_splits import labelled_splits
from slsgu.data.splits.splits import Limits, Splits, make_splits
from slsgu.data.splits.test_only import ChosenImages, images_of
from slsgu.errors import DataError

if TYPE_CHECKING:
    from slsgu.data.sources.drawings import DrawingSource
    from slsgu.models.clip import Clip
    from slsgu.task.settings import DataSettings

MENAGERIE = "menagerie"  # names the embedded drawings and their taxonomy


def is_drawings(data: str | Path | None) -> bool:
    """Whether data is the menagerie's drawings, which are also what no data means."""
    return data is None or str(data) == MENAGERIE


def find_taxonomy(taxonomy: str | Path | Taxonomy | None, data: str | Path | None) -> Taxonomy:
    """The taxonomy to use: the one given, itself or by name or file, the menagerie's for the
    drawings, or the folder names as a flat list."""
    if isinstance(taxonomy, Taxonomy):
        return taxonomy
    if taxonomy is not None:
        return Taxonomy.load(taxonomy)
    if data is None or is_drawings(data):
        tree, typed = Taxonomy.load(MENAGERIE), ""
    else:
        tree, typed = _taxonomy_of_data(data), f"--data {shlex.quote(str(data))}"
    tree.typed = typed
    return tree


def _taxonomy_of_data(data: str | Path) -> Taxonomy:
    """The classes of a data set as a flat list."""
    if is_class_folders(data):
        return taxonomy_of_folders(Path(data))
    source = open_source(data)
    names = source.classes if isinstance(source, ShardSource) else []
    if not names:
        beside = f", or put a {NAMES} beside the shards" if isinstance(source, ShardSource) else ""
        raise DataError(f"nothing says what the classes of {data} are: give a taxonomy{beside}")
    return Taxonomy([Concept(name, None) for name in names], name=Path(str(data)).stem)


def find_splits(
    clip: Clip,
    data: str | Path | None,
    taxonomy: Taxonomy,
    settings: DataSettings,
    request: Request | None = None,
) -> Splits:
    """Gradient, search and test images: drawings, or photographs from class folders.

    Raises:
        DataError: no data was given for a model that is not the menagerie's, or the folders cannot
            be used.
    """
    _refuse_no_data(clip, data)
    if data is None or is_drawings(data):
        from slsgu.data.sources.drawings import DrawingSource

        source: DrawingSource | FolderSource = DrawingSource(taxonomy)
    elif not is_class_folders(data):
        return labelled_splits(
            open_source(data),
            taxonomy=taxonomy,
            request=request,
            limits=settings.limits,
            seed=settings.seed,
            strict=settings.strict,
        )
    else:
        source = FolderSource(Path(data), taxonomy)
    return make_splits(source, request=request, limits=settings.limits, seed=settings.seed)


def find_images(
    clip: Clip,
    data: str | Path | None,
    taxonomy: Taxonomy,
    settings: DataSettings,
    excluded: Mapping[str, str] = MappingProxyType({}),
) -> ChosenImages:
    """The images of a data set on which nothing is chosen: of `test/` where there is one, else all.

    Args:
        settings: `limits.test` is the most images of a class, None for all; drawings, which have
            no end, then take the default.
        excluded: pictures that are left out, by content: the reason why.

    Raises:
        DataError: no data was given for a model that is not the menagerie's, or it cannot be used.
    """
    _refuse_no_data(clip, data)
    limit = settings.limits.test
    if data is None or is_drawings(data):
        from slsgu.data.sources.drawings import DrawingSource

        source = DrawingSource(taxonomy)
        count = limit or Limits().test
        assert count is not None
        leaves = taxonomy.leaves
        return ChosenImages(
            [x for c in leaves for x in source.samples(c, "test", count, settings.seed)]
        )
    return images_of(
        str(data),
        taxonomy,
        taxonomy.leaves,
        limit=limit,
        seed=settings.seed,
        excluded=excluded,
        strict=settings.strict,
    )


def title_of_data(data: str | Path | None) -> str:
    """What a data set is called, without the folders that it lies in."""
    if data is None or is_drawings(data):
        return MENAGERIE
    if is_class_folders(data):
        return title_of(Path(data))
    description = open_source(data).describe()
    return str(description.get("root") or description["kind"])


def _refuse_no_data(clip: Clip, data: str | Path | None) -> None:
    if data is None and not clip.is_menagerie:
        raise DataError(
            f"the model {clip.name} needs images: give --data a folder with one folder per class "
            f"(or {MENAGERIE}, to try it on the drawings)"
        )
