"""`slsgu concepts`: what can be asked for."""

from __future__ import annotations

import click

from .console import echo_json
from .data_options import TAXONOMIES
from .groups import GroupedCommand, Words, option
from .options import json_option


@click.command(cls=GroupedCommand)
@click.argument("text", type=Words(), required=False)
@option(
    "Data",
    "--data",
    metavar="DIR",
    help="List the class folders of DIR, or the classes of shards that name them.",
)
@option(
    "Data",
    "--taxonomy",
    metavar="NAME|FILE",
    help=f"Tree of concepts: {TAXONOMIES}, or a YAML file.  [default: menagerie]",
)
@json_option
def concepts(text: str | None, data: str | None, taxonomy: str | None, as_json: bool) -> None:
    """List the concepts of a taxonomy as a tree, or those that TEXT matches.

    TEXT is part of a name, alias or plural, the beginning of an id, or a class number. Case,
    spaces, dashes and underscores make no difference.
    """
    from slsgu.concepts.taxonomy import normalise
    from slsgu.task.find import find_taxonomy

    tree = find_taxonomy(taxonomy, data)
    found = tree.concepts
    if text:
        wanted = normalise(text)
        exact = {*tree.search(text), tree.leaf_of_index(text)}
        found = tuple(
            concept
            for concept in tree.concepts
            if concept in exact
            or any(
                wanted in normalise(word)
                for word in (concept.name, *concept.aliases, concept.plural)
                if word
            )
            or normalise(concept.id or "").startswith(wanted)
        )
        if not found:
            tree.find(text)  # raises, with suggestions
    if as_json:
        echo_json(
            [
                {
                    "name": concept.name,
                    "path": concept.key,
                    "depth": concept.depth,
                    "leaves": sum(1 for _ in concept.leaves()),
                    "aliases": list(concept.aliases),
                    "plural": concept.plural,
                    "definition": concept.definition,
                    "id": concept.id,
                    "index": concept.index,
                }
                for concept in found
            ]
        )
        return
    for concept in found:
        name = concept.key if text else "  " * (concept.depth - 1) + concept.name
        notes = [f"also {', '.join(concept.aliases)}"] if concept.aliases else []
        if concept.definition and text:
            notes.append(concept.definition)
        click.echo(name + (f"  ({'; '.join(notes)})" if notes else ""))
    levels = ", ".join(f"{len(tree.level(d))} at level {d}" for d in range(1, tree.depth + 1))
    if not text:
        click.echo(f"\n{len(tree.leaves)} leaves; classes: {levels}", err=True)
