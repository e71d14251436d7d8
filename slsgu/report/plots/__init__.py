"""The figures: which layers matter, accuracy against step size, similarity.

Each function draws on the axes it is given and returns them; whoever owns the figure saves it.
Figures are matplotlib's own, made without pyplot, so no display is needed.
"""

from slsgu.report.plots.curves import curves
from slsgu.report.plots.pareto import pareto, pareto_figure, save_pareto
from slsgu.report.plots.results import curve, similar_classes, similarity

__all__ = [
    "curve",
    "curves",
    "pareto",
    "pareto_figure",
    "save_pareto",
    "similar_classes",
    "similarity",
]
