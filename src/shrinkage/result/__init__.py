"""What a path measured, and how it is kept."""

from shrinkage.result.path_result import PathResult
from shrinkage.result.refit import Refit

__all__ = ["PathResult", "Refit"]
