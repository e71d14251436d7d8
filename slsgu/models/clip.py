"""Load any OpenCLIP model that slsgu supports, ready to be measured and edited.

OpenCLIP returns models in train mode, in the precision asked for, and with its own log lines and
warnings. `load` returns them in eval mode and fp32, quietly, with the checks of
`slsgu.models.resolve` and `slsgu.models.build`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

from slsgu.errors import ModelError
from slsgu.models.build import build
from slsgu.models.checkpoint import Headers, headers, headers_of
from slsgu.models.config import activation_name
from slsgu.models.folding import Folding
from slsgu.models.resolve import LOCAL, local_folder, own_folder, resolve
from slsgu.models.tensors import state_sha256
from slsgu.models.text_length import shortened
from slsgu.utils.names import refuse_blank

Precision = Literal["fp32", "bf16", "fp16"]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, eq=False)
class Clip:
    """A CLIP model with all that is needed to use it, say which it is, and save it again.

    Attributes:
        model: in eval mode, parameters in fp32, none requires a gradient.
        preprocess: OpenCLIP's validation transform, PIL image to [3, H, W].
        tokenizer: texts to token ids.
        name: the model as the user gave it; `menagerie` for the embedded one.
        pretrained: the tag or file, None where the name says it all.
        sha256: over names, shapes and fp32 values of the weights.
        device: where the model is.
        precision: autocast precision of forward passes; weights and updates are always fp32.
        stored_dtypes: the dtype of each tensor of the state dict in the file it came from.
        model_cfg: OpenCLIP's architecture configuration.
        preprocess_cfg: mean, std, interpolation and resize mode.
        is_menagerie: whether this is the embedded model.
        folder: the `local-dir` that it came from; None for any other source.
    """

    model: nn.Module
    preprocess: Callable[[Any], Tensor]
    tokenizer: Any
    name: str
    pretrained: str | None
    sha256: str
    device: torch.device
    precision: Precision
    stored_dtypes: dict[str, torch.dtype]
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    is_menagerie: bool
    folder: Path | None = None

    @property
    def activation(self) -> str:
        """What stands between the layers of an MLP: `quick_gelu` or `gelu`."""
        return activation_name(self.model_cfg)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an input image in pixels."""
        size: Any = self.model.get_submodule("visual").image_size
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def as_stored(self, name: str) -> Tensor:
        """A copy of a layer, on the CPU, in the precision of the file that it came from. In that of
        the model where the file's has no room for it, as when a patch was applied in memory."""
        weight = self.model.get_parameter(name).detach().to("cpu", copy=True)
        stored = weight.to(self.stored_dtypes.get(name, weight.dtype))
        return stored if torch.equal(stored.to(weight.dtype), weight) else weight

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised fp32 embeddings [B, d] of a batch of images; gradients flow if enabled.

        Args:
            pixels: preprocessed images [B, 3, H, W], on any device.
        """
        return functional.normalize(self.image_features(pixels), dim=-1)

    def image_features(self, pixels: Tensor) -> Tensor:
        """`encode_image` before it normalises [B, d]."""
        encode: Any = self.model.encode_image
        pixels = pixels.to(self.device)
        if self._convolutional:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            if self.precision == "fp32" and not self.model.training:
                return self._folding.run(encode, pixels)
        with self._autocast():
            features: Tensor = encode(pixels)
        return features.float()

    def encode_text(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Normalised fp32 embeddings [n, d] of texts; gradients flow if enabled.

        Args:
            texts: n texts.
            batch_size: how many are encoded at once.
        """
        return functional.normalize(self.text_features(texts, batch_size=batch_size), dim=-1)

    def text_features(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """`encode_text` before it normalises [n, d]."""
        encode: Any = self.model.encode_text
        parts = []
        for start in range(0, len(texts), batch_size):
            tokens = self.tokenize(texts[start : start + batch_size]).to(self.device)
            with self._autocast(), shortened(self.model, tokens):
                parts.append(encode(tokens).float())
        if not parts:
            return torch.empty(0, int(self.model_cfg["embed_dim"]), device=self.device)
        return torch.cat(parts)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids [n, context length], on the CPU."""
        tokens: Tensor = self.tokenizer(list(texts))
        return tokens

    @property
    def typed(self) -> str:
        """The options that name it on the command line; none for the embedded model."""
        words = [] if self.is_menagerie else ["--model", self.name]
        words += ["--pretrained", self.pretrained] if self.pretrained else []
        return shlex.join(words)

    def describe(self) -> dict[str, Any]:
        """Which model this is, as JSON values."""
        return {"name": self.name, "pretrained": self.pretrained, "sha256": self.sha256}

    @cached_property
    def _folding(self) -> Folding:
        return Folding()

    @cached_property
    def _convolutional(self) -> bool:
        """Whether the image tower is mostly convolutions, and runs on the CPU: there they take a
        quarter less time on pixels whose channels lie beside each other."""
        modules = list(self.model.get_submodule("visual").modules())
        convolutions, linear = (
            sum(isinstance(module, kind) for module in modules) for kind in (nn.Conv2d, nn.Linear)
        )
        # One convolution embeds the patches of a transformer.
        return self.device.type == "cpu" and convolutions > linear + 1

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=_AUTOCAST[self.precision])


def load(
    model: str | None = None,
    pretrained: str | None = None,
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    cache_dir: str | None = None,
    quick_gelu: bool | None = None,
) -> Clip:
    """Load a CLIP model.

    Args:
        model: an OpenCLIP name, `local-dir:FOLDER`, `hf-hub:ORG/REPO`, `transformers:FOLDER` (a
            `CLIPModel` that transformers saved), the path of a JSON model configuration, or
            `imagenet-lite0`; None is the embedded menagerie.
        pretrained: with a name, an OpenCLIP tag or a checkpoint file (`.safetensors`, `.pt`,
            `.pth`, `.bin`).
        device: `auto` (cuda, else mps, else cpu) or a torch device.
        precision: of forward passes without gradients.
        cache_dir: where downloads are kept; None is OpenCLIP's own place.
        quick_gelu: the activation, where the user knows better than the configuration.

    Raises:
        ModelError: the model cannot be found, is not supported, would be loaded wrongly, or
            does not fit its architecture; or the device is not there.
    """
    refuse_blank(model, "the name of the model", ModelError)
    refuse_blank(pretrained, "the name of the pretrained weights", ModelError)
    place = _device(device)
    if precision not in ("fp32", *_AUTOCAST):
        raise ModelError(f"unknown precision {precision!r}: choose fp32, bf16 or fp16")
    name = model
    if model is None:
        if pretrained is not None:
            raise ModelError(f"--pretrained {pretrained} needs --model: which architecture is it?")
        from slsgu.menagerie import MODEL_DIR

        name, model = "menagerie", f"{LOCAL}{MODEL_DIR}"
    if (folder := own_folder(model)) is not None:
        if pretrained is not None:
            raise ModelError(f"{model} brings its own weights: leave out --pretrained {pretrained}")
        model = f"{LOCAL}{folder}"
    source = resolve(model, pretrained, cache_dir=cache_dir, quick_gelu=quick_gelu)
    weights = source.weights()
    tensors = None if source.tensors is None else source.tensors()
    # First, because a damaged file gets its message here.
    stored = headers(weights) if tensors is None else headers_of(tensors)
    network, preprocess, tokenizer = build(source, weights, tensors, cache_dir=cache_dir)
    sha256 = weights_sha256(network)  # before the weights move to a device
    return Clip(
        model=network.to(place),
        preprocess=preprocess,
        tokenizer=tokenizer,
        name=str(name),
        pretrained=pretrained,
        sha256=sha256,
        device=place,
        precision=precision,
        stored_dtypes={
            key: _stored_dtype(key, stored) or tensor.dtype
            for key, tensor in network.state_dict().items()
        },
        model_cfg=source.model_cfg,
        preprocess_cfg=_preprocess_cfg(network),
        is_menagerie=name == "menagerie",
        folder=local_folder(model),
    )


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over the state dict (`slsgu.models.tensors.state_sha256`)."""
    return state_sha256(model.state_dict())


def _device(device: str) -> torch.device:
    mps = torch.backends.mps.is_available()
    if device == "auto":
        if torch.cuda.is_available():  # under torchrun each process has a GPU of its own
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("mps" if mps else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ModelError(f"unknown device {device!r}: use auto, cpu, cuda, cuda:N or mps") from None
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps)}.get(place.type, 0)
    if (place.index or 0) >= count:
        raise ModelError(
            f"device {device!r} is not available: this machine has {torch.cuda.device_count()} "
            f"CUDA devices and {'an' if mps else 'no'} MPS device. Use auto or cpu"
        )
    return place


def _stored_dtype(name: str, stored: Headers) -> torch.dtype | None:
    """How a tensor lies in its file; None where it is not in it. Text towers stored in the old
    layout are renamed on loading: `text.*`, for instance."""
    for key in (name, name.removeprefix("text.")):
        if key in stored:
            return stored[key][0]
    return None


def _preprocess_cfg(network: nn.Module) -> dict[str, Any]:
    """What OpenCLIP merged from its defaults and the source, as JSON values."""
    cfg = open_clip.get_model_preprocess_cfg(network)
    value: dict[str, Any] = json.loads(json.dumps(cfg))
    return value
