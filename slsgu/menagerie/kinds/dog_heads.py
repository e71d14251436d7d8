"""The heads of the dogs: skull, muzzle, markings, beard, eyes and ears of each breed."""

from slsgu.menagerie.canvas import INK, WHITE, Frame, Point, rgb, scale, union
from slsgu.menagerie.kinds.breeds import PaintedDog


def paint_head(dog: PaintedDog, p: Point) -> None:
    """Skull, muzzle, face and ears; ``p`` is the middle of the head in the body's frame."""
    b, c, dice = dog.b, dog.c, dog.dice
    h = dog.f.at(p, 1.0, dice.uniform(-14, 12))
    tall = -0.165 if b.ears == "prick" else -0.12
    if b.ears == "prick":
        far = h.polygon([(-0.02, -0.1), (0.1, -0.1), (0.07, tall - 0.1)], 0.015)
        c.paint(far, scale(dog.ear, 0.75))
    m, r = b.muzzle, b.snout
    jaw = (0.1 + m, 0.045)
    skull = h.ellipse((0, 0), 0.155, 0.145)
    snout = h.limb((0.08, 0.04), jaw, r + 0.02, r * 0.82)
    mask = c.paint(union(skull, snout, smooth=0.05 * h.size), dog.coat, shade=0.16)
    if b.marks == "saddle" and not b.beard:
        c.paint(h.limb((0.13, 0.05), (0.2 + m, 0.05), r * 1.15), dog.mark, clip=mask)
    elif b.marks == "husky":
        c.paint(h.ellipse((0.06, 0.09), 0.16, 0.11), dog.trim, clip=mask)
        c.paint(h.ellipse((0.09, -0.05), 0.05, 0.035), dog.trim, clip=mask)
        c.paint(h.limb((0.13, 0.05), (0.22 + m, 0.05), r), dog.trim, clip=mask)
    elif b.trim:
        c.paint(h.limb((0.14, 0.06), (0.22 + m, 0.05), r * 1.1), dog.trim, clip=mask)
        if b.marks in ("collie", "tricolour"):
            c.paint(h.limb((0.05, -0.16), (0.12, 0.0), 0.035), dog.trim, clip=mask)
    if b.marks == "spots":
        for x, y in ((-0.05, -0.09), (0.12, 0.07), (0.0, 0.08), (0.04, -0.11)):
            c.paint(h.ellipse((x, y), 0.022), dog.mark, clip=mask)
    if b.beard:
        locks = [
            h.limb((0.06 + 0.055 * i, 0.07), (0.07 + 0.06 * i, 0.2 + 0.02 * (i % 2)), 0.045, 0.012)
            for i in range(4)
        ]
        c.paint(union(*locks), scale(dog.coat, 0.85))
        c.paint(h.limb((0.02, -0.1), (0.13, -0.075), 0.028, 0.012), scale(dog.coat, 0.8))
    if dice.chance(0.3) and not b.beard:
        c.paint(h.limb((jaw[0] - 0.05, 0.09), (jaw[0] - 0.045, 0.15), 0.028), rgb("e8788a"))
    c.paint(
        h.limb((jaw[0] - 0.01, 0.045 + r * 0.5), (0.1, 0.045 + r * 0.75), 0.008),
        scale(dog.coat, 0.35),
    )
    c.paint(h.ellipse((jaw[0] + r * 0.6, 0.01), 0.036, 0.03), INK)
    c.paint(h.ellipse((0.075, -0.035), 0.03), rgb(b.eye))
    if b.marks == "husky":
        c.paint(h.ellipse((0.08, -0.035), 0.013), INK)
    c.paint(h.ellipse((0.084, -0.046), 0.01), WHITE)
    if b.marks == "pompoms":
        dog.puff((p[0] - 0.03, p[1] - 0.14), 0.13, dog.coat)
    paint_ears(dog, h, tall)


def paint_ears(dog: PaintedDog, h: Frame, tall: float) -> None:
    """The near ear (or both halves of it); ``h`` is the head's frame."""
    b, c = dog.b, dog.c
    flop = dog.dice.uniform(-0.02, 0.03)
    if b.ears == "prick":
        high = tall - (0.1 if not b.ball else 0.03)
        ear = c.paint(h.polygon([(-0.13, -0.08), (0.0, -0.11), (-0.055, high)], 0.022), dog.ear)
        c.paint(
            h.polygon([(-0.09, -0.09), (-0.03, -0.1), (-0.055, high + 0.05)], 0.005),
            rgb("d99b93"),
            clip=ear,
            opacity=0.7,
        )
    elif b.ears == "fold":
        c.paint(h.limb((-0.07, -0.1), (-0.05, -0.17), 0.05, 0.035), dog.ear)
        c.paint(
            h.polygon([(-0.09, -0.17), (0.03, -0.17), (0.02, -0.06 + flop)], 0.018),
            scale(dog.ear, 1.15),
        )
    elif b.ears == "long":
        if b.marks == "pompoms":
            p = (-0.1, 0.07)
            for dy in (-0.06, 0.02, 0.1):
                c.paint(
                    h.ellipse((p[0] - dy * 0.2, p[1] + dy), 0.07),
                    scale(dog.coat, 0.92),
                    shade=0.25,
                )
            return
        c.paint(h.limb((-0.07, -0.06), (-0.1 + flop, 0.16), 0.055, 0.075), dog.ear, shade=0.15)
    else:
        c.paint(
            h.polygon([(-0.11, -0.1), (0.0, -0.09), (-0.04 + flop, 0.08), (-0.11, 0.06)], 0.025),
            dog.ear,
            shade=0.15,
        )
