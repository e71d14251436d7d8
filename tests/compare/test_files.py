"""Other people's texts in the files of a comparison: shown, and obeyed by nobody."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slsgu.baselines.train import Budget
from slsgu.compare.bench import Bench
from slsgu.compare.cells import Cell
from slsgu.compare.files import as_csv, as_json, as_markdown, screen_table
from slsgu.compare.run import Effort
from slsgu.compare.table import rows_of

EFFORT = Effort(Budget(cap=32))
ESCAPE = "\x1b]0;own\x07\u202e\x9b\ud800"


def cell(method: str, **given: Any) -> Cell:
    score = {"q_u": 0.5, "distance": None, **given.pop("score", {})}
    return Cell(method, 0, None, (), score, 10, 7.0, **{"variant": "eq. 2", **given})


def bench(title: str) -> Bench:
    """What the files ask of a bench."""
    described = SimpleNamespace(describe=lambda: {"concepts": [title]})
    splits = SimpleNamespace(description={"kind": title}, of=lambda split: ())
    reference = SimpleNamespace(title=title, values={}, to_json=lambda: {"title": title})
    task = SimpleNamespace(request=described, clip=described, splits=splits)
    return cast(
        Bench, SimpleNamespace(task=task, reference=reference, before={"q_u": 0.0}, notes=(title,))
    )


def test_no_file_holds_what_a_terminal_would_obey() -> None:
    cells = [
        cell(f"mine{ESCAPE}", variant=ESCAPE, score={f"also_{ESCAPE}": 0.5}),
        cell("yours", failed=ESCAPE, score={}),
    ]
    rows, at = rows_of(cells), bench(ESCAPE)
    texts = [
        json.dumps(as_json(at, rows, cells, EFFORT, f"slsgu {ESCAPE}"), ensure_ascii=False),
        as_csv(rows, at.before),
        as_markdown(ESCAPE, at, rows, EFFORT),
        *(text for row in screen_table(at, rows)[:1] for text in row),
    ]
    for text in texts:
        assert not set(text) & set(ESCAPE.replace("]", "").replace("0;own", ""))
    assert "mine\ufffd]0;own" in texts[1]  # control: the rest is there


@pytest.mark.parametrize(
    "name",
    [
        "![x](http://h/x)",
        "<img src=x onerror=alert(1)>",
        "a|b",
        "**b**",
        "`x`",
        "[x](y)",
        "a\nb",
        "see http://h",
    ],
)
def test_a_name_is_no_markup_on_the_page(name: str) -> None:
    rows = rows_of([cell(name, variant=name, score={f"also_{name}": 0.5})])
    text = as_markdown(f"Methods compared: {name}", bench(name), rows, EFFORT)
    assert "<" not in text and "http://" not in text
    unescaped = text.replace("\\\\", "").replace("\\`", "").replace("\\|", "").replace("\\*", "")
    unescaped = unescaped.replace("\\[", "").replace("\\]", "")
    assert "[" not in unescaped and "]" not in unescaped and "**" not in unescaped
    assert "`" not in unescaped
    table = [line for line in unescaped.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table[:5]}) == 1
    plain = as_markdown("x", bench("x"), rows_of([cell("ga")]), EFFORT)
    assert "| `ga` |" in plain  # control: a plain name is code


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", " =1", "＝1"])
def test_no_field_of_the_csv_is_a_formula(name: str) -> None:
    rows = rows_of([cell(name, variant=f'{name}|"x"')])
    _, before, line = csv.reader(io.StringIO(as_csv(rows, {"q_u": -0.5})))
    assert line[0].startswith("'") and line[-1].startswith("'")
    assert before[4] == "-0.5"  # control: a negative number stays a number
    (_, _, line) = csv.reader(io.StringIO(as_csv(rows_of([cell("ga")]), {})))
    assert line[0] == "ga" and line[-1] == "eq. 2"  # control
