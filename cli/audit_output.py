"""Where an audit is written, and what an earlier one of the same has read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from slsgu.audit.reference import Unknown
    from slsgu.audit.run import Audit
    from slsgu.models.clip import Clip
    from slsgu.patch.patch import Patch
    from slsgu.task.task import Task


@dataclass(frozen=True)
class AuditOutput:
    """The folder of an audit, with what an earlier one has read."""

    folder: Path
    run: Path | None
    key: str

    @classmethod
    def of(
        cls,
        run: Path | None,
        out: Path | None,
        task: Task,
        patch: Patch,
        control: Clip | None,
        unknown: Unknown | None,
    ) -> AuditOutput:
        from slsgu.audit.run import describe
        from slsgu.pipeline.run_folder import RUNS
        from slsgu.report.audit import refuse_taken
        from slsgu.utils.files import slug

        key: str = describe(task, patch, control, unknown)["key"]
        folder = out or run or RUNS / f"audit-{slug(task.request.title)}-{key[:8]}"
        if out is not None:
            refuse_taken(out, task.request)
        return cls(folder, run if out is None else None, key)

    @property
    def page(self) -> Path:
        """The page with the figures."""
        return self.folder / "audit.html"

    def earlier(self, say: Callable[[str], None], *, whole: bool) -> Audit | None:
        """What the folder holds already; a file that cannot be used is told, and so is one that is
        of other images, or of another edit or reference.

        Args:
            whole: whether all probes are read now.

        Raises:
            click.UsageError: such a one would be replaced by a part of an audit.
        """
        from slsgu.report.audit import FILE, read_audit

        begun = read_audit(self.folder, say, begun=self.key)
        if begun is not None and begun.about.get("key") != self.key:
            begun = None  # the name of its file has the first characters of the key alone
        found = read_audit(self.folder, say)
        if found is None or found.about.get("key") == self.key:
            return found if begun is None else begun
        path = self.folder / FILE
        if not whole:
            raise click.UsageError(
                f"{path} is of other images, or of another edit or reference, and would be "
                "replaced by some probes alone: give another --out, or leave out --probe"
            )
        say(
            f"note: {path} is of other images, or of another edit or reference, and will be "
            "replaced once this audit is done"
        )
        return begun

    def write(self, found: Audit, *, pages: bool = False) -> None:
        """Write what there is; `audit.json` and the pages once all is."""
        from slsgu.report.audit import lead_report, write_audit, write_page

        write_audit(found, self.folder, finished=pages)
        if pages:
            write_page(found, self.page)
            if self.run is not None:
                lead_report(self.folder)
