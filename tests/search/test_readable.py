"""`--for` keeps the search to layers that the system reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Ran
from slsgu.cli.search_options import SYSTEMS

from slsgu.interop.targets import TARGETS
from slsgu.models.clip import Clip
from slsgu.models.layers import inventory
from slsgu.patch.patch import Patch

Cli = Callable[..., Ran]
FEW = ("--gradient-images", "4", "--search-images", "4", "--test-images", "4", "--force")


def test_the_command_line_knows_every_system() -> None:
    assert SYSTEMS == tuple(TARGETS)


@pytest.mark.parametrize("system", SYSTEMS)
def test_candidates_and_patch_are_read(
    system: str, cli: Cli, world: list[str], taught: Clip, tmp_path: Path
) -> None:
    done = cli("apply", *world, "--concept", "beagle", "--run", "run", *FEW, "--for", system,
               "--thorough", "--trials", "3")  # fmt: skip
    assert (tmp_path / "run" / "patch.safetensors").is_file(), done.err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    searched = [candidate["layer"] for candidate in result["candidates"]]
    reads = TARGETS[system].reads
    assert searched and all(reads(name, taught.model) for name in searched)
    (layer,) = Patch.load(tmp_path / "run" / "patch.safetensors").layers
    assert reads(layer, taught.model) and layer in searched
    assert result["settings"]["system"] == system


def test_without_it_layers_are_searched_that_such_systems_do_not_read(
    cli: Cli, world: list[str], taught: Clip, tmp_path: Path
) -> None:
    """Control: what the tests above rule out does happen."""
    cli("apply", *world, "--concept", "beagle", "--run", "run", *FEW, "--thorough", "--trials", "3")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    searched = [candidate["layer"] for candidate in result["candidates"]]
    for system in set(SYSTEMS) - {"clip"}:
        assert not all(TARGETS[system].reads(name, taught.model) for name in searched)


def test_a_front_is_of_the_layers_that_are_read(
    cli: Cli, world: list[str], taught: Clip, tmp_path: Path
) -> None:
    """A layer that only an unread one beats stands on it."""
    cli("apply", *world, "--concept", "beagle", "--run", "run", *FEW, "--for", "llava",
        "--thorough", "--trials", "2")  # fmt: skip
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    target = TARGETS["llava"]
    readable = {x.name for x in inventory(taught.model) if target.reads(x.name, taught.model)}
    rows = {row["layer"]: row for row in result["candidates"]}
    most = max(rows.values(), key=lambda row: row["importance"])
    assert rows.keys() <= readable and most["on_front"]


@pytest.mark.parametrize(
    ("system", "options", "reason"),
    [
        ("llava", ("--layer", "visual.proj"), "LLaVA 1.5 does not read visual.proj"),
        ("sd1", ("--layer", "text_projection"), "does not read text_projection"),
        ("llava", ("--tower", "language"), "LLaVA 1.5 reads nothing of the language tower"),
        ("sd2", ("--tower", "vision"), "Stable Diffusion 2.x reads nothing of the vision tower"),
    ],
)
def test_choices_that_leave_nothing_are_refused_before_any_pass(
    system: str, options: tuple[str, ...], reason: str, cli: Cli, world: list[str], tmp_path: Path
) -> None:
    done = cli("apply", *world, "--concept", "beagle", "--run", "run", "--for", system, *options)
    assert done.code == 1 and reason in done.err
    assert not (tmp_path / "run").exists()


def test_a_request_file_says_it_too(cli: Cli, world: list[str], tmp_path: Path) -> None:
    done = cli("apply", *world, "--concept", "beagle", "--run", "run", *FEW, "--for", "sd1",
               "--layer", "transformer.resblocks.0.mlp.c_fc.weight", "--step", "1")  # fmt: skip
    written = (tmp_path / "run" / "request.yaml").read_text()
    assert "for: sd1" in written, done.err
    (tmp_path / "bad.yaml").write_text("concept: beagle\nfor: sd9\n")
    bad = cli("apply", *world, "--request", "bad.yaml")
    assert bad.code != 0 and "sd9" in bad.err
