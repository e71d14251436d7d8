"""Run folders: `runs/<concept slug>-<short hash of what matters>`, one per set of gradients."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slsgu.data.ledger import Ledger
from slsgu.errors import ArtifactError, DataError
from slsgu.gradients.bank import RetainCache
from slsgu.gradients.compute import compute_gradients
from slsgu.gradients.gradients import Gradients
from slsgu.search.pareto import LayerScore
from slsgu.task.plan import Plan
from slsgu.utils.artifact import refuse_name
from slsgu.utils.distributed import ALONE, Ranks
from slsgu.utils.files import json_sha256, read_json, replacing, write_json
from slsgu.utils.progress import SILENT, Progress
from slsgu.utils.schema import is_number
from slsgu.utils.together import replacing_together

RUNS = Path("runs")
PUBLISHED = (
    "request.yaml", "patch.safetensors", "result.json", "report.html", "pareto.png", "pareto.csv"
)  # fmt: skip
"""What one run writes at its end."""


@dataclass(frozen=True)
class RunFolder:
    """Where the artifacts of one run lie.

    Attributes:
        cached: the gradients that are there, if they were read already.
    """

    path: Path
    cached: Gradients | None = field(default=None, repr=False, compare=False)

    @property
    def gradients(self) -> Path:
        return self.path / "gradients.safetensors"

    @property
    def request(self) -> Path:
        """What was asked for, as a file that asks it again."""
        return self.path / "request.yaml"

    @property
    def partial(self) -> Path:
        """Sums of a pass that is not finished."""
        return self.path / "partial.safetensors"

    @property
    def layers(self) -> Path:
        return self.path / "layers.json"

    @property
    def pareto(self) -> Path:
        return self.path / "pareto.png"

    @property
    def patch(self) -> Path:
        return self.path / "patch.safetensors"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def refused(self) -> Path:
        """Why the run was refused after its gradients were computed."""
        return self.path / "refused.txt"

    @property
    def earlier_patch(self) -> Path:
        """The patch of an earlier run, where a later one in the same folder made none."""
        return self.path / "earlier-patch.safetensors"

    @contextlib.contextmanager
    def publishing(self) -> Iterator[RunFolder]:
        """Yield a run folder to write request, patch, result, report and figure into; on success
        they take the place of the earlier ones all at once, so that the folder never shows files
        of two runs. A patch that has no successor is kept as `earlier_patch`.

        Raises:
            SlsguError: the disk refuses. The files are as they were.
        """
        with replacing_together(self.path, PUBLISHED) as part:
            new = RunFolder(part)
            yield new
            if self.patch.is_file() and not new.patch.exists():
                with replacing(self.earlier_patch) as copy:
                    shutil.copyfile(self.patch, copy)
        self.refused.unlink(missing_ok=True)

    def write_layers(
        self,
        gradients: Gradients,
        scores: Sequence[LayerScore],
        *,
        norms: bool,
        system: str | None = None,
    ) -> None:
        """Write `layers.json`: the scores of all layers, and from which gradients they are.

        Args:
            norms: whether gains of LayerNorm and BatchNorm competed.
            system: only layers that it reads competed; None for all.
        """
        write_json(
            self.layers,
            {
                "concepts": gradients.key["request"]["concepts"],
                "gradients": json_sha256(dict(gradients.key)),
                "norms": norms,
                "for": system,
                "layers": [score.to_json() for score in scores],
            },
        )

    def known_efficiency(self, gradients: Gradients) -> tuple[dict[str, float], bool]:
        """What an earlier ranking from the same gradients has measured: efficiency by layer, and
        whether gains competed. Nothing and False where there is none."""
        try:
            found = read_json(self.layers, "list of layers")
        except ArtifactError:
            return {}, False
        if not isinstance(found, dict) or found.get("gradients") != json_sha256(
            dict(gradients.key)
        ):
            return {}, False
        rows = found.get("layers")
        measured = {
            row["layer"]: float(row["efficiency"])
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict)
            and isinstance(row.get("layer"), str)
            and is_number(row.get("efficiency"))
        }
        return measured, found.get("norms") is True


def run_folder(plan: Plan, explicit: Path | None = None, root: Path = RUNS) -> RunFolder:
    """The folder of a plan: the one named by the user, or `root/<slug>-<hash>`.

    Raises:
        ArtifactError: `explicit` holds the gradients of something else, or damaged ones, or is
            no name for a run folder.
    """
    if explicit is None:
        return RunFolder(root / plan.folder_name)
    refuse_name(explicit)
    folder = RunFolder(explicit)
    if folder.gradients.exists():
        folder = RunFolder(explicit, Gradients.load(folder.gradients))
        assert folder.cached is not None
        # Which layers the gradients are of makes them no others: it can be made up for.
        found, wanted = ({**key, "layer": None} for key in (folder.cached.key, plan.key))
        differences = key_differences(found, wanted)
        if differences:
            raise ArtifactError(
                f"the run folder {explicit} was made for something else "
                f"({'; '.join(differences)}): give another --run, or leave it out"
            )
    return folder


def newest_run(root: Path = RUNS) -> RunFolder:
    """The run whose gradients were written last, but for runs that were refused.

    Raises:
        ArtifactError: there is none.
    """
    caches = sorted(
        root.glob("*/gradients.safetensors"), key=lambda path: (path.stat().st_mtime_ns, path)
    )
    runs = [RunFolder(path.parent) for path in caches]
    for run in reversed(runs):
        if not run.refused.exists():
            return run
    if runs:
        raise ArtifactError(
            f"every run in {root}/ was refused (see {runs[-1].refused}): name one with --run"
        )
    raise ArtifactError(f"no run found in {root}/: make one with `slsgu grads --concept NAME`")


def obtain_gradients(
    plan: Plan,
    folder: RunFolder | None,
    ledger: Ledger,
    progress: Progress = SILENT,
    *,
    ranks: Ranks = ALONE,
    cache: RetainCache | None = None,
) -> tuple[Gradients, bool]:
    """The gradients of a plan: from the run folder if they match, else computed and saved there.

    Args:
        folder: None computes without saving.
        ledger: learns which pictures the gradients were made from and which could not be read,
            either way.
        ranks: the processes that share the work; the first one writes.
        cache: of retain gradients (`slsgu.gradients.bank`).

    Returns:
        The gradients, and whether they were reused.

    Raises:
        DataError: the plan is strict, and a picture cannot or could not be read.
    """
    if folder is not None and folder.gradients.exists():
        try:
            cached = folder.cached or Gradients.load(folder.gradients)
            differences = reuse_differences(cached.key, plan.key)
        except ArtifactError as error:
            differences = [str(error)]
        if not differences:
            progress.say(f"gradients: reusing {folder.gradients}")
            ledger.restore("gradient", cached.info["pixel_hashes"])
            for name, reason in cached.info["skipped"]:
                if plan.task.data.strict:
                    raise DataError(f"{name}: {reason} (strict: unreadable images are refused)")
                ledger.skip(name, reason)
            for overlap in cached.info["overlaps"]:
                ledger.overlap(*overlap)
            return cached, True
        progress.say(f"gradients: not reusing {folder.gradients}: {'; '.join(differences)}")
    partial = None if folder is None else folder.partial
    gradients = compute_gradients(plan, ledger, progress, partial=partial, ranks=ranks, cache=cache)
    if folder is not None and ranks.first:
        gradients.save(folder.gradients)
        folder.partial.unlink(missing_ok=True)
    return gradients, False


def reuse_differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Why gradients cannot be reused, in words: what differs between their key and the one that is
    wanted. Those of all layers serve a plan that fixes one.

    >>> reuse_differences({"seed": 0}, {"seed": 0, "layer": "visual.proj"})
    []
    >>> reuse_differences({"seed": 0, "layer": "visual.proj"}, {"seed": 0})
    ['they are of visual.proj alone']
    """
    layer = found.get("layer")
    found, others = ({**key, "layer": None} for key in (found, wanted))
    alone = [] if layer in (None, wanted.get("layer")) else [f"they are of {layer} alone"]
    return alone + key_differences(found, others)


def key_differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs between two keys, in words.

    >>> key_differences({"seed": 0, "model": "a"}, {"seed": 1, "model": "a"})
    ['seed is 0, wanted 1']
    """
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    told = []
    if "images" in names:  # a hash says nothing to people, the counts do
        counts = [key.get("image_count") for key in (found, wanted)]
        told.append(f"the images changed ({counts[0]} then, {counts[1]} now)")
        names = [name for name in names if name not in ("images", "image_count")]
    return told + [
        f"{name} is {_short(found.get(name))}, wanted {_short(wanted.get(name))}" for name in names
    ]


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "concepts" in value:
        value = ", ".join(value["concepts"])
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
