"""The directory of a training: what may be written there, and what is."""

from __future__ import annotations

import csv
import io
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from shrinkage.cli.places import draw
from shrinkage.disk.files import atomic_write
from shrinkage.disk.replacing import inventory
from shrinkage.disk.storable import storable
from shrinkage.errors import ShrinkageError
from shrinkage.training import Trained

CHECKPOINT, LOG = "checkpoint.safetensors", "tensorboard"
FILES = {
    "curves.png": "picture of the curves",
    "curves.csv": "losses of every epoch",
    "weights.safetensors": "model of the best epoch",
    "train.json": "facts, curves, cautions",
    CHECKPOINT: "for --resume",
    LOG: "for tensorboard --logdir",
}


def claim(directory: Path, *, resume: bool, overwrite: bool) -> None:
    """Make the directory; refuse one that holds something else, or results that cannot go on."""
    present, foreign, leftovers = inventory(directory, FILES)
    if foreign:
        raise ShrinkageError(
            f"{directory} holds files that do not belong to a training: "
            f"{', '.join(sorted(foreign)[:5])}. Choose another --out."
        )
    resumes = resume and CHECKPOINT in present
    if resume and not resumes and present - {LOG}:
        raise ShrinkageError(f"{directory} has no {CHECKPOINT} to resume from. Leave out --resume.")
    if present and not (resume or overwrite):
        raise ShrinkageError(
            f"{directory} is in use. Choose another --out, continue it with --resume, or pass "
            "--overwrite to replace what is in it."
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in leftovers:
            (directory / name).unlink(missing_ok=True)
        if not resumes:
            (directory / CHECKPOINT).unlink(missing_ok=True)
            shutil.rmtree(directory / LOG, ignore_errors=True)
    except OSError as error:
        raise ShrinkageError(f"cannot write {directory}: {error.strerror or error}.") from error


def save(directory: Path, trained: Trained, manifest: dict[str, Any]) -> Exception | None:
    """Write weights, curves and facts; a fault of the picture is handed back."""
    from safetensors.torch import save as as_bytes

    weights = {name: t.detach().clone() for name, t in trained.model.state_dict().items()}
    table = io.StringIO()
    writer = csv.DictWriter(table, list(trained.curves[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(trained.curves)
    contents = {
        "weights.safetensors": as_bytes(storable(weights)),
        "curves.csv": table.getvalue().encode(),
        "train.json": json.dumps(manifest, indent=2).encode() + b"\n",
    }
    for name, content in contents.items():
        with atomic_write(directory / name) as stream:
            stream.write(content)
    return draw(partial(_draw, trained, directory / "curves.png"))


def _draw(trained: Trained, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in trained.curves]
    best = trained.curves[trained.best_epoch - 1]
    kept = f"validation, {best['valid_loss']:.3g} at epoch {trained.best_epoch}"
    for name, label, color in (
        ("train_loss", "training", "#6b6b6b"),
        ("valid_loss", kept, "#0072b2"),
    ):
        axes.plot(epochs, [row[name] for row in trained.curves], color=color, label=label)
    axes.plot(best["epoch"], best["valid_loss"], "o", color="#0072b2")
    axes.set(xlabel="epoch", ylabel="loss, without penalty", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=150)
