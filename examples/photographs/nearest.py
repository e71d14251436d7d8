"""The class of ImageNet whose name is nearest to a text, to the text tower of `imagenet-lite0`.

    python examples/photographs/nearest.py skyscraper goldendoodle zeppelin

It prints one line for each text alone, and one for it in a template.
"""

from __future__ import annotations

import sys

import slsgu
from slsgu.task.find import find_taxonomy


def main(texts: list[str]) -> None:
    """Print the nearest name, alone and in a template."""
    clip = slsgu.load("imagenet-lite0", device="cpu")
    names = [leaf.name for leaf in find_taxonomy("imagenet", None).leaves]
    for text in texts:
        for template in ("{}", "a photo of a {}."):
            words = clip.encode_text([template.format(word) for word in (text, *names)])
            nearest = (words[1:] @ words[0]).max(dim=0)
            name, cosine = names[int(nearest.indices)], float(nearest.values)
            print(f"{template.format(text)!r}: {name}, cosine {cosine:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
