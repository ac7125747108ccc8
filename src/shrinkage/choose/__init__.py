"""Decisions from a path: which strength, whether the penalty helped, and how much is noise."""

from shrinkage.choose.held_out import Curve, curve, measure
from shrinkage.choose.judgment import Verdict, verdict
from shrinkage.choose.rules import Choice, minimum, one_standard_error, paired_one_standard_error
from shrinkage.choose.scatter import Noise, noise

__all__ = [
    "Choice",
    "Curve",
    "Noise",
    "Verdict",
    "curve",
    "measure",
    "minimum",
    "noise",
    "one_standard_error",
    "paired_one_standard_error",
    "verdict",
]
