"""Prompt templates by name and from files: every way of writing them says the same sentences."""

from __future__ import annotations

import re
from pathlib import Path

import open_clip
import pytest

from slsgu.concepts.taxonomy import Taxonomy
from slsgu.concepts.templates import TEMPLATE_SETS, load_templates, read_templates
from slsgu.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
PETS = Taxonomy.parse({"dog": ["pug"], "cat": ["tabby"]})
SENTENCES = ("a photo of a {}.", "the {} in a video game.", "itap of my {}.")
FORMS = {
    "braces": "# mine\na photo of a {}.\n\n  the {} in a video game.\nitap of my {}.\n",
    "bom": "\ufeffa photo of a {}.\r\nthe {} in a video game.\r\nitap of my {}.\r\n",
    "clip_benchmark": "a photo of a {c}.\nthe {c} in a video game.\nitap of my {c}.",
    "json": '["a photo of a {}.", "the {c} in a video game.", "itap of my {}."]',
    "pretty json": (
        '[\n  "a photo of a {}.",\n  "the {} in a video game.",\n  "itap of my {c}."\n]\n'
    ),
    "openclip": (
        "TEMPLATES = (\n    lambda c: f'a photo of a {c}.',\n    # a game\n"
        "    lambda c: f'the {c} in a video game.',\n    lambda name: f\"itap of my {name}.\",\n)\n"
    ),
    "bare lambdas": (
        "lambda c: f'a photo of a {c}.'\nlambda c: f'the {c} in a video game.'\n"
        "lambda c: f'itap of my {c}.'\n"
    ),
    "openai": (
        "templates = [\n    'a photo of a {}.',\n    'the {} in a video game.',\n"
        "    'itap of my {}.'\n]\n"
    ),
    "quoted": "'a photo of a {}.',\n'the {} in a video game.',\n'itap of my {}.',\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(tmp_path: Path, form: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(FORMS[form], encoding="utf-8", newline="")
    assert load_templates(str(path), PETS) == SENTENCES


def test_openclips_own_source_is_read_as_openclip_runs_it(tmp_path: Path) -> None:
    source = Path(open_clip.zero_shot_metadata.__file__).read_text(encoding="utf-8")
    for name in ("OPENAI_IMAGENET_TEMPLATES", "SIMPLE_IMAGENET_TEMPLATES"):
        block = re.search(rf"^{name} = \(\n.*?^\)$", source, flags=re.M | re.S)
        assert block is not None
        path = tmp_path / f"{name}.py"
        path.write_text(block.group())
        assert read_templates(path) == tuple(f("{}") for f in getattr(open_clip, name))


def test_python_is_read_and_never_run(tmp_path: Path) -> None:
    path, proof = tmp_path / "t.py", tmp_path / "ran"
    path.write_text(f"[\nlambda c: f'a {{open({str(proof)!r}, mode=c)}}',\n]\n")
    with pytest.raises(DataError, match="line 2"):
        read_templates(path)
    path.write_text(f"[\nopen({str(proof)!r}, 'w'),\n]\n")
    with pytest.raises(DataError, match="line 2"):
        read_templates(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.txt", "a {}\n\n# x\na photo\n", "line 4: 'a photo' must contain '{}' or '{c}' exactly"),
        ("t.txt", "a {}\na {} of {c}\n", "line 2"),
        ("t.txt", "a {classname}\n", "line 1"),
        ("t.txt", "# nothing\n\n", "no template"),
        ("t.txt", "[\n]\n", "a JSON list of sentences"),
        ("t.txt", "T = [\n]\n", "no template"),
        ("t.txt", "(\nlambda c: f'a {c}',\na {}\n)\n", "line 3"),
        ("t.txt", "(\nlambda c: f'a {d}',\n)\n", "line 2"),
        ("t.txt", "(\nlambda c: f'a \\'{c}',\n)\n", "without backslashes"),
        ("t.txt", "[lambda c: f'a {c}', lambda c: f'the {c}']\n", "line 1"),
        ("t.json", '["a {}",\n "b {}"\n', "line 3: not valid JSON"),
        ("t.json", '["a {}", "b"]', "item 2"),
        ("t.json", '["a {}", 3]', "item 2: 3 is not a sentence"),
        ("t.json", '{"imagenet": ["a {}"]}', "expected a JSON list"),
        ("t.json", "[" * 100_000, "nested too deeply"),
    ],
)
def test_mistakes_are_named_with_their_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=re.escape(message)):
        read_templates(path)


def test_files_that_can_not_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"a photo of a {}\xff\n")
    for choice, message in (
        ("bytes", "save it as UTF-8"),
        ("none.txt", "neither a file nor one of simple, openai"),
        (".", "cannot read templates"),
        ("x" * 5000, "cannot read templates"),
    ):
        with pytest.raises(DataError, match=message):
            load_templates(str(tmp_path / choice), PETS)


# -- sets by name -----------------------------------------------------------------------------


def test_each_set_has_the_size_that_the_docs_say() -> None:
    page = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
    section = page.split("# Bundled prompt templates")[1]
    sizes = {n: int(size) for n, size in re.findall(r"^\| `([\w-]+)` \| (\d+) \|", section, re.M)}
    assert sizes.keys() == TEMPLATE_SETS.keys()
    for name, size in sizes.items():
        templates = load_templates(name, PETS)
        assert len(templates) == len(set(templates)) == size
        assert all(template.count("{}") == 1 for template in templates)


def test_the_papers_set_for_dogs_is_openais_but_for_the_full_stop_and_two_articles() -> None:
    dogs, openai = (set(load_templates(name, PETS)) for name in ("imagenet-dogs", "openai"))
    plain = {template.removesuffix(".") for template in openai}
    assert dogs - plain == {"an origami {}", "an embroidered {}"}
    assert plain - dogs == {"a origami {}", "a embroidered {}"}
    assert not dogs & openai  # control: the full stop


def test_the_papers_sets_are_those_of_table_8(shared_data: Path) -> None:
    paper = shared_data.parent / "papers" / "knowledge-tracing-unlearning.txt"
    if not paper.is_file():
        pytest.skip("the paper is not here")
    table = paper.read_text(encoding="utf-8").split("Table 8: Prompts")[1].split("E Training")[0]
    printed = re.findall(r"[‘’]([^‘’,]+)’", table)
    for name in ("compcars", "imagenet-dogs"):
        for template in load_templates(name, PETS):  # the paper leaves the name out
            assert template.replace("{}", "").replace("  ", " ") in printed
    assert len(printed) == 88


def test_the_taxonomys_own_come_first_and_simple_last() -> None:
    own = Taxonomy.parse({"$templates": ["my {}"], "dog": ["pug"], "cat": ["tabby"]})
    assert load_templates(None, own) == ("my {}",)
    assert load_templates("photo", own) == ("a photo of a {}",)
    assert load_templates(None, PETS) == load_templates("simple", own) != ("my {}",)
