"""Fruit: one to three pieces of a kind, on a table or in a bowl's place in the studio."""

from slsgu.menagerie import scenes
from slsgu.menagerie.canvas import WHITE, Canvas, Dice, Frame, minus, rgb, scale, union

FRUITS = ("apple", "banana", "strawberry")


def draw_fruit(c: Canvas, dice: Dice, leaf: str) -> None:
    """Paints a few pieces of a kind of fruit."""
    horizon = scenes.anywhere(c, dice)
    count = dice.pick([1, 1, 2, 3])
    size = dice.uniform(0.6, 0.8) if count == 1 else dice.uniform(0.36, 0.48)
    base = max(dice.uniform(0.8, 0.9), horizon + 0.1)
    if dice.chance(0.4):
        f = Frame((0.5, base), 1.0)
        plate = dice.tint(rgb(dice.pick(["f4f1ea", "8fb0c9", "d9b9a0", "a8c2a0"])))
        c.paint(f.ellipse((0, 0.02), 0.42, 0.075), scale(plate, 0.8))
        c.paint(f.ellipse((0, 0.0), 0.42, 0.07), plate, shade=0.1)
        c.paint(f.ellipse((0, 0.0), 0.3, 0.045), scale(plate, 0.93))
    places = {1: [0.5], 2: [0.34, 0.66], 3: [0.26, 0.74, 0.5]}[count]
    for i, x in enumerate(places):
        at = (x + dice.uniform(-0.04, 0.04), base + (0.03 if i == 2 else 0.0))
        f = Frame(at, size, dice.uniform(-16, 16), dice.chance(0.5))
        scenes.shadow(c, Frame(at, size), (0, 0), 0.32, 0.05)
        {"apple": apple, "banana": banana, "strawberry": strawberry}[leaf](c, dice, f)
    scenes.lighting(c, dice)


def apple(c: Canvas, dice: Dice, f: Frame) -> None:
    skin = dice.tint(rgb(dice.pick(["d23a34", "c22f3a", "8fbf45", "e0b83a", "d9533a"])))
    shape = union(
        f.ellipse((-0.13, -0.3), 0.22, 0.27),
        f.ellipse((0.13, -0.3), 0.22, 0.27),
        f.ellipse((0, -0.18), 0.22, 0.17),
        smooth=0.05 * f.size,
    )
    mask = c.paint(shape, skin, shade=0.28)
    c.paint(f.ellipse((0.0, -0.55), 0.11, 0.05), scale(skin, 0.65), clip=mask, soft=0.05 * f.size)
    c.paint(f.ellipse((-0.17, -0.4), 0.05, 0.09, 25), WHITE, opacity=0.45, soft=0.04 * f.size)
    c.paint(f.path([(0, -0.52), (0.02, -0.62), (0.07, -0.7)], 0.022, 0.018), rgb("6a4628"))
    c.paint(f.ellipse((0.17, -0.64), 0.11, 0.045, -22), rgb("5f9f45"), shade=0.15)


def banana(c: Canvas, dice: Dice, f: Frame) -> None:
    skin = dice.tint(rgb(dice.pick(["f4d03a", "f0c52f", "e8d44f", "d9cf5a"])), 0.05)
    for k in range(1 + dice.below(3)):
        g = f.at((0.0, -0.3), 1.0, -11.0 * k)
        shape = minus(g.ellipse((0, -0.08), 0.44, 0.34), g.ellipse((0, -0.24), 0.46, 0.33))
        mask = c.paint(shape, scale(skin, 1.0 - 0.07 * k), shade=0.2)
        lower = minus(g.ellipse((0, -0.1), 0.4, 0.31), g.ellipse((0, -0.13), 0.4, 0.31))
        c.paint(lower, scale(skin, 0.84), clip=mask)
        c.paint(g.ellipse((0.4, -0.2), 0.05), rgb("6a5228"), clip=mask)
        c.paint(g.limb((-0.395, -0.2), (-0.42, -0.29), 0.04, 0.03), rgb("8a7a35"))


def strawberry(c: Canvas, dice: Dice, f: Frame) -> None:
    skin = dice.tint(rgb(dice.pick(["e0303a", "d4263a", "ea4a40"])), 0.05)
    shape = union(
        f.ellipse((-0.12, -0.42), 0.19, 0.18),
        f.ellipse((0.12, -0.42), 0.19, 0.18),
        f.limb((0, -0.36), (0, -0.06), 0.2, 0.05),
        smooth=0.08 * f.size,
    )
    mask = c.paint(shape, skin, shade=0.25)
    for row in range(5):
        for i in range(5):
            at = (-0.24 + 0.12 * i + 0.06 * (row % 2), -0.48 + 0.1 * row)
            c.paint(f.ellipse(at, 0.014, 0.021), rgb("f8df9a"), clip=mask)
    green = dice.tint(rgb("5a9f45"))
    caps = [
        f.limb((0, -0.58), (x, y), 0.05, 0.01)
        for x, y in ((-0.24, -0.5), (-0.12, -0.43), (0.02, -0.42), (0.14, -0.43), (0.25, -0.51))
    ]
    c.paint(union(*caps), green, shade=0.1)
    c.paint(f.limb((0, -0.58), (0.04, -0.7), 0.025, 0.02), scale(green, 0.8))
