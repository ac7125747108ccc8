"""Data sets: built-in names, IDX directories, ``.npz``, CSV, TSV and Parquet. One reader a file."""

from __future__ import annotations

from shrinkage.data.builtin import BUILT_IN
from shrinkage.data.dataset import Dataset, Task, split_test
from shrinkage.data.load import load_data
from shrinkage.data.missing import Missing

__all__ = ["BUILT_IN", "Dataset", "Missing", "Task", "load_data", "split_test"]
