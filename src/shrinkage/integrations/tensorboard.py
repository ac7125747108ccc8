"""The curves of :func:`shrinkage.train` for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shrinkage.errors import ShrinkageError
from shrinkage.training import Moment

__all__ = ["tensorboard"]


@contextmanager
def tensorboard(
    directory: str | Path, progress: Callable[[Moment], None] | None = None
) -> Iterator[Callable[[Moment], None]]:
    """Log every finished epoch of a training: its losses, learning rate and accuracy.

    Args:
        directory: Where the events go, for ``tensorboard --logdir``. A training that resumes from
            a checkpoint goes on with the same curves.
        progress: Told all the same.

    Yields:
        What to give to :func:`shrinkage.train` as ``progress``.

    Raises:
        ShrinkageError: TensorBoard is not installed.

    Example:
        >>> from shrinkage.integrations.tensorboard import tensorboard
        >>> log = tensorboard("runs/mine")  # with log as progress: train(..., progress=progress)
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
        if progress is not None:
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
