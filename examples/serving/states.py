"""Models that answer while patches are switched: immutable states, swapped by one assignment.

A state is never changed once it answers. Switching a patch makes a new state, which shares all
weights with the original but those of the edited layers. A request takes one state and keeps it, so
its answer is that of the original or of the patched model, never of something between.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from slsgu.errors import SlsguError
from slsgu.models.clip import Clip
from slsgu.patch.conflicts import refuse_repeated
from slsgu.patch.patch import Patch

SHOWN = 5  # labels in an answer


class UnknownPatchError(SlsguError):
    """There is no patch of this name."""


class RefusedPatchError(SlsguError):
    """A patch that cannot be used with this model."""


@dataclass(frozen=True, eq=False)
class State:
    """A model that answers, and never changes.

    Attributes:
        clip: the model.
        classes: normalised class embeddings [n, d].
        on: the patches in it, by name.
    """

    clip: Clip
    classes: Tensor
    on: Mapping[str, Patch]

    @torch.inference_mode()
    def answer(self, picture: Image.Image, labels: Sequence[str]) -> list[dict[str, Any]]:
        """The likeliest labels of a picture, with their shares of the probability."""
        pixels = self.clip.preprocess(picture)[None]
        image = self.clip.encode_image(pixels)  # [1, d]
        scale = self.clip.model.get_parameter("logit_scale").exp()
        shares = (scale * image @ self.classes.T).softmax(dim=-1)[0]  # [n]
        found = shares.topk(min(SHOWN, len(labels)))
        pairs = zip(found.values.tolist(), found.indices.tolist(), strict=True)
        return [{"label": labels[index], "share": share} for share, index in pairs]


@dataclass(frozen=True)
class Shelved:
    """A file of the folder of patches: a patch that fits, or the reason why it cannot be used."""

    name: str
    patch: Patch | None
    reason: str | None


class Service:
    """A model, the labels it answers with, and a folder of patches to switch on and off.

    Args:
        clip: the model. It stays as it is.
        labels: the names of the classes.
        templates: prompts, each with `{}` for the name.
        folder: its `*.safetensors` are the patches, by their names.
    """

    def __init__(
        self, clip: Clip, labels: Sequence[str], templates: Sequence[str], folder: Path
    ) -> None:
        self.labels, self.folder = tuple(labels), folder
        self._templates = tuple(templates)
        self._switching = threading.Lock()
        self._read: dict[Path, tuple[tuple[int, int], Shelved]] = {}
        self.original = State(clip, self._embed(clip), {})
        self.state = self.original

    def shelf(self) -> list[Shelved]:
        """The patches of the folder as it is now; a file is read again if it has changed."""
        found = []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                status = path.stat()
            except OSError:  # gone meanwhile
                continue
            stamp = (status.st_mtime_ns, status.st_size)
            if self._read.get(path, (None,))[0] != stamp:
                self._read[path] = (stamp, self._judge(path))
            found.append(self._read[path][1])
        return found

    def switch(self, name: str, on: bool) -> State:
        """Switch a patch; requests that are being answered keep the state that they began with.

        Raises:
            UnknownPatchError: the folder has no such patch.
            RefusedPatchError: it does not fit the model, or not together with those that are on.
        """
        with self._switching:
            wanted = {key: patch for key, patch in self.state.on.items() if key != name}
            if on:
                wanted[name] = self._find(name)
            elif name not in self.state.on:
                self._find(name)  # a name that means nothing is told
            self.state = self._build(wanted)
            return self.state

    def _find(self, name: str) -> Patch:
        shelved = next((each for each in self.shelf() if each.name == name), None)
        if shelved is None:
            raise UnknownPatchError(f"there is no patch {name!r} in the folder")
        if shelved.patch is None:
            raise RefusedPatchError(f"{name} is refused: {shelved.reason}")
        return shelved.patch

    def _judge(self, path: Path) -> Shelved:
        try:
            patch = Patch.load(path)
            patch.changed(dict(self.original.clip.model.named_parameters()))
        except SlsguError as error:
            return Shelved(path.stem, None, str(error).replace(str(path), path.name))
        return Shelved(path.stem, patch, None)

    def _build(self, patches: Mapping[str, Patch]) -> State:
        if not patches:
            return self.original
        total = sum(patches.values(), Patch({}, {}))  # of one layer, too
        original = self.original.clip
        try:
            refuse_repeated(list(patches.items()))
            changed = total.changed(dict(original.model.named_parameters()))
        except SlsguError as error:
            raise RefusedPatchError(str(error)) from error
        clip = replace(original, model=sharing(original.model, changed))
        of_texts = any(not name.startswith("visual.") for name in changed)
        classes = self._embed(clip) if of_texts else self.original.classes
        return State(clip, classes, dict(patches))

    @torch.inference_mode()
    def _embed(self, clip: Clip) -> Tensor:
        """Class embeddings [n, d]: the normalised mean of the prompts of each name."""
        prompts = [t.replace("{}", label) for label in self.labels for t in self._templates]
        texts = clip.encode_text(prompts).unflatten(0, (len(self.labels), -1))  # [n, prompts, d]
        return functional.normalize(texts.mean(dim=1), dim=-1)


def sharing(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A model with other weights for some layers, which shares everything else with `model`.

    Only the modules on the way to these layers are new objects: no other weight is copied, and
    `model` stays as it is.
    """
    new = _twin(model)
    twins = {"": new}
    for name, weight in weights.items():
        path = ""
        *steps, last = name.split(".")
        for step in steps:
            above, path = twins[path], f"{path}.{step}".removeprefix(".")
            if path not in twins:
                twins[path] = above._modules[step] = _twin(above.get_submodule(step))
        twins[path]._parameters[last] = nn.Parameter(weight, requires_grad=False)
    return new


def _twin(module: nn.Module) -> nn.Module:
    """The same module as another object, with tables of its own."""
    twin = copy.copy(module)
    for table in ("_parameters", "_buffers", "_modules"):
        twin.__dict__[table] = dict(module.__dict__[table])
    return twin
