"""What the system reads that an edit is for (`--for`), measured on images and phrasings that the
search has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from slsgu.concepts.taxonomy import Concept
from slsgu.data.batches import stream
from slsgu.data.samples import Sample
from slsgu.evaluation.moved import Moved, moved, read
from slsgu.interop.places import place_of
from slsgu.models.states import StatePlace
from slsgu.models.text_length import text_lengths
from slsgu.patch.patch import Patch
from slsgu.search.probe import WHAT, spread
from slsgu.search.readable import reads_states, towers_searched
from slsgu.task.settings import MethodSettings
from slsgu.task.task import Task

MOST = 300  # prompts or images of each group: more say the same
TEXTS_AT_ONCE = 64
PHRASES = (  # as people ask for a picture; a template of the task that is among them is left out
    "an oil painting of a {}",
    "a {} at night",
    "a close-up of a {}, highly detailed",
    "a {} in front of a blue wall",
    "two people looking at a {}",
)


@torch.no_grad()
def measure_moved(
    system: str | None, task: Task, patch: Patch, samples: Sequence[Sample]
) -> Moved | None:
    """How far a patch moves what a system reads.

    Args:
        system: a name in `slsgu.interop.targets.TARGETS`; None for no system.
        task: what was forgotten; its model is unpatched, and is so again afterwards.
        patch: checked to be read there.
        samples: the images of the test split.

    Returns:
        None for CLIP itself, of which the accuracy says it.

    Raises:
        SlsguError: there is no such system.
    """
    place = place_of(system, task.clip.model)
    if system is None or place is None:
        return None
    measure = _of_texts if place.tower == "language" else _of_images
    distances: list[torch.Tensor] = [torch.empty(0, dtype=torch.float64)]
    forgotten: list[bool] = []
    for found, of_concept in measure(place, task, patch, samples):
        distances.append(found)
        forgotten += of_concept
    return moved(
        system, WHAT[place.tower], torch.cat(distances), np.array(forgotten, dtype=np.bool_)
    )


Distances = Iterator[tuple[torch.Tensor, list[bool]]]


def _of_texts(place: StatePlace, task: Task, patch: Patch, samples: Sequence[Sample]) -> Distances:
    """Distances of a batch of texts, and which of them are with the concept."""
    groups = zip(_texts(task, samples), (True, False), strict=True)
    texts = {text: of_concept for group, of_concept in groups for text in group}
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        batch = list(texts)[start : start + TEXTS_AT_ONCE]
        # Up to the end of each: what pads a text differs between systems.
        lengths = text_lengths(task.clip.tokenize(batch))
        run = partial(task.clip.text_features, batch)
        yield _distances(place, task, patch, run, lengths), [texts[text] for text in batch]


def _of_images(place: StatePlace, task: Task, patch: Patch, samples: Sequence[Sample]) -> Distances:
    """Distances of a batch of images, and which of them are with the concept."""
    forget = frozenset(task.request.forget_leaves)
    groups: list[list[Sample]] = [[], []]
    for sample in samples:
        groups[sample.leaf not in forget].append(sample)
    chosen = [sample for group in groups for sample in spread(group, MOST)]
    batches = stream(
        chosen, task.clip.preprocess, split="test", ledger=task.ledger(), reading=task.reading
    )
    for batch in batches:
        run = partial(task.clip.image_features, batch.pixels)
        yield _distances(place, task, patch, run), [x.leaf in forget for x in batch.samples]


def _distances(
    place: StatePlace,
    task: Task,
    patch: Patch,
    run: Callable[[], torch.Tensor],
    lengths: Sequence[int] | None = None,
) -> torch.Tensor:
    """How far a patch moves what is read of some inputs [n].

    Args:
        run: the tower on these inputs; gives their features [n, d].
        lengths: how many tokens of each count; None for all.
    """
    states = []
    for edit in (Patch({}, {}), patch):
        with edit.applied(task.clip.model), place.watch() as seen:
            features = run()
        states.append(read(place, seen, features, lengths=lengths))
    return states[0].distances(states[1])


def _texts(task: Task, samples: Sequence[Sample]) -> list[list[str]]:
    """Phrases and captions of test images with the concept, and without it. The search has seen
    neither."""
    request = task.request
    forget = frozenset(request.forget_leaves)
    found: list[list[str]] = [[], []]
    for each in task.taxonomy.concepts:
        kept = not any(above in request.concepts for above in each.lineage)
        if kept or request.named:
            found[kept] += _phrases(each, task.templates)
    for sample in samples:
        if sample.caption is not None:
            found[sample.leaf not in forget].append(sample.caption)
    concept, others = (list(dict.fromkeys(texts)) for texts in found)
    named = set(concept)
    return [spread(concept, MOST), spread([text for text in others if text not in named], MOST)]


def _phrases(concept: Concept, templates: Sequence[str]) -> list[str]:
    return [phrase.replace("{}", concept.name) for phrase in PHRASES if phrase not in templates]


def seconds_of_states(
    settings: MethodSettings, trial: Mapping[str, float], forward: float, tests: int
) -> tuple[float, float]:
    """What it takes to see what a system reads before a search, and to measure it in the end.

    Args:
        trial: seconds of a run of each tower on the search split.
        forward: seconds of an image.
        tests: test images.
    """
    if not reads_states(settings):
        return 0.0, 0.0
    (tower,) = towers_searched(settings)
    images = 2 * forward * min(tests, 2 * MOST)  # with the patch and without it
    return trial[tower], images if tower == "vision" else 2 * trial["language"]
