"""Damage of any kind: of bytes, of values in JSON and YAML, and of safetensors files."""

from __future__ import annotations

import contextlib
import json
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
NASTY = (
    "\x1b]0;owned\x07",
    "a\x1b[31mb",
    "\u202eevil",
    "\x9b2J",
    "a\nb",
    "\x7f",
    "a\x00b",
    "\u2066x",
)


class Raw(str):
    """Text that stands in JSON as it is, such as a number that JSON does not know."""


def odd_value(rng: random.Random) -> Any:
    """A value that is seldom expected."""
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    return rng.choice(
        [
            None,
            True,
            False,
            0,
            -1,
            1,
            2**31,
            2**63,
            2**70,
            -(2**70),
            0.5,
            -0.0,
            1e308,
            1e-320,
            math.nan,
            math.inf,
            -math.inf,
            Raw("1e400"),
            Raw("9" * 5000),
            "",
            " ",
            "1",
            "nan",
            "text",
            "x" * 100_000,
            "../../etc/passwd",
            "/dev/zero",
            "<script>alert(1)</script>",
            "%s%n{0}{}",
            "!!python/object/apply:os.system",
            [],
            {},
            [[]],
            [None],
            {"": ""},
            {"a": {"b": {}}},
            deep,
            list(range(1000)),
            "\ud800",
            "日本語",
            *NASTY,
        ]
    )


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value inside a value is, itself left out."""
    found: list[tuple[Any, ...]] = []
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in pairs:
        found.append((*at, key))
        found += places(child, (*at, key))
    return found


def mutate_value(rng: random.Random, value: Any, *, only: tuple[str, ...] = ()) -> tuple[Any, str]:
    """A copy of plain values with one of them replaced, dropped, wrapped or called otherwise.

    Args:
        only: names of keys at the top that are changed, if any is there.

    Returns:
        The copy, and what was done.
    """
    value = json.loads(json.dumps(value))
    candidates = places(value)
    wanted = [place for place in candidates if place[0] in only]
    place = rng.choice(wanted or candidates)
    parent = value
    for key in place[:-1]:
        parent = parent[key]
    key, where = place[-1], "/".join(map(str, place))
    how = rng.choice(("replace", "replace", "replace", "replace", "drop", "wrap", "text", "rename"))
    if how == "drop":
        del parent[key]
    elif how == "wrap":
        parent[key] = rng.choice(([parent[key]], {"value": parent[key]}))
    elif how == "text":
        parent[key] = str(parent[key])
    elif how == "rename" and isinstance(parent, dict):
        parent[f"{key}{rng.choice(NASTY)}"] = parent.pop(key)
    else:
        how, parent[key] = "replace", odd_value(rng)
        return value, f"{where} = {ascii(parent[key])[:60]}"
    return value, f"{how} {where}"


def dump_json(value: Any) -> str:
    """JSON, with what JSON does not know as Python writes it, and `Raw` text as it stands."""
    marks: dict[str, str] = {}

    def prepare(child: Any) -> Any:
        if isinstance(child, Raw):
            mark = f"raw-{len(marks)}-mark"
            marks[json.dumps(mark)] = str(child)
            return mark
        if isinstance(child, dict):
            return {key: prepare(item) for key, item in child.items()}
        return [prepare(item) for item in child] if isinstance(child, list) else child

    text = json.dumps(prepare(value))
    for mark, raw in marks.items():
        text = text.replace(mark, raw)
    return text


def mutate_bytes(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Bytes that were cut, flipped, doubled, overwritten or exchanged for something else."""
    at = rng.randrange(len(data) or 1)

    def flip() -> bytes:
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]

    ways: dict[str, Callable[[], bytes]] = {
        f"cut at {at}": lambda: data[:at],
        "empty": lambda: b"",
        f"a bit flipped at {at}": flip,
        f"NUL bytes at {at}": lambda: data[:at] + bytes(rng.randrange(1, 64)) + data[at:],
        f"noise at {at}": lambda: data[:at] + rng.randbytes(16) + data[at + 16 :],
        "noise alone": lambda: rng.randbytes(rng.choice((1, 7, 8, 100, 5000))),
        "twice": lambda: data + data,
        "UTF-16": lambda: data.decode("latin-1").encode("utf-16"),
        "its beginning is another's": lambda: (
            rng.choice((b"PK\x03\x04", b"\x89PNG", b"\x1f\x8b\x08", b"\x80\x04.", b"#!/bin/sh\n"))
            + data[4:]
        ),
        "a tail": lambda: data + rng.randbytes(rng.choice((1, 512, 10_000))),
        f"{at} bytes are gone at the start": lambda: data[at:],
    }
    name = rng.choice(list(ways))
    return ways[name](), name


