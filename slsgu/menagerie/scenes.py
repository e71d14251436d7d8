"""Where things stand: skies, meadows, rooms, studio backdrops, roads, seas.

Every leaf of a family takes its backdrop from the same distribution, so the backdrop never tells
which of them is in the picture.
"""

from slsgu.menagerie.canvas import Canvas, Colour, Dice, Frame, mix, rgb, scale, turn, union

SKIES = [
    ("8ec9ea", "dff1f7"),
    ("6fa8dc", "cfe6f5"),
    ("f2b48a", "fbe3c0"),
    ("a7b4d8", "ece4ee"),
    ("b9c6cc", "e8ecec"),
    ("4f6d9e", "e9b7a1"),
]
GRASS = ["8cbf5f", "6fae5a", "a9c46c", "7aa86a", "c2b36b", "94b887"]
WALLS = ["e9dcc7", "c9dbd6", "e6c9c0", "c8cfe3", "d9d3c3", "b7c9b5", "ead9a9", "a8bccb"]
FLOORS = ["b98d5f", "c9a77c", "8d6f57", "a9a39b", "d1b99a", "7d7f86"]
STUDIO = [
    "f1e4d3",
    "cfe3e8",
    "e3d3ea",
    "f3d6cf",
    "d7e8cf",
    "f6e7b4",
    "c9d3e0",
    "b9b7c9",
    "9fb8ad",
    "d8b9a0",
    "8b9bb4",
    "e8e8e8",
]
EARTH = Frame()


def sky(c: Canvas, dice: Dice, horizon: float) -> None:
    """Sky down to ``horizon``, sometimes with sun and clouds."""
    top, bottom = dice.pick(SKIES)
    c.gradient(dice.tint(rgb(top)), dice.tint(rgb(bottom)), 0.0, horizon + 0.02)
    if dice.chance(0.3):
        spot = (dice.uniform(0.1, 0.9), dice.uniform(0.06, 0.25))
        c.paint(EARTH.ellipse(spot, 0.11), rgb("fff6d0"), opacity=0.5, soft=0.08)
        c.paint(EARTH.ellipse(spot, 0.055), rgb("fff3c4"))
    for _ in range(dice.below(3)):
        cloud(c, (dice.uniform(0.05, 0.95), dice.uniform(0.06, 0.3)), dice.uniform(0.05, 0.1))


def cloud(c: Canvas, p: tuple[float, float], size: float) -> None:
    f = Frame(p, size)
    puffs = [
        f.ellipse((-0.9, 0.15), 0.6, 0.42),
        f.ellipse((0, -0.15), 0.8, 0.65),
        f.ellipse((0.95, 0.12), 0.65, 0.45),
    ]
    c.paint(union(*puffs, smooth=0.02), rgb("ffffff"), opacity=0.8)


def meadow(c: Canvas, dice: Dice, horizon: float) -> None:
    sky(c, dice, horizon)
    green = dice.tint(rgb(dice.pick(GRASS)), 0.08)
    far = mix(green, rgb("a9c4cf"), 0.45)
    for _ in range(1 + dice.below(2)):
        hill = EARTH.ellipse(
            (dice.uniform(0, 1), horizon + 0.07), dice.uniform(0.3, 0.6), dice.uniform(0.1, 0.22)
        )
        c.paint(hill, scale(far, dice.uniform(0.93, 1.05)))
    c.gradient(green, scale(green, 0.78), horizon, 1.0)
    for _ in range(dice.below(5)):
        x, y = dice.uniform(0, 1), dice.uniform(horizon + 0.05, 1.0)
        blade = EARTH.at((x, y), 0.05)
        c.paint(blade.limb((-0.3, 0), (-0.5, -0.7), 0.1, 0.02), scale(green, 0.7))
        c.paint(blade.limb((0.2, 0), (0.4, -0.9), 0.1, 0.02), scale(green, 0.7))


def room(c: Canvas, dice: Dice, horizon: float) -> None:
    wall, floor = dice.tint(rgb(dice.pick(WALLS))), dice.tint(rgb(dice.pick(FLOORS)))
    c.gradient(scale(wall, 1.05), scale(wall, 0.9), 0.0, horizon)
    c.gradient(floor, scale(floor, 0.8), horizon, 1.0)
    c.paint(EARTH.box((-0.1, horizon - 0.018), (1.1, horizon + 0.012)), scale(wall, 0.75))
    if dice.chance(0.4):
        x, y = dice.uniform(0.0, 0.8), dice.uniform(0.02, 0.15)
        w, h = dice.uniform(0.14, 0.26), dice.uniform(0.16, 0.3)
        c.paint(EARTH.box((x, y), (x + w, y + h), 0.01), scale(wall, 0.7))
        inner = EARTH.box((x + 0.02, y + 0.02), (x + w - 0.02, y + h - 0.02))
        c.paint(
            inner, dice.tint(rgb(dice.pick(["bfe0ee", "f6d8ae", "d9c2e0", "c6ddb8"]))), shade=0.1
        )
    if dice.chance(0.35):
        rug = dice.tint(rgb(dice.pick(["c0605a", "5a86a8", "d9a74e", "7c6a9c", "6d9b82"])), 0.1)
        c.paint(EARTH.ellipse((dice.uniform(0.3, 0.7), 0.88), 0.42, 0.09), rug, opacity=0.8)


