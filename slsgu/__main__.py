"""`python -m slsgu`, the same as the `slsgu` command."""

import os
import sys

# `python -m` looks for every module in the working directory first, where a stranger's files may
# lie; the command does not. A checkout that slsgu itself is run from stays.
if not sys.flags.safe_path and not __file__.startswith(os.path.join(sys.path[0], "")):  # noqa: PTH118
    del sys.path[0]

from slsgu.cli import main

if __name__ == "__main__":
    main()
