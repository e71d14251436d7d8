"""Taxonomies that come with slsgu, by name. The YAML files stand beside this one.

What each holds and how it was made: docs/taxonomies.md.
"""

from __future__ import annotations

import difflib
from pathlib import Path

__all__ = ["BUNDLED", "bundled_file", "did_you_mean"]

BUNDLED: dict[str, str] = {
    "menagerie": "the embedded drawings: 46 kinds under animal, vehicle and plant",
    "cifar10": "CIFAR-10: 10 classes under animal and vehicle",
    "cifar100": "CIFAR-100: 100 classes under its 20 superclasses",
    "oxford-pets": "Oxford-IIIT Pet: 37 breeds under 11 kinds",
    "imagenet-dogs": "99 dog breeds of ImageNet under 14 kinds",
    "imagenet": "ImageNet: its 1000 classes under WordNet parents",
}

_HERE = Path(__file__).parent


def bundled_file(name: str) -> Path | None:
    """The file of a bundled taxonomy, None if there is none of that name.

    >>> bundled_file("cifar10").name, bundled_file("./cifar10")
    ('cifar10.yaml', None)
    """
    if name not in BUNDLED:
        return None
    if name == "menagerie":  # stands with the drawings; named here without importing them
        return _HERE.parents[1] / "menagerie" / "taxonomy.yaml"
    return _HERE / f"{name}.yaml"


def did_you_mean(name: str) -> str:
    """The end of a message that `name` is not a taxonomy: a close bundled name, then all of them.

    >>> did_you_mean("CIFAR_10")[:30]
    "; did you mean 'cifar10'? (bun"
    """
    word = Path(name).stem.casefold().replace("_", "-").replace(" ", "-")
    matches = difflib.get_close_matches(word, BUNDLED, n=1, cutoff=0.7)
    hint = f"; did you mean {matches[0]!r}?" if matches else ""
    return f"{hint} (bundled taxonomies: {', '.join(BUNDLED)})"
