"""What both ways of `slsgu apply` end in: a request carried out, with images or without."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from slsgu.patch.patch import Patch
    from slsgu.pipeline.result import Outcome
    from slsgu.pipeline.run_folder import RunFolder
    from slsgu.pipeline.text_run import TextOutcome

    from .console import Console


def about_from(options: Mapping[str, Any]) -> dict[str, str]:
    """What a person wrote about the request."""
    return {key: options[key] for key in ("asked_by", "reason") if options[key]}


def save_patched(result: Outcome | TextOutcome, to: Path | None, console: Console) -> None:
    """Write the patched model, if there is a patch and a place for it.

    Last of all, because it is never replaced: a run that was killed before can be repeated as is.
    """
    from slsgu.models.local_dir import save_local_dir

    if result.patch is None or to is None:
        return
    with result.patch.applied(result.task.clip.model):
        console.say_not_copied(save_local_dir(result.task.clip, to))


def echo_paths(result: Outcome | TextOutcome, folder: RunFolder, save_model: Path | None) -> None:
    """Where everything lies that was written."""
    written = result.patch is not None
    paths = {
        "patch": folder.patch if written else None,
        "model": save_model if written else None,
        "report": folder.report,
    }
    for name, path in paths.items():
        if path is not None:
            click.echo(f"{name:<9}  {path}")


def end_unless_met(
    result: Outcome | TextOutcome, folder: RunFolder, console: Console, advice: str
) -> None:
    """Exit with status 1 where the goal was not met.

    Args:
        advice: what to do where no patch was written.
    """
    if result.success:
        return
    click.echo(f"Error: {result.shortfall}", err=True)
    if result.patch is not None:
        console.say("The patch was written all the same, because of --force.")
    else:
        if folder.earlier_patch.is_file():
            console.say(f"The patch of an earlier run is kept as {folder.earlier_patch}.")
        click.echo(f"No patch was written. {advice}", err=True)
    sys.exit(1)


def lead_with_audit(folder: RunFolder, patch: Patch | None, say: Callable[[str], None]) -> None:
    """Where an audit of this very patch lies beside the run, let its verdict lead the report. One
    of an earlier patch goes: it would say of this patch what is true of that one."""
    from slsgu.audit.run import edit_sha256
    from slsgu.report.audit import FILE, PAGE, lead_report, read_audit, remove_audit

    if not (folder.path / FILE).exists():
        return
    found = read_audit(folder.path)
    if found is None:
        say(f"audit      {FILE} cannot be read: run `slsgu audit` again")
    elif dict(found.about["edit"]) != ({} if patch is None else edit_sha256(patch)):
        remove_audit(folder.path)
        say(f"audit      {FILE} was of an earlier patch, and is removed: run `slsgu audit` again")
    elif lead_report(folder.path):
        say(f"audit      {found.verdict.word} (see {folder.path / PAGE})")
