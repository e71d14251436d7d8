"""Damaged shards and pictures."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from hostile.case import Bench, Case
from hostile.mutate import NASTY, mutate_bytes
from hostile.world import picture


def _header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A tar header with any text as its size."""
    block = bytearray(512)
    block[: min(100, len(name))] = name[:100]
    block[100:108], block[108:124] = b"0000644\0", b"0000000\0" * 2
    block[124:136] = size.ljust(12, b"\0")[:12]
    block[136:148], block[156:157] = b"00000000000\0", kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def _huge(size: int) -> bytes:
    return b"\x80" + size.to_bytes(11, "big")


def _odd_members(bench: Bench, data: bytes) -> tuple[bytes, str]:
    """A shard with one member more that is not as it should be."""
    rng = bench.rng
    at = 512 * rng.choice((0, 1, 2, 5)) if rng.random() < 0.3 else 0
    record = f"{len('30 path=') + 3} path=" + rng.choice(NASTY) + "\n"
    pax = record.encode("utf-8", "surrogatepass")
    size = rng.choice((2**33, 2**50, 2**63, 2**70, 2**80))
    odd = {
        f"a member of {size} bytes": _header(b"x.png", _huge(size)),
        "a negative size": _header(b"x.png", b"\xff" * 12),
        "a size that is no number": _header(b"x.png", b"99999999999\0"),
        "a long name of 2^50 bytes": _header(b"././@LongLink", _huge(2**50), b"L"),
        "a pax header of 2^50 bytes": _header(b"pax", _huge(2**50), b"x"),
        "1,000 long names": (_header(b"././@LongLink", b"00000000004\0", b"L") + _pad(b"abc\0"))
        * 1000,
        "1,000 pax headers": (_header(b"pax", f"{len(pax):011o}\0".encode(), b"x") + _pad(pax))
        * 1000,
        "a pax header that is cut": _header(b"pax", b"00000000020\0", b"x")
        + _pad(b"9999 path=x\n"),
        "a pax header with a size of text": _header(b"pax", b"00000000013\0", b"x")
        + _pad(b"11 size=x\n\n"),
        "a sparse member": _header(b"x.png", b"00000000004\0", b"S") + _pad(b"abcd"),
        "a device": _header(b"x.png", b"00000000000\0", b"3"),
        "a FIFO": _header(b"x.png", b"00000000000\0", b"6"),
        "a link": _header(b"x.png", b"00000000000\0", b"2"),
        "an unknown kind": _header(b"x.png", b"00000000004\0", b"Z") + _pad(b"abcd"),
    }
    told = rng.choice(list(odd))
    return data[:at] + odd[told] + data[at:], told


