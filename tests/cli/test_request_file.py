"""Requests as files: what they say is what was typed, and a mistake is answered with its line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from helpers.commands import Ran
from slsgu.cli.apply import apply
from slsgu.cli.request_file import known_keys
from slsgu.cli.request_schema import schema
from slsgu.cli.values import split_also

from slsgu.patch.patch import Patch
from slsgu.utils.together import replacing_together

Cli = Callable[..., Ran]
FEW = ["--trials", "4"]
DOCS = Path(__file__).resolve().parents[2] / "docs"


def values(*words: object) -> dict[str, Any]:
    """What `slsgu apply` makes of a command line."""
    return apply.make_context("apply", [str(word) for word in words]).params


def test_a_request_file_is_the_command(cli: Cli, world: list[str], tmp_path: Path) -> None:
    typed = cli(
        *("apply", "--concept", "beagle", *world, *FEW, "--floor", "0.7"),
        *("--floor", "retain_fine=0.6", "--asked-by", "A. Person"),
        *("--reason", "because: of <this>", "--json"),
    )
    assert typed.code == 0
    run = next(tmp_path.glob("runs/*"))
    written = yaml.safe_load((run / "request.yaml").read_text())
    assert written["concept"] == "beagle" and written["trials"] == 4
    assert written["asked_by"] == "A. Person" and "json" not in written
    patch = (run / "patch.safetensors").read_bytes()
    again = cli("apply", "--request", run / "request.yaml", "--json", "--run", "again")
    one, other = (json.loads(ran.out) for ran in (typed, again))
    same = ("layer", "step_size", "before", "after", "settings", "asked_by", "reason")
    assert all(one[key] == other[key] for key in same)
    # but for the command line that it records
    first, second = (
        Patch.load(run / "patch.safetensors"),
        Patch.load(Path("again/patch.safetensors")),
    )
    assert first.metadata["reason"] == "because: of <this>"
    assert {**first.metadata, "command": ""} == {**second.metadata, "command": ""}
    assert patch != (tmp_path / "again" / "patch.safetensors").read_bytes()  # the command differs
    # What is typed wins.
    ran = cli("apply", "--request", run / "request.yaml", "--trials", "2", "--run", "two", "--json")
    assert json.loads(ran.out)["settings"]["trials"] == 2
    assert yaml.safe_load(Path("two/request.yaml").read_text())["trials"] == 2


def test_paths_are_relative_to_the_file(
    cli: Cli, taught_dir: Path, photos: Path, tmp_path: Path
) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "photos").symlink_to(photos / "images")
    (place / "model").symlink_to(taught_dir)
    shutil.copy(photos / "pets.yaml", place)
    lines = ["concept: [beagle]", "data: photos", "model: local-dir:model", "taxonomy: pets.yaml"]
    (place / "r.yaml").write_text("\n".join([*lines, "gradient-images: 3", "quick_gelu:"]))
    ran = cli("grads", "--request", "elsewhere/r.yaml", "--json")
    assert ran.code == 0 and json.loads(ran.out)["counts"]["forget"] == 3
    written = yaml.safe_load(next(tmp_path.glob("runs/*/request.yaml")).read_text())
    assert written["data"] == str(place / "photos")
    assert written["model"] == f"local-dir:{place / 'model'}"


def test_paths_in_a_run_folder_are_relative_to_it(cli: Cli, tmp_path: Path) -> None:
    run, text = tmp_path / "run", "forget: mine.csv\nname: beagle\n"
    with replacing_together(run, ["request.yaml"]) as part:
        (part / "request.yaml").write_text(text)
    ran = cli("apply", "--request", "run/request.yaml", "--dry-run")
    assert ran.code == 1 and f"no such file or folder: {run}/mine.csv" in ran.err
    (tmp_path / "there").mkdir()  # control: a link of the user's
    (tmp_path / "there" / "r.yaml").write_text(text)
    (tmp_path / "link.yaml").symlink_to("there/r.yaml")
    ran = cli("apply", "--request", "link.yaml", "--dry-run")
    assert ran.code == 1 and f"no such file or folder: {tmp_path}/there/mine.csv" in ran.err


def test_a_file_beside_the_request_is_never_taken_from_elsewhere(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "ship.csv").write_text("filepath,title\n")
    (tmp_path / "sub" / "r.yaml").write_text("forget: ship.csv\nretain: ship.csv\nname: ship\n")
    ran = cli("apply", "--request", "sub/r.yaml", "--dry-run")
    assert ran.code == 1 and f"no such file or folder: {tmp_path}/sub/ship.csv" in ran.err
    assert "(sub/r.yaml line 1: forget)" in ran.err
    (tmp_path / "sub" / "r.yaml").write_text("concept: ship\ntaxonomy: cifar11\n")
    ran = cli("apply", "--request", "sub/r.yaml", "--dry-run")
    assert ran.code == 1 and "did you mean 'cifar10'?" in ran.err


def test_a_request_without_a_concept_is_named(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "vague.yaml"
    file.write_text("seed: 3\n")
    ran = cli("grads", "--request", file)
    assert ran.code == 2 and f"{file} does not say what to forget" in ran.err
    ran = cli("grads")  # control: nothing but the command line could say it
    assert ran.code == 2 and "say what to forget: --concept NAME" in ran.err


def test_text_is_taken_as_it_stands(tmp_path: Path) -> None:
    """YAML would take some for numbers, in octal or to the base of 60."""
    file = tmp_path / "r.yaml"
    for text in ("00207", "1.10", "12:30", "1_000", "0x1F", "0815", "2026-11-21", ".5", "1e3"):
        file.write_text(f"concept: {text}\nname: {text}\nreason: {text}\n")
        found = values("--request", file)
        assert found["concepts"] == (text,) and found["name"] == found["reason"] == text
    file.write_text("seed: 010\ntarget: .5\nstep: 1e3\nfloor: {retain_fine: .25}\n")
    found = values("--request", file)
    assert (found["seed"], found["target"], found["step"]) == (10, 0.5, 1000)
    assert found["floors"] == {"retain_fine": 0.25}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "concept: beagle\nconzept: pug\n",
            "line 2: unknown key 'conzept'; did you mean 'concept'?",
        ),
        ("# a\n\ntarget: 3\n", "line 3: target: 3.0 is not in the range 0<=x<=1"),
        ("search: quick\n", "line 1: search: 'quick' is not one of 'default', 'paper'"),
        ("taxonomy: ''\n", "line 1: taxonomy is empty: give a value, or leave the line out"),
        ("trials: many\n", "line 1: trials: 'many' is not a valid integer"),
        ("concept: on\n", "line 1: concept: True stands for a truth in YAML: put quotes"),
        ("strict: yes please\n", "line 1: strict: 'yes please' is not true or false"),
        ("data: [a, b]\n", "line 1: data: give one value"),
        ("also: {photos: {a: b}}\n", "line 1: also: give one value for each name"),
        ("concept: {a: b}\n", "line 1: concept: give one value, or a list"),
        ("floor: [[1]]\n", "line 1: floor: give one value, or a list of values"),
        ("floor: {retain_fine: x}\n", "line 1: floor: 'retain_fine=x' is not NAME=NUMBER"),
        ("step: -1\n", "line 1: step: -1 is not positive"),
        ('cache_dir: "a\\0b"\n', "line 1: cache_dir: it holds a NUL character"),
        ('cache_dir: "\\ud800"\n', "line 1: cache_dir: it holds half a character"),
        ("reason: !!set {a, b}\n", "line 1: reason: give text or a number"),
        ("name: !!binary aGVsbG8=\n", "line 1: name: give text or a number"),
        ("dry-run: true\n", "line 1: 'dry-run' is no part of a request: type --dry-run"),
        ("concept: a\nconcept: b\n", "'concept' is given in line 1 and again in line 2"),
        (
            "batch_size: 16\nbatch-size: 3\n",
            "line 2: 'batch-size' stands in line 1 already: leave one of the two out",
        ),
        ("- a\n", "must hold a mapping"),
        ("a: [", "is not valid YAML: line 1, column 5: expected the node content"),
        ("a: 1\nname: b: c", "line 2, column 8: mapping values are not allowed here (a value with"),
        ("test_images: 10.5\n", "line 1: test_images: '10.5' is not a valid integer"),
    ],
)
def test_a_mistake_is_answered_with_its_line(
    cli: Cli, tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "r.yaml").write_text(text)
    for command in ("apply", "grads"):
        ran = cli(command, "--request", "r.yaml")
        assert ran.code == 1 and told in " ".join(ran.err.split()), ran.err
    if "unknown key" in told:
        assert "Known keys: concept, forget, retain" in " ".join(ran.err.split())
    assert not (tmp_path / "runs").exists()


def test_the_port_of_an_address_is_no_taxonomy() -> None:
    address = "http://127.0.0.1:8000/a.tar"
    assert split_also(f"x={address}") == ("x", address, "")
    assert split_also(f"x={address}:cifar10") == ("x", address, "cifar10")  # control
    assert split_also("x=pets:trees/pets.yaml") == ("x", "pets", "trees/pets.yaml")


def test_an_empty_request_names_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("# nothing\n")
    assert cli("apply", "--request", "r.yaml").code == 2
    assert cli("apply", "--request", "missing.yaml").code == 2


def test_the_schema_is_of_this_version() -> None:
    written = json.loads((DOCS / "request.schema.json").read_text())
    assert written == json.loads(json.dumps(schema()))
    assert set(written["properties"]) == set(known_keys()) > {"concept", "also", "reason"}


# -- what is typed comes first ------------------------------------------------------------------

PAIRS = "forget: a.tar\nretain: b.tar\nname: pug\nparent: dog\nclasses: c.txt\nretain_images: 9\n"


def test_what_is_typed_takes_the_place_of_its_alternatives(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(PAIRS + "seed: 3\n")
    found = values("--request", file)
    assert (
        found["forget"] == str(tmp_path / "a.tar")
        and found["retain_images"] == 9
        and found["seed"] == 3
    )
    found = values("--request", file, "--concept", "pug")
    assert found["concepts"] == ("pug",) and found["seed"] == 3
    names = ("forget", "retain", "name", "parent", "classes", "retain_images")
    assert [found[name] for name in names] == [None] * 6
    found = values("--taxonomy", "cifar10", "--request", file)  # in any order
    assert found["taxonomy"] == "cifar10" and found["classes"] is None and found["forget"]
    file.write_text("concept: [pug, beagle]\ndata: photos\ntaxonomy: cifar10\n")
    found = values("--request", file, "--forget", "a.tar", "--classes", "c.txt")
    assert found["concepts"] == () and found["data"] is None and found["taxonomy"] is None
    found = values("--request", file, "--forget-loss", "cosine")  # control: no alternative
    assert found["concepts"] == ("pug", "beagle") and found["data"].endswith("/photos")


def test_flags_of_a_file_can_be_switched_off(tmp_path: Path) -> None:
    flags = ("force", "strict", "thorough", "norms", "checkpoint_activations")
    file = tmp_path / "r.yaml"
    file.write_text("".join(f"{flag}: true\n" for flag in flags) + "cache: false\nquick_gelu: on")
    found = values("--request", file)
    assert all(found[flag] for flag in (*flags, "quick_gelu")) and not found["cache"]
    off = [f"--no-{flag.replace('_', '-')}" for flag in flags]
    found = values("--request", file, *off, "--cache", "--gelu")
    assert not any(found[flag] for flag in (*flags, "quick_gelu")) and found["cache"]


def test_an_empty_value_takes_one_of_the_file_back(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(PAIRS + "concept: pug\nalso: {x: y.tar}\n")
    found = values("--request", file, "--retain", "", "--also", "", "--concept", "", "--name=")
    assert found["retain"] is None is found["name"] and found["also"] == () == found["concepts"]
    assert found["forget"] == str(tmp_path / "a.tar")  # an empty name takes no other's place
    file.write_text("seed: 4\ntarget: 0.2\nfloor: 0.9\ndevice: cuda\nlayer: a\nstep: 1\n")
    words = [
        word for key in ("seed", "target", "floor", "device", "step") for word in (f"--{key}", "")
    ]
    found = values(*words, "--request", file, "--layer=")
    assert found == values()
    for words in (["--retain", ""], ["--data="], ["--run", ""], ["--request", file, "--data", ""]):
        with pytest.raises(click.BadParameter, match="is empty"):
            values(*words)


def test_the_place_of_a_value_in_the_file_is_told(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    (tmp_path / "r.yaml").write_text("# a\nforget: nope.tar\nfloor: {retain_fin: 0.9}\n")
    ran = cli("apply", "--request", "r.yaml")
    assert ran.code == 2
    told = " ".join(ran.err.split())
    assert "unknown floor 'retain_fin'; floors are" in told and "(r.yaml line 3: floor)" in told
    ran = cli("apply", "--request", "r.yaml", "--floor", "0.5")
    assert ran.code == 1
    assert ran.err == f"Error: no such shard: {tmp_path}/nope.tar\n(r.yaml line 2: forget)\n"
    ran = cli("apply", "--request", "r.yaml", "--floor", "0.5", "--forget", "no.tar")
    assert ran.err == "Error: no such shard: no.tar\n"  # typed
    ran = cli("apply", "--request", "r.yaml", "--floor", "nothere=0.5", "--concept", "pug")
    assert "nothere" in ran.err and "r.yaml" not in ran.err
    lines = ["concept: ship", "taxonomy: cifar10", "templates: imagenet-dogs", "also: {a: nosuch}"]
    (tmp_path / "r.yaml").write_text("\n".join(lines))
    for words, line in (
        (["--also", "a=x.tar:nosuchtax"], None),  # the message lists the bundled names
        (["--also", "", "--templates", "nosuch"], None),
        (["--also", "", "--concept", "zebra"], None),
        ([*world, "--concept", "beagle"], 4),
    ):
        ran = cli("apply", "--request", "r.yaml", "--data", "menagerie", *words, "--dry-run")
        assert ran.code == 1 and [f"line {n}" in ran.err for n in range(1, 5)] == [
            n == line for n in range(1, 5)
        ], ran.err
    # What is typed in its place makes up for a value that makes no sense.
    (tmp_path / "r.yaml").write_text("seed: abc\ntrials: [1, 2]\n")
    assert values("--request", "r.yaml", "--seed", "3", "--trials", "4")["seed"] == 3
    assert values("--request", "r.yaml", "--seed", "", "--trials=") == values()
    (tmp_path / "r.yaml").write_text("concept: a zebra crossing\nseed: 1\n")
    ran = cli("grads", "--request", "r.yaml")
    assert ran.code == 1 and "no concept 'a zebra crossing'" in ran.err
    assert ran.err.endswith("(r.yaml line 1: concept)\n")


# -- paths --------------------------------------------------------------------------------------


def test_names_with_colons_and_words_of_their_own(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for name in ("my ship: v1.csv", "a=b.csv", "a.tar", "b.tar", "tree.yaml"):
        (place / name).touch()
    (place / "sub").mkdir()
    (place / "sub" / "w.pt").touch()
    # Names mean the same wherever a file is called so too.
    (place / "openai").touch()
    (place / "photo").touch()
    for name in (
        "photos",
        "local-dir",
        "http",
        "cifar10",
        "menagerie",
        "laion2b",
        "ViT-B-32",
    ):
        (place / name).mkdir()

    def told(key: str, value: object) -> Any:
        (place / "r.yaml").write_text(yaml.safe_dump({key: value}))
        return values("--request", place / "r.yaml")[key]

    at = str(place)
    for key, value, wanted in (
        ("forget", "my ship: v1.csv", f"{at}/my ship: v1.csv"),
        ("forget", "a=b.csv", f"{at}/a=b.csv"),
        ("forget", "a.tar::b.tar", f"{at}/a.tar::{at}/b.tar"),
        ("forget", "{a,b}.tar", f"{at}/{{a,b}}.tar"),
        ("retain", "{a,b}.tar::b.tar", f"{at}/{{a,b}}.tar::{at}/b.tar"),
        ("also", "x=a.tar::b.tar::a.tar", (f"x={at}/a.tar::{at}/b.tar::{at}/a.tar",)),
        ("also", "x=a.tar::b.tar:tree.yaml", (f"x={at}/a.tar::{at}/b.tar:{at}/tree.yaml",)),
        ("taxonomy", "photo", f"{at}/photo"),
        ("forget", "pipe:cat a.tar", "pipe:cat a.tar"),
        ("forget", "http://photos/a.tar", "http://photos/a.tar"),
        ("forget", "missing.tar", f"{at}/missing.tar"),
        ("also", "x=gone:gone.yaml", (f"x={at}/gone:{at}/gone.yaml",)),
        ("templates", "gone.txt", f"{at}/gone.txt"),
        ("pretrained", "gone/w.pt", f"{at}/gone/w.pt"),
        ("pretrained", "gone.safetensors", f"{at}/gone.safetensors"),
        ("model", "local-dir:photos", f"local-dir:{at}/photos"),
        ("model", "ViT-B-32", "ViT-B-32"),
        ("also", "x=photos:tree.yaml", (f"x={at}/photos:{at}/tree.yaml",)),
        ("also", "x=my ship: v1.csv:cifar10", (f"x={at}/my ship: v1.csv:cifar10",)),
        ("also", "x=a=b.csv", (f"x={at}/a=b.csv",)),
        ("also", "x=cifar10:cifar10", (f"x={at}/cifar10:cifar10",)),
        ("also", "x=pipe:cat a.tar:tree.yaml", (f"x=pipe:cat a.tar:{at}/tree.yaml",)),
        ("taxonomy", "cifar10", "cifar10"),
        ("taxonomy", "tree.yaml", f"{at}/tree.yaml"),
        ("templates", "photo", "photo"),
        ("data", "menagerie", "menagerie"),
        ("data", "cifar10", f"{at}/cifar10"),
        ("pretrained", "openai", "openai"),
        ("pretrained", "laion2b", "laion2b"),
        ("pretrained", "sub/w.pt", f"{at}/sub/w.pt"),
        ("model", "local-dir:~/model", "local-dir:~/model"),
        ("data", "~/photos", str(Path.home() / "photos")),
        ("also", "x=~/photos", (f"x={Path.home()}/photos",)),
        ("also", {"o": "a.tar:tree.yaml"}, (f"o={at}/a.tar:{at}/tree.yaml",)),
        ("also", "x", ("x",)),
        ("classes", "new.txt", f"{at}/new.txt"),
        ("cache_dir", "new", f"{at}/new"),
        ("reason", "photos", "photos"),  # control: no path
    ):
        assert told(key, value) == wanted


def test_the_file_of_a_pipe_says_where_it_started(
    cli: Cli, taught_dir: Path, photos: Path, tmp_path: Path
) -> None:
    for name in ("beagle", "pug"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for picture in sorted((photos / "images" / name).glob("*.png"))[:6]:
                tar.add(picture, f"{picture.stem}.png")
                (tmp_path / "c.txt").write_text(f"a {name}")
                tar.add(tmp_path / "c.txt", f"{picture.stem}.txt")
    words = ["--name", "beagle", "--retain", "pug.tar", "--model", f"local-dir:{taught_dir}"]
    assert cli("grads", "--forget", "pipe:cat beagle.tar", *words, "--run", "one").code == 0
    assert f"# The commands of pipes start in {tmp_path}\n" in Path("one/request.yaml").read_text()
    assert cli("grads", "--forget", "beagle.tar", *words, "--run", "two").code == 0
    assert "# The commands of pipes" not in Path("two/request.yaml").read_text()  # control


# -- what runs write ----------------------------------------------------------------------------


def test_grads_leaves_the_request_of_apply(cli: Cli, world: list[str], tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "concept: beagle\nfloor: 0.5\nasked_by: A. Person\ntrials: 4\n"
    )
    assert cli("grads", "--request", "r.yaml", *world).code == 0
    (path,) = tmp_path.glob("runs/*/request.yaml")
    written = yaml.safe_load(path.read_text())
    # What only `apply` uses is kept for it.
    assert written["asked_by"] == "A. Person" and written["trials"] == 4
    assert cli("apply", "--request", path).code == 0
    applied = path.read_bytes()
    assert b"A. Person" in applied and b"floor" in applied
    assert cli("grads", "--concept", "beagle", *world).code == 0
    assert path.read_bytes() == applied


# -- an end from outside ------------------------------------------------------------------------


NOT_UNDER_NOHUP = """import runpy, signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
runpy.run_module("slsgu", run_name="__main__")"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_no_temporary_file(
    tmp_path: Path, photos: Path, how: signal.Signals
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(next((photos / "images" / "pug").glob("*.png")), "0.png")
    (tmp_path / "tmp").mkdir()
    words = ["select", "--source", "pipe:cat a.tar; sleep 2", "--match", "x"]
    with subprocess.Popen(
        [sys.executable, "-c", NOT_UNDER_NOHUP, *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    ) as program:
        end = time.monotonic() + 60
        while not list((tmp_path / "tmp").glob(".slsgu-pipe.*/*.tar")) and time.monotonic() < end:
            time.sleep(0.02)
        program.send_signal(how)
        told = program.communicate(timeout=60)[1]
    assert program.returncode == 128 + how and told.startswith("Interrupted")
    assert not list((tmp_path / "tmp").iterdir())
