"""Every picture comes out as upright 8-bit RGB, or is refused with a reason."""

from __future__ import annotations

import os
import pickle
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slsgu.concepts.request import Request
from slsgu.data import images
from slsgu.data.images import UnreadableImageError, pixel_hash, read_image
from slsgu.data.sources.folders import FolderSource, taxonomy_of_folders
from slsgu.data.sources.records import FilePicture, PartPicture
from slsgu.data.splits.splits import Limits, make_splits
from slsgu.errors import DataError


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def photo(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    ramp = np.add.outer(np.arange(size[1]) * 4, np.arange(size[0]) * 6).astype(np.uint8)
    return Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], axis=-1)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "extension"),
    [
        ("RGB", "png"), ("RGB", "jpg"), ("RGB", "webp"), ("RGB", "bmp"), ("RGB", "tif"),
        ("RGB", "mpo"),
        ("L", "jpg"), ("P", "gif"), ("P", "png"), ("CMYK", "jpg"), ("CMYK", "tif"), ("1", "png"),
        ("LA", "png"), ("RGBA", "png"), ("RGBA", "webp"), ("RGBA", "tif"),
    ],
)  # fmt: skip
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, extension: str) -> None:
    image = read_image(saved(tmp_path / f"x.{extension}", photo(mode)))
    assert image.mode == "RGB" and image.size == (24, 16)
    error = np.abs(np.asarray(image, float) - np.asarray(photo(mode).convert("RGB"), float)).mean()
    assert error < 8  # lossy formats; a mix-up of channels or an inversion is far above
    if mode == "RGB":
        mixed = np.asarray(image, float)[..., ::-1] - np.asarray(photo(), float)
        assert np.abs(mixed).mean() > 8  # control


def test_cmyk_is_not_inverted(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK")
    pixel = np.asarray(read_image(saved(tmp_path / "red.jpg", red, quality=95)))[8, 8]
    assert pixel[0] > 200 and pixel[1] < 60


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "palette-bytes", "tRNS"])
def test_transparency_lies_on_white(tmp_path: Path, kind: str) -> None:
    """Left half opaque black, right half transparent black: a plain conversion gives all black."""
    path = tmp_path / "x.png"
    if kind in ("RGBA", "LA"):
        image = Image.new(kind, (8, 4), (0,) * (len(kind) - 1) + (255,))
        image.paste((0,) * len(kind), (4, 0, 8, 4))
        image.save(path)
    elif kind == "tRNS":
        grey = Image.new("L", (8, 4), 0)
        grey.paste(1, (4, 0, 8, 4))
        grey.save(path, transparency=1)
    else:
        palette = Image.new("P", (8, 4), 0)
        palette.putpalette([0, 0, 0, 1, 1, 1])
        palette.paste(1, (4, 0, 8, 4))
        palette.save(path, transparency=b"\xff\x00" if kind == "palette-bytes" else 1)
    pixels = np.asarray(read_image(path))
    assert (pixels[:, :4] == 0).all() and (pixels[:, 4:] == 255).all()
    with warnings.catch_warnings(), Image.open(path) as raw:  # control
        warnings.simplefilter("ignore")
        assert np.asarray(raw.convert("RGB")).max() <= 1


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert abs(int(np.asarray(read_image(saved(tmp_path / "x.png", image)))[0, 0, 0]) - 127) <= 1


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, extension: str) -> None:
    deep = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    path = saved(tmp_path / f"x.{extension}", Image.fromarray(deep))
    pixels = np.asarray(read_image(path))[..., 0].ravel()
    assert np.abs(pixels.astype(int) - np.arange(256)).max() <= 1
    clipped = np.clip(deep, 0, 255).ravel()
    assert np.abs(clipped.astype(int) - np.arange(256)).max() > 100  # control


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_float_grey_fills_the_range(tmp_path: Path, top: float) -> None:
    values = np.linspace(0, top, 256, dtype=np.float32).reshape(16, 16)
    pixels = np.asarray(read_image(saved(tmp_path / "x.tif", Image.fromarray(values))))
    assert pixels.min() == 0 and pixels.max() == 255


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, extension: str) -> None:
    """A picture stored turned, with the tag that says so, reads as the upright one."""
    upright = np.asarray(photo())
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if extension == "webp" else {}
    path = saved(
        tmp_path / f"x.{extension}",
        Image.fromarray(np.ascontiguousarray(stored)),
        exif=exif,
        quality=100,
        **lossless,
    )
    read = np.asarray(read_image(path), float)
    assert read.shape == upright.shape
    assert np.abs(read - upright).mean() < 8
    if orientation in (2, 3, 4):  # control: turned pictures of the same shape differ
        assert np.abs(stored.astype(float) - upright).mean() > 8


