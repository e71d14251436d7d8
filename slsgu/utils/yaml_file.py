"""YAML from people: by `safe_load`, with the mistakes it lets pass refused."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from slsgu.errors import DataError
from slsgu.utils.reading import read_text

MOST = 4 << 20  # bytes; the taxonomy of ImageNet has 0.2 million
MOST_ENTRIES = 1_000_000  # with aliases written out: a few lines can claim billions
MOST_BITS = 1024  # of a number: about 300 digits


def read_yaml(path: Path, what: str, *, if_missing: str = "") -> Any:
    """The content of a YAML file. A number that YAML would show in another way than it is written
    is text, as it stands there (0777 is not 511, 1:30 not 90), and so are dates.

    Args:
        what: what the file is, for messages.
        if_missing: ends the message where there is no such file.

    Raises:
        DataError: the file is missing, is not YAML, or names a key twice in one mapping.
    """
    return _read(path, what, _Strict, if_missing)


def read_with_lines(path: Path, what: str) -> list[tuple[Any, Any, int]]:
    """The keys, values and lines of a YAML file that holds one mapping. Numbers and dates are text
    as it stands there: to YAML, 0123 is 83 and 12:30 is 750.

    Raises:
        DataError: as `read_yaml`, or the file holds something else.
    """
    entries: Any = _read(path, what, _WithLines)
    if not isinstance(entries, list):
        raise DataError(f"{what} file {path} must hold a mapping, `key: value` in each line")
    return entries


def _read(path: Path, what: str, loader: type[yaml.SafeLoader], if_missing: str = "") -> Any:
    try:
        content = read_text(path, f"{what} file", limit=MOST, error=DataError)
    except DataError as error:
        if isinstance(error.__context__, FileNotFoundError):
            raise DataError(f"{error}{if_missing}") from None
        raise
    try:
        return yaml.load(content, Loader=loader)  # a SafeLoader
    except RecursionError:
        raise DataError(f"{what} file {path} is nested too deeply") from None
    except (_TwiceError, _EndlessError) as error:
        raise DataError(f"{what} file {path}: {error}") from None
    except (
        yaml.YAMLError, ValueError, OverflowError, LookupError, TypeError, AttributeError
    ) as error:  # fmt: skip
        # Of PyYAML's own: 2001-99-99 is a ValueError to it, an empty !!float an IndexError, and
        # a !!timestamp that is none an AttributeError.
        raise DataError(f"{what} file {path} is not valid YAML: {_problem(error)}") from None


def _problem(error: Exception) -> str:
    """What PyYAML has to say, in a line: it draws the place below its own words."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    mark = error.problem_mark
    text = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    if error.problem == "mapping values are not allowed here":
        text += " (a value with a colon and a space in it needs quotes)"
    return text


class _TwiceError(Exception):
    """A key stands twice: YAML forbids it, PyYAML keeps the last without a word."""


class _EndlessError(Exception):
    """Aliases claim more than could ever be printed."""


def _refuse_endless(root: yaml.Node | None) -> None:
    """Raises:
    _EndlessError: a node contains itself, or there are too many with aliases written out.
    """
    sizes: dict[int, int] = {}  # by identity; 0 while what is inside is counted
    todo = [] if root is None else [root]
    while todo:
        node = todo[-1]
        inside: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inside = node.value
        elif isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        if id(node) not in sizes:
            sizes[id(node)] = 0
            for part in inside:
                if sizes.get(id(part)) == 0:
                    raise _EndlessError(
                        "an alias stands within what it stands for, which contains itself"
                    )
            todo += [part for part in inside if id(part) not in sizes]
            continue
        todo.pop()
        if sizes[id(node)] == 0:
            sizes[id(node)] = 1 + sum(sizes[id(part)] for part in inside)
            if sizes[id(node)] > MOST_ENTRIES:
                raise _EndlessError(f"its aliases stand for more than {MOST_ENTRIES:,} entries")


class _Strict(yaml.SafeLoader):
    def construct_yaml_int(self, node: Any) -> int | str:  # type: ignore[override]
        """A number, as long as it can be shown: Python prints no more than 4,300 digits."""
        value = int(super().construct_yaml_int(node))
        if value.bit_length() > MOST_BITS:
            problem = "this number is too long to be read"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value if str(value) == node.value else str(node.value)

    def construct_yaml_float(self, node: Any) -> float | str:  # type: ignore[override]
        value = float(super().construct_yaml_float(node))
        return value if str(value) == node.value else str(node.value)

    def construct_yaml_timestamp(self, node: Any) -> str:  # type: ignore[override]
        return str(node.value)

    def get_single_node(self) -> Any:
        """The whole document before anything is built, since merge keys (`<<`) repeat on purpose
        what they override, and are resolved while building."""
        root = super().get_single_node()
        _refuse_endless(root)
        visited: set[int] = set()
        todo = [root]
        while todo:
            node = todo.pop()
            if id(node) in visited:  # an alias of YAML
                continue
            visited.add(id(node))
            if isinstance(node, yaml.MappingNode):
                self._refuse_repeats(node)
                todo += [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                todo += node.value
        return root

    def _refuse_repeats(self, node: yaml.MappingNode) -> None:
        lines: dict[Hashable, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            same: Hashable = self.construct_object(key)  # a and 'a' are one key
            if same in lines:
                first = lines[same]
                where = f"in line {first} and again in line {line}"
                if first == line:
                    where = f"twice in line {line}"
                raise _TwiceError(f"{key.value!r} is given {where}")
            lines[same] = line


_Strict.add_constructor("tag:yaml.org,2002:int", _Strict.construct_yaml_int)
_Strict.add_constructor("tag:yaml.org,2002:float", _Strict.construct_yaml_float)
_Strict.add_constructor("tag:yaml.org,2002:timestamp", _Strict.construct_yaml_timestamp)


class _WithLines(_Strict):
    yaml_constructors: ClassVar = {
        **_Strict.yaml_constructors,
        **dict.fromkeys(
            (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp")),
            yaml.constructor.SafeConstructor.construct_yaml_str,
        ),
    }

    def get_single_data(self) -> Any:
        root = self.get_single_node()
        if root is None:
            return []
        if not isinstance(root, yaml.MappingNode):
            return None
        self.flatten_mapping(root)
        return [
            (
                self.construct_object(key, deep=True),
                self.construct_object(value, deep=True),
                key.start_mark.line + 1,
            )
            for key, value in root.value
        ]
