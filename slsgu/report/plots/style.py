"""What the figures share: colours, short names, ticks on log axes, and labels that never collide.

Figures are built without pyplot: no display is needed and no global state is touched.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Iterator, Sequence

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.textpath import TextPath

# Okabe and Ito (2008): told apart under every common kind of colour blindness.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4F88"
ORANGE, SKY = "#C98500", "#3B9BD1"
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
INK, GREY, FAINT = "#1F2933", "#6B7785", "#D5DBE1"
MET, MET_INK = "#DDF1E8", "#0B7A53"  # where the goal is met: an area, and what is written on it

LONGEST_NAME = 30

_PREFIX = re.compile(r"^(visual\.|text\.)?(transformer\.|trunk\.)?((resblocks|blocks)\.(?=\d))?")
# A name in a script that the font lacks is drawn as boxes; the tables spell it out.
_NO_GLYPH = ".*[Gg]lyph.*missing from"
_SUFFIX = re.compile(r"[._]weight$")


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Draw the same whatever the user's matplotlibrc says, to the byte."""
    style = {"svg.hashsalt": "slsgu", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
    with matplotlib.style.context(["default", style]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_NO_GLYPH)
        yield


def short_layer(name: str) -> str:
    """A layer's name as the paper writes it.

    >>> short_layer("visual.transformer.resblocks.11.attn.out_proj.weight")
    '11.attn.out_proj'
    >>> short_layer("transformer.resblocks.0.attn.in_proj_weight"), short_layer("visual.proj")
    ('0.attn.in_proj', 'proj')
    """
    return _PREFIX.sub("", _SUFFIX.sub("", name)) or name


def short_layers(names: Sequence[str], longest: int = LONGEST_NAME) -> list[str]:
    """Short names, no two alike; the middle of one that is too long is left out.

    >>> short_layers(["visual.proj", "visual.trunk.proj"])
    ['visual.proj', 'visual.trunk.proj']
    """
    short = [short_layer(name) for name in names]
    unique = [s if short.count(s) == 1 else n for s, n in zip(short, names, strict=True)]
    cuts = [[middle_cut(name, longest, tail) for name in unique] for tail in (12, 4, 22)]
    return next((cut for cut in cuts if len(set(cut)) == len(cut)), unique)


def middle_cut(text: str, longest: int, tail: int = 12) -> str:
    """At most `longest` characters; of a longer text the start and the last `tail` are kept.

    >>> middle_cut("a-rather-long-name", 10, 4)
    'a-rat…name'
    """
    if len(text) <= longest:
        return text
    return f"{text[: longest - 1 - tail]}…{text[len(text) - tail :]}"


def one_line(text: str, longest: int = 200) -> str:
    """Text from a user, fit to be drawn: no line breaks, no control characters, not endless."""
    flat = "".join(c if c.isprintable() else " " for c in text)
    return middle_cut(" ".join(flat.split()), longest)


def text_width(text: str, size: float) -> float:
    """Width in points of one line of text, without a renderer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_NO_GLYPH)
        # A dollar sign is a dollar sign, not the start of a formula.
        return float(TextPath((0, 0), text.replace("$", "S"), size=size).get_extents().width)


def fit(text: str, size: float, width: float) -> str:
    """Text from a user on one line of at most `width` points; its middle goes first.

    >>> fit("a name that goes on and on", 8, 60), fit("short", 8, 60)
    ('a name…nd on', 'short')
    """
    text = cut = one_line(text)
    longest = len(text)
    while longest > 2 and (measured := text_width(cut, size)) > width:
        longest = min(longest - 1, int(len(cut) * width / measured) + 1)
        cut = middle_cut(text, longest, longest // 2 - 1)
    return cut if longest > 2 else text[:1]


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move points as little as possible (least squares) so that neighbours are `gap` apart.

    This is isotonic regression after taking the gaps out, by pooling adjacent violators.

    Args:
        positions: where the points would like to be, ascending.
        gap: the least distance of neighbours; it shrinks if the points would not fit.
        low, high: no point leaves this range.

    >>> spread([0.5, 0.5, 0.9], 0.2, 0.0, 1.0)
    [0.4, 0.6, 0.9]
    """
    if len(positions) > 1:
        gap = min(gap, (high - low) / (len(positions) - 1))
    pools: list[list[float]] = []  # mean and size of each pool
    for index, value in enumerate(positions):
        pools.append([value - index * gap, 1])
        while len(pools) > 1 and pools[-1][0] < pools[-2][0]:
            mean, size = pools.pop()
            other, count = pools.pop()
            pools.append([(mean * size + other * count) / (size + count), size + count])
    flat = [mean for mean, size in pools for _ in range(int(size))]
    top = high - (len(positions) - 1) * gap
    return [round(min(max(v, low), top) + i * gap, 12) for i, v in enumerate(flat)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers in [low, high]: decades, or 1-2-5 steps where there are too few of them."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [e for e in exponents if low <= 10.0**e <= high]
    if len(inside) >= 2 and high / low > 50:
        stride = -(-len(inside) // most)
        return [10.0**e for e in inside[::stride]]
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(d / 10 for d in range(10, 100))):
        ticks = [d * 10.0**e for e in exponents for d in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 2:
            return ticks[:: -(-len(ticks) // most)]
    return [math.sqrt(low * high)]


def number(value: float) -> str:
    """A tick's label: plain where it is short, a power of ten where not."""
    if 0.001 <= value < 10000:
        return f"{value:.6g}" if value >= 1 else f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    times = "" if mantissa == "1" else f"{mantissa}\N{MULTIPLICATION SIGN}"
    return f"{times}10$^{{{int(exponent)}}}$"


def bare(ax: Axes, *, grid: str | None = None) -> Axes:
    """No box, quiet ticks."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(which="both", color=GREY, labelcolor=INK, labelsize=8, length=3)
    ax.tick_params(which="minor", length=0)
    ax.set_axisbelow(True)
    if grid in ("x", "y"):
        ax.grid(axis=grid, color=FAINT, linewidth=0.6)  # type: ignore[arg-type]
    return ax


def heading(ax: Axes, title: str, note: str = "") -> None:
    """A panel's title, bold, and a quiet note on the line under it; both flush left."""
    pad = 18 if note else 6
    ax.set_title(
        one_line(title, 70), loc="left", fontsize=10, fontweight="bold", color=INK, pad=pad,
        parse_math=False,
    )  # fmt: skip
    if note:
        ax.annotate(
            one_line(note, 90), (0, 1), (0, 5), xycoords="axes fraction",
            textcoords="offset points", fontsize=8, color=GREY, parse_math=False,
        )  # fmt: skip
