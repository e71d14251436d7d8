"""Cats: the same sitting and standing cat in five coats."""

from dataclasses import dataclass
from itertools import pairwise

from slsgu.menagerie import scenes
from slsgu.menagerie.canvas import (
    INK,
    WHITE,
    Canvas,
    Dice,
    Frame,
    Mask,
    Point,
    Shape,
    rgb,
    scale,
    union,
)


@dataclass(frozen=True)
class Coat:
    """What makes a kind of cat."""

    colours: tuple[str, ...]
    points: str = ""  # colour of mask, ears, feet and tail
    eye: str = "8fb04a"
    stripes: str = ""  # colour of the stripes
    fluff: float = 0.0  # how far the long hair stands off
    flat: bool = False  # flat face, small ears
    tufts: bool = False  # lynx tips on the ears
    belly: str = ""
    slim: float = 1.0


CATS: dict[str, Coat] = {
    "siamese cat": Coat(("efe2cb", "f3e8d6", "e8d8bd"), points="4d382f", eye="4aa5e8", slim=0.84),
    "tabby cat": Coat(("e79a4b", "dd8d3f", "eda75c"), stripes="9c4e1c", belly="f7e3c4"),
    "bombay cat": Coat(("232327", "1d1d21", "2b2a30"), eye="f0a52e"),
    "persian cat": Coat(("f6f2ea", "f3eee8", "efece9"), eye="e0913a", fluff=0.09, flat=True),
    "maine coon": Coat(
        ("83613f", "785636", "8e6b47"),
        stripes="43301f",
        eye="c5b33c",
        fluff=0.07,
        tufts=True,
        belly="cbb290",
    ),
}

TOYS = ["d6423b", "2f7fc1", "3f9b57", "e0b52f", "8a4fb0"]


def draw_cat(c: Canvas, dice: Dice, leaf: str) -> None:
    """Paints one cat of a kind, sitting or standing, somewhere."""
    coat = CATS[leaf]
    horizon = scenes.anywhere(c, dice)
    ground = max(dice.uniform(0.84, 0.94), horizon + 0.12)
    f = Frame(
        (dice.uniform(0.42, 0.58), ground),
        dice.uniform(0.56, 0.74),
        dice.uniform(-4, 4),
        dice.chance(0.5),
    )
    scenes.shadow(c, f, (0, 0), 0.42, 0.06)
    if dice.chance(0.25):  # a ball of wool
        at = (dice.pick([-0.5, 0.52]), -0.07)
        wool = c.paint(f.ellipse(at, 0.08), dice.tint(rgb(dice.pick(TOYS))), shade=0.25)
        c.paint(f.ellipse(at, 0.09, 0.012, 40), WHITE, clip=wool, opacity=0.5)
        c.paint(f.ellipse(at, 0.09, 0.012, -30), WHITE, clip=wool, opacity=0.5)
    Cat(c, dice, f, coat).paint(dice.chance(0.6))
    scenes.lighting(c, dice)


