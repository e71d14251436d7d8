"""From a `ModelSpec` to a network with its weights, through OpenCLIP's public functions.

OpenCLIP logs through the root logger, warns, and reports a checkpoint that does not fit as a
traceback. Here it does so quietly and in words.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from slsgu.errors import ModelError, SlsguWarning
from slsgu.models.checkpoint import CONFIG_NAME, Headers, headers, headers_of
from slsgu.models.forward import refuse_uncomputable
from slsgu.models.resolve import LOCAL, ModelSpec
from slsgu.models.tensors import refuse_integers

_LISTED = 8  # keys named in a message about a checkpoint that does not fit


def build(
    source: ModelSpec,
    weights: Path,
    tensors: Mapping[str, Tensor] | None = None,
    *,
    cache_dir: str | None,
) -> tuple[nn.Module, Any, Any]:
    """Build the model of `source` and load `weights` into it.

    The global random state is left as it was, although OpenCLIP draws initial weights.

    Args:
        weights: the file, or, where `tensors` are given, the place that they come from.
        tensors: the weights by OpenCLIP's names, where `source` has read them itself.
        cache_dir: where downloads are kept.

    Returns:
        The network in eval mode without gradients, the validation transform, the tokenizer.

    Raises:
        ModelError: OpenCLIP cannot build it, or the weights do not fit or are not finite.
    """
    with _quiet(), torch.random.fork_rng(devices=[]):
        network, preprocess = _architecture(source)
        tokenizer = _tokenizer(source, cache_dir)
        stored = headers(weights) if tensors is None else headers_of(tensors)
        _refuse_other_types(network, weights, stored)
        _load_weights(network, weights, tensors, stored)
    network.eval().requires_grad_(False)
    _refuse_nonfinite(network, weights)
    with _quiet():
        refuse_uncomputable(network, tokenizer, str(weights))
    _warn_resized(network, weights, stored)
    return network, preprocess, tokenizer


def refuse_misfit(source: ModelSpec, weights: Path) -> None:
    """Refuse weights of another architecture, without memory for the network.

    Args:
        weights: a checkpoint file.

    Raises:
        ModelError: OpenCLIP cannot build `source`, or would not load the file into it.
    """
    with _quiet():
        with torch.device("meta"):
            network, _ = _architecture(source, device="meta")
        stored = headers(weights, whole=False)
        _refuse_other_types(network, weights, stored)
        _load_weights(network, weights, None, stored)
    _warn_resized(network, weights, stored)


def _architecture(source: ModelSpec, device: str = "cpu") -> tuple[nn.Module, Any]:
    """The network with random weights (on `meta`: with none), and the validation transform.

    Every kind of source becomes a local-dir that holds a configuration alone: one way through
    OpenCLIP instead of four, and weights are loaded where we can explain what does not fit.
    """
    with _configured(source) as folder:
        try:
            network, _, preprocess = open_clip.create_model_and_transforms(
                folder, load_weights=False, force_patch_dropout=0.0, device=device
            )
        except Exception as error:
            raise ModelError(
                f"OpenCLIP cannot build this architecture, that of {source.tokenizer}: {error}"
            ) from error
    if not isinstance(network, open_clip.CLIP | open_clip.CustomTextCLIP):
        raise ModelError(f"{type(network).__name__} models are not supported, only CLIP ones")
    return network, preprocess


@contextlib.contextmanager
def _configured(source: ModelSpec) -> Iterator[str]:
    """A local-dir with the configuration alone, as OpenCLIP names it."""
    cfg = json.loads(json.dumps(source.model_cfg))
    for tower in ("vision_cfg", "text_cfg"):
        cfg[tower].pop("output_tokens", None)  # the towers return embeddings, nothing beside
    with tempfile.TemporaryDirectory() as folder:
        config = {"model_cfg": cfg, "preprocess_cfg": source.preprocess_cfg}
        Path(folder, CONFIG_NAME).write_text(json.dumps(config), encoding="utf-8")
        yield f"{LOCAL}{folder}"


def _tokenizer(source: ModelSpec, cache_dir: str | None) -> Any:
    # transformers asks at the terminal whether to run a tokenizer's own code, unless it is told.
    # OpenCLIP's own tokenizer, which has none, does not know the option.
    foreign = source.model_cfg["text_cfg"].get("hf_tokenizer_name")
    with _configured(source) as folder:
        try:
            return open_clip.get_tokenizer(
                source.tokenizer or folder,
                cache_dir=cache_dir,
                **({"trust_remote_code": False} if foreign else {}),
            )
        except Exception as error:
            raise ModelError(
                f"the tokenizer of this model cannot be loaded ({error}). A Hugging Face "
                "tokenizer needs `pip install transformers`, and the network on first use"
            ) from error


def _refuse_other_types(network: nn.Module, path: Path, stored: Headers) -> None:
    dtypes = {name: dtype for name, (dtype, _) in stored.items()}
    refuse_integers(dtypes, network.state_dict(), path)


def _load_weights(
    network: nn.Module, path: Path, tensors: Mapping[str, Tensor] | None, stored: Headers
) -> None:
    try:
        if tensors is not None:
            network.load_state_dict(tensors, strict=True)
            return
        open_clip.load_checkpoint(network, str(path), strict=True, weights_only=True)
    except Exception as error:
        # OpenCLIP's own conversions run first, so only what they cannot mend arrives here.
        raise ModelError(_misfit(network, path, stored, error)) from None


def _misfit(network: nn.Module, path: Path, headers: Headers, error: Exception) -> str:
    stored = {name: shape for name, (_, shape) in headers.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    lists = {
        "missing": [f"{name} {expected[name]}" for name in expected if name not in stored],
        "unexpected": [f"{name} {stored[name]}" for name in stored if name not in expected],
        "of another shape": [
            f"{name} {stored[name]} (the architecture has {expected[name]})"
            for name in expected
            if name in stored and stored[name] != expected[name]
        ],
    }
    lines = [f"{path} does not fit the architecture. Of {len(expected)} tensors it should hold:"]
    for problem, keys in lists.items():
        if keys:
            more = [f"    ... and {len(keys) - _LISTED} more"] if len(keys) > _LISTED else []
            lines += [f"  {len(keys)} {problem}:", *(f"    {key}" for key in keys[:_LISTED]), *more]
    if len(lines) == 1:
        lines = [f"{path} does not fit the architecture: {error}"]
    return "\n".join([*lines, "Check the architecture's name, or the file."])


def _refuse_nonfinite(network: nn.Module, path: Path) -> None:
    for name, tensor in network.state_dict().items():
        if not math.isfinite(float(tensor.sum(dtype=torch.float64))):
            raise ModelError(f"{path} is damaged: {name} holds values that are not numbers")


def _warn_resized(network: nn.Module, path: Path, stored: Headers) -> None:
    """OpenCLIP fits a table of positions to another image size or context length, silently."""
    resized = [
        f"{name} from {stored[name][1]} to {tuple(parameter.shape)}"
        for name, parameter in network.named_parameters()
        if name in stored and parameter.ndim >= 2 and stored[name][1] != tuple(parameter.shape)
    ]
    if resized:
        warnings.warn(
            f"{path} was made for another image size or context length: OpenCLIP interpolated "
            f"{', '.join(resized)}",
            SlsguWarning,
            stacklevel=4,
        )


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
