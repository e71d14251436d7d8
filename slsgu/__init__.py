"""slsgu: make a CLIP model forget one concept with one gradient, one layer and one step.

    import slsgu

    clip = slsgu.load()                                  # the embedded menagerie
    result = slsgu.unlearn(clip, "golden retriever")
    result.patch.save("golden-retriever.safetensors")

Names are imported when first used, so that `import slsgu` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Also": "slsgu.also",
    "Clip": "slsgu.clip",
    "Concept": "slsgu.taxonomy",
    "Gradients": "slsgu.cache",
    "Limits": "slsgu.data.splits",
    "Measures": "slsgu.measures",
    "NotReachedError": "slsgu.errors",
    "Pairs": "slsgu.pairs",
    "Patch": "slsgu.patch",
    "Plan": "slsgu.plan",
    "Progress": "slsgu.progress",
    "Request": "slsgu.request",
    "Result": "slsgu.pipeline",
    "Settings": "slsgu.settings",
    "SlsguError": "slsgu.errors",
    "Taxonomy": "slsgu.taxonomy",
    "load": "slsgu.clip",
    "make_plan": "slsgu.plan",
    "run_plan": "slsgu.pipeline",
    "unlearn": "slsgu.pipeline",
}

if TYPE_CHECKING:
    from slsgu.also import Also as Also
    from slsgu.cache import Gradients as Gradients
    from slsgu.clip import Clip as Clip
    from slsgu.clip import load as load
    from slsgu.data.splits import Limits as Limits
    from slsgu.errors import NotReachedError as NotReachedError
    from slsgu.errors import SlsguError as SlsguError
    from slsgu.measures import Measures as Measures
    from slsgu.pairs import Pairs as Pairs
    from slsgu.patch import Patch as Patch
    from slsgu.pipeline import Result as Result
    from slsgu.pipeline import run_plan as run_plan
    from slsgu.pipeline import unlearn as unlearn
    from slsgu.plan import Plan as Plan
    from slsgu.plan import make_plan as make_plan
    from slsgu.progress import Progress as Progress
    from slsgu.request import Request as Request
    from slsgu.settings import Settings as Settings
    from slsgu.taxonomy import Concept as Concept
    from slsgu.taxonomy import Taxonomy as Taxonomy

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'slsgu' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
