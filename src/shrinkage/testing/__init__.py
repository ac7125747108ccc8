"""The laws of penalties and constraints, as checks for your own ones too."""

from shrinkage.testing.penalty_laws import check_penalty

__all__ = ["check_penalty"]
