"""The methods of unlearning that are run by name, one file each or one for each family.

A method goes from a task to an edit (`slsgu.search.method.Method`); `slsgu.run_method` holds the
edit to the goal and measures it on images that the method has not seen. One that has a knob is
`Tunable`, and `slsgu compare` turns it on the search split.
"""

from __future__ import annotations

from slsgu.baselines.ascent import GA, GA_KL, GDIFF
from slsgu.baselines.bounded import NHL_KL, NHL_KL_CODE, NPO_KL
from slsgu.baselines.ccup import ccup
from slsgu.baselines.controls import RandomDirection, RandomLayer, last_layer, nothing
from slsgu.baselines.dampening import SSD
from slsgu.baselines.fine_tuning import FT, GAFT, SALUN_FT, TASK_VECTOR
from slsgu.baselines.merge import merge
from slsgu.baselines.relabelling import ME_GD, RELABEL, SALUN
from slsgu.baselines.single_gradient import PAPER, REMOVE, SUPPRESS
from slsgu.baselines.text_merge import text_merge
from slsgu.search.method import Method

METHODS: dict[str, Method] = {
    "slsgu": REMOVE,
    "slsgu-suppress": SUPPRESS,
    "merge": merge,
    "text-merge": text_merge,
    "slug": PAPER,
    "nhl-kl": NHL_KL,
    "nhl-kl-code": NHL_KL_CODE,
    "npo-kl": NPO_KL,
    "ga-kl": GA_KL,
    "gdiff": GDIFF,
    "ga": GA,
    "relabel": RELABEL,
    "salun": SALUN,
    "me-gd": ME_GD,
    "task-vector": TASK_VECTOR,
    "ft": FT,
    "gaft": GAFT,
    "salun-ft": SALUN_FT,
    "ssd": SSD,
    "ccup": ccup,
    "last-layer": last_layer,
    "random-layer": RandomLayer(),
    "random-direction": RandomDirection(),
    "nothing": nothing,
}

OURS = frozenset({"slsgu", "slsgu-suppress", "merge", "text-merge"})
CONTROLS = frozenset({"last-layer", "random-layer", "random-direction", "nothing"})
