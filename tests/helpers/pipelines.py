"""Tiny real pipelines of diffusers with random weights, and the text towers of OpenCLIP in them."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from helpers.foreign import filled, text_config, write_tokenizer
from helpers.models import TINY_CFG
from torch import nn

PROMPT = "a photo of a dog"


def text_models() -> dict[str, nn.Module]:
    """Two bases, as Stable Diffusion XL has, of unlike sizes: the second is a little wider."""
    found = {}
    for name, width, quick in (("small", 32, True), ("large", 48, False)):
        cfg = {**TINY_CFG, "text_cfg": {**TINY_CFG["text_cfg"], "width": width}}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(width)
            model = open_clip.CLIP(**cfg, quick_gelu=quick)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        found[name] = model.eval().requires_grad_(False)
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Building and saving a pipeline without the warnings that other libraries give each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def encoder(source: nn.Module, *, quick: bool, blocks: int = 2, projected: bool = False) -> Any:
    """A text encoder with the weights of OpenCLIP, as far as it has blocks."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    config = text_config(quick=quick, layers=blocks)
    width = int(source.get_parameter("ln_final.weight").shape[0])
    config.hidden_size, config.intermediate_size = width, 4 * width
    return filled((CLIPTextModelWithProjection if projected else CLIPTextModel)(config), source)


def _others(folder: Path, text_width: int, **unet: Any) -> dict[str, Any]:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTokenizer

    write_tokenizer(folder)
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
              "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}  # fmt: skip
    return {
        "unet": UNet2DConditionModel(
            block_out_channels=(8, 16), layers_per_block=1, sample_size=8, norm_num_groups=4,
            cross_attention_dim=text_width, attention_head_dim=4, **blocks, **unet,
        ),
        "vae": AutoencoderKL(
            block_out_channels=(8,), norm_num_groups=4, latent_channels=4, sample_size=8
        ),
        "scheduler": DDIMScheduler(clip_sample=False),
        "tokenizer": CLIPTokenizer.from_pretrained(folder, model_max_length=16),
    }  # fmt: skip


def stable_diffusion(source: nn.Module, folder: Path, *, quick: bool, blocks: int = 2) -> Any:
    """Stable Diffusion 1, or, with one block less than its base, 2."""
    from diffusers import StableDiffusionPipeline

    with quiet():
        pipeline = StableDiffusionPipeline(
            **_others(folder, 32),
            text_encoder=encoder(source, quick=quick, blocks=blocks),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def stable_diffusion_xl(first: nn.Module, second: nn.Module, folder: Path) -> Any:
    """Stable Diffusion XL with its two text encoders."""
    from diffusers import StableDiffusionXLPipeline

    with quiet():
        extra = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4,
                 "projection_class_embeddings_input_dim": 32 + 6 * 4}  # fmt: skip
        others = _others(folder, 32 + 48, **extra)
        pipeline = StableDiffusionXLPipeline(
            **others,
            tokenizer_2=others["tokenizer"],
            text_encoder=encoder(first, quick=True),
            text_encoder_2=encoder(second, quick=False, projected=True),
            add_watermarker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


@torch.no_grad()
def text_embeddings(pipeline: Any, prompt: str = PROMPT) -> list[torch.Tensor]:
    """What the pipeline gives its U-Net of a prompt."""
    found = pipeline.encode_prompt(
        prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return [each for each in found if each is not None]


@torch.no_grad()
def picture(pipeline: Any, prompt: str = PROMPT) -> torch.Tensor:
    """A picture of 8 x 8 pixels, drawn in two steps from the same noise."""
    made = pipeline(
        prompt, num_inference_steps=2, height=8, width=8, output_type="pt",
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    image: torch.Tensor = made.images
    return image
