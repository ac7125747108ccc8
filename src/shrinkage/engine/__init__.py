"""The path engine: strengths x folds x seeds trained at once."""

from shrinkage.engine.fit_path import fit_path
from shrinkage.engine.plan.outcome import Progress

__all__ = ["Progress", "fit_path"]
