"""Tables in their places of a page: between `<!-- table: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import click

from slsgu.utils.files import write_text

PLACE = re.compile(r"<!-- table: (?P<name>[\w-]+) -->\n.*?<!-- end -->", re.S)


def placed(name: str, table: str) -> str:
    """A table as it stands in a page."""
    return f"<!-- table: {name} -->\n\n{table}\n\n<!-- end -->"


def filled(page: str, tables: Mapping[str, str]) -> str:
    """A page with the tables in their places.

    Raises:
        ValueError: the page has no place for a table, two for one, or one for another.
    """
    places = [match["name"] for match in PLACE.finditer(page)]
    starts = re.findall(r"<!-- table: (.*?) -->", page)
    if sorted(places) != sorted(tables) or page.count("<!-- end -->") != len(places):
        wanted = ", ".join(tables)
        raise ValueError(
            f"it has places for {', '.join(starts) or 'no table'}; give it one each for {wanted}: "
            "a line <!-- table: NAME -->, and below it a line <!-- end -->"
        )
    return PLACE.sub(lambda match: placed(match["name"], tables[match["name"]]), page)


def publish(tables: Mapping[str, str], into: Path | None) -> None:
    """Put tables into a page; print them where there is none.

    Raises:
        click.UsageError: the page cannot take them.
    """
    if into is None:
        for name, table in tables.items():
            click.echo(f"{placed(name, table)}\n")
        return
    try:
        write_text(into, filled(into.read_text("utf-8"), tables))
    except ValueError as error:
        raise click.UsageError(f"{into} cannot take the tables: {error}") from None
