"""What `slsgu compare` reads: its own cells, what lies in its folder, and methods of users."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from hostile.case import Bench, Case
from hostile.mutate import NASTY, dump_json, mutate_bytes, mutate_value

_METHOD = """
import torch, slsgu
from slsgu.search.method import Edit

def method(task, ledger, progress):
    layer = "text_projection"
    weight = task.clip.model.get_parameter(layer).detach().clone()
    change = torch.full_like(weight, 0.01)
    {line}
    return Edit(slsgu.Patch({{layer: change}}, {{layer: weight}}, {{"method": "mine"}}){more})
"""
_LINES = (
    "return None", "return 5", "return Edit(None)", "raise ValueError('boom')",
    "raise SystemExit(0)", "raise BaseException('odd')", "raise slsgu.errors.SlsguError",
    "return slsgu.Patch({}, {})",
    "return Edit(slsgu.Patch({}, {}))", "change = change.double()", "change = change.long()",
    "change = change.to_sparse()", "change = change.to('meta')", "change = change[:1]",
    "change = 1",
    "change = change * 0", "change = change * 1e-30", "change = change * float('nan')",
    "change = change * float('inf')", "change = change.to(torch.complex64)", "weight = weight * 2",
    "weight = weight.double()", "layer = 'nowhere'", "layer = '\\x1b[2J'", "layer = 5",
    "task.clip.model.get_parameter(layer).data.zero_()", "1 / 0", "method(1, 2, 3)",
    "raise type('\\x1b[2J', (Exception,), {})", "raise StopIteration", "raise MemoryError",
    "raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})", "import os; os.chdir('/')",
)  # fmt: skip
_MORE = (
    ", 5", ", None, 5", ", None, {'a': float('nan')}", ", None, {'a': -1.0}", ", None, {}, 5",
    ", None, {}, {'a': weight}", ", None, {}, {'a': float('inf')}", ", None, {}, {1: {2}}",
    ", None, {}, {}, -1", ", None, {}, {}, 0.5", ", None, {}, {}, 2 ** 80", ", trace=5",
)  # fmt: skip
_FILES = (
    "", "x = 1", "method = 5", "method = lambda: None", "def method(:", "1 / 0", "import nowhere",
    "import sys; sys.exit(0)", "raise BaseException('odd')", "raise ValueError('\\x1b[2J')",
    "\0", "x = " + "(" * 3000, "# -*- coding: nowhere -*-", "class method: values = 5",
)  # fmt: skip


def compare(bench: Bench) -> Case:
    """A cell, another file of the folder, or a method."""
    make = bench.rng.choice((_cell, _cell, _cell, _folder, _method, _method, _method))
    return make(bench)


def _words(bench: Bench, *methods: str) -> list[str]:
    fixed = ["compare", "--concept", "beagle", "--quick", "--out", "cmp", *bench.world.all]
    return [*fixed, *(methods or ("--methods", "merge,nothing"))]


def _cell(bench: Bench) -> Case:
    """A cell that may be made again, but not believed."""
    rng = bench.rng
    (path,) = (bench.copy("cmp", writable=True) / "cells").glob("merge-0-*.json")
    if rng.random() < 0.8:
        value, told = mutate_value(rng, json.loads(path.read_text(encoding="utf-8")))
        path.write_text(dump_json(value), encoding="utf-8", errors="surrogatepass")
    elif rng.random() < 0.5:
        data, told = mutate_bytes(rng, path.read_bytes())
        path.write_bytes(data)
    else:
        told = _instead(bench, path)
    return Case(f"compare, cell, {told}", _words(bench), names=["cells"])


def _folder(bench: Bench) -> Case:
    """Something of somebody else under the name of a file that is shown."""
    folder = bench.copy("cmp", writable=True)
    name = bench.rng.choice(("compare.json", "compare.json", "compare.csv", "compare-quality.png"))
    told = _instead(bench, folder / name)
    bad = name == "compare.json" and told != "a link to itself"
    return Case(f"compare, {name} is {told}", _words(bench), bad, [name])


def _instead(bench: Bench, path: Path) -> str:
    """Put something else in the place of a file.

    Returns:
        What it is.
    """
    path.unlink()
    ways: dict[str, Callable[[], object]] = {
        "a pipe": lambda: os.mkfifo(path),
        "a folder": path.mkdir,
        "a link to itself": lambda: path.symlink_to(path.name),
        "a link to a device": lambda: path.symlink_to("/dev/zero"),
        "terabytes": lambda: (path.touch(), os.truncate(path, 1 << 42)),
        "somebody's own": lambda: path.write_text('{"mine": 1}', encoding="utf-8"),
    }
    told = bench.rng.choice(list(ways))
    ways[told]()
    return told


def _method(bench: Bench) -> Case:
    """A method that does something wrong."""
    rng = bench.rng
    odd = rng.choice([text for text in NASTY if not set(text) & set("\0\n")])
    name = rng.choice(("mine.py", "mine.py", "mine.py", f"{odd}.py"))
    how = rng.random()
    if how < 0.5:
        told = rng.choice(_LINES)
        content = _METHOD.format(line=told, more="")
    elif how < 0.7:
        told = rng.choice(_MORE)
        content = _METHOD.format(line="", more=told)
    else:
        content = told = rng.choice(_FILES)
    path = bench.write(name, content)
    harmless = ("chdir", "trace=5", "weight.double()")
    bad = not any(word in told for word in harmless)
    words = _words(bench, "--method", str(path), *rng.choice(([], ["--methods", "nothing"])))
    # A row that says why there are no figures is an answer, as for methods by name.
    bad = bad and "--methods" not in words
    return Case(f"compare, method, {told[:60]}", words, bad, [path.name, path.stem])


KINDS = {"compare": compare}
