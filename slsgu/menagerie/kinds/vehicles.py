"""Cars, trucks, boats and aircraft, seen from the side."""

from slsgu.menagerie import scenes
from slsgu.menagerie.canvas import INK, WHITE, Canvas, Colour, Dice, Frame, Point, rgb, scale, union
from slsgu.menagerie.kinds.crafts import GLASS, TYRE, airliner, helicopter, sailboat, tugboat

VEHICLES = (
    "taxi",
    "police car",
    "sports car",
    "fire engine",
    "dump truck",
    "sailboat",
    "tugboat",
    "airliner",
    "helicopter",
)


def draw_vehicle(c: Canvas, dice: Dice, leaf: str) -> None:
    """Paints one vehicle of a kind in its element."""
    if leaf in ("sailboat", "tugboat"):
        line = scenes.sea(c, dice)
        f = place(dice, line + dice.uniform(0.03, 0.1), 0.56, 0.76, 5)
        (sailboat if leaf == "sailboat" else tugboat)(c, dice, f)
        foam = f.limb((-0.5, 0.0), (0.5, 0.0), 0.02)
        c.paint(foam, WHITE, opacity=0.7)
    elif leaf in ("airliner", "helicopter"):
        if dice.chance(0.3):
            scenes.studio(c, dice, 0.9)
        else:
            scenes.sky(c, dice, 1.0)
            for _ in range(1 + dice.below(3)):
                at = (dice.uniform(0, 1), dice.uniform(0.55, 1.0))
                scenes.cloud(c, at, dice.uniform(0.07, 0.16))
        f = place(dice, dice.uniform(0.42, 0.6), 0.6, 0.82, 14)
        (airliner if leaf == "airliner" else helicopter)(c, dice, f)
    else:
        horizon = scenes.road(c, dice)
        ground = max(dice.uniform(0.76, 0.9), horizon + 0.16)
        f = place(dice, ground, 0.62, 0.84, 2)
        scenes.shadow(c, f, (0, 0), 0.56, 0.05)
        if leaf == "fire engine":
            fire_engine(c, dice, f)
        elif leaf == "dump truck":
            dump_truck(c, dice, f)
        elif leaf == "sports car":
            sports_car(c, dice, f)
        else:
            saloon(c, dice, f, police=leaf == "police car")
    scenes.lighting(c, dice)


def place(dice: Dice, y: float, small: float, large: float, tilt: float) -> Frame:
    return Frame(
        (dice.uniform(0.42, 0.58), y),
        dice.uniform(small, large),
        dice.uniform(-tilt, tilt),
        dice.chance(0.5),
    )


def wheel(c: Canvas, f: Frame, p: Point, r: float, hub: Colour) -> None:
    c.paint(f.ellipse(p, r), TYRE, shade=0.15)
    c.paint(f.ellipse(p, r * 0.55), hub, shade=0.2)
    c.paint(f.ellipse(p, r * 0.18), scale(hub, 0.6))


def saloon(c: Canvas, dice: Dice, f: Frame, *, police: bool) -> None:
    """Taxi and police car are the same saloon, in other clothes."""
    paint = dice.tint(rgb("26282f" if police else dice.pick(["f6c428", "f0b91c"])), 0.05)
    cabin = [(-0.3, -0.24), (-0.2, -0.39), (0.1, -0.39), (0.24, -0.24)]
    c.paint(f.polygon(cabin, 0.02), WHITE if police else paint, shade=0.1)
    for window in (
        [(-0.25, -0.25), (-0.18, -0.36), (-0.06, -0.36), (-0.06, -0.25)],
        [(-0.02, -0.25), (-0.02, -0.36), (0.08, -0.36), (0.18, -0.25)],
    ):
        c.paint(f.polygon(window), GLASS, shade=0.2)
    body = union(
        f.box((-0.5, -0.26), (0.5, -0.08), 0.05), f.box((-0.42, -0.27), (0.44, -0.14), 0.04)
    )
    mask = c.paint(body, paint, shade=0.15)
    if police:
        c.paint(f.box((-0.2, -0.4), (0.17, 0.0)), WHITE, clip=mask, shade=0.1)
        c.paint(f.ellipse((-0.02, -0.17), 0.035), rgb("d9b23a"))
        c.paint(f.box((-0.14, -0.47), (-0.04, -0.4), 0.015), rgb("e0323a"))
        c.paint(f.box((-0.04, -0.47), (0.06, -0.4), 0.015), rgb("2f6fe8"))
        if dice.chance(0.5):
            side = dice.chance(0.5)
            c.paint(
                f.ellipse((-0.09 if side else 0.01, -0.44), 0.14),
                rgb("ff7a80" if side else "80b0ff"),
                opacity=0.35,
                soft=0.1,
            )
    else:
        for i in range(13):
            for row in range(2):
                if (i + row) % 2:
                    x, y = -0.46 + 0.07 * i, -0.215 + 0.03 * row
                    c.paint(f.box((x, y), (x + 0.07, y + 0.03)), INK, clip=mask)
        c.paint(f.box((-0.13, -0.48), (0.05, -0.405), 0.015), WHITE)
        c.paint(f.box((-0.09, -0.455), (0.01, -0.43)), INK)
    details(c, f, -0.13)
    for x in (-0.29, 0.3):
        wheel(c, f, (x, -0.08), 0.095, rgb("c9ccd2"))


def details(c: Canvas, f: Frame, y: float) -> None:
    """Head lamp and tail lamp."""
    c.paint(f.ellipse((0.475, y - 0.07), 0.025, 0.03), rgb("fff2b8"))
    c.paint(f.ellipse((-0.485, y - 0.07), 0.018, 0.03), rgb("d6343a"))


