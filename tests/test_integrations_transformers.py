"""A callback of the trainer of Transformers is the penalty put on by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from _trainers import EPOCHS, RAMP, RATE, SIZE, Net, by_hand, every_penalty, rows
from _training import assert_same
from torch.optim import AdamW
from transformers import Trainer, TrainingArguments

from shrinkage import L1, L2, ShrinkageError, ShrinkageWarning
from shrinkage.integrations.transformers import Regularize

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory")
fused = partial(AdamW, weight_decay=0.0, fused=True)


def train(net: Net, place: Path, *callbacks: Any, resume: Path | None = None, **more: Any) -> Any:
    options = TrainingArguments(
        str(place),
        per_device_train_batch_size=SIZE,
        num_train_epochs=EPOCHS,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        logging_steps=2,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **{"save_strategy": "no", "max_grad_norm": 0.0, **more},
    )

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> None:
            return None

    data: Any = [{"x": x, "labels": y} for x, y in rows()]
    trainer = InOrder(net, options, train_dataset=data, callbacks=list(callbacks))
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer


@every_penalty
def test_it_is_the_penalty_by_hand(options: dict[str, Any], tmp_path: Path) -> None:
    net = Net()
    train(net, tmp_path, Regularize(**options))
    assert_same(net, by_hand(fused, **options), rtol=1e-6, atol=1e-7)


def test_it_acts_once_after_gradients_are_accumulated_and_clipped(tmp_path: Path) -> None:
    net = Net()
    more = {"gradient_accumulation_steps": 2, "max_grad_norm": 0.1}
    train(net, tmp_path, Regularize(L2(0.1)), **more)
    wanted = by_hand(fused, accumulate=2, clip=0.1, penalty=L2(0.1))
    assert_same(net, wanted, rtol=1e-5, atol=1e-6)


def test_a_resumed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, rest = Net(), Net()
    train(whole, tmp_path, Regularize(L1(0.2), schedule=RAMP), save_strategy="epoch")
    callback = Regularize(L1(0.2), schedule=RAMP)
    train(rest, tmp_path / "rest", callback, resume=tmp_path / "checkpoint-4")
    assert_same(rest, whole, rtol=0, atol=0)
    assert callback.handle is not None
    assert callback.handle.state_dict()["step"] == 4 * EPOCHS


def test_what_it_does_is_in_the_history(tmp_path: Path) -> None:
    callback = Regularize(L1(0.3), stats_every=1)
    history = train(Net(), tmp_path, callback).state.log_history
    assert callback.handle is not None
    measured = callback.handle.stats()
    for entry in history[:-1]:  # the last one sums up
        row = measured[entry["step"] - 1]
        assert entry["regularization/penalty"] == row["penalty"] > 0
        assert entry["regularization/sparsity"] == row["sparsity"]


def test_after_a_training_it_is_gone_and_can_be_used_again(tmp_path: Path) -> None:
    callback = Regularize(L1(0.1))
    for _ in range(2):
        net = Net()
        train(net, tmp_path, callback)
        assert callback.handle is not None
        assert not callback.handle.attached
        assert_same(net, by_hand(fused, penalty=L1(0.1)), rtol=0, atol=0)


def test_the_weight_decay_of_the_trainer_beside_it_is_said(tmp_path: Path) -> None:
    with pytest.warns(ShrinkageWarning, match="double decay"):
        train(Net(), tmp_path, Regularize(L2(0.1)), weight_decay=0.01)


def test_mistakes_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(ShrinkageError, match="is not a penalty"):
        Regularize("l2")  # type: ignore[arg-type]
