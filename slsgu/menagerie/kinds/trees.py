"""Trees, in a meadow or before a studio backdrop."""

from slsgu.menagerie import scenes
from slsgu.menagerie.canvas import Canvas, Dice, Frame, rgb, scale, union

TREES = ("oak", "pine", "palm")


def draw_tree(c: Canvas, dice: Dice, leaf: str) -> None:
    """Paints one tree of a kind."""
    horizon = dice.uniform(0.55, 0.75)
    (scenes.studio if dice.chance(0.25) else scenes.meadow)(c, dice, horizon)
    ground = max(dice.uniform(0.86, 0.95), horizon + 0.08)
    f = Frame(
        (dice.uniform(0.4, 0.6), ground),
        dice.uniform(0.74, 0.95),
        dice.uniform(-4, 4),
        dice.chance(0.5),
    )
    scenes.shadow(c, f, (0, 0), 0.3, 0.045)
    {"oak": oak, "pine": pine, "palm": palm}[leaf](
        c, dice, f if leaf != "pine" else f.at((0, 0), 0.88)
    )
    scenes.lighting(c, dice)


def oak(c: Canvas, dice: Dice, f: Frame) -> None:
    bark = dice.tint(rgb("7a5638"))
    crown = dice.tint(rgb(dice.pick(["5f9a45", "76a84a", "4f8a4f", "c9863a", "b0a040"])))
    c.paint(
        union(
            f.limb((0, 0), (0, -0.45), 0.075, 0.045),
            f.limb((0, -0.3), (-0.17, -0.5), 0.04, 0.02),
            f.limb((0, -0.33), (0.17, -0.52), 0.04, 0.02),
            smooth=0.03,
        ),
        bark,
        shade=0.15,
    )
    lumps = [
        f.ellipse((x + dice.uniform(-0.03, 0.03), y), r)
        for x, y, r in (
            (-0.22, -0.52, 0.15),
            (0.22, -0.53, 0.15),
            (0.0, -0.52, 0.17),
            (-0.12, -0.7, 0.16),
            (0.13, -0.7, 0.16),
            (0, -0.78, 0.12),
        )
    ]
    c.paint(union(*lumps, smooth=0.03), crown, shade=0.25)
    for _ in range(5):
        at = (dice.uniform(-0.22, 0.2), dice.uniform(-0.76, -0.48))
        c.paint(f.ellipse(at, 0.06, 0.04), scale(crown, 1.15), opacity=0.7)
    if dice.chance(0.4):
        for _ in range(4):
            at = (dice.uniform(-0.24, 0.24), dice.uniform(-0.74, -0.44))
            c.paint(f.ellipse(at, 0.022, 0.028), rgb("8a5f2e"))


def pine(c: Canvas, dice: Dice, f: Frame) -> None:
    needles = dice.tint(rgb(dice.pick(["2f6b4a", "3a7552", "2f6660"])))
    c.paint(f.box((-0.05, -0.2), (0.05, 0.0), 0.01), dice.tint(rgb("6f4c32")), shade=0.15)
    snow = dice.chance(0.25)
    for i in range(4):
        y, w = -0.14 - 0.19 * i, 0.31 - 0.06 * i
        tier = f.polygon([(-w, y), (w, y), (0, y - 0.31)], 0.02)
        mask = c.paint(tier, scale(needles, 0.9 + 0.07 * i), shade=0.2)
        if snow:
            c.paint(f.limb((-w * 0.8, y - 0.06), (0, y - 0.34), 0.035), rgb("f6fafc"), clip=mask)


def palm(c: Canvas, dice: Dice, f: Frame) -> None:
    bark = dice.tint(rgb("a57f52"))
    lean = dice.uniform(0.06, 0.2)
    bone = [(0.0, 0.0), (lean * 0.25, -0.22), (lean * 0.6, -0.42), (lean, -0.62)]
    mask = c.paint(f.path(bone, 0.055, 0.032), bark, shade=0.15)
    for i in range(7):
        y = -0.06 - 0.08 * i
        c.paint(f.limb((-0.1, y), (0.3, y - 0.01), 0.008), scale(bark, 0.72), clip=mask)
    green = dice.tint(rgb(dice.pick(["4f9a4a", "6aa545", "3f8f5a"])))
    top = f.at((lean, -0.63), 1.0, dice.uniform(-8, 8))
    fronds = (
        (-0.36, 0.1),
        (0.36, 0.1),
        (-0.32, -0.1),
        (0.32, -0.1),
        (-0.15, -0.26),
        (0.16, -0.25),
        (-0.24, 0.22),
        (0.25, 0.22),
    )
    for i, (x, y) in enumerate(fronds):
        blade = top.path([(0, 0), (x * 0.55, y * 0.6 - 0.1), (x, y)], 0.042, 0.006)
        c.paint(blade, scale(green, 0.82 + 0.05 * (i % 5)))
    if dice.chance(0.6):
        for x in (-0.04, 0.03, 0.0):
            c.paint(top.ellipse((x, 0.04 + 0.02 * (x == 0.0)), 0.035), rgb("6a4a2e"), shade=0.2)
