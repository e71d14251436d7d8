"""What an edit does to each class, and which names it brings back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slsgu.evaluation.proof import Proof

UNNAMED, NAMED = 0.2, 0.5  # accuracies below and from which a class is hardly named, and is named


def per_class(proof: Proof) -> list[dict[str, Any]]:
    """Accuracy of every class at the finest level that has images, in the taxonomy's order, as JSON
    values: `class`, `path`, `forgotten`, `count`, `before`, `after`."""
    exam = proof.exam
    labels = exam.labels[:, -1]
    rows = []
    for index, concept in enumerate(exam.levels[-1].classes):
        mask = labels == index
        count = int(mask.sum())
        if not count:
            continue
        rows.append({
            "class": concept.name,
            "path": concept.key,
            "forgotten": bool(exam.forgotten[mask, -1].all()),
            "count": count,
            "before": float(proof.before.correct[mask, -1].mean()),
            "after": float(proof.after.correct[mask, -1].mean()),
        })  # fmt: skip
    return rows


def named_again(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of classes that the model hardly named before the edit, and names after it.

    A model that was made to forget a concept earlier may name it again: what is forgotten now goes
    to its siblings, and the earlier concept is one of them.
    """
    return [
        row
        for row in rows
        if not row["forgotten"] and row["before"] < UNNAMED and row["after"] >= NAMED
    ]


def describe_named_again(rows: Sequence[dict[str, Any]], title: str) -> str | None:
    """The same in words; None where no name comes back.

    Args:
        rows: of all classes.
        title: of the request.
    """
    back = named_again(rows)
    if not back:
        return None
    names = [f"{x['class']} ({x['before']:.0%} before, {x['after']:.0%} after)" for x in back]
    return (
        f"named again, which the model hardly named before: {', '.join(names)}. If it was made to "
        f"forget this earlier, ask the original model to forget both at once: this and {title}"
    )
