"""Birds: one plan (body, head, bill, wing, tail, legs) with very different measures."""

from dataclasses import dataclass
from typing import Literal

from slsgu.menagerie import scenes
from slsgu.menagerie.canvas import INK, WHITE, Canvas, Dice, Frame, rgb, scale, union


@dataclass(frozen=True)
class Plumage:
    """What makes a bird; lengths in units of the body's length."""

    body: str
    wing: str
    head: str
    breast: str = ""  # colour of breast (and face, with ``face``)
    face: str = ""
    bill: Literal["thin", "hook", "flat", "bent"] = "thin"
    beak: str = "3a3530"
    crest: str = ""
    tail: float = 0.25
    neck: float = 0.0  # length of the neck
    leg: float = 0.14
    legs: str = "8a5a3a"
    band: str = ""  # second colour of the wing
    tip: str = ""  # third colour of the wing, and of the tail
    collar: str = ""
    plump: float = 1.0


BIRDS: dict[str, Plumage] = {
    "robin": Plumage(
        "8a6f52", "75593e", "8a6f52", breast="e8682e", face="e8682e", plump=1.25, tail=0.2
    ),
    "blue jay": Plumage(
        "4a80d0",
        "3f70c4",
        "4a80d0",
        breast="f2f3f6",
        crest="4a80d0",
        tail=0.38,
        band="f5f7fb",
        tip="28406f",
        collar="22252e",
        legs="3a3a40",
    ),
    "macaw": Plumage(
        "d8342c",
        "d8342c",
        "d8342c",
        face="fbf3ea",
        bill="hook",
        beak="2d2a2a",
        band="f3c332",
        tip="2a66c9",
        tail=0.62,
        legs="4a4444",
    ),
    "cockatoo": Plumage(
        "f7f5ef",
        "eeebe2",
        "f7f5ef",
        bill="hook",
        beak="4c4c52",
        crest="f6d23c",
        tail=0.3,
        legs="6a6a70",
    ),
    "flamingo": Plumage(
        "f58fa6",
        "ef7593",
        "f58fa6",
        bill="bent",
        beak="2a2728",
        neck=0.5,
        leg=0.5,
        legs="f0809a",
        tail=0.16,
    ),
    "mallard": Plumage(
        "b5ab9f",
        "8f857b",
        "1f7a4c",
        breast="7a4630",
        bill="flat",
        beak="f0bd2f",
        tail=0.2,
        collar="f7f4ee",
        band="3d62c4",
        leg=0.11,
        legs="ef8a2a",
    ),
}


def draw_bird(c: Canvas, dice: Dice, leaf: str) -> None:
    """Paints one bird of a kind, on the ground or on a perch."""
    k = BIRDS[leaf]
    horizon = scenes.anywhere(c, dice)
    ground = max(dice.uniform(0.82, 0.94), horizon + 0.1)
    stilts = k.neck + k.leg
    long = max(0.0, k.tail - 0.25)
    size = dice.uniform(0.62, 0.84) / (1 + 0.75 * max(0.0, stilts - 0.2) + 0.5 * long)
    f = Frame((dice.uniform(0.42, 0.58), ground), size, dice.uniform(-7, 7), dice.chance(0.5))
    if dice.chance(0.35):
        f = Frame((f.centre[0], ground - 0.08), size, f.degrees, f.flip)
        wood = dice.tint(rgb("8a6242"))
        c.paint(f.limb((-0.9, 0.05), (0.9, 0.02), 0.05, 0.035), wood, shade=0.2)
        c.paint(f.ellipse((-0.55, -0.03), 0.09, 0.04, -30), rgb("6fa052"))
        c.paint(f.ellipse((0.6, -0.04), 0.09, 0.04, 30), rgb("6fa052"))
    else:
        scenes.shadow(c, f, (0, 0), 0.34, 0.05)
    bird(c, dice, f.at((0.45 * (k.tail - 0.2), 0.0)), k)  # so that a long tail stays in the picture
    scenes.lighting(c, dice)


