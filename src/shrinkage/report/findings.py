"""What a path says in words: the answer, how sure it is, and what to do next."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shrinkage.choose import STILL_LEARNING, Choice, Verdict, curve, last_epochs
from shrinkage.choose.held_out import looks, solved
from shrinkage.choose.overview import Overview
from shrinkage.coupling import resolve_coupling
from shrinkage.labels import capitalized, number
from shrinkage.penalties.base import kind_of
from shrinkage.report.noise import seeds_matter
from shrinkage.result.path_result import PathResult

AGAIN = "shrinkage path ..."
SMALL_GAP, STILL_FALLING = 0.1, 0.02


@dataclass(frozen=True)
class Step:
    """One thing to do next, with the code for it or ""."""

    text: str
    code: str = ""


@dataclass(frozen=True)
class Findings:
    """What the top of the report says.

    Attributes:
        answer: ``"helped"``, ``"did not help"``, ``"cannot tell"`` or ``"no verdict"``.
        headline: The answer, in a few words.
        sentence: The same with numbers and their uncertainty.
        verdict: Where the numbers are from, if there is a verdict.
        choices: The choices that could be made, by rule.
        steps: What to do next.
    """

    answer: str
    headline: str
    sentence: str
    verdict: Verdict | None
    choices: dict[str, Choice]
    steps: list[Step]


def find(seen: Overview) -> Findings:
    """Say what a path comes to; where there can be no verdict, the findings say why."""
    result, kind = seen.path, kind_of(seen.path.penalty)
    if not seen.choices:
        reach = f"from 0 to {number(result.strengths[-1].item())}"
        text = f"At every strength {reach}, a training diverged, so there is nothing to compare."
        step = Step("Lower the learning rate, or standardize the inputs, and run again.")
        return Findings("no verdict", "No strength could be judged", text, None, {}, [step])
    if len(result.strengths) == 1 and result.about.get("knobs"):
        text = "No strength above 0 was tried, so this says nothing about a penalty. "
        text += f"The validation loss with these knobs is {float(curve(result).mean[0]):.4g}."
        headline = "Other knobs alone" if seen.among is None else "The best of the other knobs"
        return Findings("no verdict", headline, text, None, {}, [])
    if len(result.strengths) == 1:
        text = "This path has no strength other than 0, so there is nothing to compare."
        step = Step("Give strengths, or let the command choose them:", AGAIN)
        return Findings("no verdict", f"No verdict on {kind}", text, None, {}, [step])
    if seen.verdict is None:
        text = "A single fold gives a loss, but no measure of its uncertainty."
        step = Step("Use at least two folds, preferably five:", f"{AGAIN} --folds 5")
        headline = "No verdict from one fold"
        return Findings("no verdict", headline, text, None, seen.choices, [step])
    judged, choices = seen.verdict, seen.choices
    sentence = capitalized(judged.sentence.removeprefix(f"{judged.answer.capitalize()}: "))
    return Findings(
        judged.answer,
        _headline(result, judged, kind),
        sentence,
        judged,
        choices,
        _steps(result, judged, choices["minimum"], choices["one_standard_error"]),
    )


def _headline(result: PathResult, judged: Verdict, kind: str) -> str:
    if judged.answer == "cannot tell":
        return f"Cannot tell whether {kind} helped"
    if judged.answer == "did not help":
        return f"{kind} did not help"
    base = float(curve(result).mean[0])
    percent = -100 * judged.difference / base if base > 0 else 0.0
    share = f" by {percent:.{0 if percent >= 10 else 1}f} %" if percent else ""
    return f"{kind} helped: it lowered the loss{share}"


def _steps(result: PathResult, judged: Verdict, best: Choice, simple: Choice) -> list[Step]:
    steps = [*_keep(result, judged, best, simple), *_beyond(result, best)]
    steps += _training(result, best)
    lost = int((result.diverged >= 0).sum())
    if lost and not solved(result):
        text = (
            f"{lost} of {result.diverged.numel():,} trainings diverged. Their strengths are left "
            "out of every choice; try a lower learning rate."
        )
        steps.append(Step(text))
    return steps


def _keep(result: PathResult, judged: Verdict, best: Choice, simple: Choice) -> list[Step]:
    """What the answer itself asks for."""
    if judged.answer == "helped":
        text = f"Keep the penalty, at strength {number(best.strength)}{_twin(result, best)}:"
        return [Step(text, code_of(result, best))]
    if judged.answer == "did not help":
        return [Step(f"Train without it. {_gap(result)}")]
    if math.isnan(judged.difference):
        return []
    mean = curve(result).mean
    safe = simple if mean[simple.index] <= mean[0] else best
    meanwhile = (
        "Until then both are sound: no penalty, or strength "
        f"{number(safe.strength)}{_twin(result, safe)}, where the mean loss is no higher"
    )
    if judged.difference > 0:
        meanwhile += " (the verdict may still say higher, as it chooses anew without each fold)"
    meanwhile += ":"
    return [_more(result), Step(meanwhile, code_of(result, safe))]


def _more(result: PathResult) -> Step:
    """Which measurements narrow the interval: folds always do, seeds if starts blur it most."""
    folds, repeats = f"{AGAIN} --folds {max(10, 2 * result.n_folds)}", round(looks(result))
    if repeats > 1:
        folds = f"{AGAIN} --folds {result.n_folds // repeats} --repeats {2 * repeats}"
    if seeds_matter(result):
        text = "Measure more. The random starts blur the interval most; folds narrow it too:"
        return Step(text, f"{folds} --seeds {2 * len(result.seeds) + 1}")
    return Step("Measure more. Folds narrow the interval; more seeds would hardly help:", folds)


def _beyond(result: PathResult, best: Choice) -> list[Step]:
    """A choice at an end of the grid asks for a longer grid."""
    if not best.at_edge:
        return []
    last = best.index == len(result.strengths) - 1
    word, factors = ("largest", (1, 10, 100)) if last else ("smallest", (0.01, 0.1, 1))
    tries = ",".join(f"{best.strength * factor:.0e}" for factor in factors)
    text = f"The best strength is the {word} of the grid; a better one may lie beyond it:"
    return [Step(text, f"{AGAIN} --strengths {tries}")]


def _training(result: PathResult, best: Choice) -> list[Step]:
    """What the learning curve at the minimum says about the number of epochs."""
    losses = result.valid_loss[best.index].double().mean((0, 1))
    epochs = len(losses)
    if epochs < 3 or not losses.isfinite().all() or losses.min() <= 0:
        return []
    turn, last = int(losses.argmin()), float(losses[-1])
    window, fall, pace = last_epochs(result, best.index)
    if fall > STILL_FALLING or pace > STILL_LEARNING:
        share = f"{100 * fall:.{int(fall < 0.01)}f} %"
        text = (
            f"Train longer: at the minimum, the validation loss still fell by {share} in the last "
            f"{f'{window} ' if window > 1 else ''}of {epochs} epochs."
        )
        return [Step(text)]
    if last > float(losses[turn]) * (1 + STILL_FALLING):
        text = (
            f"Stop earlier: at the minimum, the validation loss was lowest after epoch {turn + 1} "
            f"of {epochs} and has risen by {100 * (last / float(losses[turn]) - 1):.0f} % since."
        )
        return [Step(text)]
    return []


def _gap(result: PathResult) -> str:
    """Whether there was anything to regularize: validation against training at strength 0."""
    valid, train = float(curve(result).mean[0]), float(result.fit_loss[0].double().mean())
    if not (math.isfinite(valid) and train > 0):
        return ""
    loss = f"training loss {train:.3g}, validation loss {valid:.3g}"
    if valid - train < SMALL_GAP * train:
        return f"There was little overfitting to cure ({loss}); a larger model may gain more."
    return (
        f"The gap it was meant to close remains ({loss}); more data or another penalty may do more."
    )


def code_of(result: PathResult, choice: Choice) -> str:
    """Return the line that gives a training of one's own the penalty of this choice."""
    penalty, plan = result.penalty.at(float(f"{choice.strength:.2e}")), result.about.get("plan", {})
    how, select = plan.get("how"), plan.get("select")
    by_itself = how in (None, resolve_coupling(None, penalty))
    more = "" if by_itself else f", how={how!r}"
    more += f", select={select}" if select else ""
    return f"regularize(model, optimizer, {penalty!r}{more})"


def _twin(result: PathResult, choice: Choice) -> str:
    twin = result.penalty.at(float(f"{choice.strength:.1e}")).twins().get("torch")
    return f" (in torch: {twin})" if twin and choice.index else ""
