"""Regularization for PyTorch: add a penalty, tune its strength, see whether it helped."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shrinkage.activity import activity
    from shrinkage.choose import (
        minimum,
        noise,
        one_standard_error,
        paired_one_standard_error,
        verdict,
    )
    from shrinkage.comparing.compare import compare
    from shrinkage.comparing.comparison import Comparison
    from shrinkage.constraints import Constraint, MaxNorm, NonNegative, UnitNorm
    from shrinkage.engine.fit_path import fit_path
    from shrinkage.errors import ShrinkageError, ShrinkageWarning
    from shrinkage.estimators import PathClassifier as PathClassifier
    from shrinkage.estimators import PathRegressor as PathRegressor
    from shrinkage.parameters import everything, weights
    from shrinkage.penalties import (
        L1,
        L2,
        MCP,
        SCAD,
        ElasticNet,
        GroupLasso,
        NuclearNorm,
        Orthogonal,
        Penalty,
        SparseGroupLasso,
        SpectralNorm,
        Sum,
    )
    from shrinkage.regularize import regularize
    from shrinkage.result import PathResult
    from shrinkage.shrinking import Shrunk, shrink
    from shrinkage.training.train import Trained, train

__version__ = "0.1.0"

__all__ = [
    "L1",
    "L2",
    "MCP",
    "SCAD",
    "Comparison",
    "Constraint",
    "ElasticNet",
    "GroupLasso",
    "MaxNorm",
    "NonNegative",
    "NuclearNorm",
    "Orthogonal",
    "PathResult",
    "Penalty",
    "ShrinkageError",
    "ShrinkageWarning",
    "Shrunk",
    "SparseGroupLasso",
    "SpectralNorm",
    "Sum",
    "Trained",
    "UnitNorm",
    "activity",
    "compare",
    "everything",
    "fit_path",
    "minimum",
    "noise",
    "one_standard_error",
    "paired_one_standard_error",
    "regularize",
    "shrink",
    "train",
    "verdict",
    "weights",
]

_LOADED_ON_USE = {
    "activity": ("activity",),
    "choose": ("minimum", "noise", "one_standard_error", "paired_one_standard_error", "verdict"),
    "comparing": ("Comparison", "compare"),
    "constraints": ("Constraint", "MaxNorm", "NonNegative", "UnitNorm"),
    "engine": ("fit_path",),
    "errors": ("ShrinkageError", "ShrinkageWarning"),
    "estimators": ("PathClassifier", "PathRegressor"),  # with scikit-learn: not for `import *`
    "parameters": ("everything", "weights"),
    "penalties": (
        "L1",
        "L2",
        "MCP",
        "SCAD",
        "ElasticNet",
        "GroupLasso",
        "NuclearNorm",
        "Orthogonal",
        "Penalty",
        "SparseGroupLasso",
        "SpectralNorm",
        "Sum",
    ),
    "regularize": ("regularize",),
    "result": ("PathResult",),
    "shrinking": ("Shrunk", "shrink"),
    "training": ("Trained", "train"),
}


def __getattr__(name: str) -> object:
    """Import a public name, and with it torch, when it is first used."""
    for module, names in _LOADED_ON_USE.items():
        if name in names:
            value: object = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(name for names in _LOADED_ON_USE.values() for name in names)})


class _Package(ModuleType):
    """Keeps public names theirs: importing ``regularize.py`` would bind the file to its name."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
