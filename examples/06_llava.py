"""A patch in the vision tower of LLaVA: what it changes of what the language model is shown.

    python examples/06_llava.py
    python examples/06_llava.py MODEL_FOLDER PATCH NEW_FOLDER IMAGE [QUESTION]

Without arguments it runs anywhere in a minute: the vision tower is that of the embedded model, and
the language model is tiny and random, so it has nothing to say. With arguments the model is yours
(LlavaForConditionalGeneration, saved by transformers), and so is the patch, made with
`slsgu apply --for llava`. Needs `pip install "slsgu[transformers]"`.
"""

import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from transformers import (
    AutoProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

import slsgu
from slsgu.interop.folder import rewrite_folder
from slsgu.interop.transformers import applied
from slsgu.menagerie import draw
from slsgu.models.transformers_names import to_transformers

LAYER = "visual.transformer.resblocks.4.mlp.c_proj.weight"  # --for llava finds it, in more time
IMAGE = 98  # the token that stands for a patch of the image


def make_patch(clip: slsgu.Clip) -> slsgu.Patch:
    """Forget one breed by the image side. Few images keep this example short."""
    few = slsgu.Limits(gradient=8, search=10, test=5, retain_gradient=150, retain_search=150)
    settings = slsgu.Settings(system="llava", layer=LAYER, limits=few, force=True)
    patch = slsgu.unlearn(clip, "golden retriever", settings=settings).patch
    assert patch is not None
    return patch


def make_llava(clip: slsgu.Clip) -> LlavaForConditionalGeneration:
    """LLaVA with the embedded model's vision tower; all else is random."""
    cfg = clip.model_cfg["vision_cfg"]
    vision = CLIPVisionConfig(
        hidden_size=cfg["width"], intermediate_size=4 * cfg["width"], hidden_act=clip.activation,
        num_hidden_layers=cfg["layers"], num_attention_heads=cfg["width"] // cfg["head_width"],
        image_size=cfg["image_size"], patch_size=cfg["patch_size"],
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=99,
    )  # fmt: skip
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=vision.to_dict(), text_config=text.to_dict(), image_token_index=IMAGE
    )
    model = LlavaForConditionalGeneration(config)
    own = model.state_dict()
    model.load_state_dict({**own, **to_transformers(clip.model.state_dict(), own)})
    return model.eval()


@torch.no_grad()
def shown(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """The patch tokens that the language model is shown [B, patches, w]."""
    found: list[torch.Tensor] = []
    projector = model.model.multi_modal_projector
    handle = projector.register_forward_pre_hook(lambda module, args: found.append(args[0]))
    model.get_image_features(pixel_values=pixels)
    handle.remove()
    return found[0]


scratch = tempfile.TemporaryDirectory(prefix="slsgu-")
work = Path(scratch.name)
if len(sys.argv) < 5:
    clip = slsgu.load()
    patch = make_patch(clip)
    folder, out = work / "llava", work / "patched"
    make_llava(clip).save_pretrained(folder)
    names = ["golden retriever", "poodle", "taxi", "oak"]
    pictures = {
        name: torch.stack(
            [clip.preprocess(Image.fromarray(draw(name, i, seed=500))) for i in range(8)]
        )
        for name in names
    }
else:
    folder, out = Path(sys.argv[1]), Path(sys.argv[3])
    patch = slsgu.Patch.load(sys.argv[2])
    processor = AutoProcessor.from_pretrained(folder)
    image = Image.open(sys.argv[4]).convert("RGB")
    question = sys.argv[5] if len(sys.argv) > 5 else "What is in the picture?"
    prompt = f"USER: <image>\n{question} ASSISTANT:"
    inputs = processor(text=prompt, images=image, return_tensors="pt")
    pictures = {sys.argv[4]: inputs["pixel_values"]}

model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
before = {name: shown(model, pixels) for name, pixels in pictures.items()}
with applied(patch, model):  # in place; every bit is restored on the way out
    print("how far the patch tokens move, as a share of their length")
    for name, pixels in pictures.items():
        moved = (shown(model, pixels) - before[name]).norm() / before[name].norm()
        print(f"  {name:<24} {float(moved):>7.1%}")
    if len(sys.argv) > 4:
        said = model.generate(**inputs, max_new_tokens=60)[0]
        print("after: ", processor.decode(said, skip_special_tokens=True))
if len(sys.argv) > 4:
    said = model.generate(**inputs, max_new_tokens=60)[0]
    print("before:", processor.decode(said, skip_special_tokens=True))
rewrite_folder(f"transformers:{folder}", out, [patch])  # the same on disk
print(f"written: {', '.join(sorted(path.name for path in out.iterdir()))}")
scratch.cleanup()
