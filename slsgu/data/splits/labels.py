"""What class a record is of, by its label or by its caption."""

from __future__ import annotations

import re

from slsgu.concepts.taxonomy import Concept, Taxonomy, normalise
from slsgu.data.sources.records import Record
from slsgu.errors import ConceptError


class Labels:
    """Which leaf a record is of: by its label, or by the one leaf that its caption names."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._words: dict[str, Concept | None] = {}
        for leaf in taxonomy.leaves:
            names = {" ".join(_words(w)) for w in (leaf.name, *leaf.aliases, leaf.plural) if w}
            for word in names - {""}:
                self._words[word] = None if word in self._words else leaf  # several: says nothing
        self._longest = max((len(word.split()) for word in self._words), default=0)

    def of(self, record: Record) -> Concept | None:
        label = record.label
        if label is not None:
            number = re.sub(r"^(\d+)\.0$", r"\1", label)  # as pandas writes one
            try:
                leaf = self._leaf_of(label)
                if leaf is None and number != label:
                    leaf = self._leaf_of(number)
            except ConceptError:
                return None
            if leaf is not None or not number.isdecimal():  # a number may have no names beside it
                return leaf
        matches = self.named(record)
        return next(iter(matches)) if len(matches) == 1 else None

    def _leaf_of(self, label: str) -> Concept | None:
        return self._taxonomy.leaf_of_index(label) or self._taxonomy.leaf_of_folder(label)

    def named(self, record: Record) -> dict[Concept, None]:
        """The leaves that a caption names."""
        words = _words(record.caption or "")
        matches: dict[Concept, None] = {}
        start = 0
        while start < len(words):
            for end in range(min(len(words), start + self._longest), start, -1):
                leaf = self._words.get(" ".join(words[start:end]))
                if leaf is not None:
                    matches[leaf] = None
                    start = end - 1  # "golden retriever" does not also name a retriever
                    break
            start += 1
        return matches


def _words(text: str) -> list[str]:
    """The words of a text or a name: no punctuation (St. Bernard), no 's of a possessive."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)?", re.sub(r"['’]s\b", "", normalise(text)))
