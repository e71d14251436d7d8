"""How easily a few images find a concept again, without its name.

Each class is the mean of the embeddings of k images, and an image is of the class whose mean is
nearest. Whoever has a few photographs of a concept can look for it like this, whatever became of
its name. Lower is not always better: a model that was never taught a concept finds it from a few
images nearly as often as one that was.

An image of a group, such as a retriever, is found where it goes to any class of the group: an edit
that confuses the retrievers among themselves leaves the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept
from slsgu.utils.statistics import wilson

SHOTS = 5  # images that stand for a class during the search
DRAWS = 40  # of these images; a single draw of so few says little
SURE = 1.96  # standard errors of a 95 % interval
FEWEST = 4  # images of each class to be forgotten, for half of them to stand for the rest


@dataclass(frozen=True)
class Change:
    """The share of images of one class, or of a group, that a few images find again, as this class
    or as another of its group.

    Attributes:
        before, after: the share without and with the edit.
        error: standard error of `after - before`, from the differences image by image.
        chance: the share that a guess finds.
    """

    before: float
    after: float
    error: float
    chance: float = 0.0

    @property
    def risen(self) -> bool:
        """Whether more are found than before, beyond the 95 % interval of the change."""
        return self.after - SURE * self.error > self.before


@dataclass(frozen=True)
class Found:
    """The share of images of what is to be forgotten that a few images find again.

    Attributes:
        before, after: the share without and with the edit.
        count: images that are looked for.
        chance: the share that a guess finds.
        error: standard error of `after - before`, from the differences image by image.
        shots: images that stand for a class.
        each: the same for each class that is to be forgotten.
        concepts: the same for each requested concept, a class or a group.
    """

    before: float
    after: float
    count: int
    chance: float
    error: float = 0.0
    shots: int = SHOTS
    each: tuple[Change, ...] = ()
    concepts: tuple[Change, ...] = ()

    @property
    def measurable(self) -> bool:
        """Whether they are found before the edit: the 95 % interval lies above chance."""
        return wilson(self.before * self.count, self.count)[0] > self.chance

    @property
    def fallen(self) -> bool:
        """Whether fewer are found than before, by more than one standard error, and of no class
        surely more."""
        return self.after + self.error < self.before and not any(x.risen for x in self.each)

    @property
    def risen(self) -> bool:
        """Whether more are found than before, beyond the 95 % interval of the change; of all
        classes together, or of any."""
        whole = Change(self.before, self.after, self.error)
        return any(each.risen for each in (whole, *self.each))


@dataclass(frozen=True, eq=False)
class FewShot:
    """A search by a few images: which stand for which class, and which are looked for, in each of D
    draws.

    Attributes:
        kept: for each class that is kept, the images that stand for it in each draw [D, k].
        drawn: likewise, for each class to be forgotten.
        asked: for each class to be forgotten, the others [D, n - k].
        groups: for each class to be forgotten, the number of its concept: the classes of one group
            share it.
    """

    kept: tuple[Tensor, ...]
    drawn: tuple[Tensor, ...]
    asked: tuple[Tensor, ...]
    groups: tuple[int, ...]

    @classmethod
    def of(
        cls,
        forgotten: Sequence[Sequence[int]],
        kept: Sequence[Sequence[int]],
        groups: Sequence[int] = (),
    ) -> FewShot | None:
        """Draw, the same for the same images.

        Args:
            forgotten: the images of each class to be forgotten, as numbers.
            kept: the images of each class that is kept.
            groups: for each class to be forgotten, the number of its concept; by default each is a
                concept of its own.

        Returns:
            None where a class to be forgotten has fewer than `FEWEST` images, or nothing is kept.
        """
        kept = [own for own in kept if own]
        if not forgotten or not kept or min(len(own) for own in forgotten) < FEWEST:
            return None
        generator = torch.Generator().manual_seed(0)
        orders = [_orders(own, generator) for own in forgotten]  # each [D, n]
        shots = min(SHOTS, min(len(own) // 2 for own in forgotten))
        return cls(
            kept=tuple(_orders(own, generator)[:, :shots] for own in kept),
            drawn=tuple(order[:, :shots] for order in orders),
            asked=tuple(order[:, shots:] for order in orders),
            groups=tuple(groups or range(len(forgotten))),
        )

    @classmethod
    def among(cls, leaves: Sequence[Concept | None], request: Request | None) -> FewShot | None:
        """Draw from images of a request.

        Args:
            leaves: the class of each image; None for one that is of no class.

        Returns:
            None as for `of`.
        """
        if request is None:
            return None
        places: dict[Concept, list[int]] = {}
        for place, leaf in enumerate(leaves):
            if leaf is not None:
                places.setdefault(leaf, []).append(place)
        own = [places.pop(leaf, []) for leaf in request.forget_leaves]
        groups = [request.concepts.index(request.owner(leaf)) for leaf in request.forget_leaves]
        return cls.of(own, list(places.values()), groups)

    @property
    def classes(self) -> int:
        """Classes among which an image is looked for."""
        return len(self.kept) + len(self.drawn)

    @property
    def count(self) -> int:
        """Images that are looked for, over all draws."""
        pairs = zip(self.drawn, self.asked, strict=True)
        return sum(drawn.shape[1] + asked.shape[1] for drawn, asked in pairs)

    @property
    def chance(self) -> float:
        """The share that a guess finds."""
        asked = [images.shape[1] for images in self.asked]
        pairs = zip(asked, self.groups, strict=True)
        return sum(images * self._chance(group) for images, group in pairs) / sum(asked)

    def _chance(self, group: int) -> float:
        """The share of images of one group that a guess finds."""
        return self.groups.count(group) / self.classes

    def hits(self, images: Tensor) -> Tensor:
        """In how many draws each image is asked for, and nearest to the mean of its own class, or
        of another of its group [N].

        Args:
            images: embeddings of all images [N, d]; their length does not matter.
        """
        images = normalize(images, dim=-1).to("cpu", torch.float32)
        standing = [images[drawn].mean(dim=1) for drawn in (*self.drawn, *self.kept)]
        means = normalize(torch.stack(standing, dim=1), dim=-1)  # [D, F + K, d]
        groups = torch.tensor((*self.groups, *(-1 for _ in self.kept)))  # [F + K]
        found = torch.zeros(len(images))
        for group, asked in zip(self.groups, self.asked, strict=True):
            nearest = torch.einsum("dnc,dkc->dnk", images[asked], means).argmax(dim=2)
            found.index_add_(0, asked.flatten(), (groups[nearest] == group).flatten().float())
        return found

    def found(self, before: Tensor, images: Tensor) -> Found:
        """What an edit changes.

        Args:
            before: `hits` of the unedited model.
            images: embeddings with the edit, as for `hits`.
        """
        after = self.hits(images)
        whole = _change(before, after, self.asked, self.chance)
        own = dict[int, list[Tensor]]()
        for group, asked in zip(self.groups, self.asked, strict=True):
            own.setdefault(group, []).append(asked)
        return Found(
            before=whole.before,
            after=whole.after,
            count=self.count,
            chance=whole.chance,
            error=whole.error,
            shots=self.drawn[0].shape[1],
            each=tuple(
                _change(before, after, (asked,), self._chance(group))
                for group, asked in zip(self.groups, self.asked, strict=True)
            ),
            concepts=tuple(
                _change(before, after, asked, self._chance(group))
                for group, asked in sorted(own.items())
            ),
        )


def _change(before: Tensor, after: Tensor, asked: Sequence[Tensor], chance: float) -> Change:
    """What an edit changes for some classes.

    Args:
        before, after: `FewShot.hits` [N].
        asked: the images of each class that are asked for in each draw, each [D, n].
        chance: the share that a guess finds.
    """
    draws = torch.bincount(torch.cat([each.flatten() for each in asked]), minlength=len(before))
    rows = draws > 0
    before, after, draws = before[rows], after[rows], draws[rows]
    changes = (after - before) / draws  # one for each image
    total = float(draws.sum())
    return Change(
        before=float(before.sum()) / total,
        after=float(after.sum()) / total,
        error=float(changes.std()) / len(changes) ** 0.5,
        chance=chance,
    )


def _orders(own: Sequence[int], generator: torch.Generator) -> Tensor:
    """The images of a class, in a random order for each draw [D, n]."""
    orders = [torch.randperm(len(own), generator=generator) for _ in range(DRAWS)]
    return torch.tensor(own)[torch.stack(orders)]
