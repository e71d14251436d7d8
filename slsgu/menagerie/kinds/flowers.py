"""Flowers: one to three stems of a kind, in a bed, a pot or a studio."""

from slsgu.menagerie import scenes
from slsgu.menagerie.canvas import Canvas, Colour, Dice, Frame, rgb, scale, turn, union

FLOWERS = ("sunflower", "tulip", "rose", "daisy")
TULIPS = ["e8483f", "f2b52f", "e86a9a", "9a4fb0", "f4efe6", "f08a3a"]
ROSES = ["c9283a", "f2a0b0", "f6e3b8", "e8603f", "f6f0ea", "a8324f"]


def draw_flower(c: Canvas, dice: Dice, leaf: str) -> None:
    """Paints a few flowers of a kind."""
    horizon = scenes.anywhere(c, dice)
    ground = max(dice.uniform(0.88, 0.97), horizon + 0.12)
    count = dice.pick([1, 1, 2, 3])
    size = dice.uniform(0.78, 0.98) if count == 1 else dice.uniform(0.58, 0.7)
    colour = dice.tint(rgb(dice.pick(TULIPS if leaf == "tulip" else ROSES)), 0.05)
    green = dice.tint(rgb(dice.pick(["4f8f45", "5f9c4a", "3f7f4a"])))
    pot = dice.chance(0.35)
    base = ground - (0.14 if pot else 0.0)
    for i in range(count):
        x = 0.5 + (i - (count - 1) / 2) * 0.26 + dice.uniform(-0.05, 0.05)
        stem_from = 0.5 + (x - 0.5) * (0.3 if pot else 1.0)
        tall = dice.uniform(0.5, 0.68) * (0.86 if pot else 1.0)
        f = Frame((stem_from, base), 1.0)
        top = (x - stem_from + dice.uniform(-0.05, 0.05), -tall)
        bend = (top[0] * 0.5 + dice.uniform(-0.04, 0.04), -tall * 0.5)
        c.paint(f.path([(0, 0.02), bend, top], 0.017 * size + 0.004), green)
        leaves(c, dice, f, leaf, bend, green, size)
        head = Frame(f.point(top), size, dice.uniform(-18, 18), dice.chance(0.5))
        {"sunflower": sunflower, "tulip": tulip, "rose": rose, "daisy": daisy}[leaf](
            c, dice, head, colour, green
        )
    if pot:
        clay = dice.tint(rgb(dice.pick(["b9643f", "8fa8b0", "d9c9ae", "6f7f9a"])))
        f = Frame((0.5, ground), 1.0)
        scenes.shadow(c, f, (0, 0.01), 0.2, 0.03)
        c.paint(
            f.polygon([(-0.15, -0.17), (0.15, -0.17), (0.11, 0.0), (-0.11, 0.0)], 0.012),
            clay,
            shade=0.18,
        )
        c.paint(f.box((-0.18, -0.2), (0.18, -0.14), 0.015), scale(clay, 1.1), shade=0.1)
    scenes.lighting(c, dice)


def leaves(
    c: Canvas, dice: Dice, f: Frame, leaf: str, at: tuple[float, float], green: Colour, size: float
) -> None:
    for side in (-1, 1):
        y = at[1] + dice.uniform(0.0, 0.12)
        if leaf == "tulip":
            c.paint(f.limb((0, -0.02), (side * 0.12, y - 0.08), 0.035, 0.006), scale(green, 0.9))
        else:
            wide = 0.045 if leaf != "daisy" else 0.022
            blade = f.ellipse((at[0] * 0.8 + side * 0.1 * size, y), 0.095 * size, wide, -side * 28)
            c.paint(blade, scale(green, 0.92), shade=0.15)


def ring(count: int, radius: float, start: float = 0.0) -> list[tuple[float, float, float]]:
    """Places around a circle: x, y and the angle."""
    angles = [start + 360 * i / count for i in range(count)]
    return [(turn(a)[0] * radius, turn(a)[1] * radius, a) for a in angles]


def sunflower(c: Canvas, dice: Dice, f: Frame, colour: Colour, green: Colour) -> None:
    gold = dice.tint(rgb(dice.pick(["f6bf26", "f2ae1c"])), 0.05)
    for start, tone in ((10.0, 0.84), (0.0, 1.0)):
        petals = [f.ellipse((x, y), 0.09, 0.035, a) for x, y, a in ring(14, 0.17, start)]
        c.paint(union(*petals), scale(gold, tone))
    c.paint(f.ellipse((0, 0), 0.125), rgb("5b3a22"), shade=0.2)
    for x, y, _ in ring(9, 0.075):
        c.paint(f.ellipse((x, y), 0.016), rgb("8a5f36"))
    c.paint(f.ellipse((0, 0), 0.04), rgb("3f2716"))


def daisy(c: Canvas, dice: Dice, f: Frame, colour: Colour, green: Colour) -> None:
    white = dice.tint(rgb("fbfaf5"), 0.03)
    petals = [f.limb((x * 0.4, y * 0.4), (x, y), 0.02, 0.036) for x, y, _ in ring(12, 0.18)]
    c.paint(union(*petals), scale(white, 0.82))
    petals = [f.limb((x * 0.4, y * 0.4), (x, y), 0.016, 0.029) for x, y, _ in ring(12, 0.178)]
    c.paint(union(*petals), white)
    c.paint(f.ellipse((0, 0), 0.065), dice.tint(rgb("f4c22e"), 0.04), shade=0.25)


def tulip(c: Canvas, dice: Dice, f: Frame, colour: Colour, green: Colour) -> None:
    open_ = dice.uniform(0.0, 0.04)
    for x in (-0.09 - open_, 0.09 + open_):
        c.paint(
            f.limb((x * 0.7, -0.06), (x * 1.1, -0.24), 0.075, 0.012), scale(colour, 0.85), shade=0.1
        )
    cup = union(
        f.ellipse((0, -0.07), 0.135, 0.12),
        f.limb((-0.085, -0.08), (-0.11, -0.2), 0.06, 0.015),
        f.limb((0.085, -0.08), (0.11, -0.2), 0.06, 0.015),
        smooth=0.015,
    )
    c.paint(cup, colour, shade=0.15)
    c.paint(f.limb((0, -0.05), (0, -0.23), 0.09, 0.012), scale(colour, 1.12), shade=0.2)


def rose(c: Canvas, dice: Dice, f: Frame, colour: Colour, green: Colour) -> None:
    for x, y, _ in ring(5, 0.11, 90):
        c.paint(f.limb((0, 0.05), (x * 1.5, y * 1.2 + 0.03), 0.03, 0.008), green)
    for count, radius, r, tone, start in (
        (6, 0.1, 0.1, 0.82, 0.0),
        (5, 0.07, 0.085, 0.95, 25.0),
        (4, 0.045, 0.06, 1.08, 50.0),
    ):
        for x, y, _ in ring(count, radius, start):
            c.paint(f.ellipse((x, y), r, r * 0.9), scale(colour, tone), shade=0.16)
    swirl = f.path(
        [(0.045, 0.0), (0.0, -0.045), (-0.045, 0.0), (-0.01, 0.04), (0.02, 0.01)], 0.013, 0.01
    )
    c.paint(swirl, scale(colour, 0.6))
