"""The sums of a pass that is not finished, kept on disk so that it can go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slsgu.data.ledger import Ledger
from slsgu.errors import ArtifactError
from slsgu.gradients.accumulate import LossGradient
from slsgu.gradients.gradients import OVERLAPS, SKIPPED
from slsgu.utils.artifact import read_artifact, write_artifact
from slsgu.utils.schema import anything, count, flag, list_of, map_of, number, record, text

SCHEMA = 1
KIND = "slsgu-partial-gradients"
HEADER = record(
    {
        "key": map_of(anything),
        "passes": map_of(
            record(
                {"loss": number, "count": count, "position": count, "finished": flag}, closed=True
            )
        ),
        "hashes": list_of(text),
        "skipped": SKIPPED,
        "overlaps": OVERLAPS,
    }
)
EVERY = 60.0  # seconds between two writes


@dataclass
class Partial:
    """Both passes of a plan, as far as they have come, beside the cache that they will make.

    Attributes:
        path: where it is kept; None keeps nothing.
        key: the plan's; sums of another plan are not gone on with.
        ledger: whose claims and skips are kept too.
        every: seconds between two writes.
    """

    path: Path | None
    key: Mapping[str, Any]
    ledger: Ledger
    every: float = field(default_factory=lambda: EVERY)
    passes: dict[str, LossGradient] = field(default_factory=dict)
    written: float = field(default_factory=time.monotonic)

    def load(self, fits: Callable[[LossGradient], bool] = lambda sums: True) -> str | None:
        """Take up what an earlier run has left.

        Args:
            fits: whether sums are of the layers of the model.

        Returns:
            What was found, in words; None where there is nothing.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            header, tensors = read_artifact(
                self.path, kind=KIND, schema=SCHEMA, what="unfinished gradient pass", holds=HEADER
            )
            if header["key"] != dict(self.key):
                return f"not going on with {self.path}: it is of another request, model or data"
            passes = {name: LossGradient(**numbers) for name, numbers in header["passes"].items()}
            for name, tensor in tensors.items():
                which, part, *layer = name.split("/", 2)
                if part == "texts":
                    passes[which].texts = tensor
                else:
                    passes[which].gradients[layer[0]] = tensor
        except (ArtifactError, KeyError, IndexError, ValueError) as error:
            return f"not going on with {self.path}: {error}"
        if not all(fits(sums) for sums in passes.values()):
            return f"not going on with {self.path}: it holds layers that this model does not have"
        hashes, skipped, overlaps = header["hashes"], header["skipped"], header["overlaps"]
        self.ledger.restore("gradient", hashes)
        for name, reason in skipped:
            self.ledger.skip(name, reason)
        for overlap in overlaps:
            self.ledger.overlap(*overlap)
        self.passes = passes
        done = sum(sums.position for sums in passes.values())
        return f"gradients: going on after {done} images ({self.path})"

    def of(self, name: str) -> LossGradient:
        """The sums of one pass, to be added to."""
        return self.passes.setdefault(name, LossGradient())

    def tick(self) -> None:
        """Write if it is time."""
        if self.path is not None and time.monotonic() - self.written >= self.every:
            self.save()
            self.written = time.monotonic()

    def save(self) -> None:
        """Write all sums, whole or not at all."""
        assert self.path is not None
        tensors = {
            f"{which}/gradients/{name}": tensor
            for which, sums in self.passes.items()
            for name, tensor in sums.gradients.items()
        }
        tensors |= {
            f"{which}/texts": sums.texts
            for which, sums in self.passes.items()
            if sums.texts is not None
        }
        header = {
            "key": dict(self.key),
            "passes": {
                which: {
                    "loss": sums.loss,
                    "count": sums.count,
                    "position": sums.position,
                    "finished": sums.finished,
                }
                for which, sums in self.passes.items()
            },
            "hashes": list(self.ledger.hashes("gradient")),
            "skipped": [[item.name, item.reason] for item in self.ledger.skipped],
            "overlaps": [list(item) for item in self.ledger.overlaps],
        }
        write_artifact(self.path, tensors, kind=KIND, schema=SCHEMA, header=header)