def sports_car(c: Canvas, dice: Dice, f: Frame) -> None:
    paint = dice.tint(rgb(dice.pick(["d9302f", "2f6fd0", "2fa35f", "f08a2a", "e8e8ee", "8a4fb8"])))
    c.paint(
        f.polygon([(-0.5, -0.34), (-0.34, -0.34), (-0.36, -0.315), (-0.5, -0.315)], 0.008),
        scale(paint, 0.7),
    )
    c.paint(f.limb((-0.42, -0.32), (-0.4, -0.2), 0.014), INK)
    c.paint(
        f.polygon([(-0.22, -0.2), (-0.1, -0.3), (0.04, -0.3), (0.2, -0.19)], 0.02),
        scale(paint, 0.9),
    )
    c.paint(
        f.polygon([(-0.12, -0.2), (-0.06, -0.285), (0.03, -0.285), (0.15, -0.2)]), GLASS, shade=0.2
    )
    body = f.polygon(
        [(-0.5, -0.08), (-0.49, -0.22), (-0.2, -0.22), (0.15, -0.2), (0.42, -0.14), (0.55, -0.07)],
        0.02,
    )
    mask = c.paint(body, paint, shade=0.18)
    c.paint(
        f.polygon([(-0.12, -0.17), (0.1, -0.15), (-0.08, -0.09)], 0.005),
        scale(paint, 0.6),
        clip=mask,
    )
    if dice.chance(0.5):
        c.paint(f.limb((-0.5, -0.2), (0.55, -0.1), 0.014), WHITE, clip=mask)
    c.paint(f.ellipse((0.44, -0.125), 0.05, 0.016, 20), rgb("fff2b8"))
    for x in (-0.31, 0.31):
        wheel(c, f, (x, -0.08), 0.095, rgb("e0c060"))


def fire_engine(c: Canvas, dice: Dice, f: Frame) -> None:
    red = dice.tint(rgb(dice.pick(["d92f2c", "c92a2a"])), 0.05)
    up = dice.uniform(0, 7)
    ladder = f.at((-0.42, -0.5), 1.0, -up)
    for y in (-0.0, -0.07):
        c.paint(ladder.limb((0, y), (0.82, y), 0.013), rgb("d8dbe0"))
    for i in range(9):
        c.paint(ladder.limb((0.04 + i * 0.09, 0), (0.04 + i * 0.09, -0.07), 0.01), rgb("d8dbe0"))
    c.paint(f.box((-0.52, -0.44), (0.24, -0.08), 0.02), red, shade=0.12)
    c.paint(f.box((0.2, -0.47), (0.54, -0.08), 0.04), scale(red, 1.06), shade=0.12)
    c.paint(
        f.polygon([(0.34, -0.28), (0.34, -0.42), (0.49, -0.42), (0.51, -0.28)], 0.01),
        GLASS,
        shade=0.2,
    )
    c.paint(f.box((0.22, -0.42), (0.3, -0.28), 0.01), GLASS)
    c.paint(f.box((-0.52, -0.24), (0.54, -0.19)), rgb("f8f3e6"))
    for i in range(3):
        x = -0.46 + 0.22 * i
        c.paint(f.box((x, -0.41), (x + 0.17, -0.27), 0.01), rgb("b9bdc6"), shade=0.15)
    c.paint(f.box((0.3, -0.53), (0.42, -0.47), 0.015), rgb("3f7fe8"))
    c.paint(f.ellipse((0.52, -0.15), 0.025), rgb("fff2b8"))
    for x in (-0.32, -0.1, 0.35):
        wheel(c, f, (x, -0.09), 0.095, rgb("d8dbe0"))


def dump_truck(c: Canvas, dice: Dice, f: Frame) -> None:
    paint = dice.tint(rgb(dice.pick(["e8a321", "e58a2a", "5f9a4f", "4f86b0"])), 0.06)
    bed = f.at((-0.48, -0.2), 1.0, -dice.uniform(0, 16) if dice.chance(0.5) else 0.0)
    soil = dice.tint(rgb(dice.pick(["7d5a3c", "a08a6a", "8a8a8e"])))
    lumps = [bed.ellipse((0.14 + 0.13 * i, -0.28 - 0.03 * (i % 2)), 0.12) for i in range(4)]
    c.paint(union(*lumps, smooth=0.03), soil, shade=0.25)
    c.paint(f.box((-0.5, -0.21), (0.5, -0.13), 0.02), rgb("4a4a50"))
    c.paint(
        bed.polygon([(-0.04, -0.3), (0.68, -0.3), (0.6, -0.02), (0.06, -0.02)], 0.015),
        paint,
        shade=0.15,
    )
    for i in range(4):
        x = 0.13 + 0.14 * i
        c.paint(bed.limb((x, -0.28), (x, -0.04), 0.014), scale(paint, 0.75))
    c.paint(f.box((0.2, -0.5), (0.46, -0.12), 0.03), scale(paint, 1.05), shade=0.12)
    c.paint(f.box((0.42, -0.3), (0.56, -0.12), 0.03), paint, shade=0.12)
    c.paint(f.box((0.29, -0.45), (0.45, -0.31), 0.015), GLASS, shade=0.2)
    c.paint(f.ellipse((0.54, -0.22), 0.022), rgb("fff2b8"))
    for x in (-0.33, -0.08, 0.37):
        wheel(c, f, (x, -0.11), 0.12, rgb("c9b060"))
