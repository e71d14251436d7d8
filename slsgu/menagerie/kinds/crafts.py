"""Boats and aircraft, seen from the side."""

from slsgu.menagerie.canvas import INK, WHITE, Canvas, Colour, Dice, Frame, rgb, scale, union

GLASS = rgb("b9dbe8")
TYRE = rgb("2a2a2e")


def hull(c: Canvas, dice: Dice, f: Frame, colour: Colour, stripe: Colour) -> None:
    shape = f.polygon([(-0.46, -0.16), (0.52, -0.18), (0.36, 0.03), (-0.36, 0.03)], 0.02)
    mask = c.paint(shape, colour, shade=0.15)
    c.paint(f.limb((-0.6, -0.13), (0.6, -0.15), 0.022), stripe, clip=mask)


def sailboat(c: Canvas, dice: Dice, f: Frame) -> None:
    f = f.at((0, 0), 0.95)
    c.paint(f.limb((0.0, -0.1), (0.0, -0.86), 0.016), rgb("7a5a3c"))
    cloth = dice.tint(rgb(dice.pick(["fbf7ec", "f6e3c0", "f3c9b5", "d9e8f0", "e86a4a"])), 0.04)
    belly = dice.uniform(0.02, 0.08)
    main = c.paint(
        f.polygon([(-0.03, -0.84), (-0.2 - belly, -0.48), (-0.42, -0.24), (-0.03, -0.24)], 0.01),
        cloth,
        shade=0.12,
    )
    c.paint(f.limb((-0.5, -0.4), (0.1, -0.4), 0.03), dice.tint(rgb("4f86c0"), 0.15), clip=main)
    c.paint(
        f.polygon([(0.04, -0.78), (0.22 + belly, -0.46), (0.42, -0.24), (0.04, -0.24)], 0.01),
        scale(cloth, 0.93),
        shade=0.12,
    )
    c.paint(f.polygon([(0, -0.86), (0.12, -0.83), (0, -0.8)], 0.004), rgb("d9302f"))
    colour = dice.tint(rgb(dice.pick(["f6f3ec", "2f4f80", "8a4a32", "b03a3a", "3f7f7a"])))
    hull(c, dice, f, colour, rgb("e0b84a"))


def tugboat(c: Canvas, dice: Dice, f: Frame) -> None:
    funnel = dice.tint(rgb(dice.pick(["d9302f", "2a2a2e", "e0932a"])))
    for i in range(4):
        puff = (-0.2 - 0.1 * i, -0.72 - 0.06 * i)
        c.paint(f.ellipse(puff, 0.05 + 0.022 * i), rgb("dcdcdc"), opacity=0.75 - 0.12 * i)
    c.paint(f.box((-0.25, -0.68), (-0.1, -0.3), 0.02), funnel, shade=0.2)
    c.paint(f.box((-0.26, -0.6), (-0.09, -0.54)), WHITE)
    c.paint(f.box((-0.36, -0.36), (0.26, -0.14), 0.02), rgb("f4ecdc"), shade=0.12)
    c.paint(f.box((0.0, -0.56), (0.24, -0.3), 0.02), rgb("f4ecdc"), shade=0.12)
    c.paint(f.box((-0.04, -0.6), (0.29, -0.55), 0.015), dice.tint(rgb("a8452f")))
    c.paint(f.box((0.04, -0.52), (0.12, -0.42), 0.01), GLASS)
    c.paint(f.box((0.15, -0.52), (0.22, -0.42), 0.01), GLASS)
    for x in (-0.28, -0.16, -0.04):
        c.paint(f.ellipse((x, -0.25), 0.032), GLASS)
    hull(c, dice, f, dice.tint(rgb(dice.pick(["a8322c", "27374f", "2f5f4f", "33333a"]))), WHITE)
    for x in (-0.28, -0.06, 0.16):
        c.paint(f.ellipse((x, -0.06), 0.055), TYRE)
        c.paint(f.ellipse((x, -0.06), 0.026), rgb("55555a"))


