"""Ways to regularize, tuned alike and judged on rows that none of them has seen."""

from shrinkage.comparing.compare import compare
from shrinkage.comparing.comparison import CONFIDENCE, Comparison, Interval, Row
from shrinkage.comparing.contender import Contender
from shrinkage.comparing.saved import NAMES

__all__ = ["CONFIDENCE", "NAMES", "Comparison", "Contender", "Interval", "Row", "compare"]
