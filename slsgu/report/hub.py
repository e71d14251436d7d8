"""A folder as a repository of the Hugging Face Hub (needs `slsgu[hub]`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from slsgu.errors import SlsguError

# What a repository has that somebody has just made in the browser.
_BLANK = {".gitattributes", "README.md"}


def check_hub(repo: str) -> None:
    """Refuse what cannot be pushed, before any work.

    Raises:
        SlsguError: it is no name of a repository, huggingface_hub is missing or offline, or
            nobody is logged in.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo) or ".." in repo:
        raise SlsguError(f"--push {repo}: write OWNER/NAME, a repository of the Hugging Face Hub")
    hub = _hub()
    if hub.constants.HF_HUB_OFFLINE:
        raise SlsguError(
            f"--push {repo}: HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it, or leave "
            "out --push and upload the folder later (hf upload OWNER/NAME FOLDER)"
        )
    if not hub.get_token():
        raise SlsguError(
            f"--push {repo}: nobody is logged in to the Hugging Face Hub: run `hf auth login`, or "
            "set HF_TOKEN to a token that may write"
        )


def push_folder(folder: Path, repo: str) -> str:
    """Upload a folder to a repository, which is made, private, if it does not exist.

    Returns:
        The address of the upload.

    Raises:
        SlsguError: as `check_hub`; the repository holds something already; or the Hub refuses or
            cannot be reached. The folder stays.
    """
    check_hub(repo)
    hub = _hub()
    api = hub.HfApi()
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        if others := sorted(set(api.list_repo_files(repo)) - _BLANK):
            raise SlsguError(
                f"--push {repo}: the repository holds {', '.join(others[:3])} already, and weights "
                f"left there would bring the knowledge back: take a new name. {folder} stays"
            )
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message=_MESSAGE))
    except SlsguError:
        raise
    except Exception as error:  # whatever the client raises, the folder is there
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise SlsguError(
            f"--push {repo}: the upload failed ({reason}). {folder} is complete: upload it later "
            f"with `hf upload {repo} {folder}`"
        ) from error


_MESSAGE = "A patched model, made by slsgu"


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise SlsguError(
            '--push needs huggingface_hub: pip install "slsgu[hub]" (or leave out --push)'
        ) from error
    return huggingface_hub
