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
    "DataSettings": "slsgu.settings",
    "Gradients": "slsgu.cache",
    "Limits": "slsgu.data.splits",
    "MachineSettings": "slsgu.settings",
    "Measures": "slsgu.measures",
    "MethodSettings": "slsgu.settings",
    "NotReachedError": "slsgu.errors",
    "Outcome": "slsgu.outcome",
    "Pairs": "slsgu.pairs",
    "Patch": "slsgu.patch",
    "Plan": "slsgu.plan",
    "Progress": "slsgu.progress",
    "Request": "slsgu.request",
    "Result": "slsgu.outcome:Outcome",
    "RetainCache": "slsgu.retain_cache",
    "RunFolder": "slsgu.runs",
    "Settings": "slsgu.settings",
    "SlsguError": "slsgu.errors",
    "SlsguWarning": "slsgu.errors",
    "Task": "slsgu.task",
    "Taxonomy": "slsgu.taxonomy",
    "load": "slsgu.clip",
    "make_plan": "slsgu.plan",
    "make_task": "slsgu.task",
    "rewrite_model": "slsgu.rewrite",
    "run_method": "slsgu.pipeline",
    "run_plan": "slsgu.pipeline",
    "save_local_dir": "slsgu.local_dir",
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
    from slsgu.errors import SlsguWarning as SlsguWarning
    from slsgu.local_dir import save_local_dir as save_local_dir
    from slsgu.measures import Measures as Measures
    from slsgu.outcome import Outcome as Outcome
    from slsgu.pairs import Pairs as Pairs
    from slsgu.patch import Patch as Patch
    from slsgu.pipeline import run_method as run_method
    from slsgu.pipeline import run_plan as run_plan
    from slsgu.pipeline import unlearn as unlearn
    from slsgu.plan import Plan as Plan
    from slsgu.plan import make_plan as make_plan
    from slsgu.progress import Progress as Progress
    from slsgu.request import Request as Request
    from slsgu.retain_cache import RetainCache as RetainCache
    from slsgu.rewrite import rewrite_model as rewrite_model
    from slsgu.runs import RunFolder as RunFolder
    from slsgu.settings import DataSettings as DataSettings
    from slsgu.settings import MachineSettings as MachineSettings
    from slsgu.settings import MethodSettings as MethodSettings
    from slsgu.settings import Settings as Settings
    from slsgu.task import Task as Task
    from slsgu.task import make_task as make_task
    from slsgu.taxonomy import Concept as Concept
    from slsgu.taxonomy import Taxonomy as Taxonomy

    Result = Outcome

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'slsgu' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
