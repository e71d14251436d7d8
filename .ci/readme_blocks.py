"""Run the README's own code blocks, so that they cannot rot.

A fenced block in `sh` or `python` is run in an empty folder, in order, in one environment. A block
whose line above is an HTML comment `<!-- skip: REASON -->` is not run; the reason is printed.
`<!-- test-install -->` marks the line that installs and passes the tests: CI installs with all of
it but the last command.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^\n]*?) -->\n)?```(?P<language>sh|python)\n(?P<code>.*?)```", re.DOTALL
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("readme", type=Path)
    parser.add_argument("--print-test-install", action="store_true")
    parser.add_argument("--run", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    blocks = list(BLOCK.finditer(arguments.readme.read_text()))
    if arguments.print_test_install:
        marked = [block for block in blocks if block["note"] == "test-install"]
        assert len(marked) == 1, "one block of the README must be marked test-install"
        print(marked[0]["code"].rpartition("&&")[0].strip())
        return
    arguments.run.mkdir(parents=True)
    for block in blocks:
        note, code = block["note"] or "", block["code"]
        title = code.strip().splitlines()[0]
        if note.startswith("skip:") or note == "test-install":
            print(f"-- skipped ({note}): {title}")
            continue
        print(f"-- {title}")
        command = ["bash", "-euo", "pipefail", "-c", code]
        if block["language"] == "python":
            command = [sys.executable, "-c", code]
        subprocess.run(command, cwd=arguments.run, check=True)


if __name__ == "__main__":
    main()