def airliner(c: Canvas, dice: Dice, f: Frame) -> None:
    f = f.at((0, 0.02), 0.95)
    trim = dice.tint(rgb(dice.pick(["2f6fc0", "d9402f", "2f9a6a", "8a4fb0", "e8962a"])))
    c.paint(
        f.polygon([(0.02, -0.03), (-0.14, -0.26), (-0.22, -0.26), (-0.14, -0.03)], 0.01),
        rgb("b9c2cc"),
    )
    c.paint(
        f.polygon([(-0.38, -0.04), (-0.5, -0.32), (-0.4, -0.32), (-0.22, -0.07)], 0.01),
        trim,
        shade=0.12,
    )
    body = union(
        f.limb((-0.3, 0), (0.4, 0.0), 0.105),
        f.limb((-0.32, -0.01), (-0.55, -0.06), 0.09, 0.025),
        f.ellipse((0.42, 0.01), 0.14, 0.1),
        smooth=0.03 * f.size,
    )
    mask = c.paint(body, rgb("f5f6f8"), shade=0.15)
    c.paint(f.limb((-0.6, 0.055), (0.6, 0.055), 0.02), trim, clip=mask)
    for i in range(10):
        c.paint(f.ellipse((-0.28 + 0.062 * i, -0.025), 0.018), rgb("4a6a8a"))
    c.paint(
        f.polygon([(0.44, -0.055), (0.51, -0.04), (0.52, -0.01), (0.44, -0.015)], 0.005),
        rgb("3a5672"),
    )
    c.paint(f.ellipse((0.05, 0.13), 0.09, 0.045), scale(trim, 0.9), shade=0.2)
    c.paint(
        f.polygon([(0.12, 0.04), (-0.24, 0.3), (-0.32, 0.3), (-0.12, 0.04)], 0.012),
        rgb("cfd6de"),
        shade=0.12,
    )
    c.paint(
        f.polygon([(-0.4, -0.02), (-0.58, 0.06), (-0.63, 0.06), (-0.52, -0.03)], 0.008),
        rgb("c3ccd6"),
    )


def helicopter(c: Canvas, dice: Dice, f: Frame) -> None:
    paint = dice.tint(rgb(dice.pick(["d9402f", "2f6fc0", "e8a32a", "4f8a4f", "f0f0f2", "4a4f5a"])))
    c.paint(f.limb((-0.1, -0.02), (-0.58, -0.1), 0.08, 0.025), scale(paint, 0.92))
    c.paint(
        f.polygon([(-0.52, -0.1), (-0.64, -0.28), (-0.57, -0.28), (-0.46, -0.12)], 0.01),
        scale(paint, 0.85),
    )
    c.paint(f.ellipse((-0.57, -0.12), 0.11), WHITE, opacity=0.35)
    spin = dice.uniform(0, 180)
    c.paint(f.at((-0.57, -0.12), 1.0, spin).limb((-0.1, 0), (0.1, 0), 0.014), INK)
    c.paint(f.limb((0.06, -0.16), (0.06, -0.32), 0.022), rgb("44464c"))
    for x in (-0.06, 0.18):
        c.paint(f.limb((x, 0.12), (x + 0.02, 0.27), 0.014), rgb("44464c"))
    c.paint(f.path([(-0.2, 0.27), (0.3, 0.27), (0.37, 0.22)], 0.018), rgb("44464c"))
    cabin = union(
        f.ellipse((0.08, 0.0), 0.27, 0.18),
        f.limb((-0.1, -0.08), (0.1, -0.1), 0.1),
        smooth=0.05 * f.size,
    )
    mask = c.paint(cabin, paint, shade=0.2)
    c.paint(f.ellipse((0.3, -0.05), 0.17, 0.14), GLASS, clip=mask)
    c.paint(f.box((-0.04, -0.09), (0.08, 0.05), 0.02), GLASS)
    c.paint(f.limb((-0.3, 0.11), (0.4, 0.11), 0.02), WHITE, clip=mask)
    reach = dice.uniform(0.35, 0.58)
    c.paint(f.ellipse((0.06, -0.33), reach + 0.03, 0.025), WHITE, opacity=0.35)
    c.paint(f.limb((0.06 - reach, -0.33), (0.06 + reach, -0.33), 0.014), INK)
