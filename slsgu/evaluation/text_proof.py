"""What an edit does to texts: the proof of a request for which there is no picture.

The name of a concept, as it was before the edit, stands in for its pictures, less what all names
of its level have in common: texts and pictures of a CLIP model lie in two places, which differ by
about the same vector for all of them. Two questions are put to these stand-ins, at the level of the
concept. What is a stand-in called, now that names have moved? And which stand-in does a text find:
a name in each template, another name, a plural, a definition? Both are about texts. Whether
pictures of the concept lie where its name did, no text can tell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch

from slsgu.concepts.taxonomy import Concept
from slsgu.evaluation.embedded import Embedded
from slsgu.evaluation.text_rows import (
    GROUPS,
    Group,
    StandIn,
    TextRow,
    row_of,
    rows_of_others,
    stand_ins_of,
)
from slsgu.task.text_task import TextTask
from slsgu.utils.wording import listed

LEAST_KEPT = 0.95  # of what is kept and found its place before, so much must find it still
SHOWN = 3  # names in a message
NAMES = "the names that are kept"
_ONLY_SEARCH = ": a search by text loses them, though what lies there is called as before"


@dataclass(frozen=True)
class TextProof:
    """The proof by texts.

    Attributes:
        rows: every way to call every concept, and the other texts.
        stand_ins: every concept.
    """

    rows: tuple[TextRow, ...]
    stand_ins: tuple[StandIn, ...]

    def of(self, group: Group) -> list[TextRow]:
        """The rows of a group."""
        return [row for row in self.rows if row.group == group]

    @property
    def requested(self) -> list[StandIn]:
        """What is to be forgotten."""
        return [each for each in self.stand_ins if each.group == "forgotten"]

    @property
    def still_named(self) -> list[str]:
        """What is to be forgotten and whose stand-in is still called so."""
        return [each.concept for each in self.requested if each.after == each.concept]

    @property
    def mistaken(self) -> list[tuple[str, str]]:
        """What is to be forgotten, by its path, and a kept name that the model took for it before
        the edit: to forget the one is to lose the other."""
        groups = {each.concept: each.group for each in self.stand_ins}
        return [(x.concept, x.before) for x in self.requested if groups[x.before] != "forgotten"]

    @property
    def still_found(self) -> list[TextRow]:
        """The ways to call what is to be forgotten that still find its stand-in first: a search for
        pictures by such a text would still find them."""
        return [r for r in self.of("forgotten") if r.rank_before == 1 and r.rank_after == 1]

    def kept(self, *groups: Group) -> float | None:
        """Of the texts of some groups that found their place before, the share that does still;
        None where none did."""
        known = [row for each in groups for row in self.of(each) if row.rank_before == 1]
        return sum(row.rank_after == 1 for row in known) / len(known) if known else None

    @cached_property
    def knows_others(self) -> bool:
        """Whether at least half of the other texts found their place before: the model knows them,
        and what becomes of them says something."""
        rows = self.of("other text")
        return 2 * sum(row.rank_before == 1 for row in rows) >= max(1, len(rows))

    def moved(self, group: Group) -> tuple[float, float] | None:
        """How far the texts of a group moved, on average and at most; None of none."""
        rows = [row.moved for row in self.of(group)]
        return (sum(rows) / len(rows), max(rows)) if rows else None

    def counts(self, row: TextRow) -> bool:
        """Whether the goal looks at a text: names that are kept always, other texts where the model
        knows them."""
        return row.group != "forgotten" and (row.group != "other text" or self.knows_others)

    def worst(self, count: int) -> list[TextRow]:
        """The texts that are kept, found their place before, and lost most: those that count, then
        ranks, then distance."""
        kept = [row for row in self.rows if row.group != "forgotten" and row.rank_before == 1]
        lost = sorted(kept, key=lambda r: (not self.counts(r), 1 - r.rank_after, -r.moved))
        return lost[:count]

    def furthest(self, count: int) -> list[TextRow]:
        """The texts that are kept and moved, those that moved furthest first."""
        moved = [row for row in self.rows if row.group != "forgotten" and row.moved > 0]
        return sorted(moved, key=lambda row: -row.moved)[:count]

    @property
    def lost(self) -> list[TextRow]:
        """The texts that count and do not find their place any more, those that lost most first."""
        return [r for r in self.worst(len(self.rows)) if self.counts(r) and r.rank_after > 1]

    @property
    def kept_stand_ins(self) -> list[StandIn]:
        """What is kept and was called by its name before the edit."""
        kept = (each for each in self.stand_ins if each.group != "forgotten")
        return [each for each in kept if each.before == each.concept]

    @property
    def renamed(self) -> list[StandIn]:
        """What is kept and is called otherwise now, at levels where fewer than `LEAST_KEPT` of
        those that were called by their name still are: where few names stand beside the concept,
        it may take the place of one of them."""
        levels: dict[int, list[bool]] = {}
        for each in self.kept_stand_ins:
            levels.setdefault(each.level, []).append(each.renamed)
        bad = {level for level, told in levels.items() if 1 - sum(told) / len(told) < LEAST_KEPT}
        return [each for each in self.kept_stand_ins if each.renamed and each.level in bad]

    def misses(self) -> list[str]:
        """What keeps the edit from being a success, in words; empty if it is one."""
        misses = _first([f"{concept} is still called so" for concept in self.still_named])
        misses += _first(
            [f"the model cannot tell {one} from {other}" for one, other in self.mistaken]
        )
        if renamed := self.renamed:
            names = listed([f"{x.concept} is called {x.after}" for x in renamed[:SHOWN]])
            more = f", and {len(renamed) - SHOWN} more" if len(renamed) > SHOWN else ""
            misses.append(f"{names}{more}, though it is kept")
        shares = {NAMES: self.kept("above", "sibling", "other name")}
        if self.knows_others:
            shares["the other texts"] = self.kept("other text")
        for title, share in shares.items():
            if share is not None and share < LEAST_KEPT:
                miss = f"of {title}, {share:.1%} still find their place (at least {LEAST_KEPT:.0%})"
                only_search = title == NAMES and not any(x.renamed for x in self.kept_stand_ins)
                misses.append(f"{miss}{_ONLY_SEARCH}" if only_search else miss)
        return misses

    def to_json(self) -> dict[str, Any]:
        groups = {
            group: {
                "texts": len(self.of(group)),
                "found_before": sum(row.rank_before == 1 for row in self.of(group)),
                "found_after": sum(row.rank_after == 1 for row in self.of(group)),
                "moved": self.moved(group),
            }
            for group in GROUPS
        }
        return {
            "still_named": self.still_named,
            "still_found": [row.words for row in self.still_found],
            "renamed": {each.concept: each.after for each in self.renamed},
            "lost": [row.words for row in self.lost],
            "knows_others": self.knows_others,
            "groups": groups,
            "rows": [asdict(row) for row in self.rows],
            "stand_ins": [asdict(each) for each in self.stand_ins],
        }


def _first(misses: list[str]) -> list[str]:
    """The first few of misses that are alike, and how many more there are."""
    more = len(misses) - SHOWN
    return [*misses[:SHOWN], f"the same of {more} more"] if more > 0 else misses


def prove_by_text(task: TextTask, texts: Embedded) -> TextProof:
    """Measure an edit on every text of a task."""
    groups = _groups(task)
    names = {x.concept: x for x in task.wordings if x.kind == "name"}
    rows: list[TextRow] = []
    stand_ins: list[StandIn] = []
    for depth in range(1, task.request.taxonomy.depth + 1):
        level = task.request.taxonomy.level(depth)
        places = {concept: at for at, concept in enumerate(level) if concept.depth == depth}
        before = torch.stack([texts.mean(names[x].prompts) for x in level])
        after = torch.stack([texts.mean(names[x].prompts, after=True) for x in level])
        images = stand_ins_of(before)
        moved = texts.moved(images)
        then, now = (images @ before.T).argmax(1), (moved @ after.T).argmax(1)
        stand_ins += [
            StandIn(concept.key, groups[concept], level[then[at]].key, level[now[at]].key, depth)
            for concept, at in places.items()
        ]
        rows += [
            row_of(each, groups[each.concept], texts, (images, moved), places[each.concept], level)
            for each in task.wordings
            if each.concept in places
        ]
    return TextProof((*rows, *rows_of_others(task.others, texts)), tuple(stand_ins))


def _groups(task: TextTask) -> dict[Concept, Group]:
    """What each concept is to the request."""
    siblings = {other for each in task.forgotten for other in task.siblings(each)}
    groups: dict[Concept, Group] = dict.fromkeys(task.kept, "other name")
    groups |= dict.fromkeys(siblings, "sibling")
    groups |= dict.fromkeys(task.above, "above")
    return groups | dict.fromkeys(task.forgotten, "forgotten")
