"""Whether a folder that somebody names for a run has files in it that the run would replace."""

from __future__ import annotations

from pathlib import Path

from slsgu.concepts.request import Request
from slsgu.errors import ArtifactError
from slsgu.pipeline.run_folder import PUBLISHED, RunFolder
from slsgu.utils.files import read_json
from slsgu.utils.together import CURRENT


def refuse_taken(folder: RunFolder, request: Request) -> None:
    """Refuse a folder that holds the result of another request, or files of the names that a run
    writes which no run has written.

    Raises:
        ArtifactError: it does.
    """
    paths = _requested(folder.result)
    if paths is not None:
        wanted = request.describe()["paths"]
        if paths != wanted:
            raise ArtifactError(
                f"the run folder {folder.path} holds what was made for something else "
                f"({', '.join(map(str, paths))}, not {', '.join(wanted)}): give another --run, or "
                "leave it out"
            )
        return
    if (folder.path / CURRENT).is_symlink() or folder.gradients.exists():
        return
    for name in PUBLISHED:
        if (folder.path / name).exists():
            raise ArtifactError(
                f"{folder.path / name} was not written by a run, and would be replaced: give "
                "another --run, or leave it out"
            )


def _requested(result: Path) -> list[object] | None:
    """What the result of a run says was asked for; None where there is no such result."""
    try:
        found = read_json(result, "result")
    except ArtifactError:
        return None
    request = found.get("request") if isinstance(found, dict) else None
    paths = request.get("paths") if isinstance(request, dict) else None
    return paths if isinstance(paths, list) else None
