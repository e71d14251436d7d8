"""A patch in the text encoder of Stable Diffusion: what it changes, and what it leaves alone.

    python examples/05_stable_diffusion.py
    python examples/05_stable_diffusion.py PIPELINE_FOLDER PATCH NEW_FOLDER [PROMPT ...]

Without arguments it runs anywhere in a minute: the text encoder is that of the embedded model, and
the rest of the pipeline is tiny and random, so its pictures are noise. With arguments the pipeline
is yours (saved by diffusers), and so is the patch, of `slsgu apply --for sd1` or `--for sd2`; its
pictures are before.png and after.png. (The two encoders of XL: see docs/interop.md.)
Needs `pip install "slsgu[diffusers]"`.
"""

import json
import sys
import tempfile
from pathlib import Path

import open_clip
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import slsgu
from slsgu.interop.diffusers import applied
from slsgu.interop.folder import rewrite_folder
from slsgu.models.transformers_names import to_transformers

LAYER = "transformer.resblocks.0.mlp.c_fc.weight"  # --for sd1 finds it too, in more time
PROMPTS = ["a golden retriever", "a poodle", "a drawing of a taxi", "an oak"]


def make_patch(clip: slsgu.Clip) -> slsgu.Patch:
    """Forget one breed by the text side. Few images keep this example short."""
    few = slsgu.Limits(gradient=8, search=10, test=5, retain_gradient=150, retain_search=150)
    settings = slsgu.Settings(system="sd1", layer=LAYER, limits=few, force=True)
    patch = slsgu.unlearn(clip, "golden retriever", settings=settings).patch
    assert patch is not None
    return patch


def make_pipeline(clip: slsgu.Clip, folder: Path) -> None:
    """Stable Diffusion with the embedded model's text tower; all else is random."""
    text, words = clip.model_cfg["text_cfg"], open_clip.SimpleTokenizer()
    tokens = [*list(words.encoder)[:-2], "<|startoftext|>", "<|endoftext|>"]
    numbers = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in words.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    config = CLIPTextConfig(
        hidden_size=text["width"], intermediate_size=4 * text["width"], vocab_size=len(tokens),
        num_hidden_layers=text["layers"], num_attention_heads=text["heads"],
        max_position_embeddings=text["context_length"], hidden_act=clip.activation,
    )  # fmt: skip
    encoder = CLIPTextModel(config)
    encoder.load_state_dict(to_transformers(clip.model.state_dict(), encoder.state_dict()))
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        text_encoder=encoder,
        tokenizer=CLIPTokenizer.from_pretrained(folder, model_max_length=text["context_length"]),
        unet=UNet2DConditionModel(
            block_out_channels=(8, 16), layers_per_block=1, sample_size=8, norm_num_groups=4,
            cross_attention_dim=text["width"], attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, sample_size=8),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "pipeline")


@torch.no_grad()
def states(pipeline: StableDiffusionPipeline, prompt: str) -> torch.Tensor:
    """What the pipeline gives its U-Net [1, L, w]."""
    return pipeline.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)[0]


@torch.no_grad()
def picture(pipeline: StableDiffusionPipeline, prompt: str, name: Path) -> torch.Tensor:
    """Draw with a fixed seed, and save the picture."""
    draws = torch.Generator().manual_seed(0)
    small = {"height": 8, "width": 8} if len(sys.argv) < 4 else {}
    image = pipeline(prompt, num_inference_steps=20, generator=draws, **small).images[0]
    image.save(name)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).float()


scratch = tempfile.TemporaryDirectory(prefix="slsgu-")
work = Path(scratch.name)
if len(sys.argv) < 4:
    clip = slsgu.load()
    patch = make_patch(clip)
    make_pipeline(clip, work)
    folder, out, prompts, pictures = work / "pipeline", work / "patched", PROMPTS, work
else:
    folder, out, pictures = Path(sys.argv[1]), Path(sys.argv[3]), Path()
    patch = slsgu.Patch.load(sys.argv[2])
    prompts = sys.argv[4:] or [path.rpartition("/")[2] for path in patch.requested_paths()]

pipeline = StableDiffusionPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
pipeline.set_progress_bar_config(disable=True)
before = [states(pipeline, prompt) for prompt in prompts]
drawn = picture(pipeline, prompts[0], pictures / "before.png")
with applied(pipeline, patch):  # in place; every bit is restored on the way out
    print("how far the text embeddings move, as a share of their length")
    for prompt, old in zip(prompts, before, strict=True):
        moved = (states(pipeline, prompt) - old).norm() / old.norm()
        print(f"  {prompt:<24} {float(moved):>7.1%}")
    other = picture(pipeline, prompts[0], pictures / "after.png")
print(f"the picture of {prompts[0]!r} differs by {float((other - drawn).abs().mean()):.2f} of 255")
left_out = rewrite_folder(f"diffusers:{folder}", out, [patch])  # the same on disk
same = [
    path.relative_to(out) for path in sorted(out.rglob("*"))
    if path.is_file() and path.read_bytes() == (folder / path.relative_to(out)).read_bytes()
]  # fmt: skip
files = sum(path.is_file() for path in out.rglob("*"))
print(
    f"written: {files} files, {files - len(same)} of them changed; left out: {left_out or 'none'}"
)
scratch.cleanup()
