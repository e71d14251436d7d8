"""Import every module of the installed package. A package that pyproject.toml does not list would
be missing in the wheel, and nothing in a checkout would notice."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def modules(checkout: Path) -> list[str]:
    """Names of all modules that the sources hold, as they are installed."""
    names = []
    for folder, package in (("slsgu", "slsgu"), ("cli", "slsgu.cli")):
        for path in sorted((checkout / folder).rglob("*.py")):
            parts = path.relative_to(checkout / folder).with_suffix("").parts
            if parts[-1] != "__main__":
                names.append(".".join([package, *(x for x in parts if x != "__init__")]))
    return names


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    names = modules(checkout)
    for name in names:
        file = importlib.import_module(name).__file__
        if file is None or checkout in Path(file).resolve().parents:
            raise SystemExit(f"{name} was not imported from the wheel but from {file}")
    print(f"{len(names)} modules imported from the wheel")


if __name__ == "__main__":
    main()
