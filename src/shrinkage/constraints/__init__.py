"""The constraints, one file each."""

from shrinkage.constraints.base import Constraint
from shrinkage.constraints.max_norm import MaxNorm
from shrinkage.constraints.non_negative import NonNegative
from shrinkage.constraints.unit_norm import UnitNorm

__all__ = ["Constraint", "MaxNorm", "NonNegative", "UnitNorm"]