class Cat:
    """One cat being painted; the origin of ``f`` is on the ground below it, y down."""

    def __init__(self, c: Canvas, dice: Dice, f: Frame, coat: Coat) -> None:
        self.c, self.dice, self.f, self.k = c, dice, f, coat
        self.coat = dice.tint(rgb(dice.pick(coat.colours)), 0.05)
        self.point = rgb(coat.points) if coat.points else self.coat

    def paint(self, sitting: bool) -> None:
        k, f, c = self.k, self.f, self.c
        s = k.slim
        if sitting:
            chest, hip, head = (0.05, -0.42), (-0.05, -0.2), (0.09, -0.74)
            self.tail([(-0.2, -0.06), (-0.42, -0.07), (-0.52, -0.2), (-0.47, -0.36)])
            body = union(
                f.limb(chest, hip, 0.14 * s, 0.22 * s),
                f.ellipse((-0.03, -0.15), 0.23 * s, 0.15),
                smooth=0.06 * f.size,
            )
            feet = [((0.06, -0.32), (0.08, -0.04)), ((0.15, -0.32), (0.19, -0.04))]
        else:
            lift = self.dice.uniform(-0.04, 0.06)
            chest, hip, head = (0.22, -0.38), (-0.24, -0.38), (0.36, -0.63 - lift)
            self.tail([(-0.36, -0.42), (-0.47, -0.55), (-0.48, -0.72), (-0.4, -0.84)])
            step = self.dice.uniform(-0.06, 0.08)
            for x, bend in ((0.29, -step), (-0.17, step)):
                self.leg((x - 0.02, -0.32), (x + bend, -0.04), 0.75)
            body = f.limb(chest, hip, 0.15 * s, 0.15 * s)
            feet = [((0.2, -0.32), (0.2 + step, -0.04)), ((-0.27, -0.32), (-0.29 - step, -0.04))]
        if k.fluff:
            self.fur(chest, hip)
        mask = c.paint(body, self.coat, shade=0.18)
        self.markings(mask, chest, hip, sitting)
        for top, foot in feet:
            self.leg(top, foot, 1.0)
        if k.fluff:
            ruff = [
                f.ellipse((head[0] + dx, head[1] + dy), 0.09)
                for dx, dy in ((-0.14, 0.12), (-0.07, 0.2), (0.03, 0.23), (0.13, 0.19), (0.18, 0.1))
            ]
            c.paint(
                union(*ruff, smooth=0.01),
                rgb(k.belly) if k.belly else scale(self.coat, 0.95),
                shade=0.12,
            )
        elif self.dice.chance(0.3):
            c.paint(
                f.limb((head[0] - 0.1, head[1] + 0.15), (head[0] + 0.09, head[1] + 0.16), 0.022),
                rgb(self.dice.pick(TOYS)),
            )
        self.head(head)

    def fur(self, chest: Point, hip: Point) -> None:
        """Long hair: lumps that stand off behind the body."""
        lumps: list[Shape] = []
        for i in range(7):
            t = i / 6
            x, y = chest[0] + (hip[0] - chest[0]) * t, chest[1] + (hip[1] - chest[1]) * t
            lumps.append(self.f.ellipse((x, y + 0.07), 0.15 + self.k.fluff))
            lumps.append(
                self.f.limb(
                    (x, y), (x - 0.03 + 0.02 * (i % 3), y + 0.25 + self.k.fluff * 0.5), 0.08, 0.01
                )
            )
        self.c.paint(union(*lumps), scale(self.coat, 0.9), shade=0.15)

    def leg(self, top: Point, foot: Point, light: float) -> None:
        mask = self.c.paint(
            self.f.limb(top, foot, 0.07 * self.k.slim, 0.045), scale(self.coat, light)
        )
        if self.k.points:
            low = self.f.box((foot[0] - 0.15, -0.16), (foot[0] + 0.15, 0.02), 0.01)
            self.c.paint(low, scale(self.point, light), clip=mask, soft=0.03)
        self.c.paint(
            self.f.limb(foot, (foot[0] + 0.04, foot[1] + 0.005), 0.045), scale(self.point, light)
        )
        if self.k.stripes and light == 1.0:
            for y in (0.3, 0.55):
                at = (top[0] + (foot[0] - top[0]) * y, top[1] + (foot[1] - top[1]) * y)
                self.c.paint(
                    self.f.limb((at[0] - 0.08, at[1]), (at[0] + 0.08, at[1]), 0.014),
                    rgb(self.k.stripes),
                    clip=mask,
                )

    def tail(self, bone: list[Point]) -> None:
        wag = self.dice.uniform(-0.05, 0.05)
        bone = [(x + wag * i, y) for i, (x, y) in enumerate(bone)]
        thick = 0.045 * self.k.slim + self.k.fluff * 0.7
        mask = self.c.paint(
            self.f.path(bone, thick, thick * (1.15 if self.k.fluff else 0.75)),
            scale(self.point, 0.92),
            shade=0.12,
        )
        if self.k.stripes:
            for (px, py), (qx, qy) in pairwise(bone):
                mid = ((px + qx) / 2, (py + qy) / 2)
                across = (-(qy - py) * 0.8, (qx - px) * 0.8)
                ring = self.f.limb(
                    (mid[0] - across[0], mid[1] - across[1]),
                    (mid[0] + across[0], mid[1] + across[1]),
                    0.024,
                )
                self.c.paint(ring, rgb(self.k.stripes), clip=mask)

    def markings(self, mask: Mask, chest: Point, hip: Point, sitting: bool) -> None:
        k, f, c = self.k, self.f, self.c
        if k.belly and not k.fluff:
            spot = (chest[0] + 0.1, chest[1] + 0.05) if sitting else (0.0, -0.24)
            c.paint(
                f.ellipse(spot, 0.1 if sitting else 0.3, 0.14 if sitting else 0.06),
                rgb(k.belly),
                clip=mask,
            )
        if k.stripes:
            for i in range(5):
                t = (i + 0.4) / 5
                x, y = chest[0] + (hip[0] - chest[0]) * t - 0.03, chest[1] + (hip[1] - chest[1]) * t
                if sitting:
                    bar = f.limb((x - 0.3, y - 0.02), (x - 0.02, y + 0.03), 0.03, 0.008)
                else:
                    bar = f.limb((x, y - 0.2), (x + 0.01, y + 0.05), 0.03, 0.008)
                c.paint(bar, rgb(k.stripes), clip=mask)

    def head(self, p: Point) -> None:
        k, c = self.k, self.c
        h = self.f.at(p, 1.0, self.dice.uniform(-10, 10))
        wide = 0.19 if k.flat else 0.175 * (0.5 + 0.5 * k.slim)
        tall = -0.19 if k.flat else -0.26 - 0.02 * (k.slim < 1)
        for side in (-1, 1):
            ear = h.polygon(
                [(side * wide * 0.95, -0.04), (side * 0.03, -0.11), (side * wide * 0.8, tall)],
                0.015,
            )
            m = c.paint(ear, scale(self.point, 0.92))
            inner = h.polygon(
                [
                    (side * wide * 0.8, -0.08),
                    (side * 0.07, -0.11),
                    (side * wide * 0.75, tall + 0.05),
                ]
            )
            c.paint(inner, rgb("d79a94"), clip=m, opacity=0.8 if not k.points else 0.3)
            if k.tufts:
                tip = (side * wide * 0.8, tall)
                c.paint(
                    h.limb(tip, (tip[0] + side * 0.02, tip[1] - 0.08), 0.018, 0.005),
                    scale(self.coat, 0.5),
                )
        face = h.ellipse((0, 0), wide, 0.145)
        if k.fluff:
            cheeks = [
                h.limb((s * 0.1, 0.03), (s * (wide + 0.07), y), 0.06, 0.01)
                for s in (-1, 1)
                for y in (0.04, 0.12)
            ]
            face = union(face, *cheeks, smooth=0.02 * h.size)
        mask = c.paint(face, self.coat, shade=0.12)
        if k.points:
            c.paint(h.ellipse((0, 0.04), 0.105, 0.11), self.point, clip=mask, soft=0.06 * h.size)
        if k.stripes:
            for x in (-0.05, 0.0, 0.05):
                c.paint(
                    h.limb((x * 1.3, -0.16), (x, -0.07), 0.015, 0.008), rgb(k.stripes), clip=mask
                )
            for s in (-1, 1):
                c.paint(
                    h.limb((s * 0.2, 0.0), (s * 0.11, 0.03), 0.013, 0.008),
                    rgb(k.stripes),
                    clip=mask,
                )
        if k.belly:
            c.paint(h.ellipse((0, 0.085), 0.08, 0.055), rgb(k.belly), clip=mask)
        drop = 0.02 if k.flat else 0.0
        for s in (-1, 1):
            c.paint(h.ellipse((s * 0.075, -0.015 + drop), 0.038, 0.034), rgb(k.eye))
            c.paint(h.ellipse((s * 0.075, -0.015 + drop), 0.013, 0.03), INK)
            c.paint(h.ellipse((s * 0.075 + 0.01, -0.027 + drop), 0.009), WHITE)
            for y in (0.05, 0.075):
                c.paint(
                    h.limb((s * 0.07, 0.06), (s * 0.22, y), 0.004),
                    WHITE if k.colours[0] < "8" else rgb("8a8078"),
                )
        nose = 0.03 if k.flat else 0.045
        c.paint(h.polygon([(-0.02, nose), (0.02, nose), (0, nose + 0.025)], 0.006), rgb("d9828a"))
        c.paint(h.limb((0, nose + 0.025), (-0.03, nose + 0.05), 0.006), scale(self.point, 0.5))
        c.paint(h.limb((0, nose + 0.025), (0.03, nose + 0.05), 0.006), scale(self.point, 0.5))
