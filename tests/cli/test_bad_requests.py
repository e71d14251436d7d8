"""Requests that make no sense: concepts, taxonomies, options, and names that try to get out.

Bad input gets a clear message and the right exit status; nothing is lost, and never a traceback:
the `cli` fixture fails on any exception that is not an exit status.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.bad_input import STEP, files, refused, with_option
from helpers.commands import Ran

Cli = Callable[..., Ran]


# -- concepts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["apply", "grads", "evaluate"])
def test_unknown_concept(cli: Cli, world: list[str], tmp_path: Path, command: str) -> None:
    refused(cli(command, "--concept", "beegle", *world), "beegle", "did you mean 'beagle'?")
    refused(cli(command, "--concept", "zzzz", *world), "zzzz", "slsgu concepts")
    assert not list(tmp_path.iterdir())
    assert cli("apply", "--concept", "beagle", "--dry-run", *world).code == 0  # control


@pytest.mark.parametrize("name", ["/", "../../x", "dog/", "\udcff", "a" * 5000, "x\n"])
def test_strange_concepts(cli: Cli, world: list[str], tmp_path: Path, name: str) -> None:
    ran = cli("apply", "--concept", name, *world)
    assert ran.code == 1 and "Error: no concept" in ran.err and not list(tmp_path.iterdir())


def test_ambiguous_concept(cli: Cli, world: list[str], photos: Path, tmp_path: Path) -> None:
    (tmp_path / "zoo.yaml").write_text(
        "dog: {beagle: {$aliases: [sitter]}, pug: null}\n"
        "cat: {tabby: {$aliases: [sitter]}, siamese: null}\n"
    )
    zoo = with_option(world, "--taxonomy", tmp_path / "zoo.yaml")
    refused(cli("apply", "--concept", "sitter", *zoo), "ambiguous", "dog/beagle", "cat/tabby")
    assert cli("apply", "--concept", "dog/sitter", "--dry-run", *zoo).code == 0


def test_all_concepts_at_once(cli: Cli, world: list[str]) -> None:
    refused(cli("grads", "--concept", "dog", "--concept", "cat", *world), "leave something to keep")


def test_a_concept_the_model_does_not_know(
    cli: Cli, world: list[str], tiny_dir: Path, tmp_path: Path
) -> None:
    ignorant = with_option(world, "--model", f"local-dir:{tiny_dir}")  # random weights
    ran = cli("apply", "--concept", "beagle", *ignorant)
    refused(ran, "does not know 'beagle' in the first place", "chance is 25.0%", "--force")
    assert not list(tmp_path.rglob("patch.safetensors"))
    forced = cli("apply", "--concept", "beagle", *ignorant, *STEP)
    assert forced.code == 1 and list(tmp_path.rglob("patch.safetensors"))


# -- taxonomies -----------------------------------------------------------------------------------


BOMB = "a0: &a0 [x, y]\n" + "".join(
    f"a{n}: &a{n} {{p: *a{n - 1}, q: *a{n - 1}}}\n" for n in range(1, 40)
)


TAXONOMIES = {
    "cycle": "dog: &a\n  beagle: *a\n",
    "list cycle": "&a [dog, *a]\n",
    "bomb": BOMB,
    "deep": "[" * 5000 + "]" * 5000,
    "deep mapping": "".join(" " * n + f"a{n}:\n" for n in range(300)),
    "not yaml": "dog: [beagle\n",
    "tabs": "dog:\n\t- beagle\n",
    "date": "dog: 2001-99-99\n",
    "no date": "dog: !!timestamp x\n",
    "empty number": "dog: !!float ''\n",
    "binary": "dog: !!binary gIGC\n",
    "code": "dog: !!python/object/apply:os.system ['touch pwned']\n",
    "two documents": "dog: [a, b]\n---\ncat: [c]\n",
    "empty": "",
    "number": "42\n",
    "text": "beagle\n",
    "one leaf": "dog: [beagle]\n",
    "twice": "dog: [beagle, Beagle]\n",
    "slash": "dog: ['../../x', pug]\n",
    "no name": "dog: ['', pug]\n",
    "boolean": "dog: [yes, no]\n",
    "surrogate": 'dog: ["\\ud800", pug]\n',
    "control": 'dog: ["\\x1b[2J", pug]\n',
    "attribute": "dog: {$alias: [x], pug: null, beagle: null}\n",
    "aliases": "dog: {$aliases: {a: b}, pug: null, beagle: null}\n",
    "templates": "$templates: [no braces]\ndog: [pug, beagle]\n",
    "unhashable": "{[a]: b, {c: d}: e}\n",
    "huge number": "dog: [" + "9" * 5000 + ", pug]\n",
    "merge": "<<: 3\ndog: [pug, beagle]\n",
    "set": "dog: !!set {a, b}\n",
    "omap": "dog: !!omap [a: b]\n",
    "null byte": 'dog: ["a\\0b", pug]\n',
}


@pytest.mark.parametrize("name", TAXONOMIES)
def test_taxonomies_that_make_no_sense(cli: Cli, tmp_path: Path, name: str) -> None:
    path = tmp_path / "pets.yaml"
    path.write_text(TAXONOMIES[name], encoding="utf-8")
    ran = cli("concepts", "--taxonomy", path)
    refused(ran, "taxonomy")
    assert files(tmp_path) == {"pets.yaml"}


def test_aliases_of_yaml_are_welcome(cli: Cli, tmp_path: Path) -> None:
    """Control: an anchor is refused for what it claims, not for being one."""
    (tmp_path / "pets.yaml").write_text("dog: &breeds [small, large]\ncat: *breeds\n")
    ran = cli("concepts", "--taxonomy", "pets.yaml")
    assert ran.out.splitlines() == ["dog", "  small", "  large", "cat", "  small", "  large"]


def test_a_taxonomy_file_of_other_bytes(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "pets.yaml").write_bytes(b"\xff\xfe\x00dog")
    refused(cli("concepts", "--taxonomy", "pets.yaml"), "cannot read taxonomy file")


def test_things_of_the_wrong_kind(
    cli: Cli, world: list[str], photos: Path, taught_dir: Path, tmp_path: Path
) -> None:
    apply = ["apply", "--concept", "beagle"]
    folder, yaml, long = photos / "images", photos / "pets.yaml", "a" * 300
    (tmp_path / "file").write_text("x")
    for name, value, word in (
        ("--taxonomy", folder, "taxonomy"),
        ("--taxonomy", "missing.yaml", "not found"),
        ("--taxonomy", long, "File name too long"),
        ("--data", yaml, "is a file"),
        ("--data", "missing", "not found"),
        ("--data", long, "File name too long"),
        ("--data", taught_dir, "no images"),
        ("--model", "local-dir:missing", "no such folder"),
        ("--model", f"local-dir:{yaml}", "no such folder"),
        ("--model", f"local-dir:{folder}", "open_clip_config.json"),
        ("--model", "local-dir:", "nothing after"),
        ("--model", str(taught_dir), "write local-dir:"),
        ("--model", "ViT-B-23", "did you mean"),
        ("--model", long, "unknown architecture"),
    ):
        refused(cli(*apply, *with_option(world, name, value)), word)
    for options, word in (
        (["--templates", str(folder)], "templates"),
        (["--templates", "missing.txt"], "templates"),
        (["--templates", str(photos / "images/pug/00.png")], "templates"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "nonsense"], "nonsense"),
        (["--save-model", "file"], "exists already"),
        (["--run", long], "File name too long"),
        (["--layer", "text_projectoin"], "did you mean text_projection"),
        (["--layer", "logit_scale"], "no editable layer"),
        (["--layer", "visual.proj", "--tower", "language"], "vision tower"),
    ):
        refused(cli(*apply, *world, *options), word)
    refused(cli(*apply, *world, "--run", "file"), "is a file", code=2)
    refused(cli("pareto", "--run", "file"), "is a file", code=2)
    refused(cli(*apply, *world, "--cache-dir", "file"), "is a file", code=2)
    assert files(tmp_path) == {"file"}


@pytest.mark.parametrize(
    "options",
    [
        ["--layer", "visual.proj", "--step", "-1"],
        ["--layer", "visual.proj", "--step", "0"],
        ["--layer", "visual.proj", "--step", "nan"],
        ["--layer", "visual.proj", "--step", "inf"],
        ["--layer", "visual.proj", "--step", "x"],
        ["--step", "1"],
        ["--floor", "2"],
        ["--floor", "nan"],
        ["--floor", "retain_fine=-0.1"],
        ["--floor", "nonsense=0.5"],
        ["--floor", "="],
        ["--target", "1.5"],
        ["--target", "nan"],
        ["--activation-memory", "inf"],
        ["--activation-memory", "nan"],
        ["--trials", "0"],
        ["--seed", "-1"],
        ["--contrastive-batch", "1"],
        ["--test-images", "0"],
        ["--workers", "-1"],
        ["--forget-loss", "nonsense"],
        ["--retain-loss", "nonsense"],
        ["--direction", "nonsense"],
        ["--tower", "sound"],
    ],
    ids=" ".join,
)
def test_numbers_and_names_that_make_no_sense(
    cli: Cli, world: list[str], tmp_path: Path, options: list[str]
) -> None:
    refused(cli("apply", "--concept", "beagle", *world, *options), code=2)
    # Before the model is loaded: one that is not there is not missed.
    missing = with_option(world, "--model", "local-dir:missing")
    refused(cli("apply", "--concept", "beagle", *missing, *options), code=2)
    refused(cli("apply", "--concept", "beagle", *missing), "missing", code=1)  # control
    assert not list(tmp_path.iterdir())


def test_a_step_out_of_range(cli: Cli, world: list[str], tmp_path: Path) -> None:
    """Embeddings that overflow to zero would read as if something was forgotten."""
    for step in ("1e30", "1e37", "1e39", "1e300"):
        fixed = ["--layer", "text_projection", "--step", step, "--force"]
        ran = cli("apply", "--concept", "beagle", *world, *fixed)
        assert ran.code == 1 and "Error: " in ran.err and "out of the range" in ran.err
        assert not [*tmp_path.rglob("patch.safetensors"), *tmp_path.rglob("result.json")]
    assert cli("apply", "--concept", "beagle", *world, *STEP).code == 1  # control: its goal missed
    assert list(tmp_path.rglob("patch.safetensors"))


# -- values that have no end ----------------------------------------------------------------------

LONG = "wxyz " * 400_000


def test_a_long_value_of_a_file_is_not_printed_whole(
    cli: Cli, world: list[str], tmp_path: Path
) -> None:
    base = ("apply", "--concept", "beagle", *world)
    for name, text, words in (
        ("templates.txt", LONG, [*base, "--templates"]),
        ("classes.txt", f"{LONG}\n{LONG}", ["apply", "--forget", "none.csv", "--classes"]),
        ("trials.yaml", f"concept: beagle\ntrials: {LONG}", ["apply", "--request"]),
        ("key.yaml", f"? {LONG}\n: beagle", ["apply", "--request"]),
        ("tree.yaml", f"dog: [pug, pug]\n? {LONG}\n: 3", ["concepts", "--taxonomy"]),
    ):
        file = tmp_path / name
        file.write_text(text)
        ran = cli(*words, file)
        assert ran.code in (1, 2) and len(ran.err) < 21_000, name
        assert "characters ...]" in ran.err or LONG[:40] not in ran.err, name
    ran = cli(*base, "--templates", "nothing")  # control
    assert ran.code == 1 and "characters ...]" not in ran.err


def test_a_long_value_that_is_typed_is_not_printed_whole(cli: Cli) -> None:
    long = LONG[:90_000]
    for words in ([long], ["apply", f"--{long}"], ["grads", "--batch-size", long],
                  ["apply", "--precision", long], ["concepts", long], ["layers", "--model", long],
                  ["patch", "show", long], ["patch", "scale", "p", long, "-o", "m.safetensors"],
                  ["apply", "--also", long, "--concept", "beagle"]):  # fmt: skip
        ran = cli(*words)
        assert ran.code in (1, 2) and 4_000 < len(ran.err) < 21_000, words[:2]
        assert "characters ...]" in ran.err, words[:2]
    ran = cli("concepts", "zebr_")  # control
    assert ran.code == 1 and "characters ...]" not in ran.err


# -- names that try to get out --------------------------------------------------------------------


def test_names_do_not_leave_the_run_folder(
    cli: Cli, world: list[str], images: Path, tmp_path: Path
) -> None:
    odd = "x\\..\\..\\y; $(touch pwned)"
    (images / "beagle").rename(images / odd)
    (images / "pug").rename(images / "~")
    flat = [*world[:2], "--data", str(images)]  # the folders are the taxonomy
    for concept, name in ((odd, "x-y-touch-pwned-"), ("~", "concept-")):
        ran = cli("apply", "--concept", concept, *flat, *STEP)
        assert "patch " in ran.out, ran
        (run,) = tmp_path.glob(f"runs/{name}*")
        assert files(run) >= {"patch.safetensors", "result.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_names_do_not_inject_html(cli: Cli, world: list[str], images: Path, tmp_path: Path) -> None:
    script = "<script>alert(1)<"  # a folder cannot hold a slash
    quote = '"><img src=x onerror=alert(2)>'
    (images / "beagle").rename(images / script)
    (images / "pug").rename(images / quote)
    (images / "tabby" / "<b>bold<b>.png").write_bytes(b"broken")
    flat = [*world[:2], "--data", str(images)]
    run = "<i>run"
    ran = cli("apply", "--concept", script, "--run", run, *flat, *STEP, report=True)
    assert "report " in ran.out, ran
    page = (tmp_path / run / "report.html").read_text()
    for text in ("<script", "<img src=x", "onerror=alert(2)>", "<b>bold", "<i>run"):
        assert text not in page
    for text in ("&lt;script&gt;alert(1)&lt;", "img src=x onerror", "&lt;i&gt;run"):
        assert text in page


def test_names_that_drawing_might_interpret(
    cli: Cli, world: list[str], images: Path, tmp_path: Path
) -> None:
    for old, new in (
        ("beagle", "$x_{"),
        ("pug", "{{ 7 * 7 }}"),
        ("tabby", "%s{}\\frac"),
        ("siamese", "犬_"),
    ):
        (images / old).rename(images / new)
    flat = [*world[:2], "--data", str(images)]
    ran = cli("apply", "--concept", "$x_{", *flat, *STEP, report=True)
    assert "report " in ran.out, ran
    assert "{{ 7 * 7 }}" in next(tmp_path.glob("runs/*/report.html")).read_text()
    assert cli("pareto", "--plot").code == 0
