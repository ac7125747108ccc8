"""Regularization for PyTorch: add a penalty, tune its strength, see whether it helped."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from shrinkage._version import __version__ as __version__

if TYPE_CHECKING:  # a name imported as itself is public
    from shrinkage.choose import minimum as minimum
    from shrinkage.choose import noise as noise
    from shrinkage.choose import one_standard_error as one_standard_error
    from shrinkage.choose import paired_one_standard_error as paired_one_standard_error
    from shrinkage.choose import verdict as verdict
    from shrinkage.comparing.compare import compare as compare
    from shrinkage.comparing.comparison import Comparison as Comparison
    from shrinkage.constraints import Constraint as Constraint
    from shrinkage.constraints import MaxNorm as MaxNorm
    from shrinkage.constraints import NonNegative as NonNegative
    from shrinkage.constraints import UnitNorm as UnitNorm
    from shrinkage.engine.fit_path import fit_path as fit_path
    from shrinkage.errors import ShrinkageError as ShrinkageError
    from shrinkage.errors import ShrinkageWarning as ShrinkageWarning
    from shrinkage.estimators.paths import PathClassifier as PathClassifier
    from shrinkage.estimators.paths import PathRegressor as PathRegressor
    from shrinkage.parameters import everything as everything
    from shrinkage.parameters import weights as weights
    from shrinkage.penalties import L1 as L1
    from shrinkage.penalties import L2 as L2
    from shrinkage.penalties import MCP as MCP
    from shrinkage.penalties import SCAD as SCAD
    from shrinkage.penalties import ElasticNet as ElasticNet
    from shrinkage.penalties import GroupLasso as GroupLasso
    from shrinkage.penalties import NuclearNorm as NuclearNorm
    from shrinkage.penalties import Orthogonal as Orthogonal
    from shrinkage.penalties import Penalty as Penalty
    from shrinkage.penalties import SparseGroupLasso as SparseGroupLasso
    from shrinkage.penalties import SpectralNorm as SpectralNorm
    from shrinkage.penalties import Sum as Sum
    from shrinkage.regularizing.activity import activity as activity
    from shrinkage.regularizing.regularize import regularize as regularize
    from shrinkage.result.path_result import PathResult as PathResult
    from shrinkage.shrinking import Shrunk as Shrunk
    from shrinkage.shrinking import shrink as shrink
    from shrinkage.training.train import Trained as Trained
    from shrinkage.training.train import train as train

_LOADED_ON_USE = {
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
    "regularizing": ("activity", "regularize"),
    "result": ("PathResult",),
    "shrinking": ("Shrunk", "shrink"),
    "training": ("Trained", "train"),
}

_PUBLIC = [name for names in _LOADED_ON_USE.values() for name in names]

if not TYPE_CHECKING:  # a computed list would hide the names from type checkers
    __all__ = [name for name in _PUBLIC if name not in _LOADED_ON_USE["estimators"]]


def __getattr__(name: str) -> object:
    """Import a public name, and with it torch, when it is first used."""
    for module, names in _LOADED_ON_USE.items():
        if name in names:
            value: object = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
