"""What a few images still find after an edit: the 5-shot and the linear probe of the audit, on
embeddings that are at hand, beside a model that never knew the concept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from slsgu.audit import linear as linear_probe
from slsgu.audit import prototypes as prototype_probe
from slsgu.audit.control import control_title, refuse_knowing_control, refuse_other_control
from slsgu.audit.points import EMBEDDING
from slsgu.audit.pool import Pool
from slsgu.audit.probe import ProbeReading
from slsgu.audit.prototypes import draw
from slsgu.audit.reference import Unknown
from slsgu.audit.subject import Images, Subject, View, see
from slsgu.data.ledger import Ledger
from slsgu.data.samples import Sample
from slsgu.models.clip import Clip
from slsgu.task.task import Task
from slsgu.utils.progress import SILENT, Progress

SHOTS = 5
FIVE_SHOT, PROBE = "five_shot", "linear_probe"  # what the readings are called in files


@dataclass(frozen=True, eq=False)
class Probes:
    """The two probes on one set of examples and questions.

    Attributes:
        pool: which examples and questions are of which class.
        seed: of the examples that are drawn.
    """

    pool: Pool
    seed: int

    def read(self, examples: Tensor, questions: Tensor) -> dict[str, float | None]:
        """Accuracy of each probe; None where there are too few examples.

        Args:
            examples: normalised embeddings [N, d].
            questions: normalised embeddings [M, d].
        """
        pool = self.pool
        found: dict[str, float | None] = {FIVE_SHOT: None, PROBE: None}
        if not pool.why_not(SHOTS):
            drawn = draw(pool.places, SHOTS, self.seed)
            right = prototype_probe.share_right(pool, examples, drawn, questions)
            found[FIVE_SHOT] = float(right.mean())
        if not pool.why_not(linear_probe.FEWEST):
            right = linear_probe.right(examples, questions, pool)
            found[PROBE] = float(right.double().mean())
        return found

    def why_not(self) -> list[str]:
        """Of each probe that cannot be read, that it cannot, and why."""
        shots = {"5-shot": SHOTS, "linear probe": linear_probe.FEWEST}
        return [
            f"{name} is not measured, for {reason}"
            for name, fewest in shots.items()
            if (reason := self.pool.why_not(fewest))
        ]


@dataclass(frozen=True)
class Reference:
    """What a model that never knew the concept would find.

    Attributes:
        values: by probe; None where it cannot be told.
        title: where they are from, in words.
    """

    values: Mapping[str, float | None]
    title: str

    @classmethod
    def of_share(cls, before: Mapping[str, float | None], share: float) -> Reference:
        """A share of what is found before the edit, as `--never-knew` has it."""
        values = {name: None if x is None else share * x for name, x in before.items()}
        return cls(values, f"{100 * share:.4g}% of what is found before the edit")

    @classmethod
    def of_unknown(
        cls, before: Mapping[str, float | None], unknown: Unknown, subject: Subject
    ) -> Reference:
        """From concepts that the model does not know."""
        settings = {
            FIVE_SHOT: (prototype_probe.NAME, prototype_probe.setting(SHOTS)),
            PROBE: (linear_probe.NAME, EMBEDDING),
        }
        values = {
            name: unknown.applied(
                ProbeReading(*settings[name], before=value, after=value), subject
            ).never_knew
            for name, value in before.items()
        }
        return cls(values, unknown.title)

    @classmethod
    def of_control(
        cls,
        control: Clip,
        probes: Probes,
        examples: Sequence[Sample],
        tests: Sequence[Sample],
        asked: Sequence[int],
        task: Task,
        progress: Progress = SILENT,
    ) -> Reference:
        """From a model that was trained without the concept, which may prepare images otherwise.

        Args:
            examples: what the probes learn from.
            tests: the test images of the task.
            asked: which of them the probes are asked, by place.
            progress: told how many images are read.

        Raises:
            ModelError: it knows less than half of what the model knows of everything else, or half
                of what it knows of the concept or more.
        """

        def seen(samples: Sequence[Sample], views: Mapping[str, View]) -> Images:
            return see(
                views,
                samples,
                split="control",
                ledger=Ledger(),
                reading=task.reading,
                progress=progress,
            )

        views = {"before": View(task.clip), "control": View(control)}
        images = seen(tests, views)
        refuse_other_control(images, views, task)
        refuse_knowing_control(images, views, task)
        learned = seen(examples, {"control": views["control"]})
        questions = images.chosen(asked)
        found = probes.read(learned.embeddings("control"), questions.embeddings("control"))
        return cls(found, control_title(control))

    def distance(self, found: Mapping[str, float | None]) -> float | None:
        """How far readings lie from the reference, on average, above or below it."""
        apart = [
            abs(value - never)
            for name, value in found.items()
            if value is not None and (never := self.values.get(name)) is not None
        ]
        return sum(apart) / len(apart) if apart else None

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, **self.values}
