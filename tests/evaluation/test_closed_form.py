"""The closed form says what measuring step by step says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from slsgu.concepts.request import Request
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.evaluation.closed_form import Line, exact_curve, straight_line
from slsgu.evaluation.exam import Exam

PETS = Taxonomy.parse({"dog": ["beagle", "pug"], "cat": ["tabby", "persian"], "car": ["van"]})
LEAVES = [PETS.find(n) for n in ("beagle", "pug", "tabby", "persian", "van")] * 30


def exam_means(exam: Exam, fine: torch.Tensor) -> torch.Tensor:
    """Class embeddings of the coarser level: the mean of the classes below."""
    return torch.stack([
        torch.stack([fine[i] for i, c in enumerate(exam.levels[-1].classes) if top in c.lineage])
        .mean(dim=0)
        for top in exam.levels[0].classes
    ])  # fmt: skip


def random_line(seed: int = 0, width: int = 6) -> tuple[Line, Exam, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    exam = Exam(LEAVES, PETS, Request.of(PETS, ["beagle"]))
    classes = [normalize(noise(len(level.classes), width), dim=1) for level in exam.levels]
    classes[0] = exam_means(exam, classes[-1])
    base = classes[-1][torch.from_numpy(exam.labels[:, -1])] + 0.2 * noise(len(LEAVES), width)
    return Line(base.double(), noise(len(LEAVES), width).double()), exam, classes


def test_a_label_is_on_top_exactly_within_its_span() -> None:
    line, exam, classes = random_line()
    labels = torch.from_numpy(exam.labels[:, -1])
    low, high = line.spans(classes[-1], labels)
    seen = set()
    for step in np.linspace(-3, 3, 401):
        features = line.base + step * line.slope
        right = (features @ classes[-1].double().T).argmax(dim=1) == labels
        assert torch.equal(right, (low < step) & (step < high))
        seen.add(int(right.sum()))
    assert len(seen) > 10  # control: the answers do change along the line


def test_a_label_under_a_parallel_line_is_never_on_top() -> None:
    line = Line(torch.tensor([[1.0, 0.0]]).double(), torch.zeros(1, 2).double())
    classes = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    low, high = line.spans(classes, torch.tensor([0]))
    assert low > high
    low, high = line.spans(classes, torch.tensor([1]))
    assert low == -torch.inf and high == torch.inf


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_curve_is_what_measuring_gives(seed: int) -> None:
    line, exam, classes = random_line(seed)
    before = exam.answer(line.at(0.0), classes)
    curve = exact_curve(line, exam, classes, before, limit=4.0)
    assert curve.edges[0] == 0 and curve.edges[-1] == 4 and (np.diff(curve.edges) > 0).all()
    for index in range(0, len(curve.steps), 7):
        if curve.edges[index + 1] - curve.edges[index] < 1e-5:
            continue  # too narrow for float32
        found = exam.measure(before, exam.answer(line.at(float(curve.steps[index])), classes))
        assert found.q_u == pytest.approx(curve.summary.q_u[index])
        assert found.forget_accuracy == pytest.approx(curve.summary.forget_accuracy[index])
        for key, ratio in found.kept_ratios.items():
            assert ratio == pytest.approx(curve.summary.kept_ratios[key][index])
    assert len(set(curve.summary.q_u)) > 5  # control


def test_only_a_straight_line_is_taken_for_one() -> None:
    base, slope = torch.ones(4, 3), torch.linspace(-3, 3, 12).reshape(4, 3)  # some fall below 0
    line = straight_line(lambda step: base + step * slope, 0.5)
    assert line is not None
    assert torch.allclose(line.at(2.0), base + 2 * slope, atol=1e-5)
    assert straight_line(lambda step: base + step**2 * slope, 0.5) is None
    assert straight_line(lambda step: (base + step * slope).relu(), 0.5) is None


def test_of_classes_that_are_always_equal_the_first_is_the_answer() -> None:
    """Homonyms have the same prompts; `argmax` takes the first, and so does the curve."""
    texts = torch.eye(3, dtype=torch.float64)[[0, 1, 1]]
    line = Line(torch.eye(3, dtype=torch.float64)[[1, 1]], torch.zeros(2, 3, dtype=torch.float64))
    low, high = line.spans(texts, torch.tensor([1, 2]))
    assert low[0] < 0 < high[0] and not low[1] < high[1]
