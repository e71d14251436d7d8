"""The documentation as a site: what its build refuses, and what the check of it notices."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    """A file of `.ci`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the build --------------------------------------------------------------------------------


def warnings_of_a_build(root: Path) -> list[str]:
    """What stops a strict build of the documentation below `root`."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    where = ["--config-file", str(root / ".ci" / "mkdocs.yml"), "--site-dir", str(root / "site")]
    done = subprocess.run([*command, *where], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return [line for line in done.stderr.splitlines() if line.startswith(("WARNING", "ERROR"))]


def test_a_strict_build_refuses_broken_links_and_missing_names(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings", reason="needs slsgu[docs]")
    for name in (".ci", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("slsgu", "examples", "README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff"):
        (tmp_path / name).symlink_to(ROOT / name)
    page = tmp_path / "docs" / "api" / "patches.md"
    text = page.read_text()

    page.write_text(text + "\n::: slsgu.NoSuchName\n")
    assert any("slsgu.NoSuchName could not be found" in x for x in warnings_of_a_build(tmp_path))

    wrong = ["nowhere.md", "#nothing", "../method.md#nothing", "../../slsgu/patch/patch.py"]
    right = ["../method.md", "../../README.md", "../../README.md#set-up", "../../examples"]
    page.write_text(text + " ".join(f"[a]({target})" for target in (*wrong, *right)))
    warnings = warnings_of_a_build(tmp_path)
    assert len(warnings) == len(wrong)
    assert all(any(f"'{target}'" in warning for warning in warnings) for target in wrong)


def test_links_out_of_the_pages_lead_to_what_the_site_shows() -> None:
    pytest.importorskip("mkdocs", reason="needs slsgu[docs]")
    rewritten = script("site_hooks").rewritten
    text = "[a](../README.md#set-up) [b](../examples/04_pairs.py) [c](method.md) [d](https://x.org)"
    assert rewritten(text, "docs/pairs.md", "pairs.md") == (
        "[a](start.md#set-up) [b](examples/04_pairs.md) [c](method.md) [d](https://x.org)"
    )
    assert rewritten("[a](docs/pairs.md)", "README.md", "start.md") == "[a](pairs.md)"
    assert rewritten("[a](../../README.md)", "docs/api/x.md", "api/x.md") == "[a](../start.md)"
    for same in ("`[a](../README.md)`", "```\n[a](../README.md)\n```", "[a](../tests)"):
        assert rewritten(same, "docs/pairs.md", "pairs.md") == same


def test_cells_of_tables_are_made_ready_for_the_site() -> None:
    pytest.importorskip("mkdocs", reason="needs slsgu[docs]")
    tidy = script("site_hooks").tidy_cell
    assert tidy(r"<td><code>--search [a\|b]</code></td>") == "<td><code>--search [a|b]</code></td>"
    layer = "transformer.resblocks.0.ln_1"
    broken = "transformer.<wbr>resblocks.<wbr>0.<wbr>ln_1"
    assert tidy(f"<td><code>{layer}</code></td>") == f"<td><code>{broken}</code></td>"
    for same in ("<td><code>visual.proj</code></td>", f"<td>{layer}</td>"):
        assert tidy(same) == same


def test_docstrings_are_made_ready_for_the_site() -> None:
    pytest.importorskip("griffe", reason="needs slsgu[docs]")
    tidy = script("site_docstrings").tidy
    text = "One line.\n\nArgs:\n    a, b: two\n        lines\n    c: one\n\n>>> f(1)\n2\n\nEnd."
    assert tidy(text) == (
        "One line.\n\nArgs:\n    a: two\n        lines\n    b: two\n        lines\n    c: one\n\n"
        "```pycon\n>>> f(1)\n2\n```\n\nEnd."
    )
    section = "Example:\n    >>> f(1)\n    2"
    assert tidy(section) == "Examples:\n    >>> f(1)\n    2"


# -- the built site ---------------------------------------------------------------------------


def problems(folder: Path, html: str, css: str = "") -> list[str]:
    (folder / "page.html").write_text(html)
    (folder / "style.css").write_text(css)
    found: list[str] = script("site_check").problems(folder, ["Patch"])
    return found


def test_a_page_that_fetches_nothing_and_names_all_is_fine(tmp_path: Path) -> None:
    links = '<a href="https://x.org">x</a> <link rel="canonical" href="https://x.org/">'
    html = f'<h2 id="slsgu.Patch"></h2>{links}<script src="a.js"></script><img src="b.png">'
    assert problems(tmp_path, html, 'p { background: url("c.png") } /* https://x.org */') == []


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://x.org/a.js"></script>',
        '<link rel="stylesheet" href="//x.org/a.css">',
        '<img src="http://x.org/a.png">',
        '<iframe src="https://x.org/"></iframe>',
        "<style>@import url(https://x.org/a.css)</style>",
        '<p style="background: url(https://x.org/a.png)">',
    ],
)
def test_what_a_page_fetches_from_elsewhere_is_noticed(tmp_path: Path, html: str) -> None:
    (found,) = problems(tmp_path, f'<h2 id="slsgu.Patch"></h2>{html}')
    assert found.startswith("page.html fetches") and "x.org" in found


def test_a_style_sheet_that_fetches_and_a_missing_name_are_noticed(tmp_path: Path) -> None:
    css = '@font-face { src: url("https://x.org/font.woff2") }'
    fetches, missing = problems(tmp_path, '<h2 id="slsgu.Patches"></h2>', css)
    assert fetches.startswith("style.css fetches") and "x.org" in fetches
    assert missing == "slsgu.Patch is not in the reference"
