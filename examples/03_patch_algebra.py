"""Patches are values: load, scale, add, try in a `with`, apply to a checkpoint file, revert."""

import tempfile
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

import slsgu
from slsgu.menagerie import MODEL_DIR, TAXONOMY_FILE, draw
from slsgu.patch.rewrite import rewrite_model

scratch = tempfile.TemporaryDirectory(prefix="slsgu-")
work = Path(scratch.name)
clip = slsgu.load()
names = [leaf.name for leaf in slsgu.Taxonomy.load(TAXONOMY_FILE).leaves]

# Two small patches of one layer. Few images and a fixed layer keep this example short.
few = slsgu.Limits(gradient=8, search=10, test=5, retain_gradient=150, retain_search=150)
settings = slsgu.Settings(layer="visual.proj", limits=few, force=True)
for name in ("beagle", "taxi"):
    result = slsgu.unlearn(clip, name, settings=settings)
    assert result.patch is not None
    result.patch.save(work / f"{name}.safetensors")


@torch.no_grad()
def recognised(name: str) -> float:
    """Share of 20 drawings that the model, as it is now, calls by their name."""
    pictures = [Image.fromarray(draw(name, index, seed=500)) for index in range(20)]
    images = clip.encode_image(torch.stack([clip.preprocess(picture) for picture in pictures]))
    texts = clip.encode_text([f"a drawing of a {name}" for name in names])
    return float((images @ texts.T).argmax(dim=1).eq(names.index(name)).float().mean())


beagle = slsgu.Patch.load(work / "beagle.safetensors")
taxi = slsgu.Patch.load(work / "taxi.safetensors")
print(f"{'patch':<22} {'beagle':>7} {'taxi':>7} {'poodle':>7}")
for title, patch in {
    "none": 0 * beagle,
    "half of beagle": 0.5 * beagle,
    "beagle": beagle,
    "beagle + taxi": beagle + taxi,  # patches of one layer are added before they are applied
}.items():
    with patch.applied(clip.model):  # in place; every bit is restored on the way out
        shares = [recognised(name) for name in ("beagle", "taxi", "poodle")]
    print(f"{title:<22} " + " ".join(f"{share:>7.0%}" for share in shares))

# The same on files, without building a model.
original = MODEL_DIR / "open_clip_model.safetensors"
rewrite_model(original, work / "patched.safetensors", (beagle + taxi).apply_to)
rewrite_model(work / "patched.safetensors", work / "back.safetensors", (beagle + taxi).revert_from)
before, after = load_file(original), load_file(work / "back.safetensors")
same = all(torch.equal(before[name], after[name]) for name in before)
print(f"Applied to a checkpoint file and reverted: equal to the bit: {same}")
scratch.cleanup()
