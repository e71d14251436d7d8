"""Options that say what to forget, on which model and on which images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .groups import Words, option, stack

F = TypeVar("F", bound=Callable[..., Any])
TAXONOMIES = "cifar10, cifar100, oxford-pets, imagenet-dogs, imagenet, menagerie"

pair_options: Callable[[F], F] = stack(
    option(
        "Request",
        "--forget",
        metavar="SOURCE",
        help="Images to forget, in place of --concept: a .csv, .tsv or .jsonl table of images and "
        "captions, .tar shards, or a folder.",
    ),
    option(
        "Request",
        "--retain",
        metavar="SOURCE",
        help="Images of everything else, with --forget.  [default: none; then a parent is kept "
        "instead: --parent, or --taxonomy]",
    ),
    option(
        "Request",
        "--name",
        type=Words(),
        metavar="TEXT",
        help="Name of the concept in the images to forget.",
    ),
    option(
        "Request",
        "--parent",
        type=Words(),
        metavar="TEXT",
        help='A broader name that the model may keep using, such as "car". With --forget or '
        "--no-images.",
    ),
    option(
        "Request",
        "--classes",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="File of the other class names, one per line; or give --taxonomy. With --forget or "
        "--no-images.",
    ),
)

text_options: Callable[[F], F] = stack(
    option(
        "Request",
        "--no-images",
        is_flag=True,
        help="Make the edit from names alone, in seconds. With --data it is measured on images; "
        "without, on texts.",
    ),
    option(
        "Request",
        "--sibling",
        "siblings",
        type=Words(),
        multiple=True,
        metavar="NAME",
        help="With --no-images, a name that is close to the concept and is kept, for a concept "
        "that no taxonomy has. May be given several times.",
    ),
    option(
        "Request",
        "--keep",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="With --no-images, other texts that must stay as they are, one per line.  [default: "
        "the names of ImageNet]",
    ),
)

record_options: Callable[[F], F] = stack(
    option(
        "Request",
        "--asked-by",
        type=Words(),
        metavar="TEXT",
        help="Who asked for it. Recorded in the patch, the result and the report.",
    ),
    option("Request", "--reason", type=Words(), metavar="TEXT", help="Why. Recorded likewise."),
)

model_options: Callable[[F], F] = stack(
    option(
        "Model",
        "--model",
        metavar="SPEC",
        help="OpenCLIP name, local-dir:PATH, hf-hub:ORG/REPO, transformers:FOLDER or "
        "imagenet-lite0.  [default: the menagerie's model of drawings]",
    ),
    option(
        "Model",
        "--pretrained",
        metavar="TAG|FILE",
        help="Weights for a named --model: a pretrained tag, or a checkpoint file.",
    ),
    option(
        "Model",
        "--quick-gelu/--gelu",
        default=None,
        help="Activation that the weights were trained with.  [default: as configured]",
    ),
    option(
        "Model",
        "--cache-dir",
        type=click.Path(file_okay=False),
        metavar="DIR",
        help="Where OpenCLIP keeps downloads.  [default: its own place]",
    ),
)

data_options: Callable[[F], F] = stack(
    option(
        "Data",
        "--data",
        metavar="DIR",
        help="Images: a folder per class, with train/ and test/ if you have them; or a table or "
        "shards with classes.  [default: the menagerie's drawings]",
    ),
    option(
        "Data",
        "--taxonomy",
        metavar="NAME|FILE",
        help=f"Tree of concepts: {TAXONOMIES}, or a YAML file.  [default: the menagerie's "
        "for its drawings; for --data, a flat list of the class folders]",
    ),
    option(
        "Data",
        "--templates",
        metavar="NAME|FILE",
        help="Prompt templates: simple, openai, photo, imagenet-dogs, compcars, or a file.  "
        "[default: the taxonomy's, or simple]",
    ),
    option("Data", "--seed", type=click.IntRange(0), default=0, show_default=True,
           metavar="N", help="Another seed chooses other images."),
    option(
        "Data",
        "--strict/--no-strict",
        help="Stop at an unreadable image.  [default: skip it and say so]",
    ),
)  # fmt: skip

gradient_image_option: Callable[[F], F] = option(
    "Data",
    "--gradient-images",
    type=click.IntRange(1),
    metavar="N",
    help="Images per class for the gradients.  [default: 50; at most 500 retain images in all]",
)
search_image_option: Callable[[F], F] = option(
    "Data",
    "--search-images",
    type=click.IntRange(1),
    metavar="N",
    help="Images per class for the search.  [default: 25; at most 500 retain images in all]",
)
retain_image_option: Callable[[F], F] = option(
    "Data",
    "--retain-images",
    type=click.IntRange(3),
    metavar="N",
    help="Most images of --retain for the gradients, and again for the search and for the test.  "
    "[default: 500]",
)


def test_image_option(default: str) -> Callable[[F], F]:
    """`--test-images`, with the number that holds where it is not given."""
    return option(
        "Data",
        "--test-images",
        type=click.IntRange(1),
        metavar="N",
        help=f"Images per class for the reported figures.  [default: {default}]",
    )


MUST_HOLD = "Another data set, whose accuracy must hold (--floor NAME=X says how much of it)"


def also_option(what: str) -> Callable[[F], F]:
    """Other data sets.

    Args:
        what: is said of them.
    """
    return option(
        "Data",
        "--also",
        multiple=True,
        metavar="NAME=SOURCE[:TAXONOMY]",
        help=f"{what}: class folders, or a table or shards with classes. May be given several "
        "times.",
    )
