"""State-dict files, read and written without building a model.

Formats: `.safetensors`, and pickles (`.pt`, `.pth`, `.bin`) read with `weights_only=True`, so
that none can run code. Errors name the file and say what to do.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from slsgu.errors import ModelError
from slsgu.models.tensors import refuse_headers, refuse_odd, refuse_unsafe_torch
from slsgu.utils.files import replacing
from slsgu.utils.reading import open_regular

Headers = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
# What safetensors and torch raise over bytes that somebody has chosen.
_FAILURES = (
    SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError,
    MemoryError,
)  # fmt: skip
# What OpenCLIP looks for in a local-dir, in its order. Without one of these it takes the
# alphabetically first *.safetensors, whatever that holds; we refuse instead.
PREFERRED = (
    WEIGHTS_NAME,
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)


def weights_file(spec: Path) -> Path:
    """The file that holds the weights.

    Args:
        spec: a checkpoint file, or the folder of a `local-dir`.

    Raises:
        ModelError: nothing there, an unknown suffix, or a folder without one preferred name.
    """
    if spec.is_file():
        if spec.suffix not in SUFFIXES:
            raise ModelError(
                f"{spec} is not a checkpoint slsgu can read: its name must end in "
                f"{', '.join(SUFFIXES)}"
            )
        return spec
    if not spec.is_dir():
        raise ModelError(f"no such checkpoint file or folder: {spec}")
    for name in PREFERRED:
        if (spec / name).is_file():
            return spec / name
    candidates = sorted(path.name for path in spec.iterdir() if path.suffix in SUFFIXES)
    if candidates:
        raise ModelError(
            f"{spec} has no weights under a name that OpenCLIP prefers, only "
            f"{', '.join(candidates)}: rename the one that holds the model to {WEIGHTS_NAME}"
        )
    raise ModelError(f"{spec} has no weights: put them there as {WEIGHTS_NAME}")


def read_state_dict(path: Path, *, whole: bool = True) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, on the CPU, as they are stored.

    A `{"state_dict": ...}` wrapper and `module.` prefixes, as training loops leave them, are
    removed. Files are mapped into memory rather than read, where their format allows.

    Args:
        whole: whether all of it will be held in memory, which must have room for it.

    Raises:
        ModelError: the file is missing, damaged, a TorchScript archive, a pickle that holds more
            than tensors, or no state dict.
    """
    path = weights_file(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path, whole=whole)
    return _unwrap(_read_pickle(path), path)


def headers(path: Path, *, whole: bool = True) -> Headers:
    """Dtype and shape of each tensor of a checkpoint file; of safetensors only the header is read.

    Args:
        whole: as for `read_state_dict`.

    Raises:
        ModelError: as for `read_state_dict`.
    """
    if path.suffix != ".safetensors":
        return headers_of(read_state_dict(path))
    open_regular(path, "checkpoint", error=ModelError).close()  # which says what is in the way
    found = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                view = file.get_slice(name)
                shape = tuple(view.get_shape())
                # An empty slice carries the dtype and reads nothing; a scalar cannot be sliced.
                dtype = (view[:0] if shape else file.get_tensor(name)).dtype
                found[name] = (dtype, shape)
    except _FAILURES as error:
        raise _damaged(path, error) from None
    if not found:
        raise ModelError(f"{path} holds no tensors")
    refuse_headers(found, path, whole=whole)
    prefix = "module." if all(name.startswith("module.") for name in found) else ""
    return {name.removeprefix(prefix): header for name, header in found.items()}


def headers_of(tensors: Mapping[str, Tensor]) -> Headers:
    """The dtype and the shape of each tensor."""
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in order: the library writes it in another one each
    time, so that the same model would not give the same file."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        if len(text) == size:  # else other escapes were used: the file is right as it is
            file.seek(8)
            file.write(text)


