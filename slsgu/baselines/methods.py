"""The methods of unlearning that are run by name, one file each.

A method goes from a task to an edit (`slsgu.search.method.Method`); `slsgu.run_method` holds the
edit to the goal and measures it on images that the method has not seen.
"""

from __future__ import annotations

from slsgu.baselines.ccup import ccup
from slsgu.baselines.merge import merge
from slsgu.baselines.text_merge import text_merge
from slsgu.search.method import Method

METHODS: dict[str, Method] = {
    "merge": merge,
    "text-merge": text_merge,
    "ccup": ccup,
}
