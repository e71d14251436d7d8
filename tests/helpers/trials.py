"""Measures of steps that nobody took."""

from __future__ import annotations

from typing import Any

from slsgu.evaluation.metrics import Measures
from slsgu.evaluation.unseen import Unseen


def measures_of(forget: float, kept: float, q_u: float, unseen: Unseen | None = None) -> Measures:
    """Accuracy left on what is to be forgotten, share kept of everything else, and Q-U."""
    keys = ("forget_fine", "forget_coarse", "retain_fine", "retain_coarse")
    fields: dict[str, Any] = {
        "before": dict.fromkeys(keys, 1.0),
        "after": dict(zip(keys, (forget, 1.0, kept, 1.0), strict=True)),
        "kept_ratios": {"forget_coarse": 1.0, "retain_fine": kept, "retain_coarse": None},
        "levels": (),
        "forget_accuracy": forget,
    }
    scores = {"quality": 1 - forget, "utility": kept, "q_u": q_u}
    return Measures(**fields, **scores, counts={}, unseen=unseen)
