"""Forget a concept of your own class folders and your own taxonomy.

So that it runs anywhere, the pictures are drawn here and the model is the embedded one. With your
own, only the three names in capitals change.
"""

import tempfile
from pathlib import Path

from PIL import Image

import slsgu
from slsgu.menagerie import draw
from slsgu.models.local_dir import save_local_dir

scratch = tempfile.TemporaryDirectory(prefix="slsgu-")  # with your own pictures, you need none
work = Path(scratch.name)

# One folder for each class. Underscores stand for spaces.
PICTURES = work / "pictures"
for name in ("golden retriever", "beagle", "poodle", "tabby cat", "persian cat", "taxi", "tulip"):
    folder = PICTURES / name.replace(" ", "_")
    folder.mkdir(parents=True)
    for index in range(60):
        Image.fromarray(draw(name, index, seed=500)).save(folder / f"{index:03d}.png")

# The tree that gives the coarser levels. Without one, the folders are a flat list.
TAXONOMY = work / "pets-and-things.yaml"
TAXONOMY.write_text("""\
$templates: ["a drawing of a {}", "a picture of a {}"]
dog: [golden retriever, beagle, poodle]
cat: [tabby cat, persian cat]
thing: [taxi, tulip]
""")

MODEL = slsgu.load()  # or slsgu.load("local-dir:my-model"), or slsgu.load("ViT-B-32", "my.pt")

result = slsgu.unlearn(MODEL, "golden retriever", data=PICTURES, taxonomy=TAXONOMY)
assert result.patch is not None
for row in result.proof.measures.levels:
    wanted = "forget" if row.forgotten else "keep"
    print(f"{row.images:>6} level {row.level} ({wanted}): {row.before:.0%} -> {row.after:.0%}")

result.patch.save(work / "patch.safetensors")
with result.patch.applied(MODEL.model):
    save_local_dir(MODEL, work / "patched-model")
patched = slsgu.load(f"local-dir:{work / 'patched-model'}")  # as any OpenCLIP program would
print(f"Wrote patch.safetensors and patched-model, weights {patched.sha256[:12]}")
scratch.cleanup()
