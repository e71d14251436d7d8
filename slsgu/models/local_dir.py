"""A model in memory, saved as an OpenCLIP `local-dir`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from slsgu.errors import ModelError
from slsgu.models.checkpoint import CONFIG_NAME, WEIGHTS_NAME, unshared
from slsgu.models.clip import Clip
from slsgu.utils.files import replacing_folder


def save_local_dir(clip: Clip, folder: Path) -> None:
    """Write a model as an OpenCLIP `local-dir`, each tensor in the dtype it was stored in.

    Args:
        clip: the model, with the configuration it was built from.
        folder: must not exist yet.

    Raises:
        ModelError: a weight does not fit its stored dtype (it overflows).
        SlsguError: the folder exists or cannot be written.
    """
    tensors = {}
    for name, tensor in clip.model.state_dict().items():
        stored = tensor.detach().cpu().to(clip.stored_dtypes.get(name, tensor.dtype))
        if not bool(torch.isfinite(stored).all()):
            raise ModelError(
                f"cannot save {folder}: {name} does not fit the precision it was stored in "
                f"({str(stored.dtype).removeprefix('torch.')}); use a smaller step"
            )
        tensors[name] = stored
    config = {"model_cfg": clip.model_cfg, "preprocess_cfg": clip.preprocess_cfg}
    with replacing_folder(folder) as part:
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (part / CONFIG_NAME).write_text(text, encoding="utf-8")
        save_file(unshared(tensors), part / WEIGHTS_NAME, metadata={"format": "pt"})
        if hasattr(clip.tokenizer, "save_pretrained"):
            clip.tokenizer.save_pretrained(str(part))  # a local-dir brings its own tokenizer
