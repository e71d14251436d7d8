"""Primitives that the menagerie is drawn with: signed distances, painted with soft edges.

A picture is a function of numbers drawn from a seeded generator, and has to come out the same to
the bit on every platform. So arrays only ever meet ``+ - * / sqrt``, minimum, maximum and
comparisons, which IEEE 754 defines exactly; angles go through ``math.sin``/``math.cos`` rounded to
six decimals; and nothing is summed in an order that a library could choose.

Coordinates: the canvas is the unit square, x to the right, y down. A :class:`Frame` maps the local
coordinates that an animal or a car is described in to the canvas (turn, mirror, scale, place).
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Colour = tuple[float, float, float]
Point = tuple[float, float]
Distance = Callable[[Array, Array], Array]
T = TypeVar("T")


def rgb(code: str) -> Colour:
    """Colour from six hex digits, each channel in [0, 1]."""
    return (int(code[0:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:6], 16) / 255)


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """Colour at ``t`` on the way from ``a`` (0) to ``b`` (1)."""
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)


def scale(a: Colour, by: float) -> Colour:
    """Colour made darker (``by`` < 1) or lighter (``by`` > 1)."""
    return (min(a[0] * by, 1.0), min(a[1] * by, 1.0), min(a[2] * by, 1.0))


WHITE = rgb("fbfaf6")
INK = rgb("231f20")


class Dice:
    """Random numbers for one drawing, keyed by (leaf, index, seed)."""

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256("\n".join(str(part) for part in key).encode()).digest()
        self._bits = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(self._bits.random())

    def chance(self, probability: float) -> bool:
        return float(self._bits.random()) < probability

    def below(self, count: int) -> int:
        return int(self._bits.integers(count))

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def tint(self, colour: Colour, by: float = 0.06) -> Colour:
        """The colour, a little lighter or darker and a little off in each channel."""
        light = 1.0 + self.uniform(-by, by)
        r, g, b = (c * light + self.uniform(-by, by) * 0.5 for c in colour)
        return (min(max(r, 0.0), 1.0), min(max(g, 0.0), 1.0), min(max(b, 0.0), 1.0))


def turn(degrees: float) -> Point:
    """Cosine and sine, rounded so that libm's last bit does not matter."""
    angle = math.radians(degrees)
    return round(math.cos(angle), 6), round(math.sin(angle), 6)


@dataclass(frozen=True)
class Shape:
    """A signed distance (negative inside, canvas units) and a box that holds the shape."""

    box: tuple[float, float, float, float]
    distance: Distance


def union(*shapes: Shape, smooth: float = 0.0) -> Shape:
    """Union; with ``smooth`` > 0 seams are rounded over that length (polynomial minimum)."""
    boxes = [s.box for s in shapes]
    box = (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )

    def distance(x: Array, y: Array) -> Array:
        d = shapes[0].distance(x, y)
        for shape in shapes[1:]:
            e = shape.distance(x, y)
            if smooth > 0:
                h = np.maximum(smooth - np.abs(d - e), 0.0)
                d = np.minimum(d, e) - h * h * (0.25 / smooth)
            else:
                d = np.minimum(d, e)
        return d

    return Shape(box, distance)


def minus(shape: Shape, hole: Shape) -> Shape:
    """What is left of ``shape`` when ``hole`` is cut out."""
    return Shape(shape.box, lambda x, y: np.maximum(shape.distance(x, y), -hole.distance(x, y)))


