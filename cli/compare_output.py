"""The folder of a comparison: whose it is, who may write to it, and the files that are shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .console import command_line, echo_json, echo_table

if TYPE_CHECKING:
    from slsgu.compare.bench import Bench
    from slsgu.compare.cells import Cell
    from slsgu.compare.run import Effort
    from slsgu.task.task import Task

JSON, CSV, PAGE = "compare.json", "compare.csv", "compare.md"


@dataclass(frozen=True)
class CompareOutput:
    """The folder of a comparison."""

    folder: Path

    @property
    def names(self) -> tuple[str, ...]:
        """What one comparison shows at its end, all of it at once."""
        from slsgu.report.plots.compare import FIGURES

        return (JSON, CSV, PAGE, *FIGURES)

    @contextlib.contextmanager
    def held(self, task: Task) -> Iterator[None]:
        """Within, no other comparison writes to the folder.

        Raises:
            SlsguError: another one does, or the folder holds something else.
        """
        from slsgu.utils.alone import alone

        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder, "slsgu compare"):
            self._refuse_foreign(task)
            yield

    def publish(
        self, bench: Bench, cells: list[Cell], effort: Effort, *, as_json: bool = False
    ) -> None:
        """Write the tables and figures, all at once, and print the brief table.

        Raises:
            SlsguError: the disk refuses, and the earlier ones stay; or no method made an edit.
        """
        from slsgu.compare.files import as_csv, as_markdown, notes_of, screen_table
        from slsgu.compare.files import as_json as to_json
        from slsgu.compare.table import rows_of
        from slsgu.errors import SlsguError
        from slsgu.report.plots.compare import save_figures
        from slsgu.utils.files import write_json, write_text
        from slsgu.utils.together import replacing_together

        rows = rows_of(cells)
        value = to_json(bench, rows, cells, effort, command_line())
        title = f"Methods compared: {bench.task.request.title}"
        with replacing_together(self.folder, self.names) as part:
            write_json(part / JSON, value)
            write_text(part / CSV, as_csv(rows, bench.before))
            write_text(part / PAGE, as_markdown(title, bench, rows, effort))
            save_figures(value, part)
        failed = [f"{row.method} failed: {row.failed}" for row in rows if row.failed]
        if as_json:
            echo_json(value)
        if len(failed) == len(rows):
            raise SlsguError("\n".join(("no method has made an edit", *failed)))
        if as_json:
            return
        echo_table(screen_table(bench, rows))
        click.echo(f"\nnever knew: {bench.reference.title}")
        for line in (*notes_of(bench, rows), *failed):
            click.echo(line)
        for name in self.names:
            click.echo(f"{name:<20}  {self.folder / name}")

    # -- whose it is ------------------------------------------------------------------------------

    def _refuse_foreign(self, task: Task) -> None:
        """Refuse a folder whose files would be lost, before the work begins.

        Raises:
            SlsguError: its files are not those of a comparison of the same concepts in the same
                model.
        """
        from slsgu.errors import ArtifactError, SlsguError
        from slsgu.utils.files import exists, refuse_target

        present = [name for name in self.names if exists(self.folder / name)]
        for name in present:
            if not self._half_shown(name):
                refuse_target(self.folder / name, force=True)
        present = [name for name in present if (self.folder / name).exists()]
        if not present:
            return
        advice = "give another --out, or move away what is there"
        if present[0] != JSON:
            raise SlsguError(
                f"{self.folder / present[0]} is not of a comparison, for there is no {JSON} beside "
                f"it: {advice}"
            )
        try:
            found = _read(self.folder / JSON)
        except ArtifactError as error:
            raise SlsguError(f"{error}: {advice}") from None
        if (other := _other_than(task, found)) is not None:
            raise SlsguError(f"{self.folder / JSON} compares methods on {other}: {advice}")

    def _half_shown(self, name: str) -> bool:
        """Whether a file is a link of ours to nothing, as a run that was killed leaves it."""
        from slsgu.utils.together import CURRENT

        path = self.folder / name
        with contextlib.suppress(OSError):
            return path.readlink() == Path(CURRENT, name) and not path.exists()
        return False


def _read(path: Path) -> Mapping[str, Any]:
    """What a comparison that lies in a folder is of.

    Raises:
        ArtifactError: it is damaged, newer, or something else.
    """
    from slsgu.compare.files import SCHEMA
    from slsgu.errors import ArtifactError
    from slsgu.utils.reading import read_text
    from slsgu.utils.schema import count, list_of, parse_json, record, text

    request, model = record({"concepts": list_of(text), "paths": list_of(text)}), {"sha256": text}
    whole = record({"schema": count, "request": request, "model": record({"name": text, **model})})
    try:
        found: dict[str, Any] = parse_json(read_text(path, "comparison"))
        whole(found, "")
    except ValueError as error:
        raise ArtifactError(f"{path} is not of slsgu compare, or damaged ({error})") from None
    if found["schema"] > SCHEMA:
        raise ArtifactError(f"{path} is of a newer slsgu (format {found['schema']})")
    return found


def _other_than(task: Task, found: Mapping[str, Any]) -> str | None:
    """What a comparison is of, in words, if it is of other concepts or another model."""
    from slsgu.utils.wording import printed

    concepts = ", ".join(found["request"]["concepts"])
    if found["request"]["paths"] != printed(task.request.describe()["paths"]):
        return f"{concepts}, not {task.request.title}"
    if found["model"]["sha256"] != task.clip.sha256:
        return f"{concepts} in another model, {found['model']['name']}"
    return None
