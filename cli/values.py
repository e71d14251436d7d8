"""From options to library values: what a command asks of the library."""

from __future__ import annotations

import contextlib
import functools
import operator
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .search_options import FLOORS

if TYPE_CHECKING:
    from slsgu.evaluation.other_sets import Also
    from slsgu.gradients.bank import RetainCache
    from slsgu.models.clip import Clip
    from slsgu.patch.patch import Patch
    from slsgu.task.pairs import Pairs
    from slsgu.task.plan import Plan
    from slsgu.task.settings import Settings

WITH_FORGET = ("retain", "name", "parent", "classes")  # options that say nothing without --forget


def load_clip(options: dict[str, Any]) -> Clip:
    """Load the model that the model options name."""
    from slsgu.models.clip import load
    from slsgu.utils.surroundings import LARGE, give_freed_memory_back

    clip = load(
        options["model"],
        options["pretrained"],
        device=options["device"],
        precision=options["precision"],
        cache_dir=options["cache_dir"],
        quick_gelu=options["quick_gelu"],
    )
    if sum(p.nbytes for p in clip.model.parameters()) >= LARGE:
        give_freed_memory_back()
    return clip


def settings_from(options: dict[str, Any]) -> Settings:
    """Settings from whatever options a command has; what was not given keeps its default.

    Raises:
        click.UsageError: a value makes no sense: wrong usage, whichever part of slsgu notices.
    """
    from dataclasses import fields, replace

    from slsgu.data.splits.splits import Limits
    from slsgu.errors import SlsguError
    from slsgu.task.settings import Settings

    limits = Limits()
    for split in ("gradient", "search", "test"):
        count = options.get(f"{split}_images")
        if count is not None:
            limits = replace(limits, **{split: count})
            # What is asked for by name is not capped; of pairs, only those to forget are.
            if split != "test" and not options.get("forget"):
                limits = replace(limits, **{f"retain_{split}": None})
    if (total := options.get("retain_images")) is not None:
        limits = replace(limits, retain_gradient=total, retain_search=total)
    known = {field.name for field in fields(Settings)} - {"limits", "floors"}
    given = {name: options[name] for name in known if options.get(name) is not None}
    floors = options.get("floors") or {}
    _refuse_without_system(options)
    floors = {x: share for x in FLOORS if (share := floors.get(x, floors.get(None))) is not None}
    try:
        settings = Settings(limits=limits, **given)
        return replace(settings, floors={**settings.floors, **floors})
    except SlsguError as error:
        raise click.UsageError(str(error)) from None


def _refuse_without_system(options: dict[str, Any]) -> None:
    """What is asked of hidden states means nothing where no system reads them."""
    if options.get("system") not in (None, "clip"):
        return
    of_states = {
        "--moves": options.get("moves") is not None,
        "--floor retain_states=X": "retain_states" in (options.get("floors") or {}),
    }
    for words, typed in of_states.items():
        if typed:
            raise click.UsageError(
                f"{words} is about what a larger system reads: say which, with --for"
            )


def plan_from(options: dict[str, Any], settings: Settings) -> Plan:
    """Load the model and look up what the other options name.

    Raises:
        click.UsageError: it is not clear what to forget.
    """
    from slsgu.task.plan import make_plan

    concepts, forget = options["concepts"], options["forget"]
    if bool(concepts) == bool(forget):
        both = ", not both" if forget else ""
        raise click.UsageError(f"say what to forget: --concept NAME, or --forget SOURCE{both}")
    if not (forget or options.get("no_images")) and (
        lone := next((word for word in WITH_FORGET if options[word]), None)
    ):
        with_names = " or --no-images" if lone in ("parent", "classes") else ""
        raise click.UsageError(f"--{lone} goes with --forget{with_names}")
    if forget and options["data"]:
        raise click.UsageError("--data goes with --concept; --forget has images of its own")
    refuse_two_vocabularies(options)
    pairs = pairs_from(options)
    if pairs is not None:
        pairs.check()  # before the model is loaded, which takes longer
    return make_plan(
        load_clip(options),
        concepts,
        data=options["data"],
        taxonomy=options["taxonomy"],
        pairs=pairs,
        settings=settings,
    )


def refuse_two_vocabularies(options: dict[str, Any]) -> None:
    """Refuse a taxonomy beside a list of classes.

    Raises:
        click.UsageError: both are given.
    """
    if options["taxonomy"] and options["classes"]:
        raise click.UsageError(
            "--taxonomy and --classes both say which names there are to choose among: leave one "
            "of the two out"
        )


def pairs_from(options: dict[str, Any]) -> Pairs | None:
    """What `--forget` and the options that go with it name; None without it."""
    from slsgu.task.pairs import Pairs

    if not options["forget"]:
        return None
    return Pairs(forget=options["forget"], **{word: options[word] for word in WITH_FORGET})


