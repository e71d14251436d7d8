"""`slsgu --help` answers within 0.3 s and imports no torch. Best of five, for noisy machines."""

import subprocess
import sys
import time
from pathlib import Path

LIMIT = 0.3

command = [str(Path(sys.executable).with_name("slsgu")), "--help"]
times = []
for _ in range(5):
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    times.append(time.perf_counter() - start)
print(f"slsgu --help: {min(times):.3f} s (limit {LIMIT} s)")
listing = subprocess.run(
    [sys.executable, "-X", "importtime", command[0], "--help"],
    check=True,
    capture_output=True,
    text=True,
).stderr
heavy = [name for name in ("torch", "open_clip", "numpy", "matplotlib") if f" {name}\n" in listing]
if min(times) > LIMIT or heavy:
    sys.exit(f"too slow, or imports {heavy}")
