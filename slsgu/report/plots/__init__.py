"""The figures: which layers matter, accuracy against step size, similarity, levels.

Each function draws on the axes it is given and returns them; whoever owns the figure saves it.
Figures are matplotlib's own, made without pyplot, so no display is needed.
"""

from slsgu.report.plots.pareto import pareto, pareto_figure, save_pareto
from slsgu.report.plots.results import curve, curve_legend, levels, similar_classes, similarity

__all__ = [
    "curve",
    "curve_legend",
    "levels",
    "pareto",
    "pareto_figure",
    "save_pareto",
    "similar_classes",
    "similarity",
]