def studio(c: Canvas, dice: Dice, horizon: float) -> None:
    """A paper backdrop, with a soft pool of light or a plain disc behind the subject."""
    base = dice.tint(rgb(dice.pick(STUDIO)))
    c.gradient(base, scale(base, 0.85), 0.0, horizon)
    c.gradient(scale(base, 0.92), scale(base, 0.8), horizon, 1.0)
    if dice.chance(0.5):
        c.paint(
            EARTH.ellipse((dice.uniform(0.3, 0.7), 0.45), 0.36),
            scale(base, 1.12),
            opacity=0.7,
            soft=0.3 if dice.chance(0.6) else 0.0,
        )


def anywhere(c: Canvas, dice: Dice) -> float:
    """A backdrop for things that stand on the ground; returns the height of the horizon."""
    horizon = dice.uniform(0.5, 0.72)
    dice.pick([meadow, meadow, room, studio])(c, dice, horizon)
    return horizon


def road(c: Canvas, dice: Dice) -> float:
    """A road under a sky (sometimes a skyline), or a studio floor."""
    horizon = dice.uniform(0.5, 0.66)
    if dice.chance(0.3):
        studio(c, dice, horizon)
        return horizon
    sky(c, dice, horizon)
    if dice.chance(0.5):
        town = dice.tint(mix(rgb("8796ad"), rgb("c9b7ac"), dice.uniform()), 0.08)
        x = -0.05
        while x < 1.0:
            w, h = dice.uniform(0.08, 0.18), dice.uniform(0.05, 0.28)
            c.paint(
                EARTH.box((x, horizon - h), (x + w, horizon + 0.02)),
                scale(town, dice.uniform(0.9, 1.12)),
            )
            x += w
    else:
        green = mix(rgb(dice.pick(GRASS)), rgb("a9c4cf"), 0.35)
        c.paint(EARTH.ellipse((dice.uniform(0, 1), horizon + 0.06), 0.6, 0.17), green)
    side = dice.tint(rgb(dice.pick([*GRASS, "b9b2a6", "c9c2b4"])))
    c.gradient(side, scale(side, 0.9), horizon, 1.0)
    tar = dice.tint(rgb("6f7278"), 0.1)
    c.gradient(tar, scale(tar, 0.8), horizon + 0.1, 1.0)
    for i in range(5):
        x = i * 0.25 + dice.uniform(-0.02, 0.02)
        c.paint(EARTH.box((x, 0.93), (x + 0.12, 0.95)), rgb("e9e4d0"), opacity=0.8)
    return horizon


def sea(c: Canvas, dice: Dice) -> float:
    """Open water under a sky; returns the waterline."""
    line = dice.uniform(0.6, 0.74)
    sky(c, dice, line)
    if dice.chance(0.4):
        land = mix(rgb(dice.pick(GRASS)), rgb("8fa8bd"), 0.6)
        c.paint(EARTH.ellipse((dice.uniform(0, 1), line + 0.02), 0.4, 0.1), land)
    blue = dice.tint(rgb(dice.pick(["4f93b8", "3f7fa6", "5fa8a8", "5b86a5", "3d6d93"])), 0.08)
    c.gradient(blue, scale(blue, 0.75), line, 1.0)
    for _ in range(6):
        waves(c, dice, line, blue)
    return line


def waves(c: Canvas, dice: Dice, line: float, blue: Colour) -> None:
    x, y = dice.uniform(0, 1), dice.uniform(line + 0.03, 1.0)
    c.paint(EARTH.limb((x - 0.05, y), (x + 0.05, y), 0.007), scale(blue, 1.25), opacity=0.7)


def water(c: Canvas, dice: Dice) -> None:
    """Under water: light from above, weed, bubbles, sand; or a studio backdrop."""
    if dice.chance(0.3):
        studio(c, dice, dice.uniform(0.7, 0.9))
        return
    blue = dice.tint(
        rgb(dice.pick(["5fb4c9", "4a94c0", "66b5a6", "3f78ad", "7fb8d8", "4c8a93"])), 0.08
    )
    c.gradient(scale(blue, 1.25), scale(blue, 0.65), 0.0, 1.0)
    if dice.chance(0.6):
        sand = dice.tint(rgb("d8c79a"), 0.08)
        c.paint(EARTH.ellipse((dice.uniform(0.2, 0.8), 1.06), 0.9, 0.2), sand, shade=0.15)
    weed = dice.tint(rgb(dice.pick(["3f8f5f", "5fa04f", "b0525f", "6f5fa0"])), 0.1)
    for _ in range(dice.below(5)):
        x, h = dice.uniform(0, 1), dice.uniform(0.15, 0.4)
        sway = dice.uniform(-0.08, 0.08)
        c.paint(
            EARTH.path([(x, 1.02), (x + sway, 1 - 0.5 * h), (x - sway, 1 - h)], 0.025, 0.006), weed
        )
    for _ in range(dice.below(6)):
        c.paint(
            EARTH.ellipse((dice.uniform(0, 1), dice.uniform(0, 0.9)), dice.uniform(0.008, 0.022)),
            rgb("eafaff"),
            opacity=0.5,
        )


def lighting(c: Canvas, dice: Dice) -> None:
    """The light of the day: warm or cool, bright or dim, from one side."""
    warm = dice.uniform(-0.07, 0.07)
    level = dice.uniform(0.78, 1.08)
    c.light(
        (level * (1 + warm), level, level * (1 - warm)),
        dice.uniform(0.0, 0.3),
        turn(dice.uniform(0, 360)),
    )


def shadow(c: Canvas, f: Frame, p: tuple[float, float], rx: float, ry: float) -> None:
    """A soft shadow on the ground."""
    c.paint(f.ellipse(p, rx, ry), rgb("1d2430"), opacity=0.32, soft=0.1 * f.size)