def write_state_dict(path: Path, tensors: Mapping[str, Tensor], like: Path | None = None) -> None:
    """Write a checkpoint file, whole or not at all; the suffix of `path` chooses the format.

    Args:
        path: ends in one of `SUFFIXES`.
        tensors: written in the dtypes they have.
        like: the checkpoint the tensors come from. A safetensors file gives its metadata; a
            pickle gives its wrapper (epoch, optimizer, ...) and its `module.` prefixes.

    Raises:
        ModelError: the suffix is unknown.
        SlsguError: the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ModelError(f"cannot write {path}: its name must end in {', '.join(SUFFIXES)}")
    same = like is not None and (like.suffix == ".safetensors") == (path.suffix == ".safetensors")
    if path.suffix == ".safetensors":
        metadata = {"format": "pt"}
        if same and like is not None:
            with safe_open(like, framework="pt") as file:
                metadata = file.metadata() or metadata
        with replacing(path) as part:
            save_file(unshared(tensors), part, metadata=metadata)
            _sort_metadata(part)
        return
    content: Any = dict(tensors)
    if same and like is not None:
        content = _rewrap(content, _read_pickle(like))
    with replacing(path) as part, part.open("wb") as file:
        # Into a handle: given a path, torch puts the file's name inside, and bytes would differ.
        torch.save(content, file)


def _read_safetensors(path: Path, *, whole: bool) -> dict[str, Tensor]:
    headers(path, whole=whole)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except _FAILURES as error:
        raise _damaged(path, error) from None
    return _without_prefix(tensors)


def _read_pickle(path: Path) -> Any:
    refuse_unsafe_torch(path)
    if _is_torchscript(path):
        raise ModelError(
            f"{path} is a TorchScript archive (the form OpenAI published CLIP in), not a state "
            "dict. If these are OpenAI's weights, give the architecture with the tag 'openai', "
            "for instance ViT-B-32-quickgelu and openai. Otherwise convert the file once:\n"
            f"    torch.save(torch.jit.load({str(path)!r}, map_location='cpu').state_dict(), "
            "'weights.pt')"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about odd pickles before it refuses them
            return _load_pickle(path)
    except pickle.UnpicklingError as error:
        # Torch wraps its reason in advice to load the file unsafely, which we do not pass on.
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip()
        if "GLOBAL" in reason or "add_safe_globals" in reason:
            raise ModelError(
                f"{path} holds more than tensors, and loading it could run code, so it is "
                "refused. If you trust it, load it once yourself and save only the weights:\n"
                "    torch.save(model.state_dict(), 'weights.pt')"
            ) from None
        raise _damaged(path, pickle.UnpicklingError(reason)) from None
    except Exception as error:  # a damaged pickle can raise whatever an unpickler calls into
        raise _damaged(path, error) from None


def _load_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        return torch.load(path, map_location="cpu", weights_only=True)  # from before torch 1.6


def _is_torchscript(path: Path) -> bool:
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
    except Exception:  # of a damaged archive: whatever it is, torch says it better
        return False


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise ModelError(f"{path} holds no state dict, but {_what(content)}")
    unnamed = [key for key in content if not isinstance(key, str)]
    if unnamed:
        raise ModelError(
            f"{path} is not a state dict of a model: {len(unnamed)} keys are not names "
            f"({', '.join(repr(key)[:40] for key in unnamed[:8])})"
        )
    others = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        listed = ", ".join(repr(key) for key in others[:8])
        raise ModelError(
            f"{path} is not a state dict of a model: {len(others)} entries are not tensors "
            f"({listed}). Save model.state_dict(), or put it under the key 'state_dict'"
        )
    refuse_odd(content, path)
    return _without_prefix(dict(content))


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _rewrap(tensors: dict[str, Tensor], original: Any) -> Any:
    """The tensors in the shape that `_unwrap` took apart."""
    wrapped = isinstance(original.get("state_dict"), dict)
    names = original["state_dict"] if wrapped else original
    if all(name.startswith("module.") for name in names):
        tensors = {f"module.{name}": tensor for name, tensor in tensors.items()}
    return {**original, "state_dict": tensors} if wrapped else tensors


def unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors of their own, as safetensors wants them."""
    storages: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        pointer = tensor.untyped_storage().data_ptr()
        exclusive = tensor.untyped_storage().nbytes() == tensor.nbytes
        result[name] = tensor if exclusive and pointer not in storages else tensor.clone()
        storages.add(pointer)
    return result


def _what(content: Any) -> str:
    return "an empty dict" if content == {} else f"a {type(content).__name__}"


def _damaged(path: Path, error: Exception) -> ModelError:
    with contextlib.suppress(OSError):  # it may be gone by now
        if path.stat().st_size == 0:
            return ModelError(f"{path} is empty: copy or download it again")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelError(
        f"{path} cannot be read as a checkpoint: it is cut short, damaged or something else "
        f"({reason}). Copy or download it again"
    )