def also_from(options: dict[str, Any], others: Collection[str] = ()) -> list[Also]:
    """The data sets of `--also`, with their floors.

    Args:
        others: the floors that a command has besides.

    Raises:
        click.UsageError: one is not NAME=SOURCE, or two have one name.
    """
    from slsgu.evaluation.other_sets import Also

    floors = options.get("floors") or {}
    default = floors.get(None, Also.floor)
    found: dict[str, Also] = {}
    for text in options["also"]:
        name, source, taxonomy = split_also(text)
        if name in FLOORS:
            raise click.UsageError(f"--also {text}: {name} is the name of a floor; take another")
        if not (name and source):
            raise click.UsageError(f"--also {text}: write NAME=SOURCE or NAME=SOURCE:TAXONOMY")
        if name in found:
            raise click.UsageError(f"--also: two data sets are called {name}")
        found[name] = Also(name, source, taxonomy or None, floors.get(name, default))
    if unknown := sorted(set(floors) - {*others, *found, None}):
        known = ", ".join([*others, *found]) or "those of --also"
        raise click.UsageError(f"--floor: unknown floor {unknown[0]!r}; floors are {known}")
    return list(found.values())


def split_also(text: str, folder: Path = Path()) -> tuple[str, str, str]:
    """The name, the source and the taxonomy of `NAME=SOURCE[:TAXONOMY]`; what is missing is empty.

    Args:
        folder: where paths begin.
    """
    from slsgu.data.sources.shards import is_shards

    name, _, rest = text.partition("=")
    parted = re.fullmatch(r"(.*[^:]):([^:]*)", rest)  # at the last colon that is not one of a "::"
    if parted is None or (folder / rest).exists():
        return name, rest, ""
    source, taxonomy = parted.groups()
    if is_shards(rest) and not is_shards(source) and not (folder / source).exists():
        return name, rest, ""  # a colon of `pipe:`, or of an address
    if re.fullmatch(r"\w+://[^/]*", source):
        return name, rest, ""  # a colon before the port of an address
    return name, source, taxonomy


def cache_from(options: dict[str, Any]) -> RetainCache | None:
    """The cache of retain gradients, unless it is not wanted."""
    from slsgu.errors import SlsguError
    from slsgu.gradients.bank import RetainCache, cache_folder

    with contextlib.suppress(SlsguError):  # there is no place for it
        return RetainCache(cache_folder()) if options["cache"] else None
    return None


def patch_file(path: Path) -> Path:
    """The patch file that a path names: itself, or the one in a run folder.

    Raises:
        ArtifactError: it is a folder without a patch.
    """
    from slsgu.errors import ArtifactError
    from slsgu.pipeline.run_folder import RunFolder

    if not path.is_dir():
        return path
    file = RunFolder(path).patch
    if not file.exists():
        raise ArtifactError(
            f"{path} is a folder without {file.name}: give a patch file, or a run folder in which "
            "`slsgu apply` has written a patch (it writes none where the goal was not met)"
        )
    return file


def distinct_files(paths: Sequence[Path]) -> list[Path]:
    """The file of each patch, which is given as such or as its run folder.

    Raises:
        LayerMismatchError: one is given twice.
    """
    from slsgu.errors import LayerMismatchError

    files = [patch_file(path) for path in paths]
    for index, file in enumerate(files):
        if file in files[:index]:
            raise LayerMismatchError(
                f"{file} is given twice, which would double its step: give it once. To take a "
                "larger step, use a scale"
            )
    return files


def load_effective(paths: Sequence[Path]) -> Patch:
    """As `load_patches`, of patches that are to be measured.

    Raises:
        ArtifactError: as `load_patches`, or they change no bit of a model.
        LayerMismatchError: as `load_patches`.
    """
    from slsgu.patch.size import refuse_idle

    loaded = load_patches(paths)
    refuse_idle(loaded, " + ".join(map(str, paths)))
    return loaded


def load_patches(paths: Sequence[Path]) -> Patch:
    """The sum of patches, each a file or the run folder that holds it.

    Args:
        paths: at least one.

    Raises:
        ArtifactError: one of them cannot be read.
        LayerMismatchError: they were made for different weights of one layer, or one is given
            twice, which would double its step.
    """
    return functools.reduce(operator.add, load_each(paths))


def load_each(paths: Sequence[Path]) -> list[Patch]:
    """Patches one by one; the arguments and errors are those of `load_patches`."""
    from slsgu.patch.conflicts import refuse_repeated
    from slsgu.patch.patch import Patch

    files = distinct_files(paths)
    loaded = [Patch.load(file) for file in files]
    refuse_repeated([(str(file), patch) for file, patch in zip(files, loaded, strict=True)])
    return loaded
