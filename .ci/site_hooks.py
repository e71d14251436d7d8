"""Hooks of mkdocs: what the pages link to outside docs/ becomes a page of the site.

In the repository a page links to `../README.md` or `../examples/04_pairs.py`, and a forge shows
them. The site holds docs/ only, so these files are published beside the pages, and links to them,
and from them, are rewritten. A link to anything else outside docs/ stays as it is, and the strict
build refuses it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("examples/*.py"))
# From a path in the repository to the page of the site that shows it.
PAGES = {
    "README.md": "start.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.md",
    "CITATION.cff": "citation.md",
    "examples": "examples/index.md",
    **{path: f"{path.removesuffix('.py')}.md" for path in EXAMPLES},
}
# Code is left alone: what looks like a link there is none.
LINK = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]*`)|(?<=\]\()(?P<target>[^)\s]+)(?=\))", re.M | re.S
)
CELL = re.compile(r"<td[^>]*>.*?</td>", re.S)
LONG_CODE = re.compile(r"(?<=<code>)[\w./]{20,}(?=</code></td>)")


def on_files(files: Files, config: Any) -> Files:
    for source, page in PAGES.items():
        content = _examples() if source == "examples" else _page(source)
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    home = {shown: source for source, shown in PAGES.items()}
    here = page.file.src_uri
    return rewritten(markdown, home.get(here, f"docs/{here}"), here)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    return CELL.sub(lambda cell: tidy_cell(cell[0]), html)


def tidy_cell(cell: str) -> str:
    """A cell of a table. A bar in code is written `\\|` there, and Python-Markdown would show the
    backslash; the name of a layer gets places to break, or it pushes columns off the page."""
    cell = cell.replace("\\|", "|")
    return LONG_CODE.sub(lambda name: re.sub(r"[./]", r"\g<0><wbr>", name[0]), cell)


def rewritten(markdown: str, source: str, page: str) -> str:
    """The text with links that hold in the site.

    Args:
        source: the path of the text in the repository.
        page: the path of its page in the site.
    """

    def replace(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or re.match(r"[a-z]+:|#", target):
            return match[0]
        name, mark, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), name))
        shown = PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if shown is None:
            return match[0]
        return posixpath.relpath(shown, posixpath.dirname(page) or ".") + mark + anchor

    return LINK.sub(replace, markdown)


def _page(source: str) -> str:
    text = (ROOT / source).read_text(encoding="utf-8")
    if source.endswith(".md"):
        return text
    language = {".py": "python", ".cff": "yaml"}.get(Path(source).suffix, "text")
    return f"# {Path(source).name}\n\n```{language}\n{text}```\n"


def _examples() -> str:
    """A list of the examples, each with the first line of its docstring."""
    lines = ["# Examples", "", "Programs of the folder `examples`, which need no download.", ""]
    for path in EXAMPLES:
        first = (ROOT / path).read_text(encoding="utf-8").split('"""')[1].split("\n\n")[0]
        lines.append(f"- [{Path(path).name}]({path}): {' '.join(first.split())}")
    return "\n".join(lines) + "\n"