@dataclass(frozen=True)
class Frame:
    """A similarity: ``p -> centre + size * R(degrees) (flip * x, y)``."""

    centre: Point = (0.0, 0.0)
    size: float = 1.0
    degrees: float = 0.0
    flip: bool = False

    def vector(self, x: float, y: float) -> Point:
        c, s = turn(self.degrees)
        x = -x if self.flip else x
        return (self.size * (c * x - s * y), self.size * (s * x + c * y))

    def point(self, p: Point) -> Point:
        v = self.vector(*p)
        return (self.centre[0] + v[0], self.centre[1] + v[1])

    def at(self, p: Point, size: float = 1.0, degrees: float = 0.0) -> "Frame":
        """A frame inside this one, with its origin at ``p``."""
        inner = -degrees if self.flip else degrees
        return Frame(self.point(p), self.size * size, self.degrees + inner, self.flip)

    def ellipse(self, p: Point, rx: float, ry: float | None = None, degrees: float = 0.0) -> Shape:
        """Ellipse with half axes ``rx``, ``ry`` (a circle without ``ry``)."""
        cx, cy = self.point(p)
        a = rx * self.size
        b = a if ry is None else ry * self.size
        c, s = turn(degrees)
        c, s = self.vector(c, s)
        c, s = c / self.size, s / self.size
        half_w = math.sqrt(a * a * c * c + b * b * s * s)
        half_h = math.sqrt(a * a * s * s + b * b * c * c)

        def distance(x: Array, y: Array) -> Array:
            dx, dy = x - cx, y - cy
            if a == b:
                return np.sqrt(dx * dx + dy * dy) - a
            u, v = (dx * c + dy * s) / a, (dy * c - dx * s) / b
            k = u * u + v * v
            # First-order distance to the level set: (k - 1) / |gradient of k|.
            slope = np.sqrt(u * u / (a * a) + v * v / (b * b))
            root = np.sqrt(k)
            return root * (root - 1.0) / np.maximum(slope, 1e-6)

        return Shape((cx - half_w, cy - half_h, cx + half_w, cy + half_h), distance)

    def limb(self, p: Point, q: Point, r0: float, r1: float | None = None) -> Shape:
        """A thick line from ``p`` to ``q``, tapered from radius ``r0`` to ``r1``."""
        (px, py), (qx, qy) = self.point(p), self.point(q)
        ra = r0 * self.size
        rb = ra if r1 is None else r1 * self.size
        ex, ey = qx - px, qy - py
        length = max(ex * ex + ey * ey, 1e-9)

        def distance(x: Array, y: Array) -> Array:
            dx, dy = x - px, y - py
            t = np.minimum(np.maximum((dx * ex + dy * ey) / length, 0.0), 1.0)
            wx, wy = dx - t * ex, dy - t * ey
            return np.sqrt(wx * wx + wy * wy) - (ra + t * (rb - ra))

        box = (
            min(px - ra, qx - rb),
            min(py - ra, qy - rb),
            max(px + ra, qx + rb),
            max(py + ra, qy + rb),
        )
        return Shape(box, distance)

    def path(self, points: Sequence[Point], r0: float, r1: float | None = None) -> Shape:
        """A tapered thick line through several points."""
        end = r0 if r1 is None else r1
        n = len(points) - 1
        radii = [r0 + (end - r0) * i / n for i in range(n + 1)]
        parts = [self.limb(points[i], points[i + 1], radii[i], radii[i + 1]) for i in range(n)]
        return union(*parts)

    def polygon(self, points: Sequence[Point], rounding: float = 0.0) -> Shape:
        """A polygon, its corners rounded outwards by ``rounding``."""
        at = [self.point(p) for p in points]
        grow = rounding * self.size
        xs, ys = [p[0] for p in at], [p[1] for p in at]

        def distance(x: Array, y: Array) -> Array:
            best: Array | None = None
            inside: NDArray[np.bool_] | None = None
            for i, (px, py) in enumerate(at):
                qx, qy = at[i - 1]
                ex, ey = qx - px, qy - py
                dx, dy = x - px, y - py
                length = max(ex * ex + ey * ey, 1e-12)
                t = np.minimum(np.maximum((dx * ex + dy * ey) / length, 0.0), 1.0)
                wx, wy = dx - t * ex, dy - t * ey
                near = wx * wx + wy * wy
                best = near if best is None else np.minimum(best, near)
                # Even-odd rule: a ray to the left crosses this edge.
                crosses = (dy >= 0) != (y - qy >= 0)
                left = (ex * dy > ey * dx) == (ey > 0)
                hit = crosses & left
                inside = hit if inside is None else inside ^ hit
            assert best is not None and inside is not None
            d = np.sqrt(best)
            return np.where(inside, -d, d) - grow

        box = (min(xs) - grow, min(ys) - grow, max(xs) + grow, max(ys) + grow)
        return Shape(box, distance)

    def box(self, p: Point, q: Point, rounding: float = 0.0) -> Shape:
        """The rectangle between two corners, its corners rounded without growing it."""
        x0, x1 = min(p[0], q[0]) + rounding, max(p[0], q[0]) - rounding
        y0, y1 = min(p[1], q[1]) + rounding, max(p[1], q[1]) - rounding
        return self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], rounding)


