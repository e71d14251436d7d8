"""The last projection of either side, and what goes into it: pooled features of images, streamed
into moments, and of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Concept
from slsgu.data.batches import stream
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.errors import DataError, ModelError
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer, Tower, inventory
from slsgu.models.sense import TEXTS
from slsgu.search.taps import Taps
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress

AGREES = 0.01  # largest deviation from `W h`, as a share: half precision is allowed its rounding


@dataclass(frozen=True, eq=False)
class LastProjection:
    """The linear map from pooled features to embeddings of images, or of texts.

    Attributes:
        clip: the model.
        layer: its weight.
        transposed: whether it is stored as [i, o].
    """

    clip: Clip
    layer: Layer
    transposed: bool

    @classmethod
    def of(cls, clip: Clip, tower: Tower = "vision") -> LastProjection:
        """Find it: of the matrices that come last, the one whose product is the embedding.

        Args:
            tower: of images or of texts.

        Raises:
            ModelError: there is none, as where a residual branch comes last.
        """
        projections = [x for x in inventory(clip.model) if x.tower == tower and x.last]
        probe: Tensor | Sequence[str] = TEXTS
        if tower == "vision":
            draws = torch.Generator().manual_seed(0)
            probe = torch.randn(2, 3, *clip.image_size, generator=draws)
        for layer in projections:
            if len(layer.shape) != 2:
                continue
            # Raw parameters are stored [in, out], the weights of modules [out, in].
            projection = cls(clip, layer, transposed=not layer.name.endswith("weight"))
            if projection.is_last(probe):
                return projection
        side = "image" if tower == "vision" else "text"
        raise ModelError(
            f"the {side} side of this model does not end in a projection that can be edited in "
            "closed form: use another method"
        )

    @property
    def matrix(self) -> Tensor:
        """W [o, i], fp64 on the CPU."""
        weight = self._parameter.detach().to("cpu", torch.float64)
        return weight.T if self.transposed else weight

    @property
    def bias(self) -> Tensor | None:
        """b [o], fp64 on the CPU; None where there is none."""
        parameters = dict(self.clip.model.named_parameters())
        bias = parameters.get(f"{self.layer.name.removesuffix('weight')}bias")
        if self.transposed or bias is None:
            return None
        return bias.detach().to("cpu", torch.float64)

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings [n, o], not normalised, of features [n, i], fp64."""
        embeddings = features @ self.matrix.T
        return embeddings if self.bias is None else embeddings + self.bias

    @property
    def _parameter(self) -> Tensor:
        return self.clip.model.get_parameter(self.layer.name)

    def run(self, batch: Tensor | Sequence[str]) -> tuple[Tensor, Tensor]:
        """Pooled features [n, i] and embeddings, not normalised, [B, o], of one batch.

        There are no features where the weight is used in a way that cannot be watched.

        Args:
            batch: images [B, 3, H, W], or texts, as the tower takes them.
        """
        rows: list[Tensor] = []
        weights = {self.layer.name: self.clip.model.get_parameter(self.layer.name)}
        with torch.enable_grad(), Taps(weights, lambda _name, inputs, _: rows.append(inputs)):
            if isinstance(batch, Tensor):
                embeddings = self.clip.image_features(batch)
            else:
                embeddings = self.clip.text_features(batch, batch_size=len(batch))
        if embeddings.requires_grad:  # what was seen is told on the way back
            torch.autograd.backward(embeddings, torch.ones_like(embeddings))
        width = self.layer.shape[0 if self.transposed else 1]
        features = torch.cat(rows) if rows else embeddings.new_empty(0, width)
        return features.float(), embeddings.detach()

    def is_last(self, batch: Tensor | Sequence[str]) -> bool:
        """Whether embeddings are the product with this weight, up to its own bias."""
        features, embeddings = self.run(batch)
        if len(features) != len(batch):
            return False
        weight = self.matrix.to(features)
        if weight.shape != (embeddings.shape[1], features.shape[1]):
            return False
        product = features @ weight.T
        if self.bias is not None:
            product = product + self.bias.to(product)
        return float((embeddings - product).norm()) <= AGREES * float(embeddings.norm())

    def change(self, delta: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a patch is made of: a change [o, i] and the weight, both as they are stored."""
        name = self.layer.name
        delta = self.stored(delta).to("cpu", torch.float32)
        return {name: delta}, {name: self.clip.as_stored(name)}

    def stored(self, delta: Tensor) -> Tensor:
        """A change [o, i] in the shape of the weight."""
        return (delta.T if self.transposed else delta).contiguous()


@dataclass(frozen=True, eq=False)
class PooledFeatures:
    """Moments of the pooled features of the gradient split, fp64 on the CPU.

    Attributes:
        means: of each leaf that has an image [i].
        kept_moment: second moment over the images that are not to be forgotten [i, i].
    """

    means: Mapping[Concept, Tensor]
    kept_moment: Tensor

    @classmethod
    def read(
        cls,
        projection: LastProjection,
        task: Task,
        ledger: Ledger,
        progress: Progress = SILENT,
        *,
        samples: Sequence[Sample] | None = None,
    ) -> PooledFeatures:
        """Stream the gradient split of a task through the image side.

        Args:
            samples: those of them that are read; None reads all.

        Raises:
            DataError: nothing that must be kept has a usable image.
        """
        forget = frozenset(task.request.forget_leaves)
        width = projection.matrix.shape[1]
        sums: dict[Concept, Tensor] = {}
        counts: dict[Concept, int] = {}
        moment, kept = torch.zeros(width, width, dtype=torch.float64), 0
        samples = task.splits.gradient if samples is None else samples
        with progress.bar("gradient images", len(samples)) as advance:
            for batch in stream(
                samples,
                task.clip.preprocess,
                split="gradient",
                ledger=ledger,
                reading=task.reading,
                progress=advance,
            ):
                rows = projection.run(batch.pixels)[0].to("cpu", torch.float64)  # [B, i]
                for sample, row in zip(batch.samples, rows, strict=True):
                    if sample.leaf is not None:
                        sums[sample.leaf] = sums.get(sample.leaf, 0) + row
                        counts[sample.leaf] = counts.get(sample.leaf, 0) + 1
                wanted = torch.tensor([sample.leaf not in forget for sample in batch.samples])
                moment += rows[wanted].T @ rows[wanted]
                kept += int(wanted.sum())
        if not kept:
            raise DataError(
                "no image of anything that must be kept is in the gradient split"
                f"{ledger.why('gradient')}: give images of other classes"
            )
        return cls({leaf: total / counts[leaf] for leaf, total in sums.items()}, moment / kept)


def mean_differences(
    means: Mapping[Concept, Tensor], request: Request, projection: LastProjection | None = None
) -> Tensor:
    """D: for each leaf to be forgotten, its mean less the mean of its siblings' means [i, k].

    Args:
        projection: where it is given, the mean of the one sibling whose mean embedding is nearest,
            by cosine, takes the place of the mean over all siblings.

    Raises:
        DataError: there are no images of a leaf, or none of any sibling.
    """
    columns = []
    for leaf in request.forget_leaves:
        siblings = [other for other in request.siblings(leaf) if other in means]
        if leaf not in means:
            raise DataError(
                f"a merge needs images of {leaf.key} in the gradient split: there is none"
            )
        if not siblings:
            raise DataError(
                f"a merge moves {leaf.key} onto its siblings, and there is no image of any in the "
                "gradient split: give images of other classes beside it, or use another method"
            )
        others = torch.stack([means[other] for other in siblings])  # [s, i]
        if projection is None:
            onto = others.mean(dim=0)
        else:
            own = projection.embed(means[leaf][None])
            onto = others[cosine_similarity(projection.embed(others), own).argmax()]
        columns.append(means[leaf] - onto)
    return torch.stack(columns, dim=1)
