"""What messages tell a reader to do next: it must be what helps with this command."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Ran

import slsgu
from slsgu.errors import ConceptError
from slsgu.task.find import find_taxonomy

Cli = Callable[..., Ran]


def hinted(ran: Ran) -> list[str]:
    """The command in backquotes at the end of a message, as a shell would run it."""
    assert ran.code == 1 and "lists all of them" in ran.err, ran
    return shlex.split(ran.err.split("`")[1])[1:]


# -- lists of what there is ---------------------------------------------------------------------


def test_the_command_that_lists_concepts_lists_those_in_use(
    cli: Cli, world: list[str], photos: Path, tmp_path: Path
) -> None:
    spaced = shutil.copytree(photos / "images", tmp_path / "my photos")
    cases = [
        (["concepts", "zzzz"], "golden retriever"),
        (["concepts", "zzzz", "--taxonomy", "imagenet-dogs"], "komondor"),
        (["apply", "--concept", "zzzz", *world], "  beagle"),
        (["evaluate", "--concept", "zzzz", *world[:2], "--data", spaced], "siamese"),
    ]
    for words, among in cases:
        command = hinted(cli(*words))
        listed = cli(*command)
        assert command[0] == "concepts" and listed.code == 0 and among in listed.out, words
    assert hinted(cli("concepts", "zzzz")) == ["concepts"]
    # Control: a taxonomy that was never named on a command line is not listed by one.
    with pytest.raises(ConceptError, match="no concept 'zzzz'") as raised:
        slsgu.Taxonomy.parse({"dog": ["pug", "beagle"]}).find("zzzz")
    assert raised.value.see is None and "slsgu concepts" not in str(raised.value)
    with pytest.raises(ConceptError) as raised:
        find_taxonomy(None, photos / "images").find("zzzz")
    assert raised.value.see == f"slsgu concepts --data {photos / 'images'}"


def test_a_hint_is_not_taken_for_a_line_of_the_request_file(
    cli: Cli, world: list[str], photos: Path, tmp_path: Path
) -> None:
    """The message is about the concept, though it ends with the taxonomy's option."""
    request = tmp_path / "request.yaml"
    request.write_text(f"concept: zzzz\ntaxonomy: {photos / 'pets.yaml'}\n")
    ran = cli("apply", "--request", request, *world[:4])
    assert ran.code == 1 and "line 1: concept" in ran.err and "line 2" not in ran.err


def test_the_command_that_lists_layers_lists_those_of_the_model(
    cli: Cli, world: list[str], taught_dir: Path
) -> None:
    ran = cli("apply", "--concept", "beagle", *world, "--layer", "visual.prj")
    assert "did you mean visual.proj" in ran.err
    command = hinted(ran)
    assert command == ["layers", "--norms", "--model", f"local-dir:{taught_dir}"]
    listed = cli(*command)
    names = {line.split()[0] for line in listed.out.splitlines()[2:]}
    assert listed.code == 0 and {"visual.proj", "visual.ln_post.weight"} <= names
    assert hinted(cli("apply", "--concept", "beagle", "--layer", "nonsense")) == command[:2]


# -- a model that does not know -----------------------------------------------------------------


def test_too_few_search_images_are_not_blamed_on_the_model(cli: Cli, world: list[str]) -> None:
    words = ["apply", "--concept", "beagle", *world, "--trials", "4"]
    ran = cli(*words, "--search-images", "1")
    assert ran.code == 1 and "too few search images to tell whether the model knows" in ran.err
    assert "--search-images" in ran.err and "does not know" not in ran.err
    ran = cli(*words, "--search-images", "4")  # control: more of them tell
    assert "too few" not in ran.err


def test_the_embedded_model_says_what_it_is(
    cli: Cli, world: list[str], tiny_dir: Path, photos: Path
) -> None:
    words = ["apply", "--concept", "beagle", *world[2:]]
    ran = cli(*words)  # photographs, and no model is named
    assert ran.code == 1 and "does not know 'beagle' in the first place" in ran.err
    assert "embedded model, which was taught drawings alone" in ran.err and "--model" in ran.err
    ran = cli(*words, "--model", f"local-dir:{tiny_dir}")  # control
    assert "does not know 'beagle'" in ran.err and "embedded" not in ran.err


# -- options that would say nothing ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--search", "paper", "--goal", "remove"], "--goal says nothing with --search paper"),
        (["--search", "paper", "--confidence", "0.9"], "--confidence says nothing with --search"),
        (["--goal", "suppress", "--never-knew", "0.5"], "--never-knew says nothing with --goal"),
        (["--goal", "suppress", "--merge-onto", "nearest"], "--merge-onto says nothing with"),
    ],
)
def test_what_the_search_does_not_look_at_is_refused(
    cli: Cli, world: list[str], more: list[str], told: str
) -> None:
    done = cli("apply", "--concept", "beagle", *world, *more, "--dry-run")
    assert done.code == 2 and told in done.err and "leave one of the two out" in done.err
    fit = ["--goal", "suppress", "--merge-onto", "nearest", "--merge", "0.5", "--dry-run"]
    assert cli("apply", "--concept", "beagle", *world, *fit).code == 0  # control
    plain = ["--search", "paper", "--goal", "suppress", "--dry-run"]
    assert cli("apply", "--concept", "beagle", *world, *plain).code == 0  # control
