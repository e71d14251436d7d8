"""Braces in the names of shards, as bash and WebDataset expand them.

    a-{000..012}.tar    {train,val}-{0..3}.tar    {a,b{1,2}}.tar    {0..100..10}.tar

A backslash takes the meaning of the character behind it away.
"""

from __future__ import annotations

import itertools
import math
import re
import string
from collections.abc import Iterable, Iterator, Sequence

MOST = 1_000_000  # texts that braces may stand for
_DEEPEST = 50  # braces within braces
_NUMBERS = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.-?(\d{1,18}))?")
_LETTERS = re.compile(r"([A-Za-z])\.\.([A-Za-z])(?:\.\.-?(\d{1,18}))?")
_ALPHABET = string.ascii_uppercase + string.ascii_lowercase

_Text = list["str | _Range | _Either"]  # pieces that stand one behind the other


class _Range:
    """`000..012`: numbers of one width, or letters."""

    def __init__(self, numbers: range, *, width: int = 0, letters: str = "") -> None:
        self.numbers, self.width, self.letters = numbers, width, letters

    def count(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[str]:
        for number in self.numbers:
            yield self.letters[number] if self.letters else f"{number:0{self.width}d}"


class _Either:
    """`a,b{1,2}`: one of several texts."""

    def __init__(self, texts: Sequence[_Text]) -> None:
        self.texts = texts

    def count(self) -> int:
        return sum(map(_count, self.texts))

    def __iter__(self) -> Iterator[str]:
        return itertools.chain.from_iterable(map(_all, self.texts))


def expand_braces(text: str) -> list[str]:
    """All texts that a text with braces stands for, in order.

    >>> expand_braces("s-{08..11}.tar")
    ['s-08.tar', 's-09.tar', 's-10.tar', 's-11.tar']
    >>> expand_braces("{a,b{1,2}}.{tar,tgz}")[:3], expand_braces("{a}")
    (['a.tar', 'a.tgz', 'b1.tar'], ['{a}'])

    Raises:
        ValueError: the braces are not balanced or nested too deeply, or stand for more than `MOST`
            texts.
    """
    parsed = _Parser(text).text(depth=0)
    count = _count(parsed)
    if count > MOST:
        raise ValueError(f"its braces stand for {count:,} names, more than {MOST:,}")
    return list(_all(parsed))


def _count(text: _Text) -> int:
    return math.prod(1 if isinstance(piece, str) else piece.count() for piece in text)


def _all(text: _Text) -> Iterator[str]:
    choices: Iterable[Iterable[str]] = ([p] if isinstance(p, str) else p for p in text)
    return map("".join, itertools.product(*choices))


class _Parser:
    def __init__(self, source: str) -> None:
        self.source, self.at = source, 0

    def text(self, *, depth: int) -> _Text:
        """What stands from here to the end; within braces, to the next comma or brace of theirs."""
        pieces: _Text = []
        while self.at < len(self.source):
            character = self.source[self.at]
            if character == "{":
                pieces += self._braces(depth + 1)
                continue
            if depth and character in ",}":
                return pieces
            if character == "}":
                raise ValueError("it has a '}' without a '{'")
            if character == "\\" and self.at + 1 < len(self.source):
                self.at += 1
                character = self.source[self.at]
            pieces.append(character)
            self.at += 1
        if depth:
            raise ValueError("it has a '{' without a '}'")
        return pieces

    def _braces(self, depth: int) -> _Text:
        if depth > _DEEPEST:
            raise ValueError(f"its braces are nested more than {_DEEPEST} deep")
        begin = self.at + 1
        texts: list[_Text] = []
        while not texts or self.source[self.at] == ",":
            self.at += 1
            texts.append(self.text(depth=depth))
        self.at += 1
        if len(texts) > 1:
            return [_Either(texts)]
        numbers = _range(self.source[begin : self.at - 1])
        return ["{", *texts[0], "}"] if numbers is None else [numbers]


def _range(text: str) -> _Range | None:
    """The range that a text names; None if it names none."""
    if match := _NUMBERS.fullmatch(text):
        first, last = int(match[1]), int(match[2])
        padded = any(re.match(r"-?0.", end) for end in (match[1], match[2]))
        width = max(len(match[1]), len(match[2])) if padded else 0
        return _Range(_steps(first, last, match[3]), width=width)
    if match := _LETTERS.fullmatch(text):
        first, last = map(_ALPHABET.index, (match[1], match[2]))
        return _Range(_steps(first, last, match[3]), letters=_ALPHABET)
    return None


def _steps(first: int, last: int, step: str | None) -> range:
    """From one number to another, both ways, both ends included."""
    width = int(step or 1) or 1
    return range(first, last + 1, width) if first < last else range(first, last - 1, -width)
