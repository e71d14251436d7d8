"""What makes each breed of dog: a row of measures and colours."""

from dataclasses import dataclass
from typing import Literal

from slsgu.menagerie.canvas import Canvas, Colour, Dice, Frame, Point, rgb, scale, union


@dataclass(frozen=True)
class Breed:
    """What makes a breed; lengths in units of the body's length."""

    coats: tuple[str, ...]  # coat colours to choose from
    trim: str = ""  # colour of muzzle, chest, belly and feet; the coat's own if empty
    ears: Literal["drop", "prick", "fold", "long"] = "drop"
    ear: str = ""  # colour of the ears
    tail: Literal["feather", "otter", "curl", "whip", "pompom", "stub"] = "whip"
    tip: str = ""  # colour of the tail's tip
    muzzle: float = 0.15  # length
    snout: float = 0.085  # radius
    leg: float = 1.0  # length of the legs
    long: float = 1.0  # length of the trunk
    deep: float = 1.0  # thickness of the trunk
    fluff: float = 0.0  # length of the hair that hangs from chest, belly and legs
    ball: bool = False  # fur that stands off all around
    beard: bool = False
    marks: Literal["", "saddle", "collie", "husky", "spots", "tricolour", "pompoms"] = ""
    mark: str = "2b2724"  # colour of the markings
    eye: str = "2a1a12"


BREEDS: dict[str, Breed] = {
    "golden retriever": Breed(
        ("e2ac55", "d99a43", "ebbd6c"), "f1cf8e", tail="feather", fluff=0.09, ear="c98a3a"
    ),
    "labrador retriever": Breed(
        ("6b4228", "5c3721", "7a4d30"), tail="otter", snout=0.095, deep=1.12, ear="56331f"
    ),
    "flat-coated retriever": Breed(
        ("2b2a2e", "232228", "34323a"), tail="feather", fluff=0.09, muzzle=0.17
    ),
    "beagle": Breed(
        ("c9813f", "bd7637"),
        "f7f1e4",
        ears="long",
        ear="a8632c",
        tail="whip",
        tip="f7f1e4",
        marks="tricolour",
        leg=0.85,
    ),
    "dachshund": Breed(
        ("9c4a25", "8d4020", "a9552c"),
        ears="long",
        ear="74341a",
        tail="whip",
        leg=0.42,
        long=1.4,
        deep=0.88,
        muzzle=0.19,
        snout=0.07,
    ),
    "scottish terrier": Breed(
        ("4a4b52", "3f4047", "54555c"),
        ears="prick",
        tail="stub",
        leg=0.55,
        fluff=0.12,
        beard=True,
        muzzle=0.19,
        snout=0.085,
    ),
    "airedale terrier": Breed(
        ("c58a4c", "b97d40"),
        ears="fold",
        ear="9d6532",
        tail="stub",
        marks="saddle",
        beard=True,
        leg=1.12,
        muzzle=0.19,
        snout=0.08,
    ),
    "husky": Breed(
        ("8d97a5", "7a8493", "a0a8b3"),
        "fafafa",
        ears="prick",
        tail="curl",
        tip="fafafa",
        marks="husky",
        eye="4fb3e8",
        deep=1.08,
        fluff=0.04,
    ),
    "pomeranian": Breed(
        ("ec9547", "e58a3c", "f2a55a"),
        "f8cf94",
        ears="prick",
        tail="curl",
        ball=True,
        leg=0.6,
        long=0.8,
        deep=1.05,
        muzzle=0.08,
        snout=0.06,
    ),
    "german shepherd": Breed(
        ("c48f52", "b98247"),
        ears="prick",
        ear="4a3626",
        tail="feather",
        tip="2f2722",
        marks="saddle",
        muzzle=0.19,
        snout=0.075,
    ),
    "border collie": Breed(
        ("26262b", "202024"),
        "fafafa",
        ears="fold",
        tail="feather",
        tip="fafafa",
        marks="collie",
        fluff=0.07,
    ),
    "poodle": Breed(
        ("f1e6da", "f4ddd0", "e6e2e6"),
        ears="long",
        tail="pompom",
        marks="pompoms",
        leg=1.12,
        deep=0.8,
        muzzle=0.18,
        snout=0.06,
    ),
    "dalmatian": Breed(
        ("f8f6f2",), ears="drop", ear="2a2a2c", tail="whip", marks="spots", leg=1.08
    ),
}


class PaintedDog:
    """One dog being painted: where, of which breed, in which colours. The origin of ``f`` is on the
    ground below its middle, y down."""

    def __init__(self, c: Canvas, dice: Dice, f: Frame, breed: Breed, coat: Colour) -> None:
        self.c, self.dice, self.f, self.b, self.coat = c, dice, f, breed, coat
        self.trim = rgb(breed.trim) if breed.trim else coat
        self.ear = rgb(breed.ear) if breed.ear else scale(coat, 0.72)
        self.mark = rgb(breed.mark)

    def puff(self, p: Point, r: float, colour: Colour) -> None:
        """A ball of curls."""
        curls = [
            self.f.ellipse((p[0] + dx * r, p[1] + dy * r), 0.62 * r)
            for dx, dy in ((-0.55, 0.1), (0.55, 0.1), (0, -0.5), (-0.3, 0.5), (0.35, 0.45))
        ]
        self.c.paint(union(*curls, smooth=0.01), colour, shade=0.22)
        for dx, dy in ((-0.35, -0.1), (0.3, -0.25), (0.1, 0.3)):
            self.c.paint(
                self.f.ellipse((p[0] + dx * r, p[1] + dy * r), 0.2 * r), scale(colour, 0.88)
            )
