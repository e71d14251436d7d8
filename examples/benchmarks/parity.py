"""A patch in a model of real size: the same embeddings in OpenCLIP and in transformers.

    OMP_NUM_THREADS=1 python examples/benchmarks/parity.py
    OMP_NUM_THREADS=1 python examples/benchmarks/parity.py --model ViT-H-14

Builds the architecture with random weights, saves it as an OpenCLIP local-dir and as a folder of
transformers, applies one patch for each tower to both on disk (`slsgu patch apply` does the same),
loads all four results, and compares embeddings of the same pixels and token ids. ViT-L-14 needs
9 GB of memory and 7 GB of disk in a temporary folder, which is removed in the end. Needs
`pip install "slsgu[transformers]"`.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

import slsgu
from slsgu.interop.folder import rewrite_folder
from slsgu.models.layers import stages
from slsgu.models.transformers_names import to_transformers
from slsgu.patch.rewrite import rewrite_model

NAMES = {"vision": "visual.transformer.resblocks", "language": "transformer.resblocks"}


def configuration(cfg: dict[str, Any]) -> Any:
    """What transformers calls an architecture of OpenCLIP."""
    from transformers import CLIPConfig

    vision, text = cfg["vision_cfg"], cfg["text_cfg"]
    act = {"hidden_act": "quick_gelu" if cfg.get("quick_gelu") else "gelu"}
    return CLIPConfig(
        projection_dim=cfg["embed_dim"],
        vision_config={
            "hidden_size": vision["width"], "intermediate_size": 4 * vision["width"],
            "num_hidden_layers": vision["layers"], "patch_size": vision["patch_size"],
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
            "image_size": vision["image_size"], "projection_dim": cfg["embed_dim"], **act,
        },
        text_config={
            "hidden_size": text["width"], "intermediate_size": 4 * text["width"],
            "num_hidden_layers": text["layers"], "num_attention_heads": text["heads"],
            "vocab_size": text["vocab_size"], "projection_dim": cfg["embed_dim"],
            "max_position_embeddings": text["context_length"], **act,
        },
    )  # fmt: skip


def build(name: str, folder: Path) -> list[slsgu.Patch]:
    """Write both folders.

    Returns:
        A patch for each tower: the third-last block, which every system reads.
    """
    from transformers import CLIPModel

    cfg = open_clip.get_model_config(name)
    assert cfg is not None, name
    torch.manual_seed(0)
    ours, _, _ = open_clip.create_model_and_transforms(name)
    state = {key: tensor.contiguous() for key, tensor in ours.state_dict().items()}
    (folder / "openclip").mkdir()
    save_file(state, folder / "openclip" / "open_clip_model.safetensors")
    text = json.dumps({"model_cfg": cfg, "preprocess_cfg": {}})
    (folder / "openclip" / "open_clip_config.json").write_text(text)
    patches = []
    for tower, path in NAMES.items():
        blocks = len(stages(ours, tower))  # type: ignore[arg-type]
        layer = f"{path}.{blocks - 3}.attn.in_proj_weight"
        weight = state[layer].clone()
        patches.append(slsgu.Patch({layer: 0.1 * torch.randn_like(weight)}, {layer: weight}))
    theirs = CLIPModel(configuration(cfg))
    theirs.load_state_dict(to_transformers(state, theirs.state_dict()))
    theirs.save_pretrained(folder / "transformers")
    return patches


def inputs(name: str) -> tuple[Tensor, Tensor]:
    """Two images and three texts."""
    cfg: Any = open_clip.get_model_config(name)
    size = cfg["vision_cfg"]["image_size"]
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    texts = ["a photo of a dog", "two cats on a red sofa", "x"]
    return pixels, open_clip.get_tokenizer(name)(texts)


@torch.inference_mode()
def embed_ours(folder: Path, pixels: Tensor, tokens: Tensor) -> list[Tensor]:
    model: Any = slsgu.load(f"local-dir:{folder}", device="cpu").model
    return [model.encode_image(pixels), model.encode_text(tokens)]


@torch.inference_mode()
def embed_theirs(folder: Path, pixels: Tensor, tokens: Tensor) -> list[Tensor]:
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(folder).eval()
    found = [model.get_image_features(pixel_values=pixels),
             model.get_text_features(input_ids=tokens)]  # fmt: skip
    return [getattr(each, "pooler_output", each) for each in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-L-14-quickgelu")
    name = parser.parse_args().model
    pixels, tokens = inputs(name)
    with tempfile.TemporaryDirectory(prefix="slsgu-") as place:
        folder = Path(place)
        patches = build(name, folder)
        gc.collect()
        both = patches[0] + patches[1]
        start = time.perf_counter()
        rewrite_model(folder / "openclip", folder / "openclip-patched", both.apply_to)
        middle = time.perf_counter()
        rewrite_folder(f"transformers:{folder / 'transformers'}", folder / "transformers-patched",
                       [both])  # fmt: skip
        end = time.perf_counter()
        print(f"{name}, random weights; {' and '.join(both.layers)}")
        print(f"applied on disk in {middle - start:.1f} s and {end - middle:.1f} s")
        rows: dict[str, list[Tensor]] = {}
        for suffix in ("", "-patched"):
            rows[f"openclip{suffix}"] = embed_ours(folder / f"openclip{suffix}", pixels, tokens)
            gc.collect()
            path = folder / f"transformers{suffix}"
            rows[f"transformers{suffix}"] = embed_theirs(path, pixels, tokens)
            gc.collect()
        for number, tower in enumerate(("images", "texts")):
            far = {}
            for one, other in (("openclip", "transformers"),
                               ("openclip-patched", "transformers-patched"),
                               ("openclip", "openclip-patched")):  # fmt: skip
                far[one, other] = float((rows[one][number] - rows[other][number]).abs().max())
            before, after, moved = far.values()
            print(
                f"{tower:<7} OpenCLIP and transformers differ by {before:.1e} before and "
                f"{after:.1e} after the patch, which moves them by {moved:.1e}"
            )


if __name__ == "__main__":
    main()
