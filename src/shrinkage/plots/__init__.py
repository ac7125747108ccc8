"""Figures from results: one display a file, drawn when asked; Matplotlib is loaded by the first."""

from shrinkage.plots.comparison import ComparisonDisplay, Difference, plot_comparison
from shrinkage.plots.cv import CVDisplay, plot_cv
from shrinkage.plots.learning_curves import LearningCurvesDisplay, plot_learning_curves
from shrinkage.plots.path import PathDisplay, plot_path, save_figures
from shrinkage.plots.penalty import PenaltyDisplay, plot_penalty
from shrinkage.plots.weights import WeightsDisplay, plot_weights

__all__ = [
    "CVDisplay",
    "ComparisonDisplay",
    "Difference",
    "LearningCurvesDisplay",
    "PathDisplay",
    "PenaltyDisplay",
    "WeightsDisplay",
    "plot_comparison",
    "plot_cv",
    "plot_learning_curves",
    "plot_path",
    "plot_penalty",
    "plot_weights",
    "save_figures",
]
