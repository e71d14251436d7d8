"""Results in the shape of CLIP_benchmark's JSON files, for those who compare with its tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from slsgu.evaluation.exam import Answers, Exam
from slsgu.evaluation.proof import Proof
from slsgu.models.clip import Clip


def clip_benchmark(
    clip: Clip, dataset: str, proof: Proof, patch: str | None
) -> list[dict[str, Any]]:
    """One entry for the model, and one for the model with a patch.

    Args:
        dataset: its name.
        patch: the name of the patch, added to `pretrained`; None for none.
    """
    model = clip.describe()
    pretrained = model["pretrained"] or model["sha256"][:12]
    moments = [(pretrained, proof.before)]
    if patch is not None:
        moments.append((f"{pretrained}+{patch}", proof.after))
    return [
        {
            "dataset": dataset,
            "model": model["name"],
            "pretrained": name,
            "task": "zeroshot_classification",
            "metrics": _metrics(proof.exam, answers),
            "language": "en",
        }
        for name, answers in moments
    ]


def _metrics(exam: Exam, answers: Answers) -> dict[str, float | None]:
    labels, correct = exam.labels[:, -1], answers.correct[:, -1]
    labelled = labels >= 0
    recalls = [correct[labels == label].mean() for label in np.unique(labels[labelled])]
    top5 = None if answers.top5 is None else float(answers.top5[labelled].mean())
    return {
        "acc1": float(correct[labelled].mean()),
        "acc5": top5,  # CLIP_benchmark writes NaN, which is no JSON, for fewer than five classes
        "mean_per_class_recall": float(np.mean(recalls)),
    }
