"""A merge before the last projection: the table of docs/results-tried.md.

    python examples/results/inner_merge.py "golden retriever" --data ../shared/data/dogs

The concept is merged with the mean of its siblings (`slsgu.direction.merge`) on the last 1 x 1
convolution of `imagenet-lite0`, which maps what each place of a photograph holds. D is made of
means over images and places, C is the second moment over places of what is kept. There is no step
after it.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import Tensor

import slsgu
from slsgu.audit.run import run_audit
from slsgu.concepts.taxonomy import Concept
from slsgu.data.batches import stream
from slsgu.direction.merge import DAMPING, merged
from slsgu.evaluation.proof import evaluate
from slsgu.search.pooled import mean_differences
from slsgu.task.task import Task

LAYER = "visual.trunk.conv_head"


def moments(task: Task) -> tuple[dict[Concept, Tensor], Tensor]:
    """What goes into the layer, of the gradient images: the mean of each class over images and
    places [i], and the second moment over places of what is kept [i, i], fp64."""
    seen: list[Tensor] = []
    layer = task.clip.model.get_submodule(LAYER)
    forget = set(task.request.forget_leaves)
    rows: dict[Concept, list[Tensor]] = {}
    moment, places = torch.zeros(()), 0
    handle = layer.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach()))
    for batch in stream(
        task.splits.gradient, task.clip.preprocess, split="gradient", ledger=task.ledger(),
        reading=task.reading,
    ):  # fmt: skip
        seen.clear()
        task.clip.image_features(batch.pixels)
        maps = seen[0].flatten(2).double()  # [B, i, places]
        for sample, values in zip(batch.samples, maps, strict=True):
            assert sample.leaf is not None
            rows.setdefault(sample.leaf, []).append(values.mean(dim=1))
            if sample.leaf not in forget:
                moment = moment + values @ values.T
                places += values.shape[1]
    handle.remove()
    return {leaf: torch.stack(own).mean(dim=0) for leaf, own in rows.items()}, moment / places


@click.command()
@click.argument("concept")
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--dial", "dials", type=float, multiple=True, default=(1.0, 2.0), show_default=True)
def main(concept: str, data: Path, dials: tuple[float, ...]) -> None:
    """Print a line for each dial."""
    clip = slsgu.load("imagenet-lite0", device="cpu")
    task = slsgu.make_task(clip, [concept], data=str(data), taxonomy="imagenet-dogs")
    means, moment = moments(task)
    weight = clip.model.get_parameter(f"{LAYER}.weight").detach().double().flatten(1)  # [o, i]
    differences = mean_differences(means, task.request)
    click.echo("| dial | Q-U | probe | before | after |\n|---|---|---|---|---|")
    for dial in dials:
        delta = merged(weight, differences, moment, dial, DAMPING)[:, :, None, None].float()
        name = f"{LAYER}.weight"
        patch = slsgu.Patch({name: delta}, {name: clip.as_stored(name)})
        proof = evaluate(
            clip, task.splits.test, task.taxonomy, task.templates, reading=task.reading,
            request=task.request, patch=patch,
        )  # fmt: skip
        for reading in run_audit(task, patch, probes=["prototypes", "linear probe"]):
            if reading.before is None or reading.after is None or ".blocks." in reading.setting:
                continue
            cells = [
                f"{dial:g}",
                f"{proof.measures.q_u:.3f}",
                f"{reading.probe}, {reading.setting}",
            ]
            cells += [f"{reading.before:.3f}", f"{reading.after:.3f}"]
            click.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
