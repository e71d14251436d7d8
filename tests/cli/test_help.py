"""Help and hints: every option stands in a group and says what it does; slips get a hint."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from helpers.commands import Ran, commands_of
from slsgu.cli import main
from slsgu.cli.groups import ORDER

from slsgu.direction.direction import DIRECTIONS
from slsgu.losses.forget import FORGET_LOSSES
from slsgu.losses.retain import RETAIN_LOSSES

Cli = Callable[..., Ran]


COMMANDS = dict(commands_of(main))


def without_group_or_words(command: click.Command) -> list[str]:
    """Options that a reader of `--help` would not find, or not understand."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return [x.opts[0] for x in options if getattr(x, "group", None) not in ORDER or not x.help]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_in_a_group_and_says_what_it_does(cli: Cli, name: str) -> None:
    assert without_group_or_words(COMMANDS[name]) == []
    text = cli(*name.split(), "--help").out
    assert "RANGE" not in text and "can not" not in text and "..." not in text.split("\n\n")[1]
    assert all(option in text for p in COMMANDS[name].params for option in p.opts if "--" in option)


@pytest.mark.parametrize(
    ("command", "option", "group"),
    [("patch apply", "--scale", "Method"), ("pareto", "--run", "Input"),
     ("select", "--source", "Input"), ("apply", "--concept", "Request")],
)  # fmt: skip
def test_the_groups_fit(cli: Cli, command: str, option: str, group: str) -> None:
    sections = re.split(r"^([A-Z][a-z ]+):$", cli(*command.split(), "--help").out, flags=re.M)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert [name for name, text in found.items() if f"  {option} " in text] == [group]


def test_an_option_without_a_group_is_noticed() -> None:
    bare = click.Command("x", params=[click.Option(["--loose"], help="In no group.")])
    assert without_group_or_words(bare) == ["--loose"]


@pytest.mark.parametrize(
    ("option", "table"),
    [("forget_loss", FORGET_LOSSES), ("retain_loss", RETAIN_LOSSES), ("direction", DIRECTIONS)],
)
def test_the_help_names_all_that_the_tables_hold(option: str, table: dict[str, Any]) -> None:
    """`--help` cannot read the tables, which would load torch."""
    (found,) = (param for param in COMMANDS["apply"].params if param.name == option)
    assert isinstance(found, click.Option) and found.help and table
    words = set(re.findall(r"[\w-]+", found.help.split("[default")[0]))
    assert set(table) <= words
    assert "angle" not in words  # control: not every word is there


def test_lists_of_commands_are_not_cut(cli: Cli) -> None:
    for group in ([], ["patch"], ["cache"], ["menagerie"]):
        listed = cli(*group, "-h").out.split("Commands:")[1]
        assert "..." not in listed, group


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["aply"], "apply"),
        (["evalute", "--patch", "x"], "evaluate"),
        (["patch", "aplly", "x"], "apply"),
        (["cache", "lst"], "list"),
    ],
    ids=" ".join,
)
def test_a_mistyped_command_gets_a_suggestion(cli: Cli, words: list[str], wanted: str) -> None:
    ran = cli(*words)
    assert ran.code == 2 and f"did you mean '{wanted}'?" in ran.err and not ran.out
    # Control: a word that is close to none gets the list alone.
    ran = cli(*words[:-1] if len(words) == 2 else (), "zzzz")
    assert ran.code == 2 and "did you mean" not in ran.err and "The commands are" in ran.err


def test_a_concept_in_place_of_a_command_gets_a_hint(cli: Cli) -> None:
    ran = cli("golden retriever")
    assert ran.code == 2 and "slsgu apply --concept 'golden retriever'" in ran.err
    assert "--concept" not in cli("patch", "zzzz").err  # control: a subcommand was meant


@pytest.mark.parametrize("command", ["apply", "grads", "evaluate"])
def test_a_bare_concept_gets_a_hint(cli: Cli, command: str) -> None:
    for words in (
        ["golden retriever"],
        ["golden", "retriever"],
        ["--seed", "3", "golden retriever"],
    ):
        ran = cli(command, *words)
        assert ran.code == 2 and "write --concept 'golden retriever'" in ran.err.replace("\n", " ")
    ran = cli(command, "golden retriever", "--nonsense")  # control: the option is the mistake
    assert ran.code == 2 and "--nonsense" in ran.err and "write --concept" not in ran.err


def test_a_bare_run_folder_gets_a_hint(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "my run").mkdir()
    for command in ("pareto", "evaluate"):
        ran = cli(command, "my run")
        assert ran.code == 2 and "write --run" in ran.err
    assert "write --run" not in cli("pareto", "nowhere").err  # control


def test_a_concept_of_other_data_gets_a_hint(cli: Cli) -> None:
    ran = cli("apply", "--concept", "aeroplane")
    assert ran.code == 1 and "embedded drawings" in ran.err and "--data" in ran.err
