"""YAML from people: by `safe_load`, with the mistakes it lets pass refused."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from slsgu.errors import DataError


def read_yaml(path: Path, what: str) -> Any:
    """The content of a YAML file.

    Args:
        what: what the file is, for messages.

    Raises:
        DataError: the file is missing, is not YAML, or names a key twice in one mapping.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Strict)
    except FileNotFoundError:
        raise DataError(f"{what} file not found: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {what} file {path}: {error}") from None
    except RecursionError:
        raise DataError(f"{what} file {path} is nested too deeply") from None
    except _TwiceError as error:
        raise DataError(f"{what} file {path}: {error}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # 2001-99-99 is a ValueError
        raise DataError(f"{what} file {path} is not valid YAML: {error}") from None


class _TwiceError(Exception):
    """A key stands twice: YAML forbids it, PyYAML keeps the last without a word."""


class _Strict(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            first = lines.setdefault(key.value, line)
            if first != line:
                raise _TwiceError(f"{key.value!r} stands in line {first} and again in line {line}")
        return super().construct_mapping(node, deep=deep)
