"""The rooms: imports run one way, from the ground up, and no two files import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# From the ground up. Rooms of one storey do not know each other.
STOREYS = (
    {"errors", "version"},
    {"utils"},
    {"concepts"},
    {"menagerie", "photographs"},
    {"data", "models"},
    {"patch", "losses", "direction"},
    {"task"},
    {"gradients", "evaluation", "interop"},
    {"search"},
    {"baselines"},
    {"audit"},
    {"pipeline"},
    {"compare"},
    {"report"},
    {"cli"},
)
STOREY = {room: number for number, rooms in enumerate(STOREYS) for room in rooms}
OF_FACE = STOREY["report"]  # only the command line may take a name from `slsgu` itself
# The two that stand above all rooms and only hand names on.
FACE = {"slsgu/__init__.py", "slsgu/__main__.py"}
LONGEST_FILE, LONGEST_FUNCTION = 300, 60


def sources() -> dict[str, str]:
    """Every file of the library and of the command line, by path."""
    files = [p for folder in ("slsgu", "cli") for p in (ROOT / folder).rglob("*.py")]
    return {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in files}


def room_of(path: str) -> str:
    parts = path.removesuffix(".py").split("/")
    return "cli" if parts[0] == "cli" else parts[1]


def imported(path: str, text: str) -> Iterator[str]:
    """The modules of slsgu that a file imports, wherever in it, also for types alone."""
    for node in ast.walk(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.Call):
            names = named_import(node)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:  # one dot is the folder of the file, each further one a step up
                above = module_of(path.rpartition("/")[0]).split(".")
                base = above[: len(above) + 1 - node.level]
                module = ".".join([*base, module] if module else base)
            names = [module, *(f"{module}.{a.name}" for a in node.names)]
        for name in names:
            if name.split(".")[0] == "cli":  # by which the command line goes in a checkout
                name = f"slsgu.{name}"
            if name.split(".")[0] == "slsgu":
                yield name


def named_import(call: ast.Call) -> list[str]:
    """The module that `importlib.import_module("...")` or `__import__("...")` imports."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    first = call.args[0] if call.args else None
    if name not in ("import_module", "__import__") or not isinstance(first, ast.Constant):
        return []
    return [str(first.value)]


def module_of(path: str) -> str:
    """The name that a file or a folder is imported by."""
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name if name.split(".")[0] == "slsgu" else f"slsgu.{name}"


def modules(files: Iterable[str]) -> dict[str, str]:
    """Paths by the name that they are imported by."""
    return {module_of(path): path for path in files}


def wrong_ways(files: Mapping[str, str]) -> list[str]:
    """Imports that do not run downwards."""
    found = []
    for path, text in files.items():
        if path in FACE:
            continue
        for name in imported(path, text):
            room = name.split(".")[1] if "." in name else ""
            storey = STOREY.get(room, OF_FACE)
            if room != room_of(path) and storey >= STOREY[room_of(path)]:
                found.append(f"{path} imports {name}")
    return sorted(set(found))


def circles(files: Mapping[str, str]) -> list[str]:
    """Files that are reached from themselves."""
    homes = modules(files)
    below = {
        path: {homes[name] for name in imported(path, text) if name in homes} - {path}
        for path, text in files.items()
        if path not in FACE
    }

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for path in below.get(todo.pop(), set()) - seen - FACE:
                seen.add(path)
                todo.append(path)
        return seen

    return [path for path in below if path in reached(path)]


# What the controls add a file to: their outcome does not hang on what the real files import.
PLAIN = {
    "slsgu/losses/__init__.py": "",
    "slsgu/task/plan.py": "from slsgu.losses import forget",
    "slsgu/report/html.py": "from slsgu.task.plan import Plan",
    "cli/apply.py": "from slsgu.report.html import html",
}


def test_the_controls_start_from_files_without_fault() -> None:
    assert wrong_ways(PLAIN) == circles(PLAIN) == []


def test_every_room_has_its_place() -> None:
    assert {room_of(path) for path in sources() if path not in FACE} <= STOREY.keys()


def test_imports_run_downwards() -> None:
    assert wrong_ways(sources()) == []


def test_no_two_files_import_each_other() -> None:
    assert circles(sources()) == []


