"""A taxonomy: a tree of concepts, read from YAML, searched by name.

The file is a nested mapping. Keys that begin with `$` describe the concept they stand in; every
other key is a child. A list stands for children without attributes::

    $name: pets
    $templates: ["a photo of a {}"]
    dog:
      $aliases: [canine]
      $definition: a domesticated animal that barks
      retriever: [golden retriever, labrador]
    cat: [tabby, siamese]

Level d of the tree is the concepts at depth d, with every leaf that is shallower standing for
itself (design, section 5). Names are compared without regard to case, spaces, dashes and
underscores; homonyms are told apart by path (`bird/crane`). A leaf may also say its class number
in the data set it comes from (`$index: 207`), and then answers to it.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slsgu.concepts.taxonomies import bundled_file, did_you_mean
from slsgu.concepts.taxonomy_file import Entry, normalise, read_tree
from slsgu.errors import ConceptError, DataError
from slsgu.utils.files import json_sha256
from slsgu.utils.names import refuse_blank
from slsgu.utils.yaml_file import read_yaml

__all__ = ["Concept", "Taxonomy", "normalise"]

_WNID = re.compile(r"n\d{8}")
_INDEX = re.compile(r"[0-9]{1,9}")  # `int` refuses thousands of digits

LONGEST_NAME = 1_000  # characters: many times what a model reads of it


@dataclass(frozen=True, eq=False)
class Concept:
    """A node of a taxonomy. Compared by identity: two homonyms are two concepts."""

    name: str
    parent: Concept | None
    aliases: tuple[str, ...] = ()
    plural: str | None = None
    definition: str | None = None
    prompts: tuple[str, ...] = ()
    id: str | None = None
    index: int | None = None
    children: list[Concept] = field(default_factory=list, repr=False)

    @property
    def path(self) -> tuple[str, ...]:
        """Names from the top level down to this concept."""
        return (*self.parent.path, self.name) if self.parent else (self.name,)

    @property
    def key(self) -> str:
        """The path as one string, unique in a taxonomy: `animal/dog/beagle`."""
        return "/".join(self.path)

    @property
    def depth(self) -> int:
        """1 at the top level."""
        return self.parent.depth + 1 if self.parent else 1

    @property
    def is_leaf(self) -> bool:
        return not self.children

    @property
    def lineage(self) -> tuple[Concept, ...]:
        """The concepts from the top level down to this one."""
        return (*self.parent.lineage, self) if self.parent else (self,)

    def leaves(self) -> Iterator[Concept]:
        """The leaves at or under this concept, in file order."""
        if self.is_leaf:
            yield self
        for child in self.children:
            yield from child.leaves()

    def walk(self) -> Iterator[Concept]:
        """This concept and everything under it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def __repr__(self) -> str:
        return f"Concept({self.key!r})"


