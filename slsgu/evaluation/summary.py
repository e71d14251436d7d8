"""Accuracies and what follows from them, for many steps or draws at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """R cases (steps, or draws of a bootstrap) at once; each value is [R], undefined ones NaN."""

    before: dict[str, Floats]
    after: dict[str, Floats]
    kept_ratios: dict[str, Floats]
    quality: Floats
    utility: Floats
    q_u: Floats
    forget_accuracy: Floats

    def at(self, places: npt.NDArray[np.intp]) -> Summary:
        """The same for some of the cases."""
        before, after, ratios = (
            {key: row[places] for key, row in rows.items()}
            for rows in (self.before, self.after, self.kept_ratios)
        )
        scores = (self.quality, self.utility, self.q_u, self.forget_accuracy)
        return Summary(before, after, ratios, *(row[places] for row in scores))