@pytest.mark.parametrize(
    "line",
    [
        "from slsgu.task.plan import Plan",
        "import slsgu.cli",
        "def later():\n    from slsgu.report.html import html",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from slsgu import pipeline",
        "from slsgu import unlearn",
        "import slsgu",
        "from cli.apply import apply",
        "from ..pipeline import run",
        "from .. import pipeline",
        "import importlib\nimportlib.import_module('slsgu.pipeline.run')",
        "from importlib import import_module\nimport_module('slsgu.pipeline')",
        "__import__('slsgu.pipeline')",
    ],
)
def test_an_import_upwards_is_noticed(line: str) -> None:
    """Control: at the top of a file, in a function, for types alone, by a name in quotes."""
    files = {**PLAIN, "slsgu/losses/new.py": line}
    assert len(wrong_ways(files)) >= 1
    assert all(each.startswith("slsgu/losses/new.py imports") for each in wrong_ways(files))


def test_rooms_of_one_storey_do_not_know_each_other() -> None:
    files = {"slsgu/losses/new.py": "from slsgu.direction.kfac import KroneckerFisher"}
    assert wrong_ways(files)
    below = {"slsgu/losses/new.py": "from slsgu.data.samples import Sample"}
    assert not wrong_ways(below)  # control


def test_a_circle_is_noticed() -> None:
    files = {
        "slsgu/utils/one.py": "from slsgu.utils.two import a",
        "slsgu/utils/two.py": "from slsgu.utils import three",
        "slsgu/utils/three.py": "def late():\n    from slsgu.utils.one import b",
    }
    assert circles(files) == list(files)
    assert circles({**files, "slsgu/utils/three.py": ""}) == []  # control
    relative = {"cli/a.py": "from .b import x", "cli/b.py": "from . import a"}
    assert circles(relative) == ["cli/a.py", "cli/b.py"]


def test_the_report_is_known_to_the_command_line_alone() -> None:
    users = {
        path
        for path, text in sources().items()
        if room_of(path) != "report"
        and any(n.startswith("slsgu.report.html") for n in imported(path, text))
    }
    assert users - FACE and all(path.startswith("cli/") for path in users - FACE)


# -- size -------------------------------------------------------------------------------------


def short_ones() -> dict[str, str]:
    """Files that are to be short, by path: all but tests, which are as long as they have to be."""
    found = [p for folder in ("examples", "tests/helpers") for p in (ROOT / folder).rglob("*.py")]
    found += [p for kind in ("*.j2", "*.css") for p in (ROOT / "slsgu").rglob(kind)]
    texts = {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in found}
    return {**sources(), **texts}


# Each with the reason why it may be longer.
LONG_FILES: dict[str, str] = {
    "slsgu/menagerie/canvas.py": "one small drawing language; its parts mean nothing apart",
}
ONE_PICTURE = "paints one picture from back to front; drawings are fixed to the bit"
LONG_FUNCTIONS: dict[str, str] = {
    "slsgu/menagerie/kinds/birds.py:bird": ONE_PICTURE,
    "slsgu/menagerie/kinds/cats.py:head": ONE_PICTURE,
    "slsgu/menagerie/kinds/fish.py:draw_fish": ONE_PICTURE,
}


def long_functions(path: str, text: str) -> dict[str, int]:
    """Functions of more than `LONGEST_FUNCTION` lines, without their docstrings."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = node.body[0]
            is_text = isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
            docstring = (doc.end_lineno or 0) - doc.lineno + 1 if is_text else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
            if lines > LONGEST_FUNCTION:
                found[f"{path}:{node.name}"] = lines
    return found


def test_files_are_short() -> None:
    lengths = {path: text.count("\n") for path, text in short_ones().items()}
    long = {path for path, lines in lengths.items() if lines > LONGEST_FILE}
    assert long == set(LONG_FILES), {path: lengths[path] for path in long ^ set(LONG_FILES)}


def test_functions_are_short() -> None:
    found: dict[str, int] = {}
    for path, text in short_ones().items():
        if path.endswith(".py"):
            found |= long_functions(path, text)
    assert set(found) == set(LONG_FUNCTIONS), found


def test_the_sizes_of_examples_helpers_and_templates_are_looked_at() -> None:
    assert short_ones().keys() > sources().keys()
    assert {"examples/extending.py", "tests/helpers/results.py", "slsgu/report/report.html.j2"} < {
        *short_ones()
    }
    assert "tests/docs/test_rooms.py" not in short_ones()  # control: a test may be long


def test_a_long_function_is_noticed() -> None:
    body = "".join(f"    x{i} = {i}\n" for i in range(LONGEST_FUNCTION))
    for word in ("def", "async def"):
        longer = f"{word} f():\n{body}"
        assert long_functions("f.py", longer) == {"f.py:f": LONGEST_FUNCTION + 1}
    shorter = body.replace("    x0 = 0\n", "")
    documented = f'def f():\n    """One."""\n{shorter}'
    assert not long_functions("f.py", documented)  # control: the docstring does not count
