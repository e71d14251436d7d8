"""A page needs nothing that draws: a report of texts alone must not wait for it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "draws"), [("slsgu.report.text", False), ("slsgu.report.html", True)]
)
def test_the_report_without_pictures_loads_nothing_that_draws(module: str, draws: bool) -> None:
    code = f"import sys, {module}; print('matplotlib' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(draws)