def bird(c: Canvas, dice: Dice, f: Frame, k: Plumage) -> None:
    """The bird itself; the origin of ``f`` is under its feet, y down."""
    body, wing, headc = (dice.tint(rgb(v), 0.05) for v in (k.body, k.wing, k.head))
    tip = rgb(k.tip) if k.tip else scale(wing, 0.85)
    tilt = dice.uniform(-6, 6)
    mid = -k.leg - 0.2
    b = f.at((0.0, mid), 1.0, tilt)
    thick = 0.19 * k.plump
    legs = rgb(k.legs)
    stride = dice.uniform(0.02, 0.08)
    for x in (0.05 + stride, 0.05 - stride):
        c.paint(f.path([(x, mid + 0.1), (x - 0.015, mid / 2), (x, -0.01)], 0.02, 0.017), legs)
        c.paint(f.limb((x - 0.02, -0.01), (x + 0.08, -0.005), 0.017), legs)
        if k.bill == "flat":
            c.paint(
                f.polygon(
                    [(x - 0.02, -0.02), (x + 0.1, -0.005), (x + 0.1, 0.01), (x - 0.02, 0.01)], 0.008
                ),
                legs,
            )
    drop = 0.14 + 0.25 * max(0.0, k.tail - 0.4)
    fan = b.polygon(
        [(-0.2, -0.06), (-0.3 - k.tail, drop - 0.04), (-0.3 - k.tail, drop + 0.05), (-0.16, 0.09)],
        0.02,
    )
    mask = c.paint(fan, scale(body, 0.85), shade=0.1)
    if k.tip:
        c.paint(
            b.limb((-0.25 - k.tail * 0.55, drop * 0.7), (-0.4 - k.tail, drop + 0.02), 0.11),
            tip,
            clip=mask,
        )
    turn = dice.uniform(-0.03, 0.05)
    head = (0.27 + turn * 0.5, -0.23 - turn)
    if k.neck:
        head = (0.38 + turn, -0.1 - k.neck)
        bend = [
            (0.2, -0.05),
            (0.37, -0.12),
            (0.33, -0.26),
            (0.22, -0.38),
            (0.23, -0.52),
            (0.3, -0.1 - k.neck),
        ]
        c.paint(b.path(bend, 0.065, 0.05), body, shade=0.1)
    r = 0.085 if k.neck else 0.135
    if k.crest:
        up = dice.uniform(0.8, 1.1)
        spikes = [
            b.limb(
                (head[0] - 0.02, head[1] - 0.05),
                (head[0] + dx * up, head[1] + dy * up),
                0.055,
                0.012,
            )
            for dx, dy in (
                ((-0.2, -0.16), (-0.24, -0.1))
                if k.collar
                else ((-0.02, -0.32), (-0.11, -0.31), (-0.2, -0.25), (-0.26, -0.16))
            )
        ]
        c.paint(union(*spikes), rgb(k.crest), shade=0.1)
    trunk = b.ellipse((0, 0), 0.3, thick, -14)
    skull = b.ellipse(head, r)
    shape = union(trunk, skull, smooth=0.12 * f.size) if not k.neck else trunk
    mask = c.paint(shape, body, shade=0.2)
    if k.breast:
        c.paint(b.ellipse((0.17, 0.06), 0.19, 0.15 * k.plump, 20), rgb(k.breast), clip=mask)
    if k.collar and k.bill != "flat":
        c.paint(b.ellipse((0.05, 0.14), 0.25, 0.11), rgb(k.breast), clip=mask)
    if k.neck or k.head != k.body:
        mask = c.paint(skull, headc, shade=0.2)
    if k.collar:
        x, y = head[0] - 0.06, head[1] + 0.13
        c.paint(b.limb((x - 0.11, y - 0.04), (x + 0.16, y + 0.02), 0.026), rgb(k.collar))
    if k.face:
        spot = (head[0] + 0.06, head[1] + 0.03)
        c.paint(b.ellipse(spot, 0.085 if k.bill == "hook" else 0.11), rgb(k.face), clip=mask)
    bill(c, b.at(head, 1.0, dice.uniform(-8, 8)), k, r)
    eye = (head[0] + 0.04, head[1] - 0.03)
    if k.head == "f7f5ef" or k.face == "fbf3ea":
        c.paint(b.ellipse(eye, 0.034), rgb("dfe3ea"))
    c.paint(b.ellipse(eye, 0.026 if not k.neck else 0.022), INK)
    c.paint(b.ellipse((eye[0] + 0.008, eye[1] - 0.009), 0.009), WHITE)
    w = b.at((-0.07, 0.0), 1.0, dice.uniform(-8, 14))
    blade = union(
        w.ellipse((-0.02, 0.01), 0.2, 0.11, -8),
        w.limb((-0.08, 0.02), (-0.33, 0.1), 0.08, 0.015),
        smooth=0.04 * f.size,
    )
    mask = c.paint(blade, wing, shade=0.18)
    if k.band:
        c.paint(w.limb((0.02, 0.09), (-0.24, 0.06), 0.035), rgb(k.band), clip=mask)
    if k.tip:
        c.paint(w.limb((-0.1, 0.12), (-0.4, 0.12), 0.055), tip, clip=mask)
    for i in range(2):
        line = w.limb((-0.02, 0.0 + 0.04 * i), (-0.22, 0.04 + 0.035 * i), 0.008)
        c.paint(line, scale(wing, 0.75), clip=mask)


def bill(c: Canvas, h: Frame, k: Plumage, r: float) -> None:
    """The bill; the origin of ``h`` is the middle of the head."""
    colour = rgb(k.beak)
    if k.bill == "hook":
        c.paint(h.limb((r * 0.75, -0.0), (r + 0.06, 0.035), 0.06, 0.05), colour)
        c.paint(h.limb((r + 0.07, 0.03), (r + 0.06, 0.13), 0.045, 0.008), colour)
    elif k.bill == "flat":
        c.paint(h.limb((r * 0.8, 0.03), (r + 0.16, 0.06), 0.04, 0.035), colour, shade=0.15)
    elif k.bill == "bent":
        c.paint(h.limb((r * 0.7, 0.0), (r + 0.06, 0.03), 0.05, 0.04), rgb("fbe6d8"))
        c.paint(h.limb((r + 0.06, 0.035), (r + 0.05, 0.14), 0.042, 0.01), colour)
    else:
        c.paint(h.limb((r * 0.8, 0.01), (r + 0.11, 0.03), 0.035, 0.006), colour)
