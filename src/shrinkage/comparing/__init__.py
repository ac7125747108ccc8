"""Ways to regularize, tuned alike and judged on rows that none of them has seen."""

from shrinkage.comparing.compare import compare
from shrinkage.comparing.comparison import Comparison, Interval, Row
from shrinkage.comparing.contender import Contender

__all__ = ["Comparison", "Contender", "Interval", "Row", "compare"]
