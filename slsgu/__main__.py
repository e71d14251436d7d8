"""`slsgu` and `python -m slsgu`. Signals are heeded from the first import on, and memory and
threads are settled before torch is loaded."""

import os
import sys

# `python -m` looks for every module in the working directory first, where a stranger's files may
# lie; the command does not. A checkout that slsgu itself is run from stays.
if __name__ == "__main__" and not sys.flags.safe_path:
    if not __file__.startswith(os.path.join(sys.path[0], "")):  # noqa: PTH118
        del sys.path[0]

from slsgu.utils.signals import INTERRUPTED, ignore, interrupts, status, tell_of_bus_errors


def run() -> None:
    """Run the command line."""
    try:
        _run()
    finally:
        ignore()


def _run() -> None:
    tell_of_bus_errors()
    with interrupts() as received:
        try:
            from slsgu.utils.surroundings import settle

            settle()
            from slsgu.cli import main

            main(prog_name="slsgu")
        except BaseException as error:
            if not received and not isinstance(error, KeyboardInterrupt):
                raise
            # Nothing has begun, or everything is over: where a command runs, it says this itself.
            if not isinstance(error, SystemExit):
                os.write(2, f"{INTERRUPTED}\n".encode())
            code = error.code if isinstance(error, SystemExit) else status(received)
            sys.exit(code)


if __name__ == "__main__":
    run()
