"""A callback of Lightning's trainer is the penalty put on by hand."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
from _trainers import EPOCHS, RAMP, RATE, SIZE, Net, by_hand, every_penalty, rows
from _training import assert_same
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Adam
from torch.utils.data import DataLoader

from shrinkage import L1, L2, ShrinkageError
from shrinkage.integrations.lightning import Regularize

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Module(lightning.LightningModule):
    def __init__(self, optimizers: int = 1, fails: bool = False) -> None:
        super().__init__()
        self.net, self.optimizers_made, self.fails = Net().net, optimizers, fails
        self.automatic_optimization = optimizers == 1

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        if self.fails and number:
            raise RuntimeError("out of luck")
        return cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> list[Adam]:
        return [Adam(self.parameters(), lr=RATE) for _ in range(self.optimizers_made)]


def fit(module: Module, *callbacks: Any, path: Path | None = None, **options: Any) -> Any:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    usual = {"max_epochs": EPOCHS, "enable_checkpointing": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(**{**usual, **quiet, **options}, callbacks=list(callbacks))
    trainer.fit(module, DataLoader(rows(), batch_size=SIZE), ckpt_path=path)
    return trainer


@every_penalty
def test_it_is_the_penalty_by_hand(options: dict[str, Any]) -> None:
    module = Module()
    fit(module, Regularize(**options))
    assert_same(module.net, by_hand(Adam, **options).net, rtol=1e-6, atol=1e-7)


def test_it_acts_once_after_gradients_are_accumulated_and_clipped() -> None:
    module = Module()
    fit(module, Regularize(L2(0.1)), accumulate_grad_batches=2, gradient_clip_val=0.1)
    wanted = by_hand(Adam, accumulate=2, clip=0.1, penalty=L2(0.1))
    assert_same(module.net, wanted.net, rtol=1e-6, atol=1e-7)


def test_a_resumed_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, half, rest = Module(), Module(), Module()
    fit(whole, Regularize(L1(0.2), schedule=RAMP))
    stopped = fit(half, Regularize(L1(0.2), schedule=RAMP), max_epochs=1)
    stopped.save_checkpoint(tmp_path / "half.ckpt")
    callback = Regularize(L1(0.2), schedule=RAMP)
    fit(rest, callback, path=tmp_path / "half.ckpt")
    assert_same(rest, whole, rtol=0, atol=0)
    assert callback.handle is not None
    assert callback.handle.state_dict()["step"] == 4 * EPOCHS


def test_what_it_does_is_logged() -> None:
    callback = Regularize(L1(0.3), stats_every=2)
    trainer = fit(Module(), callback, log_every_n_steps=1)
    assert callback.handle is not None
    last = callback.handle.stats()[-1]
    del last["step"]
    logged = {name: float(value) for name, value in trainer.logged_metrics.items()}
    assert logged == pytest.approx({f"regularization/{name}": last[name] for name in last})
    assert logged["regularization/penalty"] > 0


def test_after_a_fit_and_after_one_that_fails_it_is_gone_and_can_be_used_again() -> None:
    callback, module = Regularize(L1(0.1)), Module(fails=True)
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(module, callback)
    assert callback.handle is not None
    assert not callback.handle.attached
    module = Module()
    fit(module, callback)
    assert not callback.handle.attached
    assert_same(module.net, by_hand(Adam, penalty=L1(0.1)).net, rtol=0, atol=0)


def test_several_optimizers_are_refused_with_what_to_do() -> None:
    with pytest.raises(ShrinkageError, match=r"has 2 optimizers.*in configure_optimizers"):
        fit(Module(optimizers=2), Regularize(L2(0.1)))


def test_mistakes_are_refused_before_anything_is_fitted() -> None:
    with pytest.raises(ShrinkageError, match="is not a penalty"):
        Regularize(1e-4)  # type: ignore[arg-type]
    with pytest.raises(ShrinkageError, match="is not a coupling"):
        Regularize(L2(0.1), how="decoupeld")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_pytorch_lightning_takes_it_too() -> None:
    import pytorch_lightning

    class Older(pytorch_lightning.LightningModule):
        training_step, configure_optimizers = Module.training_step, Module.configure_optimizers

        def __init__(self) -> None:
            super().__init__()
            self.net, self.optimizers_made, self.fails = Net().net, 1, False

    module = Older()
    quiet: Any = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = pytorch_lightning.Trainer(
        max_epochs=EPOCHS,
        enable_checkpointing=False,
        accelerator="cpu",
        callbacks=[Regularize(L1(0.1))],
        **quiet,
    )
    trainer.fit(module, DataLoader(rows(), batch_size=SIZE))
    assert_same(module.net, by_hand(Adam, penalty=L1(0.1)).net, rtol=0, atol=0)
