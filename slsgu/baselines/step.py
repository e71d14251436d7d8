"""One step of training: what the model says of a batch, laid out for a loss.

Classes are those of every level of the taxonomy, as in the evaluation. A step takes one prompt of
each class, drawn by the seed: the whole set of templates, each step, would cost more than the
images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from slsgu.baselines.material import Material, Pictures
from slsgu.concepts.taxonomy import Concept
from slsgu.models.clip import Clip


@dataclass(frozen=True, eq=False)
class Scores:
    """What is said of some images at one level of the taxonomy.

    Attributes:
        now: `scale * cos(image, class)` [B, C], with gradients.
        before: the same by the unedited model [B, C].
        labels: the class of each image [B].
        kept: which classes are not to be forgotten [C].
    """

    now: Tensor
    before: Tensor
    labels: Tensor
    kept: Tensor


@dataclass(frozen=True, eq=False)
class Step:
    """What a loss is given.

    Attributes:
        forgotten: images to be forgotten, at each level that is to be forgotten.
        coarse: the same images at each level above, which is to be kept.
        retain: images of everything else at the finest level; None if the method uses none.
        images, texts: of `retain`, the embeddings of images [B, d] and of classes [C, d].
        scale: 1 / temperature.
        generator: for what is drawn at random.
    """

    forgotten: tuple[Scores, ...]
    coarse: tuple[Scores, ...]
    retain: Scores | None
    images: Tensor | None
    texts: Tensor
    scale: float
    generator: torch.Generator


Objective: TypeAlias = Callable[[Step], Tensor]
"""A loss that training lowers: from a step to a scalar."""


def take_step(
    material: Material,
    clip: Clip,
    forget: Sequence[int],
    retain: Sequence[int],
    generator: torch.Generator,
) -> Step:
    """What a model says of some images, and what the unedited model said of them.

    Args:
        clip: the model in training, with gradients.
        forget, retain: which of the images, by their index.
    """
    rows = _drawn(material, generator)
    concepts = list(rows)
    names = [material.book.texts[row] for row in rows.values()]
    texts, old = clip.encode_text(names), material.texts[list(rows.values())]  # each [K, d]
    place = {concept: index for index, concept in enumerate(concepts)}
    batches: list[tuple[Pictures, list[int]]] = [(material.forget, list(forget))]
    if retain and material.retain is not None:
        batches.append((material.retain, list(retain)))
    pixels = torch.cat([pictures.pixels[chosen] for pictures, chosen in batches])
    images = torch.split(clip.encode_image(pixels), [len(chosen) for _, chosen in batches])

    def scores(number: int, level: int, chosen: list[int]) -> Scores:
        """Of the images of a batch, by their place in it, at a level."""
        pictures, rows_of_batch = batches[number]
        exam, own = pictures.exam, [rows_of_batch[i] for i in chosen]
        columns = [place[concept] for concept in exam.levels[level].classes]
        return Scores(
            now=material.scale * images[number][chosen] @ texts[columns].T,
            before=material.scale * pictures.before[own] @ old[columns].T,
            labels=torch.from_numpy(exam.labels[own, level]).to(texts.device),
            kept=pictures.kept[level],
        )

    exam = material.forget.exam
    levels = range(len(exam.levels))
    places = range(len(forget))
    gone = {x: [i for i in places if exam.forgotten[forget[i], x]] for x in levels}
    above = {x: [i for i in places if not exam.forgotten[forget[i], x]] for x in levels}
    fine = levels[-1]
    return Step(
        forgotten=tuple(scores(0, x, own) for x, own in gone.items() if own),
        coarse=tuple(scores(0, x, own) for x, own in above.items() if own),
        retain=scores(1, fine, list(range(len(retain)))) if len(batches) > 1 else None,
        images=images[1] if len(batches) > 1 else None,
        texts=texts[[place[concept] for concept in exam.levels[fine].classes]],
        scale=material.scale,
        generator=generator,
    )


def _drawn(material: Material, generator: torch.Generator) -> dict[Concept, int]:
    """One prompt of each class, by its row in the book: the same template for all that use them."""
    draw = int(torch.randint(2**31 - 1, (), generator=generator))
    return {concept: own[draw % len(own)] for concept, own in material.book.rows.items()}
