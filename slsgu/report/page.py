"""A page of a report: a template of the room, filled in, with figures as people read them. It draws
nothing, so that a report without pictures need not load what does."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import jinja2


def rendered(template: str, view: Mapping[str, Any]) -> str:
    """A page of the report room as text; what is in the view is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pct": percent, "pts": points, "span": interval, "num": number}
    return str(environment.get_template(template).render(**view))


def template_text(name: str) -> str:
    """The text of a template, or of a file that one includes."""
    return files("slsgu.report").joinpath(name).read_text(encoding="utf-8")


def percent(value: float | None) -> str:
    """A fraction as a percentage with one decimal; a dash where it is not defined.

    >>> percent(0.973), percent(None)
    ('97.3%', '–')
    """
    return "–" if value is None else f"{value:.1%}"


def points(value: float | None) -> str:
    """A difference of fractions in percentage points.

    >>> points(-0.021), points(0.0)
    ('−2.1', '0.0')
    """
    if value is None:
        return "–"
    text = f"{value * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def interval(bounds: tuple[float, float] | None, signed: bool = False) -> str:
    """An interval of fractions, in percent.

    >>> interval((0.95, 0.984)), interval((-0.02, 0.01), signed=True)
    ('95.0–98.4', '−2.0 to +1.0')
    """
    if bounds is None:
        return ""
    if signed:
        return f"{points(bounds[0])} to {points(bounds[1])}"
    return f"{bounds[0] * 100:.1f}–{bounds[1] * 100:.1f}"


def number(value: float | None) -> str:
    """A quantity without a unit, to four figures."""
    return "–" if value is None else f"{value:.4g}"
