"""Check the built site: python .ci/site_check.py FOLDER

Reading it must fetch nothing from another host (plain links to elsewhere are fine), and every
public name of slsgu must have its place in the reference.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

# Attributes by which a browser fetches something without being asked.
FETCHED = {
    ("audio", "src"),
    ("embed", "src"),
    ("form", "action"),
    ("iframe", "src"),
    ("img", "src"),
    ("img", "srcset"),
    ("link", "href"),
    ("object", "data"),
    ("script", "src"),
    ("source", "src"),
    ("source", "srcset"),
    ("video", "src"),
}
ELSEWHERE = re.compile(r"\s*(?:[a-z]+:)?//", re.I)
IN_CSS = re.compile(r"(?:url\(|@import)\s*['\"]?\s*(?:[a-z]+:)?//[^)'\"\s]*", re.I)


class Page(HTMLParser):
    """What a page fetches from elsewhere, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        values = dict(attrs)
        if values.get("rel") == "canonical":
            return
        self.anchors.add(values.get("id") or "")
        self.fetched += [
            value
            for name, value in attrs
            if (tag, name) in FETCHED and ELSEWHERE.match(value or "")
        ]
        self.fetched += IN_CSS.findall(values.get("style") or "")

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._style:
            self.fetched += IN_CSS.findall(data)


def problems(site: Path, names: list[str]) -> list[str]:
    """What is wrong with the site in a folder, one line each."""
    found, anchors = [], set()
    for path in sorted(site.rglob("*.html")):
        page = Page(path.read_text(encoding="utf-8"))
        anchors |= page.anchors
        found += [f"{path.relative_to(site)} fetches {value}" for value in page.fetched]
    for path in sorted(site.rglob("*.css")):
        found += [
            f"{path.relative_to(site)} fetches {value}"
            for value in IN_CSS.findall(path.read_text(encoding="utf-8"))
        ]
    found += [
        f"slsgu.{name} is not in the reference" for name in names if f"slsgu.{name}" not in anchors
    ]
    return found


def main() -> None:
    import slsgu

    # A second name of one thing (`Result` of `Outcome`) is documented under the first.
    names = [getattr(getattr(slsgu, name), "__name__", name) for name in slsgu.__all__]
    found = problems(Path(sys.argv[1]), sorted(set(names)))
    if found:
        raise SystemExit("\n".join(found))
    print(f"{len(slsgu.__all__)} public names, nothing fetched from elsewhere")


if __name__ == "__main__":
    main()