def _odd_names(bench: Bench) -> tuple[bytes, str]:
    """A shard whose members are called oddly or hold odd content."""
    rng, buffer = bench.rng, io.BytesIO()
    names = ["a", "../../a", "/etc/a", "a.b.c", ".", "..", "", "a/" * 200, "x" * 300, *NASTY]
    contents = [
        b"",
        b"\xff\xfe",
        b"a\x00b",
        b"x" * 3_000_000,
        b"\x1b]0;owned\x07 photo",
        b"-1",
        b"9" * 400,
        "\u202ephoto".encode(),
        b'{"a": ' * 5000,
        b"\x80\x04\x95",
    ]
    layout = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    told = ""
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as tar:
        for number in range(12):
            name = rng.choice(names).replace("\x00", "\x01") if number % 3 == 0 else f"key{number}"
            for kind, good in (("png", picture(number)), ("txt", b"a photo"), ("cls", b"beagle")):
                data = rng.choice(contents) if rng.random() < 0.3 else good
                info = tarfile.TarInfo(f"{name}.{kind}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            told = told or ascii(name)[:40]
    return buffer.getvalue(), f"names such as {told}"


def shard(bench: Bench) -> Case:
    """A tar shard."""
    rng, world = bench.rng, bench.world
    data = (world.root / "forget.tar").read_bytes()
    how = rng.random()
    if how < 0.3:
        data, told = mutate_bytes(rng, data)
    elif how < 0.7:
        data, told = _odd_members(bench, data)
    else:
        data, told = _odd_names(bench)
    path = str(bench.write("odd-shard.tar", data))
    retain = str(world.root / "retain.tar")
    words = rng.choice(
        [
            ["select", "--source", path, "--match", "photo"],
            ["select", "--source", path, "--match", "photo", "--out", "chosen.tar", "--json"],
            [
                "grads",
                "--forget",
                path,
                "--retain",
                retain,
                "--name",
                "beagle",
                "--run",
                "run",
                "--classes",
                str(world.root / "classes.txt"),
                "--no-cache",
                *world.model,
                *world.quick,
            ],
            ["evaluate", *world.model, *world.taxonomy, *world.quick, "--data", path],
        ]
    )
    return Case(
        f"shard, {told}", words, names=["odd-shard", "caption", "beagle", "forget", "retain"]
    )


def _png(width: int, height: int, *, extra: bytes = b"") -> bytes:
    """A PNG that claims a size, with next to no pixels in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def _odd_picture(bench: Bench) -> tuple[bytes, str, str]:
    rng = bench.rng
    how = rng.choice(("bytes", "bytes", "size", "mode", "format", "text"))
    if how == "bytes":
        data, told = mutate_bytes(rng, picture(rng.randrange(99)))
        return data, told, "png"
    if how == "size":
        sides = rng.choice(
            ((0, 0), (1, 1), (2**31 - 1, 1), (60_000, 60_000), (1, 100_000), (2**31, 2**31))
        )
        return _png(*sides), f"a PNG of {sides[0]} x {sides[1]}", "png"
    if how == "text":
        ztxt = b"a\0\0" + zlib.compress(bytes(50_000_000))
        body = b"zTXt" + ztxt
        extra = struct.pack(">I", len(ztxt)) + body + struct.pack(">I", zlib.crc32(body))
        return _png(8, 8, extra=extra), "a PNG with text of 50 MB", "png"
    mode = rng.choice(
        ("1", "L", "LA", "P", "RGBA", "I", "I;16", "F", "CMYK", "YCbCr", "LAB", "HSV")
    )
    image = Image.fromarray(np.zeros((8, 8), np.uint8)).convert(
        mode if mode not in ("LAB", "HSV") else "RGB"
    )
    kinds = ("png", "jpeg", "tiff", "gif", "webp", "bmp", "ico", "ppm", "eps", "pdf", "sgi", "tga")
    kind = rng.choice(kinds)
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind)
    except (OSError, KeyError, ValueError, RuntimeError):  # some formats do not know some modes
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, kind)
    return buffer.getvalue(), f"{kind} of mode {mode}", rng.choice((kind, "png", "jpg"))


def pictures(bench: Bench) -> Case:
    """Pictures in class folders: cut, huge, of odd modes, with odd names."""
    rng, world = bench.rng, bench.world
    folder = bench.copy("images", "odd-images")
    place = folder / "beagle"
    told = ""
    for number in range(rng.choice((1, 3, 9))):
        data, told, kind = _odd_picture(bench)
        name = (
            rng.choice((f"{number:02}", f"{number:02}", *NASTY))
            .replace("\x00", "")
            .replace("/", "")
        )
        (place / f"{name}.{kind}").write_bytes(data)
    if rng.random() < 0.3:
        name = rng.choice(
            ("\x1b]0;owned\x07", "\u202egod", "x" * 200, "日本", "a\nb", "-rf", "*", "...")
        )
        (folder / name).mkdir()
        (folder / name / "a.png").write_bytes(picture(7))
        told += f", a class {ascii(name)[:30]}"
    if rng.random() < 0.2:
        odd = os.fsencode(place) + b"/\xff\xfe.png"
        Path(os.fsdecode(odd)).write_bytes(picture(8))
        told += ", a name that is no Unicode"
    if rng.random() < 0.2:
        (place / "loop.png").symlink_to("loop.png")
        (folder / "up").symlink_to("..")
        told += ", links to themselves"
    strict = ["--strict"] if rng.random() < 0.2 else []
    here = ["--data", str(folder), *world.model, *world.quick]
    words = rng.choice(
        [
            ["evaluate", *here, *strict],
            ["evaluate", *here, "--json", *strict],
            ["evaluate", *here, *world.taxonomy, *strict],
            ["concepts", "--data", str(folder)],
            ["concepts", "--json", "--data", str(folder)],
            ["grads", "--concept", "beagle", "--run", "run", *here, *strict],
        ]
    )
    return Case(f"pictures, {told}", words, names=["odd-images", "beagle", "png", "class"])


KINDS = {"shard": shard, "pictures": pictures}
