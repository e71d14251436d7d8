"""What `--data` and `--taxonomy` name: a tree of concepts, and the images for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slsgu.data.folders import FolderSource, taxonomy_of_folders
from slsgu.data.opening import is_class_folders, open_source
from slsgu.data.pair_splits import labelled_splits
from slsgu.data.shards import NAMES, ShardSource
from slsgu.data.splits import Splits, make_splits
from slsgu.errors import DataError
from slsgu.request import Request
from slsgu.taxonomy import Concept, Taxonomy

if TYPE_CHECKING:
    from slsgu.clip import Clip
    from slsgu.data.drawings import DrawingSource
    from slsgu.settings import DataSettings

MENAGERIE = "menagerie"  # names the embedded drawings and their taxonomy


def find_taxonomy(taxonomy: str | Path | Taxonomy | None, data: str | Path | None) -> Taxonomy:
    """The taxonomy to use: the one given, itself or by name or file, the menagerie's for the
    drawings, or the folder names as a flat list."""
    if isinstance(taxonomy, Taxonomy):
        return taxonomy
    if taxonomy is not None:
        return Taxonomy.load(taxonomy)
    if data is None or str(data) == MENAGERIE:
        return Taxonomy.load(MENAGERIE)
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
        DataError: no data was given for a model that is not the menagerie's, or the folders can
            not be used.
    """
    if data is None and not clip.is_menagerie:
        raise DataError(
            f"the model {clip.name} needs images: give a folder with one folder per class "
            f"(or {MENAGERIE!r} to try it on the drawings)"
        )
    if data is None or str(data) == MENAGERIE:
        from slsgu.data.drawings import DrawingSource

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
