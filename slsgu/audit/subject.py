"""What probes look at: a task, a patch, and images that are embedded once for all probes.

Each model that is compared is a view: before the patch, after it, and a control that was trained
without the concept, if there is one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from slsgu.audit.points import EMBEDDING, Points
from slsgu.concepts.prompts import PromptBook
from slsgu.concepts.taxonomy import Concept
from slsgu.data.batches import Reading, stream
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.evaluation.replay import edited
from slsgu.evaluation.streamed_tower import StreamedTower
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.patch.patch import Patch
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress

MOST_EXAMPLES = 20  # of a class, that a probe learns from
FEW_EXAMPLES = 5  # of a kept class, where there are many classes
ALL_EXAMPLES = 4000  # of all kept classes; more would take long and say no more
ALL_TESTS = 2500  # likewise, of test images; siblings of the forgotten leaves are not counted
Moment = Literal["before", "after", "control"]


class View:
    """One of the models that are compared.

    Args:
        clip: the model, unedited.
        patch: an edit; None takes the model as it is.
        unedited: the view without it, which embeds texts for both unless the edit changes them.
    """

    def __init__(
        self, clip: Clip, patch: Patch | None = None, unedited: View | None = None
    ) -> None:
        self.clip, self.patch = clip, patch
        parameters = dict(clip.model.named_parameters())
        layers = () if patch is None else patch.layers
        self._parameters = {name: parameters[name] for name in layers}
        self.vision = tuple(name for name in layers if name.startswith("visual."))
        self.language = tuple(name for name in layers if not name.startswith("visual."))
        places = {layer.name: layer.block for layer in inventory(clip.model, norms=True)}
        self.cut = min((places.get(name) or 0 for name in self.vision), default=0)
        self._texts: dict[str, Tensor] = unedited._texts if unedited and not self.language else {}

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the layers are as the patch has them; afterwards as they were, to the bit."""
        with contextlib.ExitStack() as stack:
            for name, parameter in self._parameters.items():
                assert self.patch is not None
                stack.enter_context(edited(parameter, self.patch.patched(name)))
            yield

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Normalised embeddings of texts [n, d]; each text is encoded once."""
        new = list(dict.fromkeys(text for text in texts if text not in self._texts))
        if new:
            with torch.no_grad(), self.in_place() if self.language else contextlib.nullcontext():
                self._texts |= dict(zip(new, self.clip.encode_text(new), strict=True))
        return torch.stack([self._texts[text] for text in texts])

    def class_embeddings(self, concepts: Sequence[Concept], templates: Sequence[str]) -> Tensor:
        """Normalised class embeddings [C, d]."""
        book = PromptBook.of(concepts, templates)
        return book.class_embeddings(self.embed_texts(book.texts), concepts)


@dataclass(frozen=True, eq=False)
class Images:
    """Images, and what each view makes of them.

    Attributes:
        samples: N images.
        points: by view, what every point puts out [N, C], the normalised embedding among them.
    """

    samples: tuple[Sample, ...]
    points: Mapping[str, Mapping[str, Tensor]]

    @property
    def before(self) -> Tensor:
        """Normalised embeddings before the patch [N, d]."""
        return self.points["before"][EMBEDDING]

    @property
    def after(self) -> Tensor:
        """Normalised embeddings after the patch [N, d]."""
        return self.points["after"][EMBEDDING]

    def embeddings(self, view: str) -> Tensor:
        """Normalised embeddings of one view [N, d]."""
        return self.points[view][EMBEDDING]

    def chosen(self, rows: Sequence[int]) -> Images:
        """Some of the images."""
        points = {
            view: {name: values[list(rows)] for name, values in of_view.items()}
            for view, of_view in self.points.items()
        }
        return Images(tuple(self.samples[i] for i in rows), points)


@dataclass(frozen=True, eq=False)
class Subject:
    """What probes look at.

    Attributes:
        task: what was to be forgotten, on which images.
        patch: the edit.
        ledger: keeps the images that a probe learns from and those that it is asked apart.
        progress: told how many images are read.
        control: a model that was trained without the concept; None if there is none.
        more: images that a probe may learn from besides the gradient images of the task.
    """

    task: Task
    patch: Patch
    ledger: Ledger = field(default_factory=Ledger)
    progress: Progress = SILENT
    control: Clip | None = None
    more: tuple[Sample, ...] = ()

    @cached_property
    def views(self) -> dict[str, View]:
        """The models that are compared, by name: before, after, and control if there is one."""
        clip = self.task.clip
        views = {"before": (before := View(clip)), "after": View(clip, self.patch, before)}
        return views if self.control is None else {**views, "control": View(self.control)}

    @cached_property
    def examples(self) -> Images:
        """Images that have a class, at most `MOST_EXAMPLES` of each: what a probe learns from."""
        return self.read(examples_of(self.task, self.more), "gradient")

    @cached_property
    def tests(self) -> Images:
        """The test images that have a class; of classes that are no siblings a share, where there
        are many."""
        _ = self.examples  # first, so that these claim the pictures that are in both
        request = self.task.request
        share = max(1, ALL_TESTS // max(len(request.retain_leaves), 1))
        whole = {x for leaf in request.forget_leaves for x in (leaf, *request.siblings(leaf))}
        if len(whole) == len(self.task.taxonomy.leaves):  # a flat list: all are siblings
            whole = set(request.forget_leaves)
        counts: dict[Concept, int] = {}
        chosen = []
        for sample in self.task.splits.test:
            if sample.leaf is not None:
                counts[sample.leaf] = counts.get(sample.leaf, 0) + 1
                if sample.leaf in whole or counts[sample.leaf] <= share:
                    chosen.append(sample)
        return self.read(chosen, "test")

    @cached_property
    def questions(self) -> Images:
        """The test images of what was to be forgotten: what a probe is asked."""
        leaves = set(self.task.request.forget_leaves)
        rows = [i for i, sample in enumerate(self.tests.samples) if sample.leaf in leaves]
        return self.tests.chosen(rows)

    def read(self, samples: Sequence[Sample], split: str) -> Images:
        """Images through all views."""
        return see(
            self.views,
            samples,
            split=split,
            ledger=self.ledger,
            reading=self.task.reading,
            progress=self.progress,
        )


def examples_of(task: Task, more: Sequence[Sample] = ()) -> list[Sample]:
    """The gradient images that a probe learns from, at most `MOST_EXAMPLES` of a class.

    Args:
        more: images that it may learn from besides.
    """
    request = task.request
    share = ALL_EXAMPLES // max(len(request.retain_leaves), 1)
    most = dict.fromkeys(
        request.retain_leaves, min(max(share, FEW_EXAMPLES), MOST_EXAMPLES)
    ) | dict.fromkeys(request.forget_leaves, MOST_EXAMPLES)
    counts: dict[Concept, int] = {}
    chosen: dict[str, Sample] = {}
    used = {x.fingerprint for x in (*task.splits.search, *task.splits.test)}
    for sample in (*task.splits.gradient, *more):
        leaf = sample.leaf
        if leaf is None or sample.fingerprint in used or sample.fingerprint in chosen:
            continue
        if counts.get(leaf, 0) < most.get(leaf, MOST_EXAMPLES):
            counts[leaf] = counts.get(leaf, 0) + 1
            chosen[sample.fingerprint] = sample
    return list(chosen.values())


def see(
    views: Mapping[str, View],
    samples: Sequence[Sample],
    *,
    split: str,
    ledger: Ledger,
    reading: Reading,
    progress: Progress = SILENT,
) -> Images:
    """Stream images through all views. `after` is run from the stage that the edit touches; a
    model that prepares pixels in another way has them prepared for it."""
    groups: list[dict[str, View]] = []
    for name, view in views.items():
        same = (g for g in groups if _prepares_like(next(iter(g.values())).clip, view.clip))
        group = next(same, None)
        groups.append({name: view}) if group is None else group.update({name: view})
    kept: list[Sample] = []
    noted: dict[str, dict[str, list[Tensor]]] = {name: {} for name in views}
    for number, group in enumerate(groups):
        readers = _readers(group)
        clip = next(iter(group.values())).clip
        with progress.bar(f"{split} images", len(samples)) as advance:
            for batch in stream(samples, clip.preprocess, split=split, ledger=ledger,
                                reading=reading, progress=advance):  # fmt: skip
                if number == 0:
                    kept += batch.samples
                base: dict[str, Tensor] | None = None
                for name, reader in readers.items():
                    base = reader.read(batch.pixels, base)
                    for point, values in base.items():
                        noted[name].setdefault(point, []).append(values)
    points = {
        name: {point: torch.cat(parts) for point, parts in of_view.items()}
        or {EMBEDDING: torch.empty(0, int(views[name].clip.model_cfg["embed_dim"]))}
        for name, of_view in noted.items()
    }
    return Images(tuple(kept), points)


def _prepares_like(one: Clip, other: Clip) -> bool:
    return one.preprocess_cfg == other.preprocess_cfg and one.image_size == other.image_size


def _readers(group: Mapping[str, View]) -> dict[str, _Reader]:
    """A reader for each view. An edit of a model is run on the tower that has just run the model
    itself, from the stage that the edit touches."""
    readers: dict[str, _Reader] = {}
    for name, view in group.items():
        unedited = next((r for r in readers.values() if r.clip is view.clip), None)
        cut = max((v.cut for v in group.values() if v.clip is view.clip), default=0)
        readers[name] = _Reader(
            view, unedited.tower if unedited else StreamedTower(view.clip, cut=cut)
        )
    return readers


class _Reader:
    """One view on one batch of images after another.

    Args:
        tower: of an edit, the one that the unedited model has just been run on.
    """

    def __init__(self, view: View, tower: StreamedTower) -> None:
        self._view, self.clip, self.tower = view, view.clip, tower
        self._points = Points(view.clip.model)

    def read(self, pixels: Tensor, before: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """What every point makes of a batch.

        Args:
            before: the same batch by the unedited model, where this view is an edit of it.
        """
        view, points = self._view, self._points
        if view.patch is not None and not view.vision:
            assert before is not None
            return before
        with torch.no_grad(), points.noting(len(pixels)) as noted:
            if view.patch is None:
                embedding = self.tower.load(pixels)
            else:
                with view.in_place():
                    embedding = self.tower.run()
        if view.patch is not None and before is not None:
            untouched = points.names[: min(view.cut, points.stage_count)]
            noted |= {name: before[name] for name in untouched if name in before}
        return {**noted, EMBEDDING: normalize(embedding, dim=-1)}
