"""Trying steps on a layer: re-evaluating the whole model against re-running what changed.

    python examples/benchmarks/search.py

ViT-B-32 with random weights, 200 pictures, 100 classes in 2 templates, 10 trials a layer. The
whole model is timed for one trial (all pictures, all prompts at full length, class embeddings,
accuracies), and that is multiplied by the number of trials. Ours is timed in full: embedding once,
moving the cut, and every trial.
"""

from __future__ import annotations

import time

import click
import torch
from common import classes, machine, median_of, print_table, random_clip, timed
from torch.nn.functional import normalize

from slsgu.concepts.prompts import PromptBook
from slsgu.concepts.request import Request
from slsgu.evaluation.closed_form import Line, straight_line
from slsgu.evaluation.exam import Exam
from slsgu.evaluation.replay import Replay, edited
from slsgu.models.layers import Layer, inventory

LAYERS = (
    "visual.transformer.resblocks.0.attn.out_proj.weight",
    "visual.transformer.resblocks.6.attn.out_proj.weight",
    "visual.transformer.resblocks.11.attn.out_proj.weight",
    "visual.proj",
    "transformer.resblocks.0.attn.out_proj.weight",
    "transformer.resblocks.11.attn.out_proj.weight",
    "text_projection",
)


def steps_on(
    layer: Layer, replay: Replay, exam: Exam, book: PromptBook, trials: int
) -> tuple[float, list[float]]:
    """Seconds to cut a tower before a layer, and of each trial on it."""
    embedded, prompts = replay.base
    texts = exam.class_embeddings(prompts, book)
    before = exam.answer(embedded, texts)
    weight = replay.parameters[layer.name].detach().clone()
    noise = torch.randn_like(weight)
    direction = noise * (weight.norm() / noise.norm())
    cut = timed(lambda: replay.prepare(layer))
    line: Line | None = None
    if layer.tower == "vision" and layer.last:
        begun = time.perf_counter()
        line = straight_line(lambda s: replay.features(layer, weight + s * direction), 0.1)
        cut += time.perf_counter() - begun

    def trial(step: float) -> None:
        if line is not None:
            exam.measure(before, exam.answer(line.at(step), texts))
            return
        found, sentences = replay.with_weight(layer, weight + step * direction)
        own = texts if layer.tower == "vision" else exam.class_embeddings(sentences, book)
        exam.measure(before, exam.answer(found, own))

    return cut, [timed(lambda i=i: trial(0.1 * (i + 1))) for i in range(trials)]


@click.command()
@click.option("--images", default=200, show_default=True)
@click.option("--kinds", default=100, show_default=True, help="Classes.")
@click.option("--trials", default=10, show_default=True)
@click.option("--batch", default=50, show_default=True, help="Inputs per forward pass.")
@torch.no_grad()
def main(images: int, kinds: int, trials: int, batch: int) -> None:
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

    timed(whole)  # warm
    one = median_of(whole, 3)
    made: list[Replay] = []
    start = timed(lambda: made.append(Replay(clip, pixels, book.texts, batch_size=batch)))
    replay = made[0]
    rows, total = [], start
    for name in LAYERS:
        cut, steps = steps_on(layers[name], replay, exam, book, trials)
        spent, single = cut + sum(steps), sorted(steps)[len(steps) // 2]
        total += spent
        rows.append(
            [
                f"`{name}`",
                f"{trials * one:.1f} s",
                f"{cut:.2f} s + {sum(steps):.2f} s",
                f"{trials * one / spent:.1f}",
                f"{one / single:.0f}",
            ]
        )
    rows.append(["embedding once", "", f"{start:.1f} s", "", ""])
    everything = trials * one * len(LAYERS)
    rows.append(
        ["**total**", f"{everything:.0f} s", f"{total:.0f} s", f"{everything / total:.1f}", ""]
    )
    print(f"{machine()}; {images} images, {len(book.texts)} prompts, {trials} trials a layer\n")
    print_table(["layer", "whole model", "ours (cut + trials)", "ratio", "one more trial"], rows)


if __name__ == "__main__":
    main()
