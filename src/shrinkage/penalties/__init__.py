"""The penalties, one file each."""

from shrinkage.penalties.base import Penalty, catalogue
from shrinkage.penalties.elastic_net import ElasticNet
from shrinkage.penalties.group_lasso import GroupLasso
from shrinkage.penalties.l1 import L1
from shrinkage.penalties.l2 import L2

__all__ = ["L1", "L2", "ElasticNet", "GroupLasso", "Penalty", "catalogue"]
