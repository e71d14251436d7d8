"""Make slsgu/concepts/taxonomies/imagenet.yaml: the 1000 ImageNet classes under WordNet parents.

    python examples/taxonomies/make_imagenet.py --wordnet /usr/share/wordnet/data.noun

Classes (order, wnids, definitions, other names) come from timm's ImageNet metadata and names from
OpenCLIP, both installed with slsgu. What is above a class comes from WordNet 3.0, the version whose
offsets the wnids are (Debian: `apt install wordnet-base`; NLTK: the corpus `wordnet`). Which of the
thousands of WordNet parents are kept, and their names, is chosen by hand in imagenet_groups.yaml.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import yaml

from slsgu.concepts.taxonomies import bundled_file
from slsgu.concepts.taxonomy import normalise

GROUPS = Path(__file__).parent / "imagenet_groups.yaml"
HEADER = """\
# ImageNet-1k: 1000 classes under WordNet parents. Made by examples/taxonomies/make_imagenet.py from
# imagenet_groups.yaml beside it: edit that one. Names are OpenCLIP's IMAGENET_CLASSNAMES.
# Ids, definitions, aliases and parents are from WordNet 3.0, Copyright 2006 by Princeton
# University; its licence stands in LICENSE.wordnet beside this file.
$name: imagenet

