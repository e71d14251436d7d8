"""Class folders: which leaf each folder stands for, and the images under it.

    root/golden_retriever/*.jpg                  split three ways by content
    root/train/.../*.jpg  root/test/.../*.jpg    (or val/, validation/) the test images are given

A folder finds its leaf by its name, `n02099601-golden_retriever`, a wnid, a path (`bird/crane`), or
the class number of the taxonomy (`207`); folders inside a class folder belong to that class.
Nothing is opened here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slsgu.concepts.taxonomy import Concept, Taxonomy, normalise
from slsgu.data.sources.scan import FolderContents, is_folder, scan, shown, title_of
from slsgu.errors import ConceptError, DataError
from slsgu.utils.wording import some

if TYPE_CHECKING:
    from PIL import Image

_TRAIN, _TEST = ("train",), ("test", "val", "validation")  # in order of preference
_WNID = re.compile(r"(n\d{8})[-_ ]*")
_SHOWN = 50  # folders at fault that one message lists


@dataclass(frozen=True)
class FileSample:
    """An image file. `fingerprint` is the SHA-256 of its bytes."""

    leaf: Concept
    path: Path
    name: str
    fingerprint: str
    caption: None = None

    def read(self) -> Image.Image:
        from slsgu.data.images import UnreadableImageError, read_image

        try:
            return read_image(self.path)
        except UnreadableImageError as error:
            raise UnreadableImageError(error.reason, self.name) from None


class FolderSource:
    """The images of class folders, by part and leaf.

    Args:
        root: the folder that holds the class folders, or `train/` and `test/`.
        taxonomy: None makes a flat one of the folder names.

    Attributes:
        parts: `{"train": ..., "test": ...}` or `{"all": ...}`; each maps a leaf to the paths of
            its images, relative to `root`, sorted. Leaves without images are absent.
        notes: what was left out, for people.

    Raises:
        DataError: the root is missing or empty, there are no class folders, or a folder with
            images answers to no leaf, or to several.
    """

    def __init__(self, root: str | Path, taxonomy: Taxonomy | None = None) -> None:
        self.root = Path(root)
        self.taxonomy = taxonomy_of_folders(self.root) if taxonomy is None else taxonomy
        folders, notes = find_parts(self.root)
        self.parts: dict[str, dict[Concept, tuple[Path, ...]]] = {}
        problems: dict[str, None] = {}
        for part, folder in folders.items():
            contents = scan(self.root, folder)
            self.parts[part] = _by_leaf(contents, self.taxonomy, folder, problems)
            notes += contents.notes()
        if problems:
            listed = list(problems)[:_SHOWN]
            more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise DataError(
                f"{len(problems)} folder(s) under {self.root} do not match taxonomy "
                f"{self.taxonomy.name!r}:\n  "
                + "\n  ".join(listed)
                + more
                + "\nrename them, move them away, or give a taxonomy that has their classes"
            )
        for part, leaves in self.parts.items():
            searched = folders[part]
            if not leaves:
                raise DataError(
                    f"no images in class folders under {searched}: expected one folder for each "
                    f"class, with .jpg, .png, .webp, .bmp, .tif or .gif files"
                )
            absent = [leaf.key for leaf in self.taxonomy.leaves if leaf not in leaves]
            if absent:
                notes.append(
                    f"{len(absent)} of the {len(self.taxonomy.leaves)} classes of the taxonomy "
                    f"have no images under {searched.name}/: {some(absent)}"
                )
        self.notes = tuple(notes)

    def describe(self) -> dict[str, Any]:
        """Kind and name, as JSON values. No full path: artifacts travel."""
        return {"kind": "folders", "root": title_of(self.root)}

    def sample(self, leaf: Concept, path: Path, fingerprint: str) -> FileSample:
        """A sample from a path in `parts`."""
        return FileSample(leaf, self.root / path, shown(path), fingerprint)


def taxonomy_of_folders(root: str | Path) -> Taxonomy:
    """A flat taxonomy of the class folders: underscores become spaces, a wnid becomes the id.

    Raises:
        DataError: there are no class folders, only one, or two with the same name.
    """
    root = Path(root)
    folders, _ = find_parts(root)
    leaves: dict[str, Concept] = {}
    names: dict[str, str] = {}
    for part in folders.values():
        for top in scan(root, part).tops(part):
            wnid = _WNID.match(top)
            words = re.sub(r"[\s_]+", " ", top[wnid.end() if wnid else 0 :]).strip() or top
            words = shown(Path(words))
            other = names.setdefault(normalise(words), top)
            if other != top:
                raise DataError(
                    f"folders {shown(Path(other))!r} and {shown(Path(top))!r} under {root} would "
                    f"both be {words!r}: rename one, or give a taxonomy"
                )
            leaves[top] = Concept(words, None, id=wnid.group(1) if wnid else None)
    if not leaves:
        raise DataError(f"no class folders with images under {root}: expected one for each class")
    if len(leaves) == 1:
        raise DataError(
            f"image folder {root} has one class, {next(iter(leaves))!r}, and nothing to keep: add "
            "folders of other classes, or give a taxonomy that puts it below a parent"
        )
    return Taxonomy([leaves[top] for top in sorted(leaves)], name=title_of(root))


def find_parts(root: Path) -> tuple[dict[str, Path], list[str]]:
    """The folders to read: train and test if both are there, else all of it; and notes.

    A folder called `train` or `test` counts only if it holds folders: it may be a class.

    Raises:
        DataError: `root` is missing, not a folder, unreadable or empty.
    """
    try:
        with os.scandir(root) as entries:
            inside = {e.name: e for e in entries if not e.name.startswith(".")}
            below = {n: Path(e.path) for n, e in inside.items() if is_folder(e)}
    except FileNotFoundError:
        raise DataError(f"image folder not found: {root}") from None
    except NotADirectoryError:
        raise DataError(f"{root} is a file; give the folder that holds the class folders") from None
    except OSError as error:
        raise DataError(f"cannot read image folder {root}: {error.strerror}") from None
    if not inside:
        raise DataError(f"image folder {root} is empty: expected one folder for each class")
    train, test = (
        next((below[n] for n in names if n in below and _has_folders(below[n])), None)
        for names in (_TRAIN, _TEST)
    )
    if train is not None and test is not None:
        ignored = sorted(shown(Path(n)) for n in below if below[n] not in (train, test))
        notes = (
            [f"besides {train.name}/ and {test.name}/, left out: {some(ignored)}"]
            if ignored
            else []
        )
        return {"train": train, "test": test}, notes
    only = train or test
    if only is not None and len(below) == 1:
        return {"all": only}, [f"there is only {only.name}/: its images are used for every split"]
    return {"all": root}, []


def _has_folders(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(not e.name.startswith(".") and is_folder(e) for e in entries)
    except OSError:
        return False


def _by_leaf(
    contents: FolderContents, taxonomy: Taxonomy, part: Path, problems: dict[str, None]
) -> dict[Concept, tuple[Path, ...]]:
    """Images by leaf. What is wrong with a folder becomes a key of `problems`."""
    leaves: dict[Concept, list[Path]] = {}
    for folder, images in contents.images.items():
        # As people see them, since a taxonomy of the folders has them so.
        inside = [shown(Path(n)) for n in folder.relative_to(part.relative_to(contents.root)).parts]
        if not inside:
            continue  # loose files beside the class folders: `FolderContents.notes` reports them
        try:
            leaf = _leaf_of(inside, taxonomy)
        except ConceptError as error:
            problems[str(error)] = None
            continue
        if leaf is None:
            problems[_no_leaf("/".join(inside), taxonomy)] = None
        else:
            leaves.setdefault(leaf, []).extend(images)
    return {leaf: tuple(sorted(leaves[leaf])) for leaf in taxonomy.leaves if leaf in leaves}


def _leaf_of(inside: Sequence[str], taxonomy: Taxonomy) -> Concept | None:
    """The leaf of a folder, given the names from the class folders down to it.

    The innermost name that is a leaf counts. The names above it tell homonyms apart as far as the
    taxonomy knows them; others (`batch-3/`) say nothing.
    """
    for end in range(len(inside), 0, -1):
        name = inside[end - 1]
        above = [concepts for word in inside[: end - 1] if (concepts := taxonomy.search(word))]
        path = "/".join([*(concepts[0].name for concepts in above if len(concepts) == 1), name])
        leaf = taxonomy.leaf_of_folder(path) or taxonomy.leaf_of_folder(name)
        # `machine/crane` must not become the bird because the taxonomy has no other crane.
        if leaf is not None and all(set(concepts) & set(leaf.lineage) for concepts in above):
            return leaf
    # A number counts only at the top, and where no name does: below, it numbers parts of a class.
    return taxonomy.leaf_of_index(inside[0])


def _no_leaf(folder: str, taxonomy: Taxonomy) -> str:
    name = shown(Path(folder))
    inner = next((c for c in taxonomy.search(folder) if not c.is_leaf), None)
    if inner is not None:
        below = [leaf.name for leaf in inner.leaves()]
        return f"{name!r} is a group of classes; name the folder after one of them: {some(below)}"
    words = _WNID.sub("", Path(folder).name)
    leaves = {leaf.name for leaf in taxonomy.leaves}
    suggestions = [c for c in taxonomy.suggest(words, count=6) if c in leaves][:3]
    hint = f"; did you mean {' or '.join(repr(c) for c in suggestions)}?" if suggestions else ""
    return f"{name!r} is not one of its classes{hint}"
