"""A plan: a task, and how the single-gradient method is to carry it out.

A plan's key is everything that decides the gradients, so equal keys mean that a cache may be
reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slsgu.concepts.prompts import prompts_for
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.data.splits.splits import identity
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer, inventory
from slsgu.task.pairs import Pairs
from slsgu.task.settings import MethodSettings, Settings
from slsgu.task.task import Task, make_task
from slsgu.utils.files import json_sha256, slug
from slsgu.utils.names import refuse_kind

ALGORITHM = 1  # of the gradients: raised whenever the same key would give others


@dataclass(frozen=True, eq=False)
class Plan:
    """A task and the settings of the single-gradient method."""

    task: Task
    settings: MethodSettings

    @property
    def retain_loss(self) -> str:
        """The retain loss, by name. Contrasting pictures of one kind says nothing about it."""
        return "cosine" if self.task.forget_only else self.settings.retain_loss_used

    @property
    def settings_used(self) -> dict[str, Any]:
        """All settings as JSON values, with the retain loss that is actually used."""
        task = self.task
        parts = (self.settings.to_json(), asdict(task.data), asdict(task.machine))
        return {**parts[0], **parts[1], **parts[2], "retain_loss": self.retain_loss}

    @cached_property
    def key(self) -> dict[str, Any]:
        """What decides the gradients, as JSON values."""
        task, settings = self.task, self.settings
        request = task.request.describe()
        del request["taxonomy"]  # its name decides nothing
        taxonomy = request.pop("taxonomy_sha256")
        clip = task.clip
        return {
            "algorithm": ALGORITHM,
            "model": clip.sha256,
            "configuration": json_sha256([clip.model_cfg, clip.preprocess_cfg]),
            "layers": layers_sha256(clip),
            "prompt_tokens": self._tokens_sha256,
            "taxonomy": taxonomy,
            "request": request,
            "templates": list(task.templates),
            "forget_loss": settings.forget_loss_used,
            "retain_loss": self.retain_loss,
            "contrastive_batch": settings.contrastive_batch,
            "precision": settings.gradient_precision,
            "seed": task.seed,
            "images": json_sha256([identity(sample) for sample in task.splits.gradient]),
            "image_count": len(task.splits.gradient),
            **({} if settings.layer is None else {"layer": settings.layer}),
        }

    @property
    def _tokens_sha256(self) -> str:
        """What the tokenizer makes of the prompts. A local-dir may bring its own, so the weights
        do not say. Every name, every template and every prompt of a concept's own is looked at,
        but only one name in all templates: all in all would be many."""
        concepts, templates = self.task.taxonomy.concepts, self.task.templates
        sample = next((c for c in concepts if not c.prompts), None)
        texts = [
            text
            for concept in concepts
            for text in prompts_for(concept, templates[: None if concept is sample else 1])
        ]
        texts += [x.caption for x in self.task.splits.gradient if x.caption is not None]
        return json_sha256(self.task.clip.tokenize(list(dict.fromkeys(texts))).tolist())

    @property
    def layers(self) -> list[Layer]:
        """The layers whose gradients are needed: all of both towers, gains of norms included, or
        the one that is fixed."""
        layers = inventory(self.task.clip.model, norms=True)
        fixed = self.settings.layer
        return layers if fixed is None else [layer for layer in layers if layer.name == fixed]

    @property
    def folder_name(self) -> str:
        """`golden-retriever-1f0c`: the request in words, and a short hash of the key. A fixed layer
        makes no folder of its own: gradients of all layers serve it too."""
        key = {name: value for name, value in self.key.items() if name != "layer"}
        return f"{slug(self.task.request.title)}-{json_sha256(key)[:8]}"


def layers_sha256(clip: Clip) -> str:
    """Which layers slsgu finds in a model. Another version may find others, and would look for
    gradients that an older cache does not have."""
    return json_sha256([asdict(layer) for layer in inventory(clip.model, norms=True)])


def make_plan(
    clip: Clip,
    concepts: Sequence[str],
    *,
    data: str | Path | None = None,
    taxonomy: str | Path | Taxonomy | None = None,
    pairs: Pairs | None = None,
    settings: Settings | None = None,
) -> Plan:
    """Look up concepts, images and prompts, and add how to unlearn.

    Args:
        clip, concepts, data, taxonomy, pairs: as for `make_task`.
        settings: of the method, the data and the machine; None for the defaults.

    Raises:
        ConceptError: a concept is unknown or ambiguous.
        DataError: images or taxonomy cannot be used.
    """
    refuse_kind(clip, Clip, "the model")
    settings = Settings() if settings is None else settings
    refuse_kind(settings, Settings, "settings")
    task = make_task(
        clip,
        concepts,
        data=data,
        taxonomy=taxonomy,
        pairs=pairs,
        settings=settings.data,
        machine=settings.machine,
    )
    return Plan(task, settings.method)
