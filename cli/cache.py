"""`slsgu cache`: what can be made again and is kept, retain gradients and `imagenet-lite0`."""

from __future__ import annotations

import click

from .console import echo_json, echo_table
from .groups import Commands, GroupedCommand
from .options import json_option


@click.group(cls=Commands)
def cache() -> None:
    """List or remove what is kept for later requests.

    That is retain gradients, and the model imagenet-lite0 once it was built. They are kept in
    $SLSGU_CACHE_DIR, or else in `slsgu` in your cache folder (~/.cache). They hold nothing of what
    was forgotten.
    """


@cache.command("list", cls=GroupedCommand)
@json_option
def list_(as_json: bool) -> None:
    """List retain gradients and models, with their sizes."""
    from slsgu.gradients.bank import RetainCache, cache_folder
    from slsgu.photographs import NAME, build

    kept = RetainCache(cache_folder())
    found = [("retain gradient", *entry) for entry in kept.entries()]
    title = f"{NAME}, as an OpenCLIP local-dir"
    found += [("model", path, size, title) for path, size in build.entries(kept.folder)]
    if as_json:
        echo_json(
            [
                {"path": str(path), "bytes": size, "title": title, "kind": kind}
                for kind, path, size, title in found
            ]
        )
        return
    if not found:
        click.echo(f"nothing is kept in {kept.folder}")
        return
    for kind in dict.fromkeys(kind for kind, *_ in found):
        table = [(kind, "of", "size")]
        table += [
            (str(path.relative_to(kept.folder)), title, _size(size))
            for of_kind, path, size, title in found
            if of_kind == kind
        ]
        echo_table(table, left=2)
    click.echo(f"\n{len(found)} in {kept.folder}, {_size(sum(size for _, _, size, _ in found))}")


@cache.command(cls=GroupedCommand)
def clear() -> None:
    """Remove all retain gradients and models."""
    from slsgu.gradients.bank import RetainCache, cache_folder
    from slsgu.photographs import build

    kept = RetainCache(cache_folder())
    count, size = kept.clear()
    click.echo(f"removed {count} retain gradient(s) from {kept.folder}, {_size(size)}")
    models, size = build.clear(kept.folder)
    if models:
        click.echo(f"removed {models} model(s) from {kept.folder}, {_size(size)}")


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
