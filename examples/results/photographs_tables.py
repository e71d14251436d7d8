"""The tables of photographs.py, from its JSON: Markdown for docs/results-photographs.md."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from photographs_rows import (
    ELSEWHERE,
    EXPECTED,
    FAMILIES,
    FOUND,
    IMAGES,
    KEPT,
    PROMISES,
    SEARCHES,
    SETS,
    TARGETS,
    WEB_TARGET,
    Row,
    against,
    families_of,
    interval,
    mean,
    percent,
    points,
    refusals,
    requests_of,
    score,
    table,
    unfinished,
)

from slsgu.utils.statistics import wilson

PUBLISHED = "published Q-U (NHL+KL, ViT-L/14)"
BEFORE = "requested images named right [%]: before"
PLACE = re.compile(r"<!-- table: (?P<name>[\w-]+) -->\n(?P<table>.*?)<!-- end -->", re.S)


def ten(rows: Row) -> str:
    """Ten breeds at once, by our default and by the published search."""
    heads = ["breeds", "search", "Q-U [95 %]", "target", PUBLISHED]
    heads += [BEFORE, "after", "utility", "expected on unseen photographs"]
    heads += ["probability of at most 5 %"]
    lines = []
    for name, (published, target) in SETS.items():
        for search, shown in SEARCHES.items():
            found = requests_of(rows, "ten", search)
            if name not in found.done and name not in found.refused:
                continue
            row = found.done.get(name, {})
            aim = against(row.get("q_u"), target) if search == "default" else "–"
            keys = ("before", "forget", "utility", "unseen", "probability")
            cells = [name, shown, score(row) if row else "refused", aim, f"{published:.1f}"]
            lines.append([*cells, *(percent(row.get(key)) for key in keys)])
    return table(heads, lines, refusals(rows, "ten"), unfinished(rows, "ten"))


def web(rows: Row) -> str:
    """The same patches on photographs from elsewhere."""
    heads = ["request", "search", "Q-U [95 %]", "target", "photographs"]
    heads += [BEFORE, "after"]
    lines = []
    for name in SETS:
        for search, shown in SEARCHES.items():
            row = requests_of(rows, "ten", search).done.get(name, {})
            there = row.get("web")
            if there is None:
                continue
            mark = "" if row["success"] else " †"
            aim = against(there["q_u"], WEB_TARGET) if search == "default" else "–"
            cells = [f"ten breeds, {name}", shown]
            cells += [f"{percent(there['q_u'])}{mark}{interval(there['interval'])}", aim]
            cells += [str(there["count"])]
            lines.append([*cells, percent(there["before"]), percent(there["forget"])])
    for family in ("group", "one"):
        for search, shown in SEARCHES.items():
            there = requests_of(rows, family, search).values("web")
            known = {name: row for name, row in there.items() if row["q_u"] is not None}
            if not known:
                continue
            worst = min(known, key=lambda name: known[name]["q_u"])
            value = mean(row["q_u"] for row in known.values())
            cells = [f"{FAMILIES[family]}: mean of {len(known)} requests", shown]
            cells += [f"{percent(value)}; lowest: {worst} {percent(known[worst]['q_u'])}"]
            cells += [against(value, WEB_TARGET) if search == "default" else "–"]
            cells += [str(sum(row["count"] for row in known.values()))]
            sides = [mean(row[key] for row in known.values()) for key in ("before", "forget")]
            lines.append([*cells, *map(percent, sides)])
    return table(heads, lines, ELSEWHERE if lines else "", any_unfinished(rows))


def images(rows: Row) -> str:
    """Ten breeds at once, from fewer and fewer images."""
    heads = ["images per breed: gradient + search", *(f"{name}: Q-U [95 %]" for name in SETS)]
    heads += ["mean", "target", PUBLISHED]
    found, lines = requests_of(rows, "images"), []
    for count, (used, published, target) in IMAGES.items():
        names = [f"{count}/{name}" for name in SETS]
        if not any(name in found.done or name in found.refused for name in names):
            continue
        scores = [found.done.get(name, {}).get("q_u") for name in names]
        known = [value for value in scores if value is not None]
        value = mean(known) if len(known) == len(names) else None  # of all three, or of none
        over = all(name in found.done or name in found.refused for name in names)
        cells = [used, *(found.cell(name) for name in names), percent(value)]
        cells += [against(value, target) if over else "–"]
        lines.append([*cells, f"{published:.1f}" if published else "–"])
    if lines:
        lines.append(["200 (published only)", *["–"] * (len(SETS) + 2), "95.2"])
    return table(heads, lines, refusals(rows, "images"), unfinished(rows, "images"))


def every(rows: Row, family: str, title: str) -> list[list[str]]:
    """A line for each concept of a family: both searches side by side."""
    both = {search: requests_of(rows, family, search) for search in SEARCHES}
    names = dict.fromkeys(name for one in both.values() for name in (*one.done, *one.refused))
    lines = [[title, *(f"{SEARCHES[s]}: {x}" for s in SEARCHES for x in ("Q-U [95 %]", "after"))]]
    lines[0].insert(1, BEFORE)
    for name in names:
        done = [one.done.get(name) for one in both.values()]
        before = next((row["before"] for row in done if row), None)
        cells = [name, percent(before)]
        for one, row in zip(both.values(), done, strict=True):
            cells += [one.cell(name), percent(row["forget"] if row else None)]
        lines.append(cells)
    return lines


def group(rows: Row) -> str:
    """Each group of breeds."""
    heads, *lines = every(rows, "group", "group")
    both = [requests_of(rows, "group", search).values("q_u") for search in SEARCHES]
    notes = []
    if any(both):
        for label, pick in (("mean", mean), ("lowest", lambda v: min(v, default=None))):
            cells = [f"**{label}**", ""]
            for found in both:
                cells += [f"**{percent(pick(found.values()))}** (of {len(found)})", ""]
            lines.append(cells)
        notes.append(
            f"Target of the mean, default: {against(mean(both[0].values()), TARGETS['group'])}."
        )
    return table(heads, lines, *notes, refusals(rows, "group"), unfinished(rows, "group"))


def one(rows: Row) -> str:
    """The breeds one at a time, in short."""
    heads = ["search", "breeds done", "mean Q-U", "target", "lowest five", "refused"]
    heads += ["goal not met †"]
    lines = []
    for search, shown in SEARCHES.items():
        found = requests_of(rows, "one", search)
        scores = found.values("q_u")
        if not found.done and not found.refused:
            continue
        worst = sorted(scores, key=lambda name: scores[name])[:5]
        named = ", ".join(f"{name} {percent(scores[name])}" for name in worst) or "–"
        value = mean(scores.values())
        aim = against(value, TARGETS["one"]) if search == "default" else "–"
        counts = [str(len(found.refused)), str(found.missed())]
        lines.append([shown, str(len(found.done)), percent(value), aim, named, *counts])
    return table(heads, lines, unfinished(rows, "one"))


def one_all(rows: Row) -> str:
    """The breeds one at a time, all of them."""
    heads, *lines = every(rows, "one", "breed")
    return table(heads, lines, refusals(rows, "one"), unfinished(rows, "one"))


def kept(rows: Row) -> str:
    """What happened to the other classes of ImageNet."""
    heads = ["requests", "search", "done", "top-1 before", "mean change"]
    heads += ["worst change [95 %]", "on", f"target: each at most {KEPT:+.1f}", "surely more"]
    lines, notes = [], []
    for title, shown, found in families_of(rows):
        others = found.values("imagenet")
        if not others:
            continue
        change = {name: row["after"] - row["before"] for name, row in others.items()}
        worst = min(change, key=lambda name: change[name])
        below = [name for name, value in change.items() if round(100 * value, 1) < KEPT]
        surely = [name for name in below if round(100 * others[name]["change"][1], 1) < KEPT]
        if below and shown == SEARCHES["default"]:
            listed = (f"{name} {points(change[name])}" for name in below)
            notes.append(f"Lost more than {-KEPT:.1f} points, {title}: {', '.join(listed)}.")
        cells = [
            title,
            shown,
            str(len(change)),
            percent(mean(r["before"] for r in others.values())),
        ]
        cells += [points(sum(change.values()) / len(change))]
        cells += [points(change[worst]) + interval(others[worst]["change"], points), worst]
        aim = f"**missed** by {len(below)} of {len(change)}" if below else "met"
        lines.append([*cells, aim if shown == SEARCHES["default"] else "–", str(len(surely))])
    return table(heads, lines, *notes, any_unfinished(rows))


def found_again(rows: Row) -> str:
    """What is found again without a name."""
    heads = ["requests", "search", "read on", "found by", "before", "after", "never knew"]
    heads += ["mean distance to never knew", "rose on", "rose beyond the interval on"]
    lines = []
    for title, shown, requests in families_of(rows):
        for key, probe in FOUND.items():
            readings = list(requests.values(key).values())
            if not readings:
                continue
            columns = [percent(mean(reading[side] for reading in readings)) for side in (0, 1, 2)]
            distance = percent(mean(abs(after - never) for _, after, never, _ in readings))
            rose = sum(after > before for before, after, *_ in readings)
            beyond = sum(
                after > wilson(before * count, count)[1] for before, after, _, count in readings
            )
            lines.append(
                [
                    title,
                    shown,
                    str(len(readings)),
                    probe,
                    *columns,
                    distance,
                    str(rose),
                    str(beyond),
                ]
            )
    return table(heads, lines, any_unfinished(rows))


def promised(rows: Row) -> str:
    """What the margins of search images promise of unseen photographs, and what came of it."""
    heads = ["requests", "probability of at most 5 %", "requests that say so", "expected share"]
    heads += ["share on test photographs", "more than 5 % on"]
    lines = []
    for title, shown, found in families_of(rows):
        if shown != SEARCHES["default"]:
            continue
        for words, low, high in PROMISES:
            said = [
                row for row in found.done.values()
                if row["probability"] is not None and low <= row["probability"] < high
            ]  # fmt: skip
            if said:
                shares = [mean(row[key] for row in said) for key in ("unseen", "forget")]
                broken = sum(row["forget"] > 0.05 for row in said)
                cells = [title, words, str(len(said)), *map(percent, shares)]
                lines.append([*cells, f"{broken} of {len(said)}"])
    return table(heads, lines, any_unfinished(rows))


def any_unfinished(rows: Row) -> str:
    """How many requests of all kinds are done; empty if all are."""
    done = sum(name.split("/")[0] in FAMILIES for name in rows)
    total = sum(EXPECTED.values())
    return f"*{done} of {total} requests are done.*" if done < total else ""


TABLES: dict[str, Callable[[Row], str]] = {
    "ten": ten,
    "web": web,
    "images": images,
    "group": group,
    "one": one,
    "kept": kept,
    "found": found_again,
    "promised": promised,
    "one-all": one_all,
}


def tables(rows: Row) -> dict[str, str]:
    """Every table, by name."""
    return {name: make(rows) for name, make in TABLES.items()}
