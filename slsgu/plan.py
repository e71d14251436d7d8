"""What is about to be done: a model, a request, images in three splits, and settings.

A plan is cheap: it looks files up and decodes nothing. Its key is everything that decides the
gradients, so equal keys mean that a cache may be reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slsgu.clip import Clip
from slsgu.data.ledger import Ledger
from slsgu.data.pair_splits import BOTH
from slsgu.data.samples import Sample
from slsgu.data.splits import Splits, identity
from slsgu.errors import DataError
from slsgu.files import json_sha256, slug
from slsgu.pairs import Pairs
from slsgu.prompts import prompts_for
from slsgu.request import Request
from slsgu.settings import Settings
from slsgu.sources import find_splits, find_taxonomy
from slsgu.taxonomy import Taxonomy
from slsgu.templates import load_templates

SPENT = "the edit is made from it"


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a run depends on, looked up and checked."""

    clip: Clip
    request: Request
    splits: Splits
    settings: Settings
    templates: tuple[str, ...]

    @property
    def taxonomy(self) -> Taxonomy:
        return self.request.taxonomy

    @property
    def forget_samples(self) -> tuple[Sample, ...]:
        """Gradient images of what is to be forgotten."""
        leaves = set(self.request.forget_leaves)
        return tuple(sample for sample in self.splits.gradient if sample.leaf in leaves)

    @property
    def forget_test_samples(self) -> tuple[Sample, ...]:
        """Test images of what is to be forgotten."""
        leaves = set(self.request.forget_leaves)
        return tuple(sample for sample in self.splits.test if sample.leaf in leaves)

    @property
    def retain_samples(self) -> tuple[Sample, ...]:
        """Gradient images of everything else; where there are none, those of what is to be
        forgotten, which are then kept as what stands above them (`traced`)."""
        leaves = set(self.request.forget_leaves)
        others = tuple(sample for sample in self.splits.gradient if sample.leaf not in leaves)
        return others or self.forget_samples

    @property
    def traced(self) -> bool:
        """Whether there are no retain images: the knowledge-tracing setting, in which the forget
        images captioned with their parent take the place of the retain set."""
        leaves = set(self.request.forget_leaves)
        return all(sample.leaf in leaves for sample in self.splits.gradient)

    @property
    def retain_loss(self) -> str:
        """The retain loss, by name. Contrasting pictures of one kind says nothing about it."""
        return "cosine" if self.traced else self.settings.retain_loss_used

    @property
    def settings_used(self) -> dict[str, Any]:
        """The settings as JSON values, with the retain loss that is taken in fact."""
        return {**self.settings.to_json(), "retain_loss": self.retain_loss}

    @property
    def spent(self) -> dict[str, str]:
        """Pictures that prove nothing about other data sets, by content: the reason why."""
        leaves = set(self.request.forget_leaves)
        used = [*self.splits.gradient, *self.splits.search]
        forget = {x.fingerprint for x in [*used, *self.splits.test] if x.leaf in leaves}
        spent = {x.fingerprint: SPENT for x in used}
        return spent | dict.fromkeys(forget | self.splits.forgotten, BOTH)

    def ledger(self) -> Ledger:
        """What keeps the pictures of the splits apart, empty. Decodes those that are to be
        forgotten where other files may have the same pixels."""
        return Ledger(Ledger.pixels_of(self.splits.reserved))

    @property
    def key(self) -> dict[str, Any]:
        """What decides the gradients, as JSON values."""
        s = self.settings
        request = self.request.describe()
        del request["taxonomy"]  # its name decides nothing
        taxonomy = request.pop("taxonomy_sha256")
        return {
            "model": self.clip.sha256,
            "configuration": json_sha256([self.clip.model_cfg, self.clip.preprocess_cfg]),
            "prompt_tokens": self._tokens_sha256,
            "taxonomy": taxonomy,
            "request": request,
            "templates": list(self.templates),
            "forget_loss": s.forget_loss_used,
            "retain_loss": self.retain_loss,
            "contrastive_batch": s.contrastive_batch,
            "precision": s.gradient_precision,
            "seed": s.seed,
            "images": json_sha256([identity(sample) for sample in self.splits.gradient]),
            "image_count": len(self.splits.gradient),
        }

    @cached_property
    def _tokens_sha256(self) -> str:
        """What the tokenizer makes of the prompts. A local-dir may bring its own, so the weights
        do not say. Every name, every template and every prompt of a concept's own is looked at,
        but only one name in all templates: all in all would be many."""
        whole = next((c for c in self.taxonomy.concepts if not c.prompts), None)
        texts = [
            text
            for concept in self.taxonomy.concepts
            for text in prompts_for(concept, self.templates[: None if concept is whole else 1])
        ]
        texts += [x.caption for x in self.splits.gradient if x.caption is not None]
        return json_sha256(self.clip.tokenize(list(dict.fromkeys(texts))).tolist())

    @property
    def folder_name(self) -> str:
        """`golden-retriever-1f0c`: the request in words, and a short hash of the key."""
        return f"{slug(self.request.title)}-{json_sha256(self.key)[:8]}"


def make_plan(
    clip: Clip,
    concepts: Sequence[str],
    *,
    data: str | Path | None = None,
    taxonomy: str | Path | Taxonomy | None = None,
    pairs: Pairs | None = None,
    settings: Settings | None = None,
) -> Plan:
    """Look up concepts, images and prompts.

    Args:
        clip: the model.
        concepts: what to forget, by name, alias or path; none with `pairs`.
        data: a folder with one folder per class, or None for the menagerie's drawings.
        taxonomy: a YAML file, a `Taxonomy`, or None for the menagerie's (drawings) or a flat
            list of the class folders.
        pairs: what to forget and to keep, given by images in place of concepts and data.
        settings: how; None for the defaults.

    Raises:
        ConceptError: a concept is unknown or ambiguous.
        DataError: images or taxonomy can not be used.
    """
    settings = settings or Settings()
    if pairs is not None:
        if concepts or data is not None:
            raise DataError("give concepts and data, or images to forget and to keep, not both")
        found = None if taxonomy is None else find_taxonomy(taxonomy, None)
        pairs.check()
        asked = pairs.request(found)
        images = pairs.splits(asked, settings.limits, settings.seed, settings.strict)
        templates = load_templates(settings.templates, asked.taxonomy)
        return Plan(clip, asked, images, settings, templates)
    tree = find_taxonomy(taxonomy, data)
    request = Request.of(tree, list(concepts))
    splits = find_splits(clip, data, tree, settings, request)
    return Plan(clip, request, splits, settings, load_templates(settings.templates, tree))
