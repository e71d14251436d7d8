"""The goal: what counts as success on the search split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slsgu.concepts.request import STATES
from slsgu.evaluation.found import Change, Found
from slsgu.evaluation.metrics import WORDS, Measures
from slsgu.evaluation.summary import Summary
from slsgu.task.settings import NEVER_KNEW, GoalName, MethodSettings


@dataclass(frozen=True)
class Goal:
    """What counts as success on the search split.

    Attributes:
        target: highest accuracy allowed at any level that is to be forgotten.
        floors: for `forget_coarse`, `retain_fine` and `retain_coarse`, the least share of the
            accuracy before the edit that must remain; for `retain_states`, of what a system reads
            of everything else, where the edit is for one.
        confidence: the probability with which the target is to hold on unseen images, where the
            search images can say so.
        name: `suppress`: the name is not given any more; `remove`: a few images do not find the
            concept more easily than what the model never knew, either.
        never_knew: how often a few images find what a model never knew, as a share of how often
            they find what it knows.
        moves: the least share by which what such a system reads of the concept must move.
    """

    target: float
    floors: Mapping[str, float]
    confidence: float = 0.975
    name: GoalName = "suppress"
    never_knew: float = NEVER_KNEW
    moves: float = 0.0

    @classmethod
    def of(cls, settings: MethodSettings) -> Goal:
        """The goal of the single-gradient method."""
        return cls(
            settings.target,
            settings.floors,
            settings.confidence_used,
            settings.goal_used,
            settings.never_knew_used,
            settings.moves,
        )

    def distance(self, measures: Measures) -> float | None:
        """How far from a model that never knew the concept a few images find it; None where that
        is not asked, or cannot be measured."""
        found = measures.found
        if self.name == "suppress" or found is None or not found.measurable:
            return None
        return abs(found.after - self.unknown_share(found))

    def unknown_share(self, change: Change | Found) -> float:
        """How often a few images find what a model never knew: a share of how often they found it
        before, and as often as a guess does at the least."""
        return max(self.never_knew * change.before, change.chance)

    def still_found(self, measures: Measures) -> bool:
        """Whether a few images find the concept again more as before the edit than as they find
        what the model never knew; false where that cannot be measured."""
        found = measures.found
        return found is not None and found.measurable and self.nearer_to_before(found)

    def nearer_to_before(self, change: Change | Found) -> bool:
        """The same of what is found of all concepts, or of one."""
        return change.after >= (change.before + self.unknown_share(change)) / 2

    def probability(self, measures: Measures) -> float | None:
        """The probability that the target holds on unseen images; None where it cannot be
        estimated."""
        return None if measures.unseen is None else measures.unseen.probability(self.target)

    def lasts(self, measures: Measures) -> bool:
        """Whether the target is reached and, where the edit is for a system, what that reads of
        the concept moves far enough; and both hold on unseen images and prompts with the
        confidence that was asked for, as far as that can be estimated. Floors play no part."""
        concept = None if measures.moved is None else measures.moved.concept
        probabilities = [
            self.probability(measures),
            None if concept is None else concept.probability(self.moves),
        ]
        sure = all(each is None or each >= self.confidence for each in probabilities)
        return sure and self.on_target(measures)

    def holds(self, measures: Measures) -> bool:
        """`lasts`, and the floors hold too."""
        return self.lasts(measures) and not self.broken_floors(measures)

    def on_target(self, measures: Measures) -> bool:
        """Whether the target is reached and, where the edit is for a system, what that reads of
        the concept moves far enough. Floors play no part."""
        return self.reached(measures) and not self.rests(measures)

    def reached(self, measures: Measures) -> bool:
        """Whether the name is not given any more."""
        return measures.forget_accuracy <= self.target

    def rests(self, measures: Measures) -> bool:
        """Whether what a system reads of the concept moves by less than `moves`, or no farther
        than what it reads of everything else; false where that is not measured."""
        moved = measures.moved
        if moved is None or moved.concept is None:
            return False
        alike = moved.times is not None and moved.times <= 1
        return moved.concept.mean < self.moves or alike

    def met_along(self, summary: Summary) -> npt.NDArray[np.bool_]:
        """`met` for each of R cases [R], in which only accuracies are known."""
        met = summary.forget_accuracy <= self.target
        for name, ratios in summary.kept_ratios.items():
            met &= ~(ratios < self.floors.get(name, 0.0))  # NaN, not measurable, is not broken
        return met

    def broken_floors(self, measures: Measures) -> list[str]:
        """The names of floors that do not hold. What cannot be measured is not broken here; the
        report names it as not measured."""
        shares = measures.shares_kept
        return [
            name
            for name, floor in self.floors.items()
            if (share := shares[name]) is not None and share < floor
        ]

    def unmeasured(self, measures: Measures) -> list[str]:
        """The names of floors that cannot be enforced: there are no such images, or the model's
        accuracy on them was no better than chance before the edit. A floor that is not defined
        (there is no level above what is forgotten, or only one level) is not among them."""
        rows = measures.levels
        defined = {
            "forget_coarse": any(row.images == "forget" and not row.forgotten for row in rows),
            "retain_fine": True,
            "retain_coarse": any(not row.fine for row in rows),
            STATES: measures.moved is not None,
        }
        shares = measures.shares_kept
        return [name for name in self.floors if shares[name] is None and defined[name]]

    @staticmethod
    def is_blind(measures: Measures) -> bool:
        """Whether nothing is known of other images, as without a retain set."""
        ratios = measures.kept_ratios
        return ratios["retain_fine"] is None and ratios["retain_coarse"] is None

    def misses(self, measures: Measures, title: str) -> list[str]:
        """What the goal lacks, in words; empty if it is met.

        Args:
            title: the name of what is to be forgotten.
        """
        misses = []
        if not self.reached(measures):
            misses.append(
                f"{title} is still recognised {measures.forget_accuracy:.1%} of the time "
                f"(target {self.target:.1%})"
            )
        if self.rests(measures):
            misses.append(self._too_close(measures, title))
        for name in self.broken_floors(measures):
            share, floor = measures.shares_kept[name], f"(floor {self.floors[name]:.1%})"
            misses.append(
                f"only {share:.1%} of {WORDS[name]} stays {floor}"
                if name == STATES
                else f"accuracy on {WORDS[name]} falls to {share:.1%} of what it was {floor}"
            )
        return misses

    def _too_close(self, measures: Measures, title: str) -> str:
        """That what a system reads of the concept has not moved far enough, in words."""
        moved = measures.moved
        assert moved is not None and moved.concept is not None
        text = f"what {moved.system} reads of {title} moves by {moved.concept.mean:.1%}"
        if moved.concept.mean < self.moves:
            return f"{text} (at least {self.moves:.1%} is asked)"
        assert moved.kept is not None
        return f"{text}, and of everything else by {moved.kept.mean:.1%}"

    @property
    def most_moved(self) -> float:
        """How far what a system reads of everything else may move on average."""
        return 1 - self.floors.get(STATES, 0.0)

    def met(self, measures: Measures) -> bool:
        return self.on_target(measures) and not self.broken_floors(measures)