class Taxonomy:
    """A forest of concepts with levels and search.

    >>> pets = Taxonomy.parse({"dog": ["beagle", "pug"], "cat": ["tabby"]}, name="pets")
    >>> [leaf.name for leaf in pets.leaves], pets.depth
    (['beagle', 'pug', 'tabby'], 2)
    >>> pets.find("Dog/BEAGLE").key
    'dog/beagle'
    >>> [concept.name for concept in pets.level(1)]
    ['dog', 'cat']
    """

    def __init__(
        self,
        tops: Sequence[Concept],
        *,
        name: str = "taxonomy",
        templates: Sequence[str] = (),
        least: int = 2,
    ) -> None:
        self.name = name
        self.typed: str | None = None  # the options that name it on the command line, if any do
        self.templates = tuple(templates)
        self.tops = tuple(tops)
        self.concepts = tuple(concept for top in tops for concept in top.walk())
        self.leaves = tuple(concept for concept in self.concepts if concept.is_leaf)
        self.depth = max((leaf.depth for leaf in self.leaves), default=0)
        if len(self.leaves) < least:
            count = "one class" if self.leaves else "no class"
            raise DataError(f"taxonomy {name!r} has {count}; it needs at least {least}")
        self._index: dict[str, list[Concept]] = {}
        for concept in self.concepts:
            words = (concept.name, *concept.aliases, concept.plural, concept.id)
            if (longest := max(len(word or "") for word in words)) > LONGEST_NAME:
                raise DataError(
                    f"taxonomy {name!r}: {concept.name[:40]!r} has a name of {longest:,} "
                    f"characters; {LONGEST_NAME:,} are the most"
                )
            for word in dict.fromkeys(normalise(word) for word in words if word):
                self._index.setdefault(word, []).append(concept)
        self._numbered = _by_index(self.concepts, name)

    @classmethod
    def load(cls, path: str | Path) -> Taxonomy:
        """Read a bundled taxonomy by name, or a YAML file (format: this module's text).

        A bundled name means the bundled taxonomy, whatever lies in the working directory, so that
        the same command means the same everywhere; `./cifar10` is a file.

        Raises:
            DataError: there is no such name and no such file, or the file is not YAML, or not a
                tree of names.
        """
        refuse_blank(path, "the taxonomy", DataError)
        file = bundled_file(str(path)) or Path(path)
        tree = read_yaml(file, "taxonomy", if_missing=did_you_mean(str(path)))
        taxonomy = cls.parse(tree, name=file.stem)
        taxonomy.typed = f"--taxonomy {shlex.quote(str(path))}"
        return taxonomy

    @classmethod
    def parse(cls, tree: Any, *, name: str = "taxonomy") -> Taxonomy:
        """Build a taxonomy from nested mappings and lists, as YAML gives them.

        Raises:
            DataError: the tree is not made of names, or a name stands twice among siblings.
        """
        parsed = read_tree(tree, name)
        tops = [_concept(entry, None) for entry in parsed.tops]
        return cls(tops, name=parsed.name, templates=parsed.templates)

    def level(self, depth: int) -> tuple[Concept, ...]:
        """The classes of one level: concepts at `depth`, and leaves that are shallower."""
        return tuple(
            c for c in self.concepts if c.depth == depth or (c.is_leaf and c.depth < depth)
        )

    def ancestor(self, leaf: Concept, depth: int) -> Concept:
        """The concept that stands for `leaf` at level `depth` (the leaf itself if shallower)."""
        return leaf.lineage[min(depth, leaf.depth) - 1]

    def find(self, text: str) -> Concept:
        """The one concept that `text` names: a name, alias, plural, id, index, or a path of names.

        Raises:
            ConceptError: no concept or more than one answers to it; close names are suggested.
        """
        matches = self.search(text)
        if len(matches) == 1:
            return matches[0]
        if not matches and (numbered := self.leaf_of_index(text)):
            return numbered
        if matches:
            paths = ", ".join(concept.key for concept in matches)
            raise ConceptError(
                f"{text!r} is ambiguous in taxonomy {self.name!r}: give one of {paths}"
            )
        suggestions = self.suggest(text)
        hint = ": check the spelling"
        if suggestions:
            hint = f"; did you mean {' or '.join(repr(c) for c in suggestions)}?"
        elif self.typed == "":  # nobody has named data or a taxonomy
            hint += ", or name images of your own by --data: these are the embedded drawings"
        raise ConceptError(
            f"no concept {text!r} in taxonomy {self.name!r}{hint}",
            see=None if self.typed is None else f"slsgu concepts {self.typed}".rstrip(),
        )

    def search(self, text: str) -> list[Concept]:
        """All concepts that `text` names exactly (a name beats an alias)."""
        *above, word = [normalise(part) for part in text.split("/")]
        matches = self._index.get(word, [])
        matches = [c for c in matches if _follows([normalise(p) for p in c.path[:-1]], above)]
        exact = [c for c in matches if normalise(c.name) == word]
        return exact or matches

    def leaf_of_index(self, index: int | str) -> Concept | None:
        """The leaf with this class number, as labels have it (`207`, `"207"`, `"00207"`); None if
        no leaf has it."""
        if isinstance(index, str):
            index = int(index) if _INDEX.fullmatch(index.strip()) else -1
        return self._numbered.get(index)

    def suggest(self, text: str, count: int = 3) -> list[str]:
        """Names that are close to `text`, best first."""
        word = normalise(text.split("/")[-1])
        cutoff = 0.6 if len(word) <= 4 else 0.75  # one slip weighs more in a short word
        matches = difflib.get_close_matches(word, self._index, n=count, cutoff=cutoff)
        matches += [name for name in self._index if word and f" {word} " in f" {name} "]
        return list(dict.fromkeys(self._index[c][0].name for c in matches))[:count]

    def leaf_of_folder(self, folder: str) -> Concept | None:
        """The leaf a class folder stands for: `golden_retriever`, `n02099601-golden_retriever`,
        `n02099601`, `bird__crane`; None if no leaf answers.

        Raises:
            ConceptError: several leaves answer.
        """
        wnid = _WNID.match(folder)
        words = [folder, folder.replace("__", "/")]
        if wnid:
            words = [wnid.group(), folder[wnid.end() :].lstrip("-_ "), *words]
        for word in words:
            leaves = [concept for concept in self.search(word) if concept.is_leaf] if word else []
            if len(leaves) == 1:
                return leaves[0]
            if leaves:
                paths = ", ".join(leaf.key for leaf in leaves)
                raise ConceptError(
                    f"folder {folder!r} could be {paths}; name it by path, as in "
                    f"{leaves[0].key.replace('/', '__')!r}"
                )
        return None

    @property
    def sha256(self) -> str:
        """Hash of all that can change a result: names, paths, prompts and templates."""
        return json_sha256([self.templates, [(c.key, c.prompts) for c in self.concepts]])


def told_apart(concepts: Iterable[Concept]) -> list[str]:
    """A name for each of some concepts: its path where another of them has the same name."""
    concepts = tuple(concepts)
    counts = Counter(concept.name for concept in concepts)
    return [x.name if counts[x.name] == 1 else x.key for x in concepts]


def _concept(entry: Entry, parent: Concept | None) -> Concept:
    concept = Concept(entry.name, parent, **entry.attributes)
    concept.children.extend(_concept(below, concept) for below in entry.below)
    return concept


def _by_index(concepts: Sequence[Concept], name: str) -> dict[int, Concept]:
    leaves: dict[int, Concept] = {}
    for concept in concepts:
        if concept.index is None:
            continue
        if not concept.is_leaf:
            raise DataError(
                f"taxonomy {name!r}: {concept.key} has an $index and concepts below it; "
                "an index is the class number of a leaf"
            )
        other = leaves.setdefault(concept.index, concept)
        if other is not concept:
            raise DataError(
                f"taxonomy {name!r}: {other.key} and {concept.key} have the same $index, "
                f"{concept.index}"
            )
    return leaves


def _follows(path: list[str], names: list[str]) -> bool:
    """Whether the names of `wanted` appear in `path` in order (not every one need be given)."""
    remaining = iter(path)
    return all(name in remaining for name in names)
