"""YAML from people: by `safe_load`, with the mistakes it lets pass refused."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from slsgu.errors import DataError


def read_yaml(path: Path, what: str, *, if_missing: str = "") -> Any:
    """The content of a YAML file.

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
        return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # a SafeLoader
    except FileNotFoundError:
        raise DataError(f"{what} file not found: {path}{if_missing}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {what} file {path}: {error}") from None
    except RecursionError:
        raise DataError(f"{what} file {path} is nested too deeply") from None
    except _TwiceError as error:
        raise DataError(f"{what} file {path}: {error}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # 2001-99-99 is a ValueError
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


class _Strict(yaml.SafeLoader):
    def get_single_node(self) -> Any:
        """The whole document before anything is built, since merge keys (`<<`) repeat on purpose
        what they override, and are resolved while building."""
        root = super().get_single_node()
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
            same: Hashable = self.construct_object(key)  # 1 and 01 are one key
            if same in lines:
                first = lines[same]
                where = f"in line {first} and again in line {line}"
                if first == line:
                    where = f"twice in line {line}"
                raise _TwiceError(f"{key.value!r} is given {where}")
            lines[same] = line


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
