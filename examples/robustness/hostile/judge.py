"""What was wrong with an answer. Each finding is of one class; a good answer has none."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from hostile.case import Bench, Case
from hostile.running import Answer

CLASSES = {
    "traceback": "tracebacks",
    "execution": "executions",
    "hang": "hangs",
    "silent": "silent acceptances",
    "control": "control sequences",
    "exit": "wrong exit codes",
    "wordless": "refusals without a word",
    "unnamed": "errors that name nothing",
    "stray": "strays",
    "changed": "changed inputs",
}

# What makes a terminal do something, or shows text in another order than it is in.
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# What a stream leaves out whole: colours and other sequences that begin with an escape.
SEQUENCE = re.compile("\x1b\\[[0-9;]*[A-Za-z]")
# Words that say that something was left out, or was not as expected.
WARNED = re.compile(
    r"warning|note:|skipped|left out|can ?not be read|damaged|ignored|no longer|not reused", re.I
)


def judge(
    case: Case, bench: Bench, answer: Answer, before: Mapping[str, str]
) -> list[tuple[str, str]]:
    """The findings: a class, and what was seen.

    Args:
        before: `state` of the inputs, as it was before the command ran.
    """
    return list(_findings(case, bench, answer, before))


def _findings(
    case: Case, bench: Bench, answer: Answer, before: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    if bench.canary.exists():
        yield "execution", "code of the input ran"
    if answer.hang:
        yield "hang", f"no answer after {answer.seconds:.0f} s"
    elif answer.crash:
        yield "traceback", answer.crash.strip().splitlines()[-1][:200]
    elif answer.code not in case.codes:
        yield "exit", f"exit code {answer.code}"
    for name, text in (("stdout", answer.out), ("stderr", answer.err)):
        if found := CONTROL.search(text):
            around = text[max(0, found.start() - 30) : found.end() + 30]
            yield "control", f"{found[0]!a} on {name}: {around!a}"
    refused = answer.code > 0 and not answer.crash and not answer.hang
    if refused and case.shell is None:
        if not answer.err.strip():
            yield "wordless", f"exit code {answer.code}, and nothing on stderr"
        elif case.names and not any(shown(n) in shown(answer.err) for n in case.names):
            yield "unnamed", answer.err.strip().splitlines()[-1][:200]
    if case.bad and answer.code == 0 and not WARNED.search(answer.err):
        yield "silent", "accepted without a warning"
    if strays := sorted(p.name for p in bench.folder.rglob("*.part")):
        yield "stray", strays[0]
    elif left := sorted(p.name for p in (bench.folder / "tmp").glob("*")):
        yield "stray", f"in the folder for temporary files: {left[0]}"
    after = state(bench.inputs)
    if changed := sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n)):
        yield "changed", ascii(changed[0])


def shown(name: str) -> str:
    """A name as an error shows it, in small letters: without what a terminal would obey, and as a
    path with single slashes."""
    return re.sub("//+", "/", CONTROL.sub("\ufffd", SEQUENCE.sub("", name))).casefold()


def state(folder: Path) -> dict[str, str]:
    """A hash of every regular file below a folder, and the kind of everything else."""
    found = {}
    for parent, folders, files in os.walk(os.fsencode(folder)):
        for name in (*folders, *files):
            path = os.path.join(parent, name)  # noqa: PTH118 - bytes, for names of any kind
            mode = os.lstat(path).st_mode
            size = os.lstat(path).st_size
            value = f"{stat.S_IFMT(mode):o}"
            if stat.S_ISREG(mode):
                if size <= 64 << 20:
                    with open(path, "rb") as file:  # noqa: PTH123
                        value += hashlib.file_digest(file, "sha256").hexdigest()
                else:
                    value += str(size)
            found[os.fsdecode(path)] = value
    return found
