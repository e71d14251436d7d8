"""The report of a request without pictures: `result.json` and `report.html`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slsgu.evaluation.text_proof import LEAST_KEPT
from slsgu.evaluation.text_rows import GROUPS, TextRow
from slsgu.patch.size import relative_change
from slsgu.report.page import rendered
from slsgu.report.values import about_facts, patch_sha256, plain, tower_of
from slsgu.utils.files import write_text
from slsgu.utils.wording import listed, share, some
from slsgu.version import __version__

if TYPE_CHECKING:
    from slsgu.pipeline.text_run import TextOutcome

WORST = 10  # texts that are kept and moved most, which are shown
SHOWN = 5  # words in a sentence; a table has all of them
UNKNOWN = (
    "whether the model knew {} at all: texts cannot tell, since a name that it was never taught "
    "has a place among them too",
    "whether photographs of the concept are still called so: the edit moved the name, and what the "
    "model sees in a photograph need not lie where its name did",
    "whether photographs of anything else are called as before",
    "how easily a few photographs find the concept without its name",
)
"""What a request without pictures leaves open, about a concept."""
IMAGES_STAY = (
    "The image side is as it was: image embeddings made before the edit stay valid, and whoever "
    "has photographs of the concept finds it in them as before."
)
TEXTS_STAY = (
    "The text side is as it was. Image embeddings made before the edit are not valid any more; "
    "embed the images again."
)


def to_json(result: TextOutcome, *, patch: Path | None, report: Path | None) -> dict[str, Any]:
    """The result as plain JSON values. What is measured on images is null.

    Args:
        patch, report: where they were written; None if they were not.
    """
    task, layers = result.task, result.edit.patch.layers
    value: dict[str, Any] = {
        "request": task.request.describe(),
        "model": task.clip.describe(),
        "method": result.edit.patch.metadata.get("method"),
        "layers": layers,
        "layer": layers[0],
        "tower": tower_of(layers),
        "success": result.success,
        "shortfall": result.shortfall or None,
        **dict.fromkeys(("before", "after", "counts", "quality", "utility", "q_u")),
        "levels": [],
        "without_images": True,
        "not_known": not_known(result),
        "outside": task.outside,
        "text": result.proof.to_json(),
        "other_texts": task.others_title,
        "notes": task.notes,
        "templates": task.templates,
        "settings": result.edit.settings,
        "seconds": result.seconds,
        "patch": patch,
        "patch_sha256": patch_sha256(result, patch),
        "report": report,
        "command": result.command,
        **result.about,
        "version": __version__,
    }
    return dict(plain(value))


def write(result: TextOutcome, path: Path, *, command: str, patch: Path | None) -> None:
    """Write the report: one file that needs no other and runs no script.

    Args:
        path: the HTML file.
        command: the command line that made the result.
        patch: where the patch was written; None if it was not.

    Raises:
        SlsguError: the disk refuses.
    """
    write_text(path, rendered("text_page.html.j2", plain(_view(result, command, patch))))


def not_known(result: TextOutcome) -> list[str]:
    """What the request leaves open."""
    return [each.format(result.task.request.title) for each in UNKNOWN]


def outside_words(result: TextOutcome) -> str:
    """Of what stands in no taxonomy or list that was given, that nobody vouches for it; empty where
    all does."""
    names = listed(result.task.outside)
    if not names:
        return ""
    return (
        f"{names}: in no taxonomy or list that was given. Whether the model knew it cannot be told "
        "from texts"
    )


def moves_texts(result: TextOutcome) -> bool:
    """Whether it is the text side that the edit changes."""
    return tower_of(result.edit.patch.layers) == "language"


def group_rows(result: TextOutcome) -> list[dict[str, Any]]:
    """What became of the texts of each group that has any."""
    proof, rows = result.proof, []
    for group, title in GROUPS.items():
        texts = proof.of(group)
        if not texts:
            continue
        moved = proof.moved(group) if moves_texts(result) else None
        rows.append({
            "title": f"{title} ({result.task.others_title})" if group == "other text" else title,
            "forget": group == "forgotten",
            "count": len(texts),
            "before": sum(row.rank_before == 1 for row in texts),
            "after": sum(row.rank_before == row.rank_after == 1 for row in texts),
            "moved": moved and [f"{distance:.3f}" for distance in moved],
        })  # fmt: skip
    return rows


def called_now(result: TextOutcome) -> list[tuple[str, str]]:
    """What is to be forgotten, and what its stand-in is called now, by their last names."""
    names = [(each.concept, each.after) for each in result.proof.requested]
    return [(concept.split("/")[-1], after.split("/")[-1]) for concept, after in names]


def unknown_words(result: TextOutcome) -> list[str]:
    """The ways to call the concept that did not find its place before the edit."""
    return [row.words for row in result.proof.of("forgotten") if row.rank_before > 1]


def change_words(result: TextOutcome) -> str:
    """How long the change is, as a share of the norm of its layer."""
    (layer,) = result.edit.patch.layers
    moved = relative_change(result.edit.patch, layer)
    return f"{share(math.inf if moved is None else moved)} the layer's norm"


def _headline(result: TextOutcome) -> str:
    """What became of the concept, as far as texts can tell, which is not beyond its name."""
    if result.success:
        return "only its name is forgotten"
    if result.proof.still_named or result.proof.mistaken:
        return "not forgotten"
    return "its name is forgotten, but more was lost than the goal allows"


def _view(result: TextOutcome, command: str, patch: Path | None) -> dict[str, Any]:
    """Everything the template names."""
    proof, task = result.proof, result.task
    title = task.request.title
    layer = result.edit.patch.layers[0]
    pretrained = task.clip.describe()["pretrained"]
    return {
        "title": title,
        "tone": "fair" if result.success else "bad",
        "headline": _headline(result),
        "shortfall": result.shortfall,
        "patched": result.patch is not None,
        "groups": group_rows(result),
        "called": called_now(result),
        "forgotten": _rows(proof.of("forgotten")),
        "worst": _rows(proof.worst(WORST)),
        "lost": len(proof.lost),
        "still_found": some([row.words for row in proof.still_found], SHOWN),
        "not_understood": some(unknown_words(result), SHOWN),
        "least": LEAST_KEPT,
        "knows_others": proof.knows_others,
        "outside": outside_words(result),
        "unknown": not_known(result),
        "side": IMAGES_STAY if moves_texts(result) else TEXTS_STAY,
        "moves_texts": moves_texts(result),
        "facts": [
            ("Forget", ", ".join(concept.key for concept in task.request.concepts)),
            *about_facts(result.about),
            (
                "Taxonomy",
                f"{task.request.taxonomy.name}, {len(task.request.taxonomy.leaves)} classes",
            ),
            ("Other texts", f"{len(task.others)} {task.others_title}"),
            *(("Left out", note) for note in task.notes),
            ("Model", " · ".join(filter(None, [task.clip.name, pretrained]))),
            ("Model SHA-256", task.clip.sha256),
            ("Method", str(result.edit.patch.metadata.get("method"))),
            ("Layer", f"{layer}; the change is {change_words(result)}"),
            ("Images", "none"),
            ("Templates", f"{len(task.templates)}, such as “{task.templates[0]}”"),
            ("Time", f"{result.seconds['total']:.1f} s"),
            ("Patch", "not written" if patch is None else str(patch)),
        ],
        "settings": result.edit.settings,
        "command": command,
        "version": __version__,
    }


def _rows(rows: Sequence[TextRow]) -> list[dict[str, Any]]:
    return [
        {**asdict(row), "group": GROUPS[row.group], "finds": row.finds.split("/")[-1]}
        for row in rows
    ]
