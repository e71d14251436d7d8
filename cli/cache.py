"""`slsgu cache`: retain gradients that later requests reuse."""

from __future__ import annotations

import click

from .console import echo_json, echo_table
from .groups import Commands, GroupedCommand
from .options import json_option


@click.group(cls=Commands)
def cache() -> None:
    """List or remove the retain gradients that later requests reuse.

    They are kept in $SLSGU_CACHE_DIR, or else in `slsgu` in your cache folder (~/.cache). They
    hold nothing of what was forgotten.
    """


@cache.command("list", cls=GroupedCommand)
@json_option
def list_(as_json: bool) -> None:
    """List the retain gradients, with their sizes."""
    from slsgu.gradients.bank import RetainCache, cache_folder

    kept = RetainCache(cache_folder())
    entries = list(kept.entries())
    if as_json:
        echo_json([{"path": str(p), "bytes": size, "title": title} for p, size, title in entries])
        return
    if not entries:
        click.echo(f"nothing is kept in {kept.folder}")
        return
    table = [("retain gradient", "of", "size")]
    table += [(path.name, title, _size(size)) for path, size, title in entries]
    echo_table(table, left=2)
    click.echo(f"\n{len(entries)} in {kept.folder}, {_size(sum(size for _, size, _ in entries))}")


@cache.command(cls=GroupedCommand)
def clear() -> None:
    """Remove all retain gradients."""
    from slsgu.gradients.bank import RetainCache, cache_folder

    kept = RetainCache(cache_folder())
    count, size = kept.clear()
    click.echo(f"removed {count} retain gradient(s) from {kept.folder}, {_size(size)}")


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
