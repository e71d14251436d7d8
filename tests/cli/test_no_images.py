"""`apply --no-images`: a name is enough, what makes no sense is refused, and nobody reads a claim
about pictures that were never seen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Ran

import slsgu
from slsgu.models.clip import Clip
from slsgu.search.goal import Goal


@pytest.fixture
def model(taught_dir: Path, photos: Path) -> list[str]:
    """The options that name the taught model and its taxonomy."""
    return ["--model", f"local-dir:{taught_dir}", "--taxonomy", str(photos / "pets.yaml")]


@pytest.fixture
def keep(tmp_path: Path) -> list[str]:
    (tmp_path / "keep.txt").write_text("a red truck\nthree trees\n")
    return ["--keep", "keep.txt"]


@pytest.fixture
def asked(model: list[str], keep: list[str]) -> list[str]:
    return ["apply", "--concept", "beagle", "--no-images", *model, *keep, "--run", "run"]


def test_a_name_is_enough(cli: Callable[..., Ran], asked: list[str], tmp_path: Path) -> None:
    ran = cli(*asked)
    assert ran.code == 0, ran.err
    assert "no picture was used" in ran.out and "what photographs are called now" in ran.out
    assert "moved: mean" in ran.out and "whether the model knew beagle" in ran.out
    value = json.loads((tmp_path / "run" / "result.json").read_text())
    assert value["without_images"] is True and value["q_u"] is None and value["success"]
    assert value["text"]["still_named"] == [] and value["layer"] == "text_projection"
    patch = slsgu.Patch.load(tmp_path / "run" / "patch.safetensors")
    assert patch.metadata["without_images"] is True and "data" not in patch.metadata
    page = (tmp_path / "run" / "report.html").read_text()
    assert "no picture was used" in page and "What is not known" in page
    assert "<script" not in page and "{{" not in page


def test_json_is_what_result_json_holds(
    cli: Callable[..., Ran], asked: list[str], tmp_path: Path
) -> None:
    ran = cli(*asked, "--json")
    assert json.loads(ran.out) == json.loads((tmp_path / "run" / "result.json").read_text())


def test_the_run_can_be_repeated_from_its_request(
    cli: Callable[..., Ran], asked: list[str], tmp_path: Path
) -> None:
    cli(*asked)
    first = (tmp_path / "run" / "patch.safetensors").read_bytes()
    again = cli("apply", "--request", "run/request.yaml", "--run", "again")
    assert again.code == 0, again.err
    second = slsgu.Patch.load(tmp_path / "again" / "patch.safetensors")
    assert first and second.delta.keys() == {"text_projection"}
    same = slsgu.Patch.load(tmp_path / "run" / "patch.safetensors")
    assert bool((same.delta["text_projection"] == second.delta["text_projection"]).all())


def test_with_data_the_edit_is_measured_on_pictures(
    cli: Callable[..., Ran], asked: list[str], photos: Path, tmp_path: Path
) -> None:
    ran = cli(*asked, "--data", photos / "images")
    assert ran.code == 0, ran.err
    value = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "beagle: text_projection (language tower), text merge" in ran.out
    assert "no image was used for the edit" in ran.out
    assert value["without_images"] is True and value["method"] == "text-merge"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "gradient cache" not in page and "the steps tried" not in page
    assert value["after"]["forget_fine"] == 0
    assert value["q_u"] > 0.9 and value["counts"]["forget_fine"] > 0


def test_a_name_outside_the_taxonomy_needs_something_close(
    cli: Callable[..., Ran], model: list[str], keep: list[str]
) -> None:
    outside = ["apply", "--concept", "corgi", "--no-images", *keep, "--force"]
    assert "no concept 'corgi'" in cli(*outside, *model).err
    ran = cli(*outside, *model, "--sibling", "pug", "--json")
    value = json.loads(ran.out)
    assert value["request"]["paths"] == ["dog/corgi"]  # beside the sibling, below its parent
    flat = cli(*outside, *model[:2], "--sibling", "pug", "--sibling", "tabby", "--json")
    assert json.loads(flat.out)["request"]["paths"] == ["corgi"]
    below = cli(*outside, *model[:2], "--parent", "dog", "--sibling", "pug", "--json")
    assert json.loads(below.out)["request"]["paths"] == ["dog/corgi"]
    alone = cli(*outside, *model[:2])
    assert alone.code == 1 and "something must say what stays" in alone.err


def test_a_list_of_classes_is_enough(
    cli: Callable[..., Ran], model: list[str], keep: list[str], tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("beagle\npug\ntabby\n")
    words = ["apply", "--concept", "beagle", "--no-images", *model[:2], *keep, "--force"]
    ran = cli(*words, "--classes", "names.txt", "--json")
    assert json.loads(ran.out)["request"]["taxonomy"] == "classes"
    both = cli(*words, "--classes", "names.txt", *model[2:])
    assert both.code == 2 and "leave one of the two out" in both.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--step", "3", "--layer", "x"], "--layer says nothing with --no-images"),
        (["--goal", "remove"], "--goal says nothing"),
        (["--gradient-images", "3"], "--gradient-images says nothing"),
        (["--test-images", "3"], "--test-images is about pictures"),
        (["--target", "0.1"], "--target is about pictures"),
        (["--forget", "a.tar"], "--forget says nothing"),
        (["--dry-run"], "--dry-run says nothing"),
        (["--data", "x", "--sibling", "pug"], "--sibling adds names"),
    ],
)
def test_options_that_say_nothing_are_refused(
    cli: Callable[..., Ran], asked: list[str], words: list[str], told: str, tmp_path: Path
) -> None:
    ran = cli(*asked, *words)
    assert ran.code == 2 and told in ran.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["--sibling", "pug"], ["--keep", "keep.txt"]])
def test_options_of_texts_are_refused_with_pictures(
    cli: Callable[..., Ran], world: list[str], words: list[str], keep: list[str]
) -> None:
    ran = cli("apply", "--concept", "beagle", *world, *words)
    assert ran.code == 2 and f"{words[0]} goes with --no-images" in ran.err


def test_from_python_it_is_one_call(taught: Clip, photos: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep.txt"
    keep.write_text("a red truck\n")
    where = {"taxonomy": photos / "pets.yaml", "keep": keep}
    found = slsgu.unlearn_by_text(taught, "beagle", **where)
    assert found.success and found.patch is not None and found.patch.layers == ("text_projection",)
    # Control: on this tiny model the image side loses kept names, and says so.
    with pytest.raises(slsgu.NotReachedError, match="names that are kept") as caught:
        slsgu.unlearn_by_text(taught, "beagle", **where, tower="vision")
    assert caught.value.result.edit.patch.layers == ("visual.proj",)


# -- where nothing but names says what stays -------------------------------------------------------


def words(name: str, taught_dir: Path, *more: str) -> list[str]:
    model = ["--model", f"local-dir:{taught_dir}", "--run", "run", "--force"]
    return ["apply", "--concept", name, "--no-images", *model, *more]


def paths(folder: Path) -> set[str]:
    """Every name that the run knew of."""
    value = json.loads((folder / "run" / "result.json").read_text())
    return {each["concept"] for each in value["text"]["stand_ins"]}


def test_a_parent_that_is_new_is_no_sibling_of_what_is_below_it(
    cli: Callable[..., Ran], taught_dir: Path, tmp_path: Path
) -> None:
    named = ["--sibling", "pug", "--sibling", "husky", "--parent", "dog"]
    ran = cli(*words("beagle", taught_dir, *named))
    assert "Traceback" not in ran.err and "ambiguous" not in ran.err
    assert paths(tmp_path) == {"dog", "dog/beagle", "dog/pug", "dog/husky"}


def test_a_parent_alone_does_not_say_what_is_close(
    cli: Callable[..., Ran], taught_dir: Path, photos: Path
) -> None:
    for more in ([], ["--taxonomy", str(photos / "pets.yaml")]):
        ran = cli(*words("unicorn", taught_dir, *more, "--parent", "horse"))
        assert ran.code == 1 and "--sibling" in ran.err and "'horse'" in ran.err, more
    more = ["--taxonomy", str(photos / "pets.yaml"), "--parent", "dog"]  # control: it has breeds
    assert "--sibling" not in cli(*words("unicorn", taught_dir, *more)).err


def test_a_list_of_other_names_need_not_have_the_concept(
    cli: Callable[..., Ran], taught_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "others.txt").write_text("pug\ntabby\n")
    cli(*words("beagle", taught_dir, "--classes", "others.txt"))
    assert paths(tmp_path) == {"beagle", "pug", "tabby"}


def test_texts_to_keep_that_all_mention_the_concept_are_refused(
    cli: Callable[..., Ran], asked: list[str], tmp_path: Path
) -> None:
    (tmp_path / "keep.txt").write_text("a beagle\nthe beagle\n")
    ran = cli(*asked)
    assert ran.code == 1 and "keep.txt" in ran.err and "none is left" in ran.err


def test_what_would_change_nothing_is_wrong_usage(
    cli: Callable[..., Ran], asked: list[str], model: list[str], tmp_path: Path
) -> None:
    for more in (["--sibling", "pug"], ["--parent", "dog"]):
        ran = cli(*asked, *more)
        assert ran.code == 2 and "'dog/beagle' already" in ran.err and more[0] in ran.err
    (tmp_path / "names.txt").write_text("pug\ntabby\n")
    listed = ["--classes", "names.txt", "--sibling", "pug"]
    new = ["apply", "--concept", "corgi", "--no-images", *model[:2], "--force", "--run", "new"]
    ran = cli(*new, *listed)
    assert ran.code == 2 and "'pug' stands in the list" in ran.err
    assert not (tmp_path / "new").exists()
    assert "Usage" not in cli(*new, *listed, "--parent", "dog").err  # control


@pytest.mark.parametrize("name", ["beagle", "corgi"])
def test_a_list_takes_a_parent_whether_or_not_it_has_the_concept(
    cli: Callable[..., Ran], taught_dir: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "names.txt").write_text("beagle\npug\ntabby\n")
    cli(*words(name, taught_dir, "--classes", "names.txt", "--parent", "dog"))
    assert paths(tmp_path) == {"dog", f"dog/{name}", "beagle", "pug", "tabby"} - (
        {"beagle"} if name == "beagle" else set()
    )


def test_the_embedded_model_keeps_its_own_names(cli: Callable[..., Ran], tmp_path: Path) -> None:
    new = ["apply", "--concept", "unicorn", "--no-images", "--run", "run", "--force"]
    told = cli(*new).err
    assert "--sibling" in told and "--data" not in told
    assert "does not have 'horse'" in cli(*new, "--sibling", "horse").err
    cli(*new, "--sibling", "husky")
    assert {"animal/dog/spitz/unicorn", "animal/dog/spitz/husky", "plant"} <= paths(tmp_path)


# -- what texts cannot tell, and what they lost ----------------------------------------------------


def test_a_name_that_nobody_vouches_for_is_said_to_be_one(
    cli: Callable[..., Ran], model: list[str], keep: list[str], tmp_path: Path
) -> None:
    new = ["apply", "--no-images", *model, *keep, "--force", "--run"]
    ran = cli(*new, "strange", "--concept", "zxqv", "--sibling", "pug")
    told = "zxqv: in no taxonomy or list that was given. Whether the model knew it cannot be told"
    assert told in ran.out and told in (tmp_path / "strange" / "report.html").read_text()
    value = json.loads((tmp_path / "strange" / "result.json").read_text())
    assert value["outside"] == ["zxqv"] and "the model knew zxqv" in value["not_known"][0]
    assert "in no taxonomy" not in cli(*new, "known", "--concept", "beagle").out  # control


def test_the_image_side_moves_no_text_and_names_what_it_lost(
    cli: Callable[..., Ran], asked: list[str], tmp_path: Path
) -> None:
    ran = cli(*asked, "--tower", "vision")
    assert ran.code == 1 and "moved" not in ran.out and "(--tower language)" in ran.err
    lost = json.loads((tmp_path / "run" / "result.json").read_text())["text"]["lost"]
    assert f"kept, and do not find their place any more: {lost[0]} (finds" in ran.out
    page = (tmp_path / "run" / "report.html").read_text()
    assert "moved, mean" not in page and f"{len(lost)} of the texts that count" in page


# -- what other commands make of such a run --------------------------------------------------------


def test_no_image_of_a_data_set_is_taken_for_one_that_the_edit_was_made_from(
    cli: Callable[..., Ran], asked: list[str], world: list[str], photos: Path
) -> None:
    cli(*asked)
    data = ["--data", photos / "images"]
    for where in (["--run", "run"], ["--patch", "run/patch.safetensors", *world]):
        assert "was made from" not in cli("evaluate", *where, *data).err, where
        told = cli("audit", *where, *data, "--out", "audit", "--probe", "membership")
        assert told.code == 0 and "was made from" not in told.err, where
        assert "no image went into the edit" in told.out and "shows which" not in told.out
    # Control: an edit that was made from images, of which nothing is known any more.
    cli("apply", "--concept", "beagle", *world, "--run", "images", "--force")
    elsewhere = ["--patch", "images/patch.safetensors", *world, "--seed", "3"]
    told = cli("audit", *elsewhere, "--out", "other", "--probe", "membership")
    assert "not known which images" in told.err and "no image went" not in told.out


@pytest.mark.parametrize("command", ["evaluate", "audit"])
def test_a_run_of_another_model_without_images_asks_for_some(
    cli: Callable[..., Ran], taught_dir: Path, photos: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "names.txt").write_text("beagle\npug\ntabby\nsiamese\n")
    cli(*words("beagle", taught_dir, "--classes", "names.txt"))
    ran = cli(command, "--run", "run")
    assert ran.code == 1 and "names alone" in ran.err and "--data" in ran.err
    assert not (tmp_path / "run" / "audit.json").exists()
    # Control: with pictures it works, among the names of the run.
    less = ["--probe", "membership"] if command == "audit" else []
    given = cli(command, "--run", "run", "--data", photos / "images", *less)
    assert given.code == 0, given.err


def test_a_run_of_the_embedded_model_is_measured_on_its_drawings(cli: Callable[..., Ran]) -> None:
    cli("apply", "--concept", "husky", "--no-images", "--run", "run", "--force")
    ran = cli("evaluate", "--run", "run", "--test-images", "2")
    assert ran.code == 0 and "forget" in ran.out, ran.err


@pytest.mark.parametrize(
    "more",
    [
        ["--classes", "others.txt"],
        ["--sibling", "pug", "--sibling", "tabby", "--sibling", "siamese"],
        ["--sibling", "pug", "--taxonomy", "others.yaml"],
        ["--parent", "cat", "--taxonomy", "others.yaml"],
    ],
)
def test_names_that_were_given_with_a_run_are_known_when_it_is_measured(
    cli: Callable[..., Ran], taught_dir: Path, photos: Path, tmp_path: Path, more: list[str]
) -> None:
    (tmp_path / "others.txt").write_text("pug\ntabby\nsiamese\n")
    (tmp_path / "others.yaml").write_text("dog: [pug]\ncat: [tabby, siamese]\n")
    cli(*words("beagle", taught_dir, *more))
    data = ["--data", photos / "images"]
    ran = cli("evaluate", "--run", "run", *data, "--json")
    assert ran.code == 0, ran.err
    request = json.loads((tmp_path / "run" / "result.json").read_text())["request"]
    assert json.loads(ran.out)["request"]["paths"] == request["paths"]
    audited = cli("audit", "--run", "run", *data, "--probe", "membership")
    assert audited.code == 0, audited.err


def test_pictures_that_do_not_fit_the_names_of_a_run_have_another_way(
    cli: Callable[..., Ran], taught_dir: Path, photos: Path, tmp_path: Path
) -> None:
    cli(*words("beagle", taught_dir, "--sibling", "pug"))
    data = ["--data", photos / "images"]
    for command in ("evaluate", "audit"):
        ran = cli(command, "--run", "run", *data)
        assert ran.code == 1 and "do not match" in ran.err and "leave --run out" in ran.err
    model = ["--model", f"local-dir:{taught_dir}"]
    other = cli(
        "evaluate", "--patch", "run/patch.safetensors", *model, *data, "--concept", "beagle"
    )
    assert other.code == 0, other.err  # control: that way works


def test_advice_names_only_ways_that_are_open(
    cli: Callable[..., Ran], asked: list[str], taught_dir: Path
) -> None:
    ran = cli(*asked)
    assert "slsgu evaluate --run run --data DIR" in ran.out
    refused = [*words("beagle", taught_dir)[:-1], "--tower", "vision"]  # without --force
    told = cli(*refused, "--sibling", "pug", "--run", "other").err
    assert "No patch was written" in told and "(--data)" not in told
    assert "slsgu evaluate --run DIR --data DIR" in told
    assert "(--data)" in cli(*asked, "--tower", "vision").err  # control


# -- what is printed -------------------------------------------------------------------------------


def test_the_length_of_the_change_is_said(cli: Callable[..., Ran], asked: list[str]) -> None:
    ran = cli(*asked)
    (line,) = [x for x in ran.out.splitlines() if x.startswith("the change is ")]
    patch = slsgu.Patch.load("run/patch.safetensors")
    delta, whole = (x["text_projection"].double().norm() for x in (patch.delta, patch.original))
    assert line == f"the change is {float(delta / whole):.1%} of the layer's norm"


def test_a_concept_that_has_many_names_prints_a_few(
    cli: Callable[..., Ran], taught_dir: Path, tmp_path: Path
) -> None:
    names = ", ".join(f"odd name number {n}" for n in range(40))
    (tmp_path / "odd.yaml").write_text(
        f"dog: [{{beagle: {{$aliases: [{names}]}}}}, pug]\ncat: [tabby, siamese]\n"
    )
    ran = cli(*words("beagle", taught_dir, "--taxonomy", "odd.yaml"))
    row = json.loads((tmp_path / "run" / "result.json").read_text())["text"]["rows"]
    unknown = [x for x in row if x["group"] == "forgotten" and x["rank_before"] > 1]
    assert len(unknown) > 5  # or nothing is tested
    (line,) = [x for x in ran.out.splitlines() if x.startswith("did not find")]
    assert line.count("odd name") == 5 and line.endswith(f" and {len(unknown) - 5} more")
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"and {len(unknown) - 5} more." in page


def test_texts_to_keep_that_mention_the_concept_are_named(
    cli: Callable[..., Ran], asked: list[str], photos: Path, tmp_path: Path
) -> None:
    assert "are not kept" not in cli(*asked).err  # control
    (tmp_path / "keep.txt").write_text("a red truck\na beagle\nthree trees\ntwo beagles\n")
    told = (
        "texts of keep.txt that mention what is to be forgotten are not kept, 1 in all: 'a beagle'"
    )
    for more in ([], ["--data", str(photos / "images")]):
        assert f"note: {told}" in cli(*asked, *more).err, more
        if not more:
            assert "are not kept, 1 in all" in (tmp_path / "run" / "report.html").read_text()


def test_a_sibling_that_is_the_concept_itself_is_refused_as_that(
    cli: Callable[..., Ran], taught_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("pug\ntabby\n")
    new = ["apply", "--no-images", "--model", f"local-dir:{taught_dir}", "--concept", "sports car"]
    for more in ([], ["--classes", "names.txt"], ["--parent", "car", "--sibling", "van"]):
        ran = cli(*new, *more, "--sibling", "Sports Car")
        assert ran.code == 1 and "'Sports Car' is to be forgotten, and a sibling" in ran.err, more
    assert "is to be forgotten, and" not in cli(*new, "--sibling", "van").err  # control


@pytest.mark.parametrize("tower", ["both", "image", None])
def test_a_tower_that_there_is_not_is_named_with_those_that_there_are(
    taught: Clip, photos: Path, tower: str
) -> None:
    with pytest.raises(slsgu.SlsguError, match=r"unknown tower .* known: vision, language"):
        slsgu.unlearn_by_text(taught, "beagle", taxonomy=photos / "pets.yaml", tower=tower)


@pytest.mark.parametrize(("tower", "columns"), [("language", 5), ("vision", 3)])
def test_on_a_small_screen_the_table_of_texts_has_a_place_for_each_column(
    cli: Callable[..., Ran], asked: list[str], tmp_path: Path, tower: str, columns: int
) -> None:
    cli(*asked, "--tower", tower)
    page = (tmp_path / "run" / "report.html").read_text()
    table = re.search(r'<table class="(stack texts[ a-z]*)">\s*<tr>(.*?)</tr>', page, re.S)
    assert table is not None and table[2].count("<th>") - 1 == columns
    rule = re.escape("." + ".".join(table[1].split()))
    (grid,) = re.findall(rule + r" tr \{ grid-template-columns: ([^;]*);", page)
    assert grid in (f"repeat({columns}, 1fr)",) or len(grid.split()) == columns


def test_what_test_images_say_is_no_reason_for_more_search_images(
    cli: Callable[..., Ran],
    asked: list[str],
    world: list[str],
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Goal, "misses", lambda *_: ["something is lost"])
    told = cli(*asked, "--data", photos / "images").err
    assert "on the test images something is lost" in told
    assert "judge it by the test images" in told and "--search-images" not in told
    searched = cli("apply", "--concept", "beagle", *world, "--run", "searched").err  # control
    assert "More --search-images" in searched


def test_a_sum_of_runs_without_images_is_measured_on_images_that_are_given(
    cli: Callable[..., Ran], model: list[str], keep: list[str]
) -> None:
    for name in ("beagle", "pug"):
        named = ["--concept", name, "--no-images", *model, *keep, "--run", name, "--force"]
        cli("apply", *named)
    told = cli("patch", "merge", "beagle", "pug", "--out", "both.safetensors").err
    assert "slsgu evaluate --run beagle --patch beagle --patch pug --data DIR" in told
