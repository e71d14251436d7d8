"""Dogs: one body, one set of poses and places, and a row of numbers for each breed.

Breeds differ in coat, markings, ears, muzzle, tail and clip. Everything else (pose, direction,
size, place, backdrop, light, toys, collar) comes from the same dice for all of them.
"""

from slsgu.menagerie import scenes
from slsgu.menagerie.canvas import (
    WHITE,
    Canvas,
    Colour,
    Dice,
    Frame,
    Mask,
    Point,
    Shape,
    mix,
    rgb,
    scale,
    union,
)
from slsgu.menagerie.kinds.breeds import BREEDS, PaintedDog
from slsgu.menagerie.kinds.dog_heads import paint_head

COLLARS = ["d6423b", "2f7fc1", "3f9b57", "e0b52f", "8a4fb0", "ec7fa9"]


def draw_dog(c: Canvas, dice: Dice, leaf: str) -> None:
    """Paints one dog of a breed, standing or sitting, somewhere."""
    breed = BREEDS[leaf]
    horizon = scenes.anywhere(c, dice)
    size = dice.uniform(0.45, 0.62) / max(1.0, 0.55 + 0.45 * breed.long)
    ground = max(dice.uniform(0.82, 0.93), horizon + 0.12)
    f = Frame((dice.uniform(0.42, 0.58), ground), size, dice.uniform(-4, 4), dice.chance(0.5))
    coat = dice.tint(rgb(dice.pick(breed.coats)), 0.05)
    sitting = dice.chance(0.35)
    toy(c, dice, f)
    scenes.shadow(c, f, (0, 0.0), 0.5 * breed.long, 0.07)
    Dog(c, dice, f, breed, coat).paint(sitting)
    scenes.lighting(c, dice)


def toy(c: Canvas, dice: Dice, f: Frame) -> None:
    """A ball beside the dog, now and then."""
    if not dice.chance(0.25):
        return
    at = (dice.pick([-0.62, 0.66]) + dice.uniform(-0.05, 0.05), -0.06)
    ball = c.paint(f.ellipse(at, 0.075), dice.tint(rgb(dice.pick(COLLARS))), shade=0.25)
    c.paint(f.ellipse(at, 0.09, 0.02, 30), WHITE, clip=ball)


