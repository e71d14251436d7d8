"""What an edit does to texts: the proof of a request for which there is no picture.

The name of a concept, as it was before the edit, stands in for its pictures, less what all names
of its level have in common: texts and pictures of a CLIP model lie in two places, which differ by
about the same vector for all of them. Two questions are put to these stand-ins, at the level of the
concept. What is a stand-in called, now that names have moved? And which stand-in does a text find:
a name in each template, another name, a plural, a definition? Both are about texts. Whether
pictures of the concept lie where its name did, no text can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from slsgu.concepts.taxonomy import Concept
from slsgu.concepts.wordings import Wording
from slsgu.evaluation.embedded import Embedded
from slsgu.task.text_task import TextTask

Group = Literal["forgotten", "above", "sibling", "other name", "other text"]
GROUPS: dict[Group, str] = {
    "forgotten": "the concept",
    "above": "what is above it",
    "sibling": "its siblings",
    "other name": "other names",
    "other text": "other texts",
}
LEAST_KEPT = 0.95  # of what is kept and found its place before, so much must find it still


@dataclass(frozen=True)
class TextRow:
    """What became of one way to call something.

    Attributes:
        concept: its path; of another text the text itself.
        words: what it is called here.
        kind: name, alias, plural or definition; text of another text.
        group: what it is to the request.
        prompts: in how many texts it was asked for.
        found_before, found_after: how many of them find its own stand-in first.
        rank_before, rank_after: of its own stand-in for the mean of the prompts; 1 is first.
        moved: how far this mean moved; embeddings have length 1.
        finds: what it finds first after the edit.
    """

    concept: str
    words: str
    kind: str
    group: Group
    prompts: int
    found_before: int
    found_after: int
    rank_before: int
    rank_after: int
    moved: float
    finds: str


@dataclass(frozen=True)
class StandIn:
    """What the stand-in for a concept's pictures is called, before and after."""

    concept: str
    group: Group
    before: str
    after: str


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

    @property
    def knows_others(self) -> bool:
        """Whether at least half of the other texts found their place before: the model knows them,
        and what becomes of them says something."""
        rows = self.of("other text")
        return 2 * sum(row.rank_before == 1 for row in rows) >= max(1, len(rows))

    def moved(self, group: Group) -> tuple[float, float] | None:
        """How far the texts of a group moved, on average and at most; None of none."""
        rows = [row.moved for row in self.of(group)]
        return (sum(rows) / len(rows), max(rows)) if rows else None

    def worst(self, count: int) -> list[TextRow]:
        """The texts that are kept, found their place before, and lost most: ranks first, then
        distance."""
        kept = [row for row in self.rows if row.group != "forgotten" and row.rank_before == 1]
        return sorted(kept, key=lambda r: (r.rank_before - r.rank_after, -r.moved))[:count]

    def misses(self) -> list[str]:
        """What keeps the edit from being a success, in words; empty if it is one."""
        misses = [f"{concept} is still called so" for concept in self.still_named]
        misses += [f"the model cannot tell {one} from {other}" for one, other in self.mistaken]
        shares = {"the names that are kept": self.kept("above", "sibling", "other name")}
        if self.knows_others:
            shares["the other texts"] = self.kept("other text")
        for title, share in shares.items():
            if share is not None and share < LEAST_KEPT:
                misses.append(
                    f"of {title}, {share:.1%} still find their place (at least {LEAST_KEPT:.0%})"
                )
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
            "knows_others": self.knows_others,
            "groups": groups,
            "rows": [asdict(row) for row in self.rows],
            "stand_ins": [asdict(each) for each in self.stand_ins],
        }


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
        images = _stand_ins(before)
        moved = texts.moved(images)
        then, now = (images @ before.T).argmax(1), (moved @ after.T).argmax(1)
        stand_ins += [
            StandIn(concept.key, groups[concept], level[then[at]].key, level[now[at]].key)
            for concept, at in places.items()
        ]
        rows += [
            _row(each, groups[each.concept], texts, (images, moved), places[each.concept], level)
            for each in task.wordings
            if each.concept in places
        ]
    return TextProof((*rows, *_other_rows(task, texts)), tuple(stand_ins))


def _stand_ins(names: Tensor) -> Tensor:
    """What stands in for pictures, of names that are told apart, both [C, d]."""
    return functional.normalize(names - names.mean(dim=0), dim=1)


def _row(
    each: Wording,
    group: Group,
    texts: Embedded,
    images: tuple[Tensor, Tensor],
    place: int,
    level: Sequence[Concept],
) -> TextRow:
    """One way to call a concept, asked among the stand-ins of its level [C, d], before, after."""
    moments = list(zip((False, True), images, strict=True))
    means = [texts.mean(each.prompts, after=after) for after, _ in moments]
    scores = [own @ mean for mean, (_, own) in zip(means, moments, strict=True)]  # each [C]
    found = [
        int(((texts.prompts(each.prompts, after=after) @ own.T).argmax(1) == place).sum())
        for after, own in moments
    ]
    return TextRow(
        concept=each.concept.key,
        words=each.words,
        kind=each.kind,
        group=group,
        prompts=len(each.prompts),
        found_before=found[0],
        found_after=found[1],
        rank_before=1 + int((scores[0] > scores[0][place]).sum()),
        rank_after=1 + int((scores[1] > scores[1][place]).sum()),
        moved=float((means[1] - means[0]).norm()),
        finds=level[int(scores[1].argmax())].key,
    )


def _other_rows(task: TextTask, texts: Embedded) -> list[TextRow]:
    """The texts beside the taxonomy, each among the stand-ins of all of them."""
    if not task.others:
        return []
    before = texts.prompts(task.others)
    after = texts.prompts(task.others, after=True)
    images = _stand_ins(before)
    scores = (before @ images.T, after @ texts.moved(images).T)  # each [n, n], a row a text
    own = [each.diagonal()[:, None] + 1e-9 for each in scores]  # texts that are alike share a rank
    ranks = [1 + (each > mine).sum(dim=1) for each, mine in zip(scores, own, strict=True)]
    finds = scores[1].argmax(dim=1)
    moved = (after - before).norm(dim=1)
    return [
        TextRow(
            concept=text,
            words=text,
            kind="text",
            group="other text",
            prompts=1,
            found_before=int(ranks[0][at] == 1),
            found_after=int(ranks[1][at] == 1),
            rank_before=int(ranks[0][at]),
            rank_after=int(ranks[1][at]),
            moved=float(moved[at]),
            finds=task.others[int(finds[at])],
        )
        for at, text in enumerate(task.others)
    ]


def _groups(task: TextTask) -> dict[Concept, Group]:
    """What each concept is to the request."""
    siblings = {other for each in task.forgotten for other in task.siblings(each)}
    groups: dict[Concept, Group] = dict.fromkeys(task.kept, "other name")
    groups |= dict.fromkeys(siblings, "sibling")
    groups |= dict.fromkeys(task.above, "above")
    return groups | dict.fromkeys(task.forgotten, "forgotten")
