"""The laws of penalties and constraints, as checks for your own ones too."""

from shrinkage.testing.constraint_laws import check_constraint
from shrinkage.testing.penalty_laws import check_penalty

__all__ = ["check_constraint", "check_penalty"]
