"""The documentation says what the code does: options, names, links, and code that runs."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path
from typing import get_args

import click
import pytest
import torch
import yaml
from helpers.commands import commands_of
from safetensors.torch import load_file, save_file

import slsgu
from slsgu import cli
from slsgu.audit import relearning, verdict
from slsgu.audit.run import PROTOCOL
from slsgu.concepts.taxonomy import Taxonomy
from slsgu.direction.direction import DIRECTIONS
from slsgu.losses.forget import FORGET_LOSSES
from slsgu.menagerie import MODEL_DIR

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in (*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md")
    if path.is_file()
)
OPTION = re.compile(r"--[a-z][a-z-]*[a-z]")
FENCE = re.compile(r"(?:<!-- (?P<note>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)```", re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def sections(text: str) -> dict[str, str]:
    """The text under each heading, by anchor, up to the next heading of any level."""
    text = FENCE.sub("", text)
    found = re.split(r"^#+ (.+)$", text, flags=re.M)
    return {slug(heading): body for heading, body in zip(found[1::2], found[2::2], strict=True)}


# -- the command line -------------------------------------------------------------------------


COMMANDS = dict(commands_of(cli.main, ("slsgu",)))
COMMAND_PAGES = "\n".join(read(page) for page in sorted((DOCS / "cli").glob("*.md")))


def real_options(command: click.Command) -> set[str]:
    """Every long option of a command except --help, and the --no-x of a flag --x."""
    names = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} - {"--help"}
    plain = {name for name in names if name.startswith("--")}
    return {name for name in plain if name.replace("--no-", "--") not in plain - {name}}


def table_options(body: str) -> set[str]:
    """The options in the first column of a section's tables."""
    rows = (line.split(" | ")[0] for line in body.splitlines() if line.startswith("| `--"))
    return {option for row in rows for option in OPTION.findall(row)}


def documented_options(text: str, command: str) -> set[str]:
    """The options of a command's own tables, and of the shared groups its section links to."""
    parts = sections(text)
    body = parts[slug(command)]
    groups = re.findall(r"\]\(options\.md#([\w-]+-options)\)", body)
    return table_options(body).union(*(table_options(parts[group]) for group in groups))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented_and_every_documented_option_exists(command: str) -> None:
    assert documented_options(COMMAND_PAGES, command) == real_options(COMMANDS[command])


def test_a_missing_and_an_invented_option_are_noticed() -> None:
    real = real_options(COMMANDS["slsgu apply"])
    without = COMMAND_PAGES.replace("| `--dry-run` |", "| dry run |")
    assert real - documented_options(without, "slsgu apply") == {"--dry-run"}
    invented = COMMAND_PAGES.replace("| `--dry-run` |", "| `--dry-run` or `--rehearse` |")
    assert documented_options(invented, "slsgu apply") - real == {"--rehearse"}


def test_commands_shown_in_the_docs_use_options_that_exist() -> None:
    shown = 0
    for page in PAGES:
        for line in re.findall(r"^ *(?:\$ )?(slsgu .*(?:\\\n.*)*)", read(page), flags=re.M):
            for name, command in COMMANDS.items():
                if line.startswith(name + " "):
                    real = real_options(command) | {"--help"}
                    used = set(OPTION.findall(line.split("#")[0])) - real
                    assert {x.replace("--no-", "--") for x in used} <= real, (page.name, line)
                    shown += 1
    assert shown > 10


# -- names and links --------------------------------------------------------------------------


REFERENCE = "\n".join(read(page) for page in sorted((DOCS / "api").glob("*.md")))


def referenced(text: str) -> set[str]:
    """The names whose docstrings a page shows."""
    return set(re.findall(r"^::: (\S+)$", text, flags=re.M))


def missing_names(text: str) -> set[str]:
    """Public names that have no place in the reference. A second name of one thing (`Result` of
    `Outcome`) is documented under the first."""
    names = {getattr(getattr(slsgu, name), "__name__", name) for name in slsgu.__all__}
    return {f"slsgu.{name}" for name in names} - referenced(text)


def exists(name: str) -> bool:
    """Whether a dotted name can be imported: a module, or a value in one."""
    try:
        return bool(pkgutil.resolve_name(name))
    except (ImportError, AttributeError):
        return False


def test_every_public_name_is_in_the_reference() -> None:
    assert missing_names(REFERENCE) == set()


def test_every_public_name_is_in_the_overview_of_the_reference() -> None:
    words = set(re.findall(r"`(\w+)`", read(DOCS / "api.md")))
    assert set(slsgu.__all__) - words == set()
    assert "NoSuchName" not in words


def test_a_name_that_the_reference_leaves_out_is_noticed() -> None:
    assert missing_names(REFERENCE.replace("::: slsgu.Patch\n", "")) == {"slsgu.Patch"}


