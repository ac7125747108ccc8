"""The penalties, one file each."""

from shrinkage.penalties.base import Penalty, catalogue
from shrinkage.penalties.elastic_net import ElasticNet
from shrinkage.penalties.group_lasso import GroupLasso
from shrinkage.penalties.l1 import L1
from shrinkage.penalties.l2 import L2
from shrinkage.penalties.mcp import MCP
from shrinkage.penalties.nuclear_norm import NuclearNorm
from shrinkage.penalties.orthogonal import Orthogonal
from shrinkage.penalties.scad import SCAD
from shrinkage.penalties.sparse_group_lasso import SparseGroupLasso
from shrinkage.penalties.spectral_norm import SpectralNorm
from shrinkage.penalties.sum import Sum

__all__ = [
    "L1",
    "L2",
    "MCP",
    "SCAD",
    "ElasticNet",
    "GroupLasso",
    "NuclearNorm",
    "Orthogonal",
    "Penalty",
    "SparseGroupLasso",
    "SpectralNorm",
    "Sum",
    "catalogue",
]
