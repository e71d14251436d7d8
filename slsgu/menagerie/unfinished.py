"""A training that is not finished: weights and moments on disk, so that it goes on another day."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from slsgu.errors import ArtifactError
from slsgu.utils.artifact import read_artifact, write_artifact

KIND = "slsgu-training"
SCHEMA = 1
EVERY = 100  # steps


@dataclass(frozen=True)
class Unfinished:
    """What a training has come to, beside the folder that it will write.

    Attributes:
        path: the file.
        recipe: what is trained, in words; a file of another recipe is not gone on with.
    """

    path: Path
    recipe: str

    @classmethod
    def of(cls, out: Path, recipe: str) -> Unfinished:
        """The file of the training that writes `out`."""
        return cls(out.with_name(f"{out.name}.training.safetensors"), recipe)

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
        """Take up what is there.

        Returns:
            Steps taken and seconds spent; zeros where there is nothing to go on with.
        """
        if not os.path.lexists(self.path):
            return 0, 0.0
        try:
            header, tensors = read_artifact(
                self.path, kind=KIND, schema=SCHEMA, what="unfinished training"
            )
        except ArtifactError:
            return 0, 0.0
        if header.get("recipe") != self.recipe or set(tensors) != set(
            self._tensors(model, optimizer, {})
        ):
            return 0, 0.0
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[f"weight/{name}"])
                if parameter.requires_grad:
                    optimizer.state[parameter] = {
                        key: tensors[f"{key}/{name}"].clone() for key in _MOMENTS
                    }
        return int(header["steps"]), float(header["seconds"])

    def save(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seconds: float
    ) -> None:
        """Write what there is.

        Raises:
            SlsguError: the disk refuses.
        """
        tensors = self._tensors(model, optimizer, dict(optimizer.state))
        header = {"recipe": self.recipe, "steps": steps, "seconds": seconds}
        write_artifact(self.path, tensors, kind=KIND, schema=SCHEMA, header=header)

    def remove(self) -> None:
        """It is finished."""
        self.path.unlink(missing_ok=True)

    @staticmethod
    def _tensors(
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: dict[Tensor, dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            tensors[f"weight/{name}"] = parameter.detach().contiguous()
            moments = state.get(parameter, {})
            for key in _MOMENTS:
                value = moments.get(key, torch.zeros(()))
                tensors[f"{key}/{name}"] = value.detach().clone().contiguous()
        return tensors


_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
