"""Accuracy along a layer: re-evaluating the whole model at each step against what slsgu does.

    python examples/benchmarks/search.py

ViT-B-32 with random weights, 200 pictures, 100 classes in 2 templates; seven layers, each moved
along a random direction up to its own norm. The whole model is timed for one step (all pictures,
all prompts at full length, class embeddings, accuracies), and that is multiplied by 10 steps a
layer. Ours is timed in full, and gives the whole curve of each layer on all pictures: embedding
once, moving the cut, the evaluations that the curve is interpolated from, the accuracies at 100
steps, and one true evaluation of the step that is taken. Screening layers on a part of the
pictures, as a search does, would come on top. Seconds are processor time, which neighbours on the
machine do not change.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import click
import numpy as np
import torch
from common import Noise, classes, machine, print_table, processor_time, random_clip
from torch.nn.functional import normalize

from slsgu.concepts.prompts import PromptBook
from slsgu.concepts.request import Request
from slsgu.evaluation.along import along
from slsgu.evaluation.exam import Exam
from slsgu.evaluation.replay import Replay, edited
from slsgu.evaluation.search_set import SearchSet
from slsgu.losses.captions import ForgetCaptions
from slsgu.models.clip import Clip
from slsgu.models.layers import Layer, inventory
from slsgu.search.curve import Known, trace
from slsgu.search.ray import Ray

STEPS = 100  # at which a curve is asked
TAKEN = 0.37  # the step that is evaluated truly in the end

LAYERS = (
    "visual.transformer.resblocks.0.attn.out_proj.weight",
    "visual.transformer.resblocks.6.attn.out_proj.weight",
    "visual.transformer.resblocks.11.attn.out_proj.weight",
    "visual.proj",
    "transformer.resblocks.0.attn.out_proj.weight",
    "transformer.resblocks.11.attn.out_proj.weight",
    "text_projection",
)


@dataclass(frozen=True)
class Spent:
    """What the curve of one layer took, in seconds of processor time.

    Attributes:
        cut: to cut its tower before it.
        curve: for its curve and the true evaluation of one step.
        evaluations: of the tower; the last one is that of the step taken, but for an exact curve.
        differs: images whose answer was another one at the evaluation that checked; None if the
            curve is exact, or the layer does not interpolate.
    """

    cut: float
    curve: float
    evaluations: int
    differs: int | None


def curve_of(layer: Layer, search_set: SearchSet) -> Spent:
    weight = search_set.replay.parameters[layer.name].detach().clone()
    noise = torch.randn_like(weight)
    ray = Ray(layer, weight, noise * (weight.norm() / noise.norm()))
    cut = processor_time(lambda: search_set.replay.prepare(layer))
    steps = np.linspace(0, 1, STEPS + 1)[1:]
    begun = time.process_time()
    line = ray.line(search_set)
    if line is not None:
        along(search_set, layer.tower, line, steps)
        search_set.measure_features(layer.tower, line.at(TAKEN))
        return Spent(cut, time.process_time() - begun, 3, None)
    known = Known(search_set, ray)
    traced = trace(known, 1.0)
    if traced is not None:
        along(search_set, layer.tower, traced.path, steps)
    search_set.measure_features(layer.tower, known.at(TAKEN))
    differs = None if traced is None else traced.differs
    return Spent(cut, time.process_time() - begun, len(known.steps) - 1, differs)


def embedded(
    clip: Clip, pixels: torch.Tensor, exam: Exam, book: PromptBook, batch: int
) -> SearchSet:
    """The pictures as a search holds them."""
    replay = Replay(clip, pixels, book.texts, batch_size=batch)
    pictures, prompts = replay.base
    classes = exam.class_embeddings(prompts, book)
    before = exam.answer(pictures, classes)
    captions = ForgetCaptions(exam.request, "relative")
    forget = tuple(
        Noise(leaf, number)
        for number, leaf in enumerate(exam.leaves)
        if leaf is not None and exam.forget[number]
    )
    return SearchSet(exam, replay, book, classes, before, captions, forget, scale=100.0)


@click.command()
@click.option("--images", default=200, show_default=True)
@click.option("--kinds", default=100, show_default=True, help="Classes.")
@click.option("--trials", default=10, show_default=True, help="Steps by the whole model.")
@click.option("--batch", default=50, show_default=True, help="Inputs per forward pass.")
@click.option("--repeats", default=3, show_default=True, help="Times the whole model is run.")
@torch.no_grad()
def main(images: int, kinds: int, trials: int, batch: int, repeats: int) -> None:
    clip, tree = random_clip(), classes(kinds)
    pixels = torch.randn(images, 3, 224, 224)
    leaves = [tree.leaves[i % kinds] for i in range(images)]
    exam = Exam(leaves, tree, Request.of(tree, [tree.leaves[0].key]))
    book = PromptBook.of(exam.concepts, ["a photo of a {}", "a picture of the {}"])
    layers = {layer.name: layer for layer in inventory(clip.model)}
    parameters = dict(clip.model.named_parameters())
    encode_text = clip.model.encode_text

    def whole(name: str = LAYERS[0]) -> None:
        """One trial as in the published loop: the whole model, every prompt in full."""
        with edited(parameters[name], parameters[name] * 1.01):
            found = [clip.encode_image(part) for part in pixels.split(batch)]
            tokens = clip.tokenize(book.texts).split(batch)
            prompts = normalize(torch.cat([encode_text(part) for part in tokens]), dim=-1)
        answers = exam.answer(torch.cat(found), exam.class_embeddings(prompts, book))
        exam.measure(answers, answers)

    clip.encode_image(pixels[:batch])  # warm
    one = float(np.median([processor_time(whole) for _ in range(repeats)]))
    made: list[SearchSet] = []
    start = processor_time(lambda: made.append(embedded(clip, pixels, exam, book, batch)))
    rows, total = [], start
    for name in LAYERS:
        spent = curve_of(layers[name], made[0])
        both = spent.cut + spent.curve
        total += both
        rows.append(
            [
                f"`{name}`",
                f"{trials * one:.1f} s",
                f"{spent.cut:.2f} s + {spent.curve:.2f} s",
                f"{trials * one / both:.1f}",
                str(spent.evaluations),
                "-" if spent.differs is None else f"{spent.differs} of {images}",
            ]
        )
    rows.append(["embedding once", "", f"{start:.1f} s", "", "", ""])
    everything = trials * one * len(LAYERS)
    rows.append(
        ["**total**", f"{everything:.0f} s", f"{total:.0f} s", f"{everything / total:.1f}", "", ""]
    )
    print(f"{machine()}; {images} images, {len(book.texts)} prompts, {trials} steps a layer\n")
    heads = [
        "layer",
        "whole model",
        "ours (cut + curve)",
        "ratio",
        "evaluations",
        "differ at check",
    ]
    print_table(heads, rows)


if __name__ == "__main__":
    main()
