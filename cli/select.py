"""`slsgu select`: a forget set by caption."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slsgu.utils.wording import printable

from .console import Console, echo_json
from .groups import GroupedCommand, Words, option
from .options import force_option, json_option, out_option

if TYPE_CHECKING:
    from slsgu.data.sources.records import RecordSource


@click.command(cls=GroupedCommand)
@option(
    "Input",
    "--source",
    required=True,
    metavar="SOURCE",
    help="Image-text pairs: a .csv, .tsv or .jsonl file, or .tar shards (a-{000..009}.tar).",
)
@option(
    "Input",
    "--match",
    "phrases",
    type=Words(),
    multiple=True,
    required=True,
    metavar="TEXT",
    help="Whole words that a caption must contain, in this order. May be given several times; "
    "then one of them is enough.",
)
@out_option(
    "Write the pairs to this file, for --forget.  [default: only count and show]",
    suffix=".tar",
    required=False,
    dir_okay=False,
)
@option(
    "Output",
    "--show",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    metavar="N",
    help="How many captions to print.",
)
@force_option
@json_option
def select(
    source: str, phrases: tuple[str, ...], out: Path | None, show: int, force: bool, as_json: bool
) -> None:
    """Collect image-text pairs by caption, as a forget set.

    Prints how many pairs match, and some of their captions. Read these before you forget the
    pairs.
    """
    from slsgu.data.select import matching, write_shard
    from slsgu.data.sources.open import open_source
    from slsgu.errors import DataError
    from slsgu.utils.files import refuse_target

    if not all(phrase.strip() for phrase in phrases):
        raise click.UsageError("--match is empty: every caption would match")
    if out is not None:
        refuse_target(out, force=force)
    opened = open_source(source)
    found = list(matching(opened, phrases))  # places and captions, no pictures
    if not found:
        _tell(opened)
        raise DataError(f"no caption in {source} names {' or '.join(map(repr, phrases))}")
    parts = {getattr(record.picture, "path", None) for record in found}
    if (
        out is not None
        and out.exists()
        and any(p and p.exists() and p.samefile(out) for p in parts)
    ):
        raise DataError(f"{out} is a part of the source: give --out another name")
    if out is not None:
        found = write_shard(found, out, opened.left_out)
    _tell(opened)
    captions = Counter(record.caption for record in found)
    count = len(found)
    if as_json:
        echo_json({"count": count, "captions": captions, "out": None if out is None else str(out)})
        return
    for record in found[:show]:
        click.echo(printable(f"{record.name}  {record.caption}"))
    rest = f", {count - show} not shown" if count > show else ""
    if show:
        click.echo("")
    click.echo(f"{count} pair(s), {len(captions)} different caption(s){rest}")
    if out is not None:
        click.echo(f"pairs      {out}")


def _tell(source: RecordSource) -> None:
    """Say what of a source was left out."""
    for note in source.left_out.notes("source"):
        Console().say(f"note: {note}")
