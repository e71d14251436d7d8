"""Fish, in the sea, in a tank or in front of a studio backdrop."""

from dataclasses import dataclass
from typing import Literal

from slsgu.menagerie import scenes
from slsgu.menagerie.canvas import INK, WHITE, Canvas, Dice, Frame, Point, rgb, scale, union


@dataclass(frozen=True)
class Scales:
    """What makes a fish; lengths in units of the body's length."""

    body: tuple[str, ...]
    fin: str
    deep: float  # half the height of the body
    tail: Literal["round", "fork", "veil"]
    marks: Literal["bands", "swirl", "glint"]


FISH: dict[str, Scales] = {
    "clownfish": Scales(("f07a26", "e86f1d", "f48834"), "f08a36", 0.24, "round", "bands"),
    "blue tang": Scales(("2f63d8", "2a58c8", "3b70e2"), "f4cf2e", 0.27, "fork", "swirl"),
    "goldfish": Scales(("f2a52c", "eb9a22", "f6b244"), "f8bb55", 0.3, "veil", "glint"),
}


def draw_fish(c: Canvas, dice: Dice, leaf: str) -> None:
    """Paints one fish of a kind."""
    k = FISH[leaf]
    scenes.water(c, dice)
    f = Frame(
        (dice.uniform(0.44, 0.56), dice.uniform(0.42, 0.6)),
        dice.uniform(0.5, 0.74),
        dice.uniform(-18, 18),
        dice.chance(0.5),
    )
    body, fin = dice.tint(rgb(dice.pick(k.body))), dice.tint(rgb(k.fin))
    sway = dice.uniform(-0.06, 0.06)
    back = -0.36
    if k.tail == "veil":
        for y in (-0.3, -0.12, 0.08, 0.3):
            veil = f.limb((back + 0.1, 0), (back - 0.32, y + sway), 0.06, 0.07)
            c.paint(veil, fin, shade=0.15, opacity=0.85)
    elif k.tail == "fork":
        c.paint(
            union(
                f.limb((back + 0.05, 0), (back - 0.22, -0.24 + sway), 0.07, 0.02),
                f.limb((back + 0.05, 0), (back - 0.22, 0.24 + sway), 0.07, 0.02),
                f.ellipse((back - 0.05, sway), 0.1),
                smooth=0.02,
            ),
            fin,
            shade=0.1,
        )
    else:
        tail = c.paint(f.ellipse((back - 0.1, sway), 0.15, 0.17), fin, shade=0.1)
        c.paint(f.ellipse((back - 0.22, sway), 0.06, 0.2), INK, clip=tail)
    high = 0.12 if k.tail != "veil" else 0.2
    dorsal: list[Point] = [(0.16, -k.deep * 0.7), (-0.02, -k.deep - high), (-0.28, -k.deep * 0.8)]
    c.paint(f.polygon(dorsal, 0.02), fin if k.marks != "swirl" else body, shade=0.1)
    c.paint(
        f.polygon([(0.02, k.deep * 0.7), (-0.12, k.deep + high), (-0.26, k.deep * 0.6)], 0.02),
        fin if k.marks != "swirl" else body,
        shade=0.1,
    )
    trunk = union(
        f.ellipse((0.02, 0), 0.38, k.deep),
        f.limb((-0.2, 0), (back, 0), 0.12, 0.07),
        smooth=0.06 * f.size,
    )
    mask = c.paint(trunk, body, shade=0.22)
    if k.marks == "bands":
        for x, w in ((0.19, 0.05), (-0.08, 0.06), (-0.31, 0.04)):
            bow = dice.uniform(0.02, 0.05)
            for colour, wide in ((INK, w + 0.018), (WHITE, w)):
                c.paint(f.path([(x, -0.4), (x + bow, 0), (x, 0.4)], wide), colour, clip=mask)
    elif k.marks == "swirl":
        loop = f.path(
            [
                (0.22, -0.06),
                (0.08, -0.17),
                (-0.16, -0.15),
                (-0.34, -0.03),
                (-0.2, 0.08),
                (0.0, 0.04),
            ],
            0.065,
            0.035,
        )
        c.paint(loop, rgb("141b33"), clip=mask)
        c.paint(f.limb((back - 0.04, 0), (back + 0.04, 0), 0.09), fin, clip=mask)
    else:
        c.paint(f.ellipse((0.02, 0.19), 0.3, 0.14), rgb("fbe3b0"), clip=mask, opacity=0.8)
        for i in range(7):
            at = (-0.2 + 0.1 * (i % 4), -0.08 + 0.1 * (i // 4))
            c.paint(f.ellipse(at, 0.028), scale(body, 0.86), clip=mask)
    c.paint(f.limb((0.06, 0.06), (-0.08, 0.13 + sway), 0.055, 0.03), scale(fin, 0.88))
    eye = (0.27, -0.05)
    c.paint(f.ellipse(eye, 0.05), WHITE)
    c.paint(f.ellipse((eye[0] + 0.008, eye[1]), 0.032), INK)
    c.paint(f.ellipse((eye[0] + 0.016, eye[1] - 0.014), 0.011), WHITE)
    c.paint(f.limb((0.37, 0.05), (0.32, 0.07), 0.009), scale(body, 0.5))
    if dice.chance(0.5):
        for i in range(3):
            bubble = (0.48 + 0.03 * (i % 2), -0.1 - 0.11 * i)
            c.paint(f.ellipse(bubble, 0.018 + 0.008 * i), rgb("eafaff"), opacity=0.6)
    scenes.lighting(c, dice)
