"""A penalty or a constraint on any torch optimizer, and on what modules put out."""

from shrinkage.regularizing.activity import Activity, activity
from shrinkage.regularizing.handle import Regularization
from shrinkage.regularizing.regularize import regularize

__all__ = ["Activity", "Regularization", "activity", "regularize"]
