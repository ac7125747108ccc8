"""One HTML file that says whether a penalty helped, and shows why; it fetches nothing."""

from __future__ import annotations

from pathlib import Path

from shrinkage.disk.files import atomic_write
from shrinkage.errors import ShrinkageError
from shrinkage.report.notebook import as_html as as_html
from shrinkage.report.page import render
from shrinkage.result.path_result import PathResult
from shrinkage.tensors.own_thread import one_thread


def write_report(result: PathResult, path: str | Path, *, overwrite: bool = False) -> None:
    """Write the report of a path; see :meth:`shrinkage.PathResult.report`."""
    path = Path(path)
    check_report(path, overwrite)
    with one_thread():
        page = render(result)
    with atomic_write(path) as stream:
        stream.write(page.encode())


def check_report(path: Path, overwrite: bool) -> None:
    """Refuse a place where no report can be written."""
    if path.is_dir():
        raise ShrinkageError(f"{path} is a directory. Name a file in it: {path / 'report.html'}.")
    if not path.parent.is_dir():
        raise ShrinkageError(f"there is no directory {path.parent}. Make it, or choose another.")
    if path.exists() and not overwrite:
        raise ShrinkageError(
            f"{path} is there already. Choose another file, or pass overwrite=True (--overwrite) "
            "to replace it."
        )
