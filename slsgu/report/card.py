"""The model card of a patched model: what it was, what was forgotten, and what that did."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from slsgu.evaluation.metrics import WORDS
from slsgu.patch.header import model_names
from slsgu.patch.patch import Patch
from slsgu.patch.size import relative_change
from slsgu.utils.wording import markdown, printable, share

_LOADING = """```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")
```"""


def model_card(patch: Patch, *, base: str, command: str, has_base_card: bool = False) -> str:
    """The card as Markdown with a YAML head, as the Hugging Face Hub reads it.

    Args:
        patch: what was applied.
        base: the model that it was applied to, for people.
        command: the command that applied it.
        has_base_card: whether the base model's own card lies beside, as `BASE_README.md`.
    """
    paths = [markdown(path) for path in patch.requested_paths()]
    forgotten = ", ".join(paths) or "what the patch names"
    head = {
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", "open_clip", "slsgu", "machine-unlearning"],
    }
    own = " Its own card is in [BASE_README.md](BASE_README.md)." if has_base_card else ""
    layers = [
        f"| `{printable(name)}` | {list(delta.shape)} | "
        f"{share(relative_change(patch, name) or math.inf, digits=2)} its norm |"
        for name, delta in patch.delta.items()
    ]
    lines = [
        "---",
        # Which licence holds is the base model's to say, and the user's to know.
        "# license: the licence of the base model",
        yaml.safe_dump(head, sort_keys=False).rstrip(),
        "---",
        "",
        f"# {markdown(base)} without {forgotten}",
        "",
        f"This is {markdown(base)} after [slsgu](https://pypi.org/project/slsgu/) edited it to "
        f"forget {forgotten}. All other tensors are those of the base model.{own}",
        "",
        *[line for part in patch.parts for line in _part(part)],
        "## What was changed",
        "",
        "| layer | shape | changed by |",
        "|---|---|---|",
        *layers,
        "",
        f"SHA-256 of the patch file: `{patch.file_sha256}`",
        "",
        "Applied with",
        "",
        _code(command),
        "",
        "## Use",
        "",
        _LOADING,
        "",
        "## Limits",
        "",
        "The figures are of the images that the patch was tested on. The model no longer names "
        "the concept; that is not proof that nothing of it is left. Whoever has the patch, or "
        "the base model, can bring it back.",
        "",
        "## Licence",
        "",
        "That of the base model. Fill in `license` at the head of this file.",
    ]
    return "\n".join(lines) + "\n"


def _part(part: Mapping[str, Any]) -> list[str]:
    """The section on one request."""
    request, test = part.get("request", {}), part.get("test", {})
    paths = ", ".join(markdown(path) for path in request.get("paths", ()))
    lines = [f"## Request: {paths or 'not recorded'}", ""]
    facts = [
        ("Made for", ", ".join(model_names([part]))),
        ("Asked by", part.get("asked_by")),
        ("Reason", part.get("reason")),
        ("Step", f"{part['scale']:g} times that of the figures" if part.get("scale") else None),
    ]
    lines += [f"* {name}: {markdown(str(value))}" for name, value in facts if value]
    if part.get("command"):
        lines += ["* Made with", "", _code(str(part["command"]))]
    rows = [
        f"| {WORDS.get(key, markdown(key))} | {_percent(before)} | {_percent(test['after'][key])} |"
        for key, before in test.get("before", {}).items()
        if before is not None
    ]
    if rows:
        lines += ["", "| accuracy on | before | after |", "|---|---|---|", *rows]
        lines += ["", f"Q-U: {_percent(test.get('q_u'))}"]
    return [*lines, ""]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _code(text: str) -> str:
    """An indented block of code, which no text within can end."""
    return f"    {printable(text)}"
