"""Load any OpenCLIP model that slsgu supports, ready to be measured and edited.

OpenCLIP returns models in train mode, in the precision asked for, and with its own log lines and
warnings. `load` returns them in eval mode and fp32, quietly, with the checks of `slsgu.spec`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

from slsgu.checkpoint import CONFIG_NAME, read_state_dict, stored_dtypes
from slsgu.errors import ModelError
from slsgu.spec import LOCAL, SlsguWarning, Source, resolve

__all__ = ["Clip", "Precision", "SlsguWarning", "load", "weights_sha256"]

Precision = Literal["fp32", "bf16", "fp16"]
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
_LISTED = 8  # keys named in a message about a checkpoint that does not fit


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
        precision: autocast precision of forward passes without gradients; gradients and updates
            are always fp32.
        stored_dtypes: the dtype of each tensor of the state dict in the file it came from.
        model_cfg: OpenCLIP's architecture configuration.
        preprocess_cfg: mean, std, interpolation and resize mode.
        is_menagerie: whether this is the embedded model.
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

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an input image in pixels."""
        size: Any = self.model.get_submodule("visual").image_size
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Embed a batch of images; gradients flow if they are enabled.

        Args:
            pixels: preprocessed images [B, 3, H, W], on any device.

        Returns:
            Normalised fp32 embeddings [B, d].
        """
        encode: Any = self.model.encode_image
        with self._autocast():
            features = encode(pixels.to(self.device))
        return functional.normalize(features.float(), dim=-1)

    def encode_text(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Embed texts; gradients flow if they are enabled.

        Args:
            texts: n texts.
            batch_size: how many are encoded at once.

        Returns:
            Normalised fp32 embeddings [n, d].
        """
        encode: Any = self.model.encode_text
        parts = []
        for start in range(0, len(texts), batch_size):
            tokens = self.tokenize(texts[start : start + batch_size]).to(self.device)
            with self._autocast():
                features = encode(tokens)
            parts.append(functional.normalize(features.float(), dim=-1))
        if not parts:
            return torch.empty(0, int(self.model_cfg["embed_dim"]), device=self.device)
        return torch.cat(parts)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids [n, context length], on the CPU."""
        tokens: Tensor = self.tokenizer(list(texts))
        return tokens

    def describe(self) -> dict[str, Any]:
        """Which model this is, as JSON values."""
        return {"name": self.name, "pretrained": self.pretrained, "sha256": self.sha256}

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "fp32" or torch.is_grad_enabled():
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
        model: an OpenCLIP name, `local-dir:FOLDER`, `hf-hub:ORG/REPO`, or the path of a JSON
            model configuration; None is the embedded menagerie.
        pretrained: with a name, an OpenCLIP tag or a checkpoint file (`.safetensors`, `.pt`,
            `.pth`, `.bin`).
        device: `auto` (cuda, else mps, else cpu) or a torch device.
        precision: of forward passes without gradients.
        cache_dir: where downloads are kept; None is OpenCLIP's own place.
        quick_gelu: the activation, where the user knows better than the configuration.

    Raises:
        ModelError: the model can not be found, is not supported, would be loaded wrongly, or
            does not fit its architecture; or the device is not there.
    """
    place = _device(device)
    if precision not in ("fp32", *_AUTOCAST):
        raise ModelError(f"unknown precision {precision!r}: choose fp32, bf16 or fp16")
    name = model
    if model is None:
        if pretrained is not None:
            raise ModelError(f"--pretrained {pretrained} needs --model: which architecture is it?")
        from slsgu.menagerie import MODEL_DIR

        name, model = "menagerie", f"{LOCAL}{MODEL_DIR}"
    source = resolve(model, pretrained, cache_dir=cache_dir, quick_gelu=quick_gelu)
    weights = source.weights()
    dtypes = stored_dtypes(weights)  # first, because a damaged file gets its message here
    with _quiet(), torch.random.fork_rng(devices=[]):
        network, preprocess, tokenizer = _build(source, cache_dir)
        _load_weights(network, weights)
    network.eval().requires_grad_(False)
    _refuse_nonfinite(network, weights)
    return Clip(
        model=network.to(place),
        preprocess=preprocess,
        tokenizer=tokenizer,
        name=str(name),
        pretrained=pretrained,
        sha256=weights_sha256(network),
        device=place,
        precision=precision,
        stored_dtypes={
            # Text towers stored in the old layout are renamed on loading, text.* for instance.
            key: dtypes.get(key, dtypes.get(key.removeprefix("text."), tensor.dtype))
            for key, tensor in network.state_dict().items()
        },
        model_cfg=source.model_cfg,
        preprocess_cfg=_preprocess_cfg(network),
        is_menagerie=name == "menagerie",
    )


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over the state dict, sorted by name: names, shapes and values upcast to fp32.

    The same weights hash the same in fp32 and in fp16 that was upcast. One pass over the memory
    of the tensors; only what is not fp32 on the CPU already is copied, one tensor at a time.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().to("cpu", torch.float32).contiguous()
        digest.update(
            name.encode() + b"\0" + struct.pack(f"<{values.ndim + 1}q", values.ndim, *values.shape)
        )
        digest.update(values.numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()


def _device(device: str) -> torch.device:
    mps = torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ModelError(f"unknown device {device!r}: use auto, cpu, cuda, cuda:N or mps") from None
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(mps)}.get(place.type, 0)
    if (place.index or 0) >= count:
        raise ModelError(
            f"device {device!r} is not there: this machine has {torch.cuda.device_count()} CUDA "
            f"devices and {'an' if mps else 'no'} MPS device. Use auto or cpu"
        )
    return place


