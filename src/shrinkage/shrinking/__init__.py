"""A smaller dense model from a sparse one."""

from shrinkage.shrinking.shrink import shrink
from shrinkage.shrinking.shrunk import Shrunk

__all__ = ["Shrunk", "shrink"]