def test_damaged_exif_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    photo().save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken")
    assert read_image(path).size == (24, 16)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif", "bmp", "gif"])
def test_truncated_files_are_refused(tmp_path: Path, extension: str) -> None:
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / f"x.{extension}", Image.fromarray(noise))
    assert read_image(path).mode == "RGB"  # control: whole, it reads
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImageError, match=r"x\."):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"just some text, no picture", "not a picture"),
        (b"\xff\xd8\xff", "picture|truncated|damaged|file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
)
def test_files_that_are_no_pictures(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jpg", tmp_path):
        with pytest.raises(DataError):
            read_image(path)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("size", "reason"),
    [((11_000, 11_000), "pixels"), ((60_000, 60_000), "pixels"), ((1, 5000), "times as long")],
)
def test_bombs_are_refused(tmp_path: Path, size: tuple[int, int], reason: str) -> None:
    """The first is in the range where Pillow only warns; a strip is a bomb for preprocessing."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(path)


def test_a_file_of_terabytes_is_not_read(tmp_path: Path) -> None:
    """Neither decoded nor hashed, in class folders and in tables; nor where it is whole but for a
    hole behind its end."""
    for height, name in enumerate(("cat", "dog"), start=8):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(4):
            saved(tmp_path / "set" / name / f"{number}.png", photo(size=(8 + number, height)))
    large = tmp_path / "set" / "dog" / "3.png"
    with large.open("rb+") as file:
        file.truncate(1 << 42)
    with pytest.raises(UnreadableImageError, match=r"has 4,398,046,511,104 bytes; more than"):
        read_image(large)
    with pytest.raises(OSError, match=r"has 4,398,046,511,104 bytes; more than"):
        FilePicture(large).data()
    taxonomy = taxonomy_of_folders(tmp_path / "set")
    request = Request.of(taxonomy, ["cat"])
    source = FolderSource(tmp_path / "set", taxonomy)
    splits = make_splits(source, request=request, limits=Limits())
    assert len({*splits.gradient, *splits.search, *splits.test}) == 8  # told when it is read
    read_image(tmp_path / "set" / "dog" / "2.png")  # control


def test_limits_of_size_are_inclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.png", photo())
    monkeypatch.setattr(images, "MAX_PIXELS", 24 * 16)
    assert read_image(path).size == (24, 16)
    monkeypatch.setattr(images, "MAX_PIXELS", 24 * 16 - 1)
    with pytest.raises(UnreadableImageError):
        read_image(path)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "x.gif", frames[0], save_all=True, append_images=frames[1:])
    assert tuple(np.asarray(read_image(path))[0, 0]) == (255, 0, 0)


def test_hash_is_of_pixels_not_of_files(tmp_path: Path) -> None:
    png, bmp = saved(tmp_path / "a.png", photo()), saved(tmp_path / "a.bmp", photo())
    assert png.read_bytes() != bmp.read_bytes()
    assert pixel_hash(read_image(png)) == pixel_hash(read_image(bmp))
    changed = photo()
    changed.putpixel((0, 0), (1, 2, 3))
    assert pixel_hash(changed) != pixel_hash(photo())  # control


def test_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImageError("the file is empty", "dog/1.jpg")))
    assert (str(error), error.reason) == ("dog/1.jpg: the file is empty", "the file is empty")


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "a.png"
    os.mkfifo(pipe)
    for read in (FilePicture(pipe).data, PartPicture(pipe, 0, 10).data):
        with pytest.raises(OSError, match="pipe or a device"):
            read()
    with pytest.raises(UnreadableImageError, match="pipe or a device"):
        read_image(pipe)


def test_a_picture_without_a_finite_value_is_damaged(tmp_path: Path) -> None:
    values = np.full((8, 8), np.nan, np.float32)
    values[0, 0] = np.inf
    path = saved(tmp_path / "x.tif", Image.fromarray(values))
    with pytest.raises(UnreadableImageError, match="none of its values is a finite number"):
        read_image(path)
    values[1, 1] = 1.0  # control: one number is enough
    assert np.asarray(read_image(saved(path, Image.fromarray(values)))).max() == 255
