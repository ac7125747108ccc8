"""One model trained well: validation, early stopping, checkpoints, bitwise resume."""

from shrinkage.training.loop import Moment
from shrinkage.training.train import Trained, train

__all__ = ["Moment", "Trained", "train"]