def test_the_reference_names_only_what_exists() -> None:
    assert [name for name in sorted(referenced(REFERENCE)) if not exists(name)] == []
    assert not exists("slsgu.NoSuchName") and not exists("slsgu.nowhere")


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page whose file, or whose heading, does not exist."""
    broken = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            broken.append(target)
        elif anchor:
            there = text if file == page else read(file)
            if anchor not in sections(there):
                broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    assert broken_links(page, read(page)) == []


def test_broken_links_are_noticed() -> None:
    text = (
        "[a](formats/patch.md#metadata) [b](nowhere.md) [c](method.md#nothing) [d](#here)\n# Here"
    )
    assert broken_links(DOCS / "index.md", text) == ["nowhere.md", "method.md#nothing"]


def missing_files(text: str) -> list[str]:
    """Files of the repository that a text names in code, and that are not there."""
    named = re.findall(r"`((?:slsgu|cli|tests|examples|docs|\.ci)/[\w./-]*)`", text)
    return [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_are_there(page: Path) -> None:
    assert missing_files(read(page)) == []


def test_a_file_that_is_not_there_is_noticed() -> None:
    assert missing_files("`slsgu/patch/patch.py` `slsgu/no_such.py`") == ["slsgu/no_such.py"]


# -- code -------------------------------------------------------------------------------------


def block(page: Path, note: str) -> str:
    found = [match["code"] for match in FENCE.finditer(read(page)) if match["note"] == note]
    assert len(found) == 1, f"{page.name} must have one block noted {note!r}"
    return found[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_ten_lines_apply_a_patch_without_slsgu(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = block(DOCS / "formats" / "patch.md", "run: tests/docs/test_pages.py")
    assert "slsgu" not in code
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    random = torch.Generator().manual_seed(0)
    names = ("visual.proj", "text_projection")
    model = {name: torch.randn(4, 3, generator=random).to(dtype) for name in (*names, "other")}
    patch = slsgu.Patch(
        {name: torch.randn(4, 3, generator=random) for name in names},
        {name: model[name].clone() for name in names},
    )
    monkeypatch.chdir(tmp_path)
    patch.save("patch.safetensors")
    save_file(model, "model.safetensors")

    exec(code, {})
    patched = load_file("patched.safetensors")
    wanted = patch.apply_to(model)
    assert patched.keys() == wanted.keys()
    assert all(torch.equal(patched[name], wanted[name]) for name in wanted)
    assert not torch.equal(patched["visual.proj"], model["visual.proj"])

    save_file(patched, "model.safetensors")  # control: a layer the patch was not made for
    with pytest.raises(SystemExit, match="not the layer"):
        exec(code, {})


def test_the_taxonomy_of_the_formats_page_reads_as_it_says() -> None:
    pets = Taxonomy.parse(yaml.safe_load(block(DOCS / "formats" / "taxonomy.md", "taxonomy")))
    assert pets.name == "pets" and len(pets.templates) == 2
    assert pets.find("bird/crane").key == pets.find("animal/crane").key == "animal/bird/crane"
    assert pets.find("machine/crane") is pets.find("n03126707")
    assert pets.find("canine").name == "dog" and pets.find("taxi").is_leaf


def python_blocks(page: Path) -> list[str]:
    """The blocks of Python on a page, but for those that are marked to be skipped."""
    return [
        match["code"]
        for match in FENCE.finditer(read(page))
        if match["language"] == "python" and not (match["note"] or "").startswith("skip:")
    ]


@pytest.mark.skipif(
    not (MODEL_DIR / "open_clip_config.json").is_file(), reason="the embedded model is not here"
)
@pytest.mark.parametrize(
    ("page", "least", "written"),
    [("python.md", 8, "report.html"), ("extend.md", 4, None), ("serving.md", 1, None)],
)
def test_the_guides_to_python_run(
    page: str, least: int, written: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = python_blocks(DOCS / page)
    assert len(blocks) >= least
    monkeypatch.chdir(tmp_path)
    # A page may add to both tables; this takes its additions out again afterwards.
    monkeypatch.setitem(FORGET_LOSSES, "squared", FORGET_LOSSES["cosine"])
    monkeypatch.setitem(DIRECTIONS, "orthogonal", DIRECTIONS["gradient"])
    namespace: dict[str, object] = {}
    for code in blocks:
        exec(compile(code, f"docs/{page}", "exec"), namespace)
    assert written is None or (tmp_path / written).is_file()


# -- the audit ------------------------------------------------------------------------------------


def test_the_page_about_the_audit_has_its_protocol_words_and_numbers() -> None:
    page = read(DOCS / "audit.md")
    assert f"Version {PROTOCOL}. " in page
    assert f"Version {PROTOCOL + 1}. " not in page  # control
    for word in get_args(verdict.Word):
        assert f"| **{word}** |" in page, word
    rule = page.split("## The verdict")[1].split("## What each probe does")[0]
    for probe in verdict.DECIDING:
        assert f"*{probe}*" in rule, probe
    numbers = (verdict.RISE, verdict.SUPPRESSED, verdict.REMOVED, verdict.LEAST_SPAN, verdict.ALIKE)
    for number in (*numbers, relearning.FASTER):
        assert f"{number:g}" in rule, number
