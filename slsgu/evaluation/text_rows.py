"""What became of one text, and of one place, when names moved: the parts of a proof by texts
(`slsgu.evaluation.text_proof`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional

from slsgu.concepts.taxonomy import Concept
from slsgu.concepts.wordings import Wording
from slsgu.evaluation.embedded import Embedded

Group = Literal["forgotten", "above", "sibling", "other name", "other text"]
GROUPS: dict[Group, str] = {
    "forgotten": "the concept",
    "above": "what is above it",
    "sibling": "its siblings",
    "other name": "other names",
    "other text": "other texts",
}


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
    """What the stand-in for a concept's pictures is called, before and after.

    Attributes:
        level: at which it was asked, the concept's own.
    """

    concept: str
    group: Group
    before: str
    after: str
    level: int

    @property
    def renamed(self) -> bool:
        """Whether it was called by the concept's name, and is not any more."""
        return self.before == self.concept != self.after


def stand_ins_of(names: Tensor) -> Tensor:
    """What stands in for pictures, of names that are told apart, both [C, d]."""
    return functional.normalize(names - names.mean(dim=0), dim=1)


def row_of(
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


def rows_of_others(others: Sequence[str], texts: Embedded) -> list[TextRow]:
    """The texts beside the taxonomy, each among the stand-ins of all of them."""
    if not others:
        return []
    before = texts.prompts(others)
    after = texts.prompts(others, after=True)
    images = stand_ins_of(before)
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
            finds=others[int(finds[at])],
        )
        for at, text in enumerate(others)
    ]