class Dog(PaintedDog):
    """One dog, painted from tail to head."""

    def paint(self, sitting: bool) -> None:
        b, dice = self.b, self.dice
        reach = 0.26 * b.long
        leg = 0.34 * b.leg
        chest = (reach, -leg - 0.15)
        hip = (-reach, -leg - 0.15)
        if sitting:
            hip = (-reach * 0.75, -0.17)
            chest = (reach * 0.45, -leg - 0.2)
        step = dice.uniform(-0.07, 0.09)
        wag = dice.uniform(-0.12, 0.12)
        lift = dice.uniform(-0.03, 0.05)
        head = (chest[0] + 0.17, chest[1] - 0.29 - lift)
        self.tail(hip, wag, sitting)
        far = scale(self.coat, 0.72)
        foot = scale(self.trim, 0.8)
        if sitting:
            self.leg((chest[0] + 0.05, chest[1] + 0.1), chest[0] + 0.13, far, foot)
        else:
            self.leg((chest[0] - 0.02, chest[1] + 0.08), chest[0] + 0.05 - step, far, foot)
            self.leg((hip[0] + 0.05, hip[1] + 0.05), hip[0] + 0.09 + step, far, foot)
        self.trunk(chest, hip, head, sitting)
        if sitting:
            thigh = self.f.ellipse((hip[0] + 0.05, -0.15), 0.17 * b.deep, 0.14)
            self.c.paint(thigh, scale(self.coat, 0.95), shade=0.12)
            paw = self.f.limb((hip[0] + 0.08, -0.045), (hip[0] + 0.25, -0.045), 0.045)
            self.c.paint(paw, self.trim, shade=0.1)
            self.leg((chest[0] + 0.02, chest[1] + 0.1), chest[0] + 0.05, self.coat, self.trim)
        else:
            self.leg(
                (chest[0] + 0.02, chest[1] + 0.08), chest[0] + 0.02 + step, self.coat, self.trim
            )
            self.leg((hip[0] - 0.01, hip[1] + 0.05), hip[0] - 0.03 - step, self.coat, self.trim)
        self.neckwear(chest, head)
        paint_head(self, head)

    def leg(self, top: Point, foot: float, colour: Colour, paw: Colour) -> None:
        """One leg down to the ground at x = ``foot``, with its hair and paw."""
        knee = ((top[0] + foot) / 2 + 0.015, top[1] * 0.5)
        thick = 0.062 if self.b.leg > 0.7 else 0.068
        limb = self.f.path([top, knee, (foot, -0.045)], thick + 0.02, thick - 0.012)
        if self.b.marks == "pompoms":
            limb = self.f.path([top, knee, (foot, -0.045)], 0.04, 0.035)
        mask = self.c.paint(limb, colour, shade=0.1)
        if self.b.trim:
            low = self.f.box((foot - 0.2, top[1] * 0.45), (foot + 0.2, 0.0), 0.01)
            self.c.paint(low, paw, clip=mask)
        self.c.paint(
            self.f.limb((foot, -0.04), (foot + 0.05, -0.036), 0.042, 0.036), paw, shade=0.1
        )
        if self.b.marks == "pompoms":
            self.puff((foot, -0.11), 0.085, colour)

    def tufts(
        self, line: list[Point], length: float, count: int, colour: Colour, lean: float
    ) -> None:
        """Locks of hair that hang from a line."""
        locks: list[Shape] = []
        for i in range(count):
            t = (i + 0.5) / count * (len(line) - 1)
            k = min(int(t), len(line) - 2)
            p, q = line[k], line[k + 1]
            x, y = p[0] + (q[0] - p[0]) * (t - k), p[1] + (q[1] - p[1]) * (t - k)
            reach = length * (0.85 + 0.3 * ((i * 7) % 3) / 2)
            locks.append(self.f.limb((x, y), (x + lean, y + reach), 0.05, 0.008))
        self.c.paint(union(*locks), colour)

    def tail(self, hip: Point, wag: float, sitting: bool) -> None:
        b, f = self.b, self.f
        x, y = hip[0] - 0.13, hip[1] - 0.06
        if sitting:
            x, y = hip[0] - 0.1, hip[1] + 0.04
        colour, tip = self.coat, rgb(b.tip) if b.tip else self.coat
        if b.tail == "feather":
            bone = [(x, y), (x - 0.14, y - 0.02 + wag * 0.5), (x - 0.28, y - 0.07 + wag)]
            self.tufts(bone, 0.15, 6, scale(colour, 0.86), -0.04)
            self.c.paint(f.path(bone, 0.06, 0.03), colour, shade=0.1)
            if b.tip:
                self.c.paint(f.limb(bone[2], (x - 0.32, y + 0.03 + wag), 0.05, 0.02), tip)
        elif b.tail == "otter":
            self.c.paint(
                f.path([(x + 0.03, y), (x - 0.26, y + wag)], 0.075, 0.03), colour, shade=0.1
            )
        elif b.tail == "curl":
            r = 0.085 if not b.ball else 0.12
            ring = f.path(
                [
                    (x + 0.02, y + 0.02),
                    (x - 0.05, y - 0.1),
                    (x - 0.01, y - 0.2),
                    (x + 0.09, y - 0.21),
                    (x + 0.12, y - 0.13),
                ],
                r * 0.85,
                r * 0.7,
            )
            mask = self.c.paint(ring, scale(colour, 0.93), shade=0.15)
            self.c.paint(f.ellipse((x + 0.1, y - 0.16), 0.07), tip, clip=mask)
        elif b.tail == "pompom":
            self.c.paint(f.limb((x + 0.03, y), (x - 0.07, y - 0.2 + wag * 0.3), 0.022), colour)
            self.puff((x - 0.08, y - 0.25 + wag * 0.3), 0.085, colour)
        elif b.tail == "stub":
            self.c.paint(
                f.limb((x + 0.04, y), (x + 0.0, y - 0.17), 0.05, 0.022), scale(colour, 0.8)
            )
        else:
            bone = [(x + 0.04, y), (x - 0.12, y - 0.06 + wag * 0.5), (x - 0.2, y - 0.2 + wag)]
            mask = self.c.paint(f.path(bone, 0.045, 0.018), colour)
            if b.tip:
                self.c.paint(f.ellipse(bone[2], 0.09), tip, clip=mask)

    def trunk(self, chest: Point, hip: Point, head: Point, sitting: bool) -> None:
        """Body and neck in one piece, then the hair below and the markings on it."""
        b, f = self.b, self.f
        thick = 0.165 * b.deep
        body = f.limb(chest, hip, thick, thick * (0.88 if not sitting else 1.1))
        neck = f.limb(
            (chest[0] + 0.03, chest[1] - 0.04),
            (head[0] - 0.04, head[1] + 0.05),
            0.13 * b.deep,
            0.105,
        )
        shape = union(body, neck, smooth=0.1 * f.size)
        if b.ball:
            self.mane(chest, hip, head)
        if b.fluff and not sitting:
            low = [
                (chest[0] + 0.08, chest[1] + 0.06),
                (0.0, chest[1] + thick * 0.75),
                (hip[0], hip[1] + thick * 0.6),
            ]
            self.tufts(low, b.fluff * 1.25, 8, scale(mix(self.coat, self.trim, 0.5), 0.85), -0.02)
        mask = self.c.paint(shape, self.coat, shade=0.2)
        self.markings(mask, chest, hip, head, thick, sitting)
        if b.fluff:
            front = [(chest[0] + 0.16, chest[1] - 0.12), (chest[0] + 0.1, chest[1] + 0.08)]
            self.tufts(front, b.fluff, 4, mix(self.coat, self.trim, 0.8), 0.0)
        if b.marks == "pompoms":
            self.puff((chest[0] + 0.01, chest[1] - 0.01), 0.2, self.coat)
            self.puff(hip if sitting else (hip[0] - 0.02, hip[1]), 0.13, self.coat)

    def mane(self, chest: Point, hip: Point, head: Point) -> None:
        """Fur that stands off all around: a ring of lumps behind the body."""
        f = self.f
        lumps = [
            f.ellipse((chest[0] + dx, chest[1] + dy), 0.13)
            for dx, dy in ((0.12, -0.1), (0.16, 0.05), (0.05, 0.14), (-0.1, 0.13), (0, -0.16))
        ]
        lumps += [
            f.ellipse((hip[0] + dx, hip[1] + dy), 0.12)
            for dx, dy in ((-0.1, -0.03), (0.0, 0.11), (0.05, -0.1), (-0.08, 0.08))
        ]
        lumps += [
            f.ellipse((head[0] + dx, head[1] + dy), 0.11)
            for dx, dy in ((-0.13, 0.05), (-0.1, 0.15), (0.05, 0.17), (-0.1, -0.06))
        ]
        self.c.paint(union(*lumps, smooth=0.02 * f.size), self.coat, shade=0.2)

    def markings(
        self, mask: Mask, chest: Point, hip: Point, head: Point, thick: float, sitting: bool
    ) -> None:
        b, f, c = self.b, self.f, self.c
        if b.marks in ("saddle", "tricolour"):
            # A blanket over the back: what lies above a line through chest and hip.
            up = thick * 0.95
            blanket = f.limb(
                (chest[0] - 0.03, chest[1] - up), (hip[0] - 0.05, hip[1] - up * 0.9), up, up * 1.2
            )
            c.paint(blanket, self.mark, clip=mask)
        if b.marks in ("tricolour", "collie", "husky") or (b.trim and not b.marks):
            soft = 0.02 * f.size if not b.marks else 0.0
            low = 1.05 if b.marks != "husky" else 0.85
            belly = f.limb(
                (chest[0] + 0.06, chest[1] + thick * low),
                (hip[0] + 0.08, hip[1] + thick * low),
                thick * 0.75,
                thick * 0.4,
            )
            c.paint(belly, self.trim, clip=mask, soft=soft)
            front = f.limb(
                (chest[0] + thick, chest[1] + 0.02), (head[0] + 0.06, head[1] + 0.12), 0.11, 0.06
            )
            c.paint(front, self.trim, clip=mask, soft=soft)
        if b.marks == "collie":
            ruff = f.limb(
                (chest[0] - 0.03, chest[1] - thick * 1.3),
                (chest[0] + 0.05, chest[1] + thick * 1.3),
                0.085,
            )
            c.paint(ruff, self.trim, clip=mask)
        if b.marks == "spots":
            spots: list[Shape] = []
            for i in range(13):
                t = (i + self.dice.uniform()) / 13
                p = (
                    hip[0] - 0.12 + (chest[0] - hip[0] + 0.26) * t,
                    hip[1] + (chest[1] - hip[1]) * t + self.dice.uniform(-0.16, 0.14),
                )
                spots.append(f.ellipse(p, self.dice.uniform(0.022, 0.04)))
            c.paint(union(*spots), self.mark, clip=mask)

    def neckwear(self, chest: Point, head: Point) -> None:
        if self.dice.chance(0.3):
            x, y = (chest[0] + head[0]) / 2 + 0.02, (chest[1] + head[1]) / 2 + 0.03
            band = self.f.limb((x - 0.11, y - 0.05), (x + 0.1, y + 0.03), 0.024)
            self.c.paint(band, rgb(self.dice.pick(COLLARS)))
            self.c.paint(self.f.ellipse((x + 0.1, y + 0.07), 0.026), rgb("f2d675"))
