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

from slsgu.version import __version__ as __version__

_HOME = {
    "Also": "slsgu.evaluation.other_sets",
    "Audit": "slsgu.audit.run",
    "Clip": "slsgu.models.clip",
    "Concept": "slsgu.concepts.taxonomy",
    "DataSettings": "slsgu.task.settings",
    "Gradients": "slsgu.gradients.gradients",
    "Limits": "slsgu.data.splits.splits",
    "MachineSettings": "slsgu.task.machine_settings",
    "Measures": "slsgu.evaluation.metrics",
    "MethodSettings": "slsgu.task.settings",
    "NotReachedError": "slsgu.errors",
    "Outcome": "slsgu.pipeline.result",
    "Pairs": "slsgu.task.pairs",
    "Patch": "slsgu.patch.patch",
    "Plan": "slsgu.task.plan",
    "Progress": "slsgu.utils.progress",
    "Request": "slsgu.concepts.request",
    "Result": "slsgu.pipeline.result:Outcome",
    "RetainCache": "slsgu.gradients.bank",
    "RunFolder": "slsgu.pipeline.run_folder",
    "Settings": "slsgu.task.settings",
    "SlsguError": "slsgu.errors",
    "SlsguWarning": "slsgu.errors",
    "Task": "slsgu.task.task",
    "Taxonomy": "slsgu.concepts.taxonomy",
    "TextOutcome": "slsgu.pipeline.text_run",
    "TextTask": "slsgu.task.text_task",
    "load": "slsgu.models.clip",
    "make_plan": "slsgu.task.plan",
    "make_task": "slsgu.task.task",
    "make_text_task": "slsgu.task.text_task",
    "rewrite_model": "slsgu.patch.rewrite",
    "run_audit": "slsgu.audit.run",
    "run_method": "slsgu.pipeline.run",
    "run_plan": "slsgu.pipeline.run",
    "run_text_task": "slsgu.pipeline.text_run",
    "save_local_dir": "slsgu.models.local_dir",
    "unlearn": "slsgu.pipeline.run",
    "unlearn_by_text": "slsgu.pipeline.text_run",
}

if TYPE_CHECKING:
    from slsgu.audit.run import Audit as Audit
    from slsgu.audit.run import run_audit as run_audit
    from slsgu.concepts.request import Request as Request
    from slsgu.concepts.taxonomy import Concept as Concept
    from slsgu.concepts.taxonomy import Taxonomy as Taxonomy
    from slsgu.data.splits.splits import Limits as Limits
    from slsgu.errors import NotReachedError as NotReachedError
    from slsgu.errors import SlsguError as SlsguError
    from slsgu.errors import SlsguWarning as SlsguWarning
    from slsgu.evaluation.metrics import Measures as Measures
    from slsgu.evaluation.other_sets import Also as Also
    from slsgu.gradients.bank import RetainCache as RetainCache
    from slsgu.gradients.gradients import Gradients as Gradients
    from slsgu.models.clip import Clip as Clip
    from slsgu.models.clip import load as load
    from slsgu.models.local_dir import save_local_dir as save_local_dir
    from slsgu.patch.patch import Patch as Patch
    from slsgu.patch.rewrite import rewrite_model as rewrite_model
    from slsgu.pipeline.result import Outcome as Outcome
    from slsgu.pipeline.run import run_method as run_method
    from slsgu.pipeline.run import run_plan as run_plan
    from slsgu.pipeline.run import unlearn as unlearn
    from slsgu.pipeline.run_folder import RunFolder as RunFolder
    from slsgu.pipeline.text_run import TextOutcome as TextOutcome
    from slsgu.pipeline.text_run import run_text_task as run_text_task
    from slsgu.pipeline.text_run import unlearn_by_text as unlearn_by_text
    from slsgu.task.machine_settings import MachineSettings as MachineSettings
    from slsgu.task.pairs import Pairs as Pairs
    from slsgu.task.plan import Plan as Plan
    from slsgu.task.plan import make_plan as make_plan
    from slsgu.task.settings import DataSettings as DataSettings
    from slsgu.task.settings import MethodSettings as MethodSettings
    from slsgu.task.settings import Settings as Settings
    from slsgu.task.task import Task as Task
    from slsgu.task.task import make_task as make_task
    from slsgu.task.text_task import TextTask as TextTask
    from slsgu.task.text_task import make_text_task as make_text_task
    from slsgu.utils.progress import Progress as Progress

    Result = Outcome

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'slsgu' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
