"""The contest of all methods with one optimizer: each is trained and chosen, then the best pair."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from shrinkage.comparing.contender import NONE, Contender, choose_contender, failed, unregularized
from shrinkage.comparing.methods import Method, combinable, make_pair
from shrinkage.comparing.saved import directory_name
from shrinkage.engine.plan.outcome import Progress
from shrinkage.errors import CheckpointError, ShrinkageError
from shrinkage.result.path_result import PathResult


class Relay:
    """Reports the progress of one run as a part of all runs."""

    def __init__(self, tell: Callable[[Progress], None], runs: int) -> None:
        self.tell, self.runs = tell, runs
        self.done = 0
        self.notes = {""}

    def __call__(self, now: Progress) -> None:
        """Pass the progress of the present run on; every note only once."""
        note = "" if now.note in self.notes else now.note
        self.notes.add(note)
        if now.stage == "check" and self.done:
            return
        self.tell(
            replace(
                now,
                members_done=now.members_done + self.done * now.members_total,
                members_total=now.members_total * self.runs,
                steps_done=now.steps_done + self.done * now.steps_total,
                steps_total=now.steps_total * self.runs,
                note=note,
            )
        )


@dataclass(eq=False)
class Contest:
    """The methods with one optimizer.

    Attributes:
        optimizer: What to call it.
        train: `fit_path` with all that the methods have in common.
        off: Every setting, at the value at which it does nothing.
        relay: Told how far it is.
        checkpoint: Where each method keeps what it has trained, or None.
        paths: The path of each method.
        contenders: The contender of each method, no regularization first.
    """

    optimizer: str
    train: Callable[..., PathResult]
    off: Mapping[str, float]
    relay: Relay
    checkpoint: Path | None
    paths: dict[str, PathResult] = field(default_factory=dict)
    contenders: dict[str, Contender] = field(default_factory=dict)

    def run(self, methods: Sequence[Method]) -> None:
        """Train and choose; what cannot be trained becomes a contender that says why."""
        for method in methods:
            try:
                path = self.paths[method.name] = self.train(
                    penalty=method.penalty,
                    how=method.how,
                    strengths=method.strengths,
                    grid=method.grid(self.off),
                    progress=self.relay,
                    checkpoint=self._kept(method),
                )
                if NONE not in self.contenders:
                    self.contenders[NONE] = unregularized(path, self.optimizer, self.off)
                self.contenders[method.name] = self._chosen(path, method)
            except CheckpointError:
                raise
            except ShrinkageError as error:
                self.contenders[method.name] = failed(self.optimizer, method.name, str(error))
            self.relay.done += 1

    def run_pair(self, methods: Sequence[Method], values: int) -> None:
        """Train the two best methods that can act at once, if two are better than none."""
        useful = [method for method in methods if self.contenders[method.name].chosen]
        useful.sort(key=lambda method: self.contenders[method.name].cv_loss)
        pairs = (pair for pair in itertools.combinations(useful, 2) if combinable(*pair))
        if (pair := next(pairs, None)) is None:
            self.relay.done += 1
            return
        one, other = pair
        chosen = {**self.contenders[one.name].chosen, **self.contenders[other.name].chosen}
        tried = [s for m in pair if m.penalizes for s in self.paths[m.name].strengths.tolist() if s]
        joined = make_pair(one, other, tried, chosen, values)
        self.run([joined])
        self.contenders[joined.name] = replace(self.contenders[joined.name], at_edge=False)

    def _kept(self, method: Method) -> Path | None:
        if self.checkpoint is None:
            return None
        return self.checkpoint / directory_name(self.optimizer, method.name)

    def _chosen(self, path: PathResult, method: Method) -> Contender:
        contender = choose_contender(path, method, self.optimizer, self.off)
        if contender.chosen:
            return contender
        none = self.contenders[NONE]  # the same training, up to rounding
        return replace(contender, losses=none.losses, score=none.score, note=none.note)