"""


@dataclass(frozen=True)
class WordNet:
    """What is needed of WordNet: for each noun synset its first word and its hypernyms."""

    word: dict[str, str]
    above: dict[str, list[str]]

    @classmethod
    def read(cls, path: Path) -> WordNet:
        """Read `data.noun` (format: the manual page wndb(5))."""
        wordnet = cls({}, {})
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):  # the licence
                continue
            parts = line.split("|")[0].split()
            wnid = f"n{parts[0]}"
            pointers = 4 + 2 * int(parts[3], 16)
            kinds = [parts[pointers + 1 + 4 * k :][:2] for k in range(int(parts[pointers]))]
            wordnet.word[wnid] = parts[4].replace("_", " ")
            wordnet.above[wnid] = [f"n{offset}" for kind, offset in kinds if kind in ("@", "@i")]
        return wordnet

    def levels_above(self, wnid: str) -> Iterator[list[str]]:
        """The synset itself, its parents, their parents, ..., each synset once."""
        level, seen = [wnid], {wnid}
        while level:
            yield level
            level = list(dict.fromkeys(h for w in level for h in self.above[w] if h not in seen))
            seen.update(level)

    def is_a(self, wnid: str, above: str) -> bool:
        return any(above in level for level in self.levels_above(wnid))


@dataclass(frozen=True)
class Classes:
    """The 1000 classes, in order of their index."""

    wnids: list[str]
    names: list[str]
    lemmas: dict[str, list[str]]
    definitions: dict[str, str]

    @classmethod
    def installed(cls) -> Classes:
        import open_clip
        import timm.data

        info = Path(timm.data.__file__).parent / "_info"

        def table(name: str) -> dict[str, str]:
            lines = (info / name).read_text(encoding="utf-8").splitlines()
            return dict(line.split("\t", 1) for line in lines)

        lemmas = table("imagenet_synset_to_lemma.txt")
        return cls(
            wnids=(info / "imagenet_synsets.txt").read_text().split(),
            # A slash separates the names of a path, and may not stand inside one.
            names=[name.replace(" / ", " or ") for name in open_clip.IMAGENET_CLASSNAMES],
            lemmas={wnid: words.split(", ") for wnid, words in lemmas.items()},
            definitions=table("imagenet_synset_to_definition.txt"),
        )


@dataclass(eq=False)
class Group:
    """A group of the tree: `takes` are wnids, `members` the classes that they bring."""

    name: str
    takes: list[str] = field(default_factory=list)
    below: list[Group] = field(default_factory=list)
    members: list[int] = field(default_factory=list)

    def walk(self) -> Iterator[Group]:
        yield self
        for group in self.below:
            yield from group.walk()


def read_groups(raw: dict[str, Any], wordnet: WordNet, classes: Classes) -> Group:
    """The hand-written tree; every entry must say both the number and the name it means."""

    def wnid(entry: str) -> str:
        key, _, name = entry.partition(" ")
        known = wordnet.word.get(key) if key.startswith("n") else classes.names[int(key)]
        if known != name:
            raise click.ClickException(f"groups: {entry!r}: {key} is {known!r}")
        return key if key.startswith("n") else classes.wnids[int(key)]

    def read(name: str, raw: Any) -> Group:
        if isinstance(raw, list):
            return Group(name, [wnid(entry) for entry in raw])
        below = [read(key, value) for key, value in raw.items() if key != "takes"]
        return Group(name, [wnid(entry) for entry in raw.get("takes", [])], below)

    return read("", raw)


def fill(root: Group, wordnet: WordNet, classes: Classes) -> None:
    """Bring each class to the group that takes the nearest synset at or above it."""
    owner: dict[str, Group] = {}
    for group in root.walk():
        for wnid in group.takes:
            if owner.setdefault(wnid, group) is not group:
                raise click.ClickException(f"{wnid} is taken by {owner[wnid].name}, {group.name}")
    used = set()
    for index, wnid in enumerate(classes.wnids):
        for level in wordnet.levels_above(wnid):
            if hits := [above for above in level if above in owner]:
                break
        else:
            raise click.ClickException(f"no group for {index} {classes.names[index]}")
        if len({owner[hit] for hit in hits}) > 1:
            raise click.ClickException(f"{index} {classes.names[index]} is as near to {hits}")
        owner[hits[0]].members.append(index)
        used.update(hits)
    if unused := sorted(owner.keys() - used):
        raise click.ClickException(f"these bring no class: {unused}")


def text_of(root: Group, wordnet: WordNet, classes: Classes) -> Iterator[str]:
    """The lines of the tree in YAML, groups before the classes beside them."""

    def attributes(wnid: str, name: str) -> list[str]:
        others = {normalise(word): word for word in classes.lemmas.get(wnid, [])}
        others.pop(normalise(name), None)
        lines = [f"$id: {wnid}"]
        if others:
            lines.append(f"$aliases: [{', '.join(quoted(word) for word in others.values())}]")
        if wnid in classes.definitions:
            lines.append(f"$definition: {quoted(classes.definitions[wnid])}")
        return lines

    def lines(group: Group, indent: str) -> Iterator[str]:
        held = {index for part in group.walk() for index in part.members}
        for wnid in group.takes[:1]:
            # A group that is one synset, no more and no less, is that synset.
            if held == {i for i, w in enumerate(classes.wnids) if wordnet.is_a(w, wnid)}:
                yield from (indent + line for line in attributes(wnid, group.name))
        for part in group.below:
            yield f"{indent}{quoted(part.name)}:"
            yield from lines(part, indent + "  ")
        for index in group.members:
            name = classes.names[index]
            first, *rest = attributes(classes.wnids[index], name)
            yield f"{indent}{quoted(name)}: {{{', '.join([first, f'$index: {index}', *rest])}}}"

    yield from lines(root, "")


def quoted(text: str) -> str:
    """A YAML scalar; a JSON string is one."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z' -]*[A-Za-z]", text)
    return text if plain and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)


_WORDS = {"yes", "no", "on", "off", "true", "false", "null"}  # YAML reads these as no strings


def make(wordnet: WordNet, classes: Classes, groups: Path = GROUPS) -> str:
    """The whole file."""
    raw = yaml.safe_load(groups.read_text(encoding="utf-8"))
    root = read_groups(raw, wordnet, classes)
    fill(root, wordnet, classes)
    return HEADER + "\n".join(text_of(root, wordnet, classes)) + "\n"


@click.command()
@click.option("--wordnet", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              default="/usr/share/wordnet/data.noun", show_default=True,
              help="The file data.noun of WordNet 3.0.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
              default=bundled_file("imagenet"), show_default=True)  # fmt: skip
def main(wordnet: Path, out: Path) -> None:
    """Write the bundled ImageNet taxonomy."""
    out.write_text(make(WordNet.read(wordnet), Classes.installed()), encoding="utf-8")
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
