"""The tidy table of a result: plain rows, one per point, fold, seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor


def table(
    point: Mapping[str, Tensor],
    seeds: Sequence[int],
    train_loss: Tensor,
    valid_loss: Tensor,
    refit_train_loss: Tensor | None,
) -> Iterator[dict[str, float | int | str | None]]:
    """Yield the rows.

    Args:
        point: Strength and knobs by name, each (K,).
        seeds: The S seeds.
        train_loss: (K, F, S, E).
        valid_loss: (K, F, S, E).
        refit_train_loss: (K, S, E), shown as fold "all", or None.
    """
    folds: list[int | str] = [*range(train_loss.shape[1])]
    if refit_train_loss is not None:
        folds.append("all")
        train_loss = torch.cat([train_loss, refit_train_loss.unsqueeze(1)], dim=1)
    losses, valid = train_loss.tolist(), valid_loss.tolist()
    settings = {name: values.tolist() for name, values in point.items()}
    for k in range(len(losses)):
        own = {name: values[k] for name, values in settings.items()}
        for f, fold in enumerate(folds):
            for s, seed in enumerate(seeds):
                for epoch, loss in enumerate(losses[k][f][s]):
                    yield {
                        **own,
                        "fold": fold,
                        "seed": seed,
                        "epoch": epoch + 1,
                        "train_loss": loss,
                        "valid_loss": None if fold == "all" else valid[k][f][s][epoch],
                    }
