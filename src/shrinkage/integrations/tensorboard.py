"""The curves of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shrinkage.errors import ShrinkageError
from shrinkage.training import Moment


@contextmanager
def tensorboard(
    directory: Path, progress: Callable[[Moment], None]
) -> Iterator[Callable[[Moment], None]]:
    """Yield a progress that also logs every finished epoch.

    Raises:
        ShrinkageError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ShrinkageError(
            "TensorBoard is not installed: pip install 'shrinkage[tensorboard]', or leave out "
            "--tensorboard."
        ) from error
    writer = SummaryWriter(str(directory))

    def report(moment: Moment) -> None:
        progress(moment)
        if moment.step == 0:
            row = moment.curves[-1]
            for name, value in row.items():
                if name != "epoch":
                    writer.add_scalar(name, value, int(row["epoch"]))

    try:
        yield report
    finally:
        writer.close()