# -- safetensors --------------------------------------------------------------------------------


def read_header(path: Path) -> dict[str, Any]:
    """The metadata of ours in a safetensors file."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    found: dict[str, Any] = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["slsgu"])
    return found


def write_signed(path: Path, header: Any, tensors: dict[str, torch.Tensor]) -> None:
    """A file whose hash of its content is right, whatever it holds: hashes are no signatures."""
    from slsgu.utils.artifact import content_sha256

    text = dump_json(header)
    with contextlib.suppress(Exception):  # what cannot be hashed stays as it is
        value = json.loads(text)
        digest = content_sha256(value, tensors)
        text = text.replace(str(value["content_sha256"]), digest)
    path.write_bytes(save(tensors, metadata={"slsgu": text}))


def odd_tensor(rng: random.Random, tensor: torch.Tensor) -> tuple[torch.Tensor, str]:
    """A tensor of another kind, shape or content."""
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "NaN": lambda: torch.full_like(tensor, math.nan),
        "one NaN": lambda: _with_one(tensor, math.nan),
        "one inf": lambda: _with_one(tensor, math.inf),
        "1e38": lambda: torch.full_like(tensor, 1e38),
        "complex": lambda: tensor.to(torch.complex64),
        "int64": lambda: tensor.to(torch.int64),
        "bool": lambda: tensor.to(torch.bool),
        "uint8": lambda: torch.zeros(tensor.shape, dtype=torch.uint8),
        "float64": lambda: tensor.double(),
        "bfloat16": lambda: tensor.bfloat16(),
        "float8": lambda: tensor.to(torch.float8_e4m3fn),
        "a scalar": lambda: tensor.flatten()[0].clone(),
        "no elements": lambda: tensor.new_zeros((0,)),
        "flat": lambda: tensor.reshape(1, -1).clone(),
        "a dimension more": lambda: tensor[None].clone(),
        "cut": lambda: tensor[: len(tensor) // 2].clone() if tensor.ndim else tensor,
    }
    name = rng.choice(list(ways))
    return ways[name](), name


def _with_one(tensor: torch.Tensor, value: float) -> torch.Tensor:
    found = tensor.clone()
    found.view(-1)[0] = value
    return found


def mutate_artifact(rng: random.Random, path: Path) -> tuple[str, bool]:
    """Damage one of our safetensors files in place.

    Returns:
        What was done, and whether nobody could use the file now.
    """
    how = rng.choice(
        ("bytes", "header", "header", "header", "tensor", "tensor", "keys", "unsigned")
    )
    if how == "bytes":
        data, told = mutate_bytes(rng, path.read_bytes())
        path.write_bytes(data)
        return told, False
    header, tensors = read_header(path), load_file(path)
    if how == "header":
        if rng.random() < 0.1:
            text = "[" * 100_000 if rng.random() < 0.5 else '{"kind": ' + "[" * 2000
            path.write_bytes(save(tensors, metadata={"slsgu": text}))
            return "metadata is nested without an end", True
        header, told = mutate_value(rng, header)
        write_signed(path, header, tensors)
        return f"metadata: {told}", False
    name = rng.choice(sorted(tensors))
    if how == "tensor":
        tensors[name], told = odd_tensor(rng, tensors[name])
        write_signed(path, header, tensors)
        return f"tensor {name}: {told}", told not in (
            "1e38",
            "float64",
            "bfloat16",
            "bool",
            "uint8",
        )
    if how == "keys":
        told = rng.choice(("", "x", "../x", "a" * 5000, *NASTY))
        tensors[told] = tensors.pop(name)
        write_signed(path, header, tensors)
        return f"tensor {name} is called {ascii(told)[:40]}", True
    tensors[name] = tensors[name] + 1
    path.write_bytes(save(tensors, metadata={"slsgu": json.dumps(header)}))
    return f"tensor {name} is another than what was hashed", True
