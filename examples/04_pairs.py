"""Forget a concept that is given by image-text pairs, as in a shard of LAION: no class folders.

So that it runs anywhere, the pairs are drawings with captions, and the model is the embedded one.
Writes drawings/pairs.csv and its pictures in the working directory, a quarter of them of dogs.
"""

import csv
import random
from pathlib import Path

from PIL import Image

import slsgu
from slsgu.data.select import matching, write_shard
from slsgu.data.sources.open import open_source
from slsgu.menagerie import TAXONOMY_FILE, draw

SENTENCES = ["a drawing of a {}", "a {}", "the {} we saw", "picture of a {}", "a {} in a field"]

folder = Path("drawings")
folder.mkdir(exist_ok=True)
names = [leaf.name for leaf in slsgu.Taxonomy.load(TAXONOMY_FILE).leaves]
chosen = random.Random(0)
rows = []
for number in range(1200):
    name = chosen.choice(["golden retriever", *names] if number % 4 else names[:8])
    Image.fromarray(draw(name, number, seed=500)).save(folder / f"{number:04d}.png")
    rows.append((f"{number:04d}.png", chosen.choice(SENTENCES).format(name)))
with (folder / "pairs.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("filepath", "title"), *rows])
(folder / "names.txt").write_text("\n".join(names) + "\n")

# The forget set: pairs whose caption names the concept. `slsgu select` does the same.
found = list(matching(open_source(folder / "pairs.csv"), ["golden retriever"]))
write_shard(found, folder / "golden-retriever.tar")
print(f"{len(found)} of {len(rows)} captions name it, such as {found[0].caption!r}")

pairs = slsgu.Pairs(
    forget=folder / "golden-retriever.tar",
    retain=folder / "pairs.csv",  # what is in both is forgotten
    name="golden retriever",
    classes=folder / "names.txt",  # 46 names to choose among
)
result = slsgu.unlearn(slsgu.load(), pairs=pairs)
for note in result.task.splits.notes:
    print(f"note: {note}")
for row in result.proof.measures.levels:
    level = f"name, among {len(names)}" if row.level else "caption, among those tested"
    images = "forget" if row.forgotten else "keep"
    print(f"{images:<7} {level:<28} {row.count:>4} images {row.before:>7.1%} -> {row.after:.1%}")
assert result.patch is not None
result.patch.save(folder / "patch.safetensors")