def _build(source: Source, cache_dir: str | None) -> tuple[nn.Module, Any, Any]:
    """The architecture with random weights, the validation transform, the tokenizer.

    Every kind of source becomes a local-dir that holds a configuration alone: one way through
    OpenCLIP instead of four, and weights are loaded where we can explain what does not fit.
    """
    cfg = json.loads(json.dumps(source.model_cfg))
    for tower in ("vision_cfg", "text_cfg"):
        cfg[tower].pop("output_tokens", None)  # the towers return embeddings, nothing beside
    with tempfile.TemporaryDirectory() as folder:
        config = {"model_cfg": cfg, "preprocess_cfg": source.preprocess_cfg}
        Path(folder, CONFIG_NAME).write_text(json.dumps(config), encoding="utf-8")
        try:
            network, _, preprocess = open_clip.create_model_and_transforms(
                f"{LOCAL}{folder}", load_weights=False, force_patch_dropout=0.0
            )
        except Exception as error:
            raise ModelError(f"OpenCLIP can not build this architecture: {error}") from error
        if not isinstance(network, open_clip.CLIP | open_clip.CustomTextCLIP):
            raise ModelError(f"{type(network).__name__} models are not supported, only CLIP ones")
        try:
            tokenizer = open_clip.get_tokenizer(
                source.tokenizer or f"{LOCAL}{folder}", cache_dir=cache_dir
            )
        except Exception as error:
            raise ModelError(
                f"the tokenizer of this model can not be loaded ({error}). A Hugging Face "
                "tokenizer needs `pip install transformers`, and the network on first use"
            ) from error
    return network, preprocess, tokenizer


def _load_weights(network: nn.Module, path: Path) -> None:
    try:
        open_clip.load_checkpoint(network, str(path), strict=True, weights_only=True)
    except Exception as error:
        # OpenCLIP's own conversions run first, so only what they can not mend arrives here.
        raise ModelError(_misfit(network, path, error)) from None


def _misfit(network: nn.Module, path: Path, error: Exception) -> str:
    stored = {name: tuple(tensor.shape) for name, tensor in read_state_dict(path).items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    lists = {
        "missing": [f"{name} {wanted[name]}" for name in wanted if name not in stored],
        "unexpected": [f"{name} {stored[name]}" for name in stored if name not in wanted],
        "of another shape": [
            f"{name} {stored[name]} (the architecture has {wanted[name]})"
            for name in wanted
            if name in stored and stored[name] != wanted[name]
        ],
    }
    lines = [f"{path} does not fit the architecture. Of {len(wanted)} tensors it should hold:"]
    for what, keys in lists.items():
        if keys:
            more = [f"    ... and {len(keys) - _LISTED} more"] if len(keys) > _LISTED else []
            lines += [f"  {len(keys)} {what}:", *(f"    {key}" for key in keys[:_LISTED]), *more]
    if len(lines) == 1:
        lines = [f"{path} does not fit the architecture: {error}"]
    return "\n".join([*lines, "Check the architecture's name, or the file."])


def _refuse_nonfinite(network: nn.Module, path: Path) -> None:
    for name, tensor in network.state_dict().items():
        if not math.isfinite(float(tensor.sum(dtype=torch.float64))):
            raise ModelError(f"{path} is damaged: {name} holds values that are not numbers")


def _preprocess_cfg(network: nn.Module) -> dict[str, Any]:
    """What OpenCLIP merged from its defaults and the source, as JSON values."""
    cfg = open_clip.get_model_preprocess_cfg(network)
    value: dict[str, Any] = json.loads(json.dumps(cfg))
    return value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCLIP's log lines and warnings from the user, and logging as it was.

    OpenCLIP logs through the root logger, and `logging.info()` installs a handler there if it
    finds none; a handler of ours for the time being prevents that.
    """
    root, handler = logging.getLogger(), logging.NullHandler()

    def foreign(record: logging.LogRecord) -> bool:
        return Path(record.pathname).parent.name != "open_clip"

    root.addHandler(handler)
    root.addFilter(foreign)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(foreign)
        root.removeHandler(handler)
