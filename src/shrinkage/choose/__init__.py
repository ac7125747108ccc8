"""Decisions from a path: which strength, whether the penalty helped, and how much is noise."""

from shrinkage.choose.choices import Choice, minimum, one_standard_error, paired_one_standard_error
from shrinkage.choose.held_out import STILL_LEARNING, Curve, LastEpochs, curve, last_epochs, measure
from shrinkage.choose.judgment import Verdict, verdict
from shrinkage.choose.scatter import Noise, noise

__all__ = [
    "STILL_LEARNING",
    "Choice",
    "Curve",
    "LastEpochs",
    "Noise",
    "Verdict",
    "curve",
    "last_epochs",
    "measure",
    "minimum",
    "noise",
    "one_standard_error",
    "paired_one_standard_error",
    "verdict",
]
