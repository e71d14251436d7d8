"""One file to one RGB picture, whatever the file holds; and a hash of what is seen.

Pillow warns about odd files and leaves many conversions to the caller. Here every picture either
comes out as 8-bit RGB, upright, on white where it was transparent, or is refused with a reason.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from slsgu.data.sizes import too_large
from slsgu.errors import DataError
from slsgu.utils.reading import open_descriptor

MAX_PIXELS = 89_478_485
"""Larger pictures are refused: a small file can claim to be huge (Pillow warns from here on)."""

MAX_ASPECT = 100
"""Thinner pictures are refused: preprocessing scales the *shorter* side up to the model's input, so
a strip of 1 x 60000 pixels would grow to gigabytes."""

# Only these decoders are tried, whatever a file is called. Pillow would otherwise hand a PostScript
# file that is named .jpg to an external program. (JPEG covers MPO, phones' multi-picture files.)
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
_ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "DIB": "bmp", "TIFF": "tif"}  # the others are theirs

_ORIENTATION = 0x0112  # EXIF tag: how the camera was held
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(DataError):
    """A file cannot be decoded as a picture. `reason` is the message without the file's name."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.reason = reason
        self.name = name

    def __reduce__(self) -> tuple[type[UnreadableImageError], tuple[str, str]]:
        return type(self), (self.reason, self.name)  # it crosses from worker processes


def read_image(source: Path | BinaryIO, name: str = "") -> Image.Image:
    """Decode a file, or its bytes, to an upright 8-bit RGB picture (the first frame of several).

    Transparency is laid on white, 16-bit grey is scaled to 8 bits, CMYK is converted, the EXIF
    orientation is applied.

    Args:
        source: a file, or its bytes.
        name: what it is called in messages.

    Raises:
        UnreadableImageError: the file is missing, empty, truncated, not a picture, larger than
            `MAX_PIXELS` or a gigabyte, or thinner than `MAX_ASPECT`.
    """
    name = name or str(source)
    try:
        # Warnings are about files the user may not have made; what matters raises below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(source, Path) and (problem := too_large(source.stat().st_size)):
                raise UnreadableImageError(problem, name)
            file = os.fdopen(open_descriptor(source), "rb") if isinstance(source, Path) else source
            with file, Image.open(file, formats=_FORMATS) as image:
                _check_size(image.size, name)
                image.load()
                return _upright(image, _to_rgb(image))
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(_unidentified(source), name) from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(
            f"its header claims more than {MAX_PIXELS:,} pixels", name
        ) from None
    except MemoryError:
        raise UnreadableImageError("there is not enough memory to decode it", name) from None
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error), name) from None
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise UnreadableImageError(f"it is damaged ({error})", name) from None


def sides(source: BinaryIO) -> tuple[int, int] | None:
    """The sides of a picture in pixels, the shorter first, since a camera may have turned it.
    Nothing is decoded. None for what is no picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source, formats=_FORMATS) as image:
                return min(image.size), max(image.size)
    except Exception:  # a damaged file can make a decoder fail in any way
        return None


def ending(data: bytes) -> str | None:
    """What the name of a picture with these bytes should end in, such as `jpg`, whatever it is
    called; None for what is no picture. Nothing is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                kind = str(image.format)
    except Exception:  # a damaged file can make a decoder fail in any way
        return None
    return _ENDINGS.get(kind, kind.lower())


def pixel_hash(image: Image.Image) -> str:
    """SHA-256, in hex, over the size and the raw RGB bytes: equal if the pixels are.

    >>> grey = Image.new("RGB", (4, 2), "grey")
    >>> turned = grey.resize((2, 4))  # the same bytes in another shape
    >>> pixel_hash(grey) == pixel_hash(grey.copy()), pixel_hash(grey) == pixel_hash(turned)
    (True, False)
    """
    assert image.mode == "RGB", f"pixels are compared as RGB, not {image.mode}"
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(
            f"{width} x {height} is more than {MAX_PIXELS:,} pixels; scale it down", name
        )
    if max(size) > MAX_ASPECT * min(size):
        raise UnreadableImageError(
            f"{width} x {height} is more than {MAX_ASPECT} times as long as wide; crop it", name
        )


def _unidentified(source: Path | BinaryIO) -> str:
    empty = isinstance(source, Path) and source.stat().st_size == 0
    return "the file is empty" if empty else "it is not a picture"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey8(image).convert("RGB")
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha: undo that first
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(page, layer).convert("RGB")
    return image.convert("RGB")


def _grey8(image: Image.Image) -> Image.Image:
    """Deep grey to 8 bits. Pillow's own conversion clips at 255, which turns 16-bit photographs
    white."""
    values = np.asarray(image).astype(np.float64)  # [H, W]
    if not np.isfinite(values).any():
        raise ValueError("none of its values is a finite number")
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    top = float(values.max())
    if image.mode != "F":
        top = 65535.0 if top <= 65535 else top
    elif top <= 1:
        top = 1.0  # floats are commonly 0 to 1, or 0 to 255
    else:
        top = max(top, 255.0)
    return Image.fromarray(np.clip(np.rint(values / top * 255), 0, 255).astype(np.uint8))


def _upright(image: Image.Image, rgb: Image.Image) -> Image.Image:
    """Turn `rgb` as the EXIF data of `image` says. Damaged EXIF data is not a damaged picture."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:
        return rgb
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return rgb if turn is None else rgb.transpose(turn)