@dataclass(frozen=True)
class Mask:
    """How much of each pixel of a window a painted shape covers; clips what is painted on it."""

    rows: slice
    cols: slice
    cover: Array  # [rows, cols], 0..1


class Canvas:
    """A square picture in the making, planar float64 ``[3, size, size]`` in [0, 1]."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pixels: Array = np.zeros((3, size, size))
        self._line: Array = (np.arange(size) + 0.5) / size

    def gradient(self, top: Colour, bottom: Colour, y0: float = 0.0, y1: float = 1.0) -> None:
        """Fills the rows between two heights with a vertical gradient."""
        r0, r1 = (min(max(round(y * self.size), 0), self.size) for y in (y0, y1))
        t = (self._line[r0:r1] - y0) / max(y1 - y0, 1e-6)
        for channel in range(3):
            a, b = top[channel], bottom[channel]
            self.pixels[channel, r0:r1] = (a + (b - a) * t)[:, None]

    def light(self, gain: Colour, fall: float, towards: Point) -> None:
        """Tints the whole picture and lets it fall off linearly along a direction."""
        x, y = self._line[None, :] - 0.5, self._line[:, None] - 0.5
        ramp = 1.0 - fall * (x * towards[0] + y * towards[1])
        for channel in range(3):
            self.pixels[channel] *= ramp * gain[channel]

    def paint(
        self,
        shape: Shape,
        colour: Colour,
        *,
        shade: float = 0.0,
        opacity: float = 1.0,
        soft: float = 0.0,
        clip: Mask | None = None,
    ) -> Mask:
        """Paints a shape and returns what it covered.

        Args:
            shape: what to paint.
            colour: its colour.
            shade: how much lighter the upper left and darker the lower right gets, 0..1.
            opacity: 1 hides what is below.
            soft: width of the edge in canvas units; 0 means one pixel (anti-aliased).
            clip: paint only where this earlier shape was painted.

        Returns:
            The coverage, to be used as ``clip`` for markings.
        """
        n = self.size
        edge = max(soft, 1.0 / n)
        pad = 0.5 * edge + 1e-9
        x0, y0, x1, y1 = shape.box
        c0, c1 = max(int((x0 - pad) * n), 0), min(math.ceil((x1 + pad) * n), n)
        r0, r1 = max(int((y0 - pad) * n), 0), min(math.ceil((y1 + pad) * n), n)
        if clip is not None:
            c0, c1 = max(c0, clip.cols.start), min(c1, clip.cols.stop)
            r0, r1 = max(r0, clip.rows.start), min(r1, clip.rows.stop)
        if c1 <= c0 or r1 <= r0:
            return Mask(slice(0, 0), slice(0, 0), np.zeros((0, 0)))
        rows, cols = slice(r0, r1), slice(c0, c1)
        x, y = self._line[None, cols], self._line[rows, None]
        cover = np.minimum(np.maximum(0.5 - shape.distance(x, y) / edge, 0.0), 1.0)
        if clip is not None:
            dr, dc = clip.rows.start, clip.cols.start
            cover = cover * clip.cover[r0 - dr : r1 - dr, c0 - dc : c1 - dc]
        alpha = cover * opacity if opacity < 1 else cover
        window = self.pixels[:, rows, cols]
        if shade > 0:
            reach = max(x1 - x0, y1 - y0, 1e-6)
            ramp = ((x - 0.5 * (x0 + x1)) * 0.7 + (y - 0.5 * (y0 + y1)) * 1.3) * (2.0 / reach)
            factor = 1.0 - shade * np.minimum(np.maximum(ramp, -1.0), 1.0)
            for channel in range(3):
                lit = np.minimum(colour[channel] * factor, 1.0)
                window[channel] += (lit - window[channel]) * alpha
        else:
            for channel in range(3):
                window[channel] += (colour[channel] - window[channel]) * alpha
        return Mask(rows, cols, cover)

    def image(self) -> NDArray[np.uint8]:
        """The picture as bytes, ``[size, size, 3]``."""
        clipped = np.minimum(np.maximum(self.pixels, 0.0), 1.0)
        return np.ascontiguousarray((clipped * 255.0 + 0.5).astype(np.uint8).transpose(1, 2, 0))
