"""Options that several commands share, and the library values they become."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from slsgu.also import Also
    from slsgu.clip import Clip
    from slsgu.plan import Plan
    from slsgu.retain_cache import RetainCache
    from slsgu.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

FLOORS = ("forget_coarse", "retain_fine", "retain_coarse")


def stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, listed in this order in `--help`."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


model_options: Callable[[F], F] = stack(
    click.option(
        "--model",
        metavar="SPEC",
        help="OpenCLIP name, local-dir:PATH or hf-hub:ORG/REPO.  [default: the menagerie]",
    ),
    click.option("--pretrained", metavar="TAG|FILE", help="Pretrained tag or checkpoint file."),
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps."),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16", "fp16"]),
        default="fp32",
        show_default=True,
        help="Precision of evaluation; weights and updates are always fp32.",
    ),
    click.option(
        "--cache-dir", type=click.Path(file_okay=False), help="Where OpenCLIP keeps downloads."
    ),
    click.option(
        "--quick-gelu/--gelu", default=None, help="Say which activation a checkpoint file needs."
    ),
)

data_options: Callable[[F], F] = stack(
    click.option(
        "--data",
        metavar="DIR",
        help="One folder per class, with train/ and test/ if you have them.  "
        "[default: the menagerie's drawings]",
    ),
    click.option(
        "--taxonomy",
        metavar="NAME|FILE",
        help="Tree of concepts: cifar10, cifar100, oxford-pets, imagenet-dogs, imagenet, or a YAML "
        "file.  [default: folders]",
    ),
    click.option(
        "--templates",
        metavar="NAME|FILE",
        help="Prompt templates: simple, openai, photo, imagenet-dogs, compcars, or a file.",
    ),
    click.option(
        "--gradient-images",
        type=click.IntRange(1),
        metavar="N",
        help="Images a class for gradients.",
    ),
    click.option(
        "--search-images",
        type=click.IntRange(1),
        metavar="N",
        help="Images a class for the search.",
    ),
    click.option(
        "--test-images", type=click.IntRange(1), metavar="N", help="Images a class for the proof."
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        default=64,
        show_default=True,
        help="Images a forward pass: speed and memory, never results.",
    ),
    click.option("--workers", type=click.IntRange(0), help="Processes that read images."),
    click.option("--strict", is_flag=True, help="Refuse unreadable images instead of skipping."),
)

pair_options: Callable[[F], F] = stack(
    click.option(
        "--forget",
        metavar="SOURCE",
        help="Images to forget, in place of --concept: a .csv, .tsv or .jsonl file of images and "
        "captions, .tar shards, or a folder.",
    ),
    click.option(
        "--retain",
        metavar="SOURCE",
        help="Images of everything else, with --forget.  [default: none, which needs a parent]",
    ),
    click.option("--name", metavar="TEXT", help="What the images to forget are called."),
    click.option("--parent", metavar="TEXT", help="What they may still be called."),
    click.option(
        "--classes",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="The other names to choose among, one a line; or give --taxonomy.",
    ),
    click.option(
        "--retain-images",
        type=click.IntRange(3),
        metavar="N",
        help="Retain images in all, for gradients and for the search.  [default: 500]",
    ),
)

gradient_options: Callable[[F], F] = stack(
    click.option(
        "--forget-loss",
        metavar="NAME",
        help="relative or cosine (the paper's).  [default: relative]",
    ),
    click.option(
        "--retain-loss",
        metavar="NAME",
        help="multi-positive or contrastive (the paper's).  [default: multi-positive]",
    ),
    click.option(
        "--contrastive-batch",
        type=click.IntRange(2),
        metavar="N",
        help="Images contrasted with each other.  [default: 64]",
    ),
    click.option(
        "--gradient-precision",
        type=click.Choice(["fp32", "bf16"]),
        help="Precision of the gradient pass; sums are fp32.  [default: fp32]",
    ),
    click.option(
        "--checkpoint-activations",
        is_flag=True,
        help="Compute activations again on the way back: less memory, more time.",
    ),
)

no_cache_option = click.option(
    "--no-cache",
    is_flag=True,
    help="Neither reuse nor keep the gradient of --retain (see `slsgu cache`).",
)


def cache_from(options: dict[str, Any]) -> RetainCache | None:
    """The cache of retain gradients, unless it is not wanted."""
    from slsgu.retain_cache import RetainCache, cache_folder

    return None if options["no_cache"] else RetainCache(cache_folder())


run_option = click.option(
    "--run",
    "--run-folder",  # torchrun takes --run for an abbreviation of its own
    "run",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Run folder.  [default: runs/<concept>-<hash>]",
)

search_mode_option = click.option(
    "--search",
    type=click.Choice(["default", "paper"]),
    help="How layer and step are chosen.  [default: default]",
)

norms_option = click.option(
    "--norms", is_flag=True, help="Also consider gains of LayerNorm and BatchNorm."
)


def concept_option(*, required: bool) -> Callable[[F], F]:
    """`--concept`, which may be given several times."""
    return click.option(
        "--concept",
        "concepts",
        multiple=True,
        required=required,
        metavar="NAME",
        help="What to forget: a name, alias or path (bird/crane). May be given several times.",
    )


def load_clip(options: dict[str, Any]) -> Clip:
    """Load the model that the model options name."""
    from slsgu.clip import load

    return load(
        options["model"],
        options["pretrained"],
        device=options["device"],
        precision=options["precision"],
        cache_dir=options["cache_dir"],
        quick_gelu=options["quick_gelu"],
    )


def settings_from(options: dict[str, Any]) -> Settings:
    """Settings from whatever options a command has; what was not given keeps its default.

    Raises:
        click.UsageError: a value makes no sense: wrong usage, whichever part of slsgu notices.
    """
    from dataclasses import fields, replace

    from slsgu.data.splits import Limits
    from slsgu.errors import SlsguError
    from slsgu.settings import Settings

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
    floors = {name: x for name, x in (options.get("floors") or {}).items() if name in FLOORS}
    try:
        settings = Settings(limits=limits, **given)
        return replace(settings, floors={**settings.floors, **floors})
    except SlsguError as error:
        raise click.UsageError(str(error)) from None


also_option = click.option(
    "--also",
    multiple=True,
    metavar="NAME=SOURCE[:TAXONOMY]",
    help="Another data set that must stay as it is: class folders, or shards with labels. May be "
    "given several times; --floor NAME=X sets its floor.",
)


def also_from(options: dict[str, Any]) -> list[Also]:
    """The data sets of `--also`, with their floors.

    Raises:
        click.UsageError: one is not NAME=SOURCE, or two have one name.
    """
    from slsgu.also import Also
    from slsgu.data.shards import is_shards

    floors = options.get("floors") or {}
    default = floors.get(None, Also.floor)
    found: dict[str, Also] = {}
    for text in options["also"]:
        name, equals, rest = text.partition("=")
        if not (name and equals and rest) or name in FLOORS:
            raise click.UsageError(f"--also {text}: write NAME=SOURCE or NAME=SOURCE:TAXONOMY")
        if name in found:
            raise click.UsageError(f"--also: two data sets are called {name}")
        source, colon, taxonomy = rest.rpartition(":")
        # a colon of `pipe:`, or within a name that is there, parts nothing
        if not colon or Path(rest).exists() or (is_shards(rest) and not is_shards(source)):
            source, taxonomy = rest, ""
        found[name] = Also(name, source, taxonomy or None, floors.get(name, default))
    if unknown := sorted(set(floors) - {*FLOORS, *found, None}):
        known = ", ".join([*FLOORS, *found])
        raise click.UsageError(f"unknown floor {unknown[0]!r}; floors are {known}")
    return list(found.values())


def plan_from(options: dict[str, Any], settings: Settings) -> Plan:
    """Load the model and look up what the other options name.

    Raises:
        click.UsageError: it is not clear what to forget.
    """
    from slsgu.memory import LARGE, give_freed_memory_back
    from slsgu.pairs import Pairs
    from slsgu.plan import make_plan

    concepts, forget = options["concepts"], options["forget"]
    if bool(concepts) == bool(forget):
        both = "not both" if forget else "or --forget SOURCE"
        raise click.UsageError(f"say what to forget: --concept NAME, {both}")
    words = ("retain", "name", "parent", "classes")
    if not forget and (lone := next((word for word in words if options[word]), None)):
        raise click.UsageError(f"--{lone} goes with --forget")
    if forget and options["data"]:
        raise click.UsageError("--data goes with --concept; --forget has images of its own")
    pairs = Pairs(forget=forget, **{word: options[word] for word in words}) if forget else None
    clip = load_clip(options)
    if sum(p.nbytes for p in clip.model.parameters()) >= LARGE:
        give_freed_memory_back()
    return make_plan(
        clip,
        concepts,
        data=options["data"],
        taxonomy=options["taxonomy"],
        pairs=pairs,
        settings=settings,
    )


def parse_floors(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str | None, float]:
    """`0.9` for all floors (under None), or `retain_fine=0.9` for one. Which names there are is
    known once `--also` is."""
    floors: dict[str | None, float] = {}
    for value in values:
        name, equals, number = value.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not NAME=NUMBER or NUMBER") from None
        if not 0 <= share <= 1:
            raise click.BadParameter(f"{share} is not between 0 and 1")
        floors |= dict.fromkeys([name] if equals else [None, *FLOORS], share)
    return floors


def positive(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A finite number above 0; `float` accepts nan and inf."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(
            f"{value:g} is not positive and finite (a positive step ascends the forget loss)"
        )
    return value
