"""What R's glmnet gives for the diabetes data, number by number.

The numbers come from glmnet's own Fortran core (gaussian, threshold 1e-14), run on columns
standardized by their 1/n variance; the order of the columns is also printed in the literature.
Cross-validation follows ``cv.glmnet``: row i is held out by fold i mod 10, and all folds share the
lambdas.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from torch import nn

from shrinkage.choose import curve, minimum, one_standard_error
from shrinkage.engine import fit_path
from shrinkage.penalties import L1, L2, Penalty
from shrinkage.result.path_result import PathResult

UNIT, Y = load_diabetes(return_X_y=True)
X = UNIT / UNIT.std(0)
LARGEST = 45.160030020462884
BELOW = {
    3.0: [-0.372706634, -11.3131903112, 24.7691168162, 15.3314710258, -30.3825346327,
          17.0626955092, 1.3238180323, 7.1397852827, 33.1034479156, 3.2012013882],
    1.6: [0, -9.0840319207, 24.8034663787, 13.9665570862, -4.5538088152, 0,
          -10.5462781769, 0, 24.2498790679, 2.4447723385],
    0.6: [0, 0, 22.0866596661, 5.9922819081, 0, 0, -2.264542541, 0, 19.1179778394, 0],
}  # fmt: skip
"""Coefficients of the lasso, so many decades below the largest lambda."""
HALF = {
    10.0: [0, -1.9400823361, 22.9136828672, 10.2998500569, 0, 0,
           -7.2412537434, 0, 20.1401222957, 0.5534275688],
    0.1: [-0.3496163704, -11.2831517043, 24.7845024543, 15.3059543661, -27.6090062202,
          14.8793008827, 0.0768217707, 6.7713196899, 32.0606363497, 3.2132398285],
}  # fmt: skip
"""Coefficients at ``alpha=0.5``, by lambda."""
RIDGE = {
    10.0: [0.1618299981, -9.4874074488, 22.8064691224, 14.0954158255, -3.263371904,
           -3.6456723373, -9.0563798016, 5.5738998222, 20.3771714334, 4.3023688339],
}  # fmt: skip
"""Coefficients at ``alpha=0``, by lambda."""
CV = {
    0: (5919.1934530836, 376.2751064136),
    2: (3664.4534400634, 235.3803603197),
    4: (3164.4588016979, 197.3740637668),
    6: (3021.1645645381, 203.0471252384),
    9: (2977.1674414561, 211.6568230736),
    11: (2981.375869587, 214.6634817194),
    15: (2981.2554101315, 213.9407108038),
}
"""``cvm`` and ``cvsd`` of the lasso, by fifths of a decade below the largest lambda."""

ORDER = ["bmi", "s5", "bp", "s3", "sex", "s6", "s1", "s4", "s2", "age"]
OLS = [
    -10.01219782, -239.81908937, 519.83978679, 324.39042769, -792.18416163,
    476.74583782, 101.04457032, 177.06417623, 751.27932109, 67.62538639,
]  # fmt: skip
"""Least squares in the unit-norm scaling, as printed with the data set."""


def path(penalty: Penalty, strengths: Any, folds: Any = 2) -> PathResult:
    model = nn.Linear(10, 1).double()
    return fit_path(model, X, Y, penalty, strengths=strengths, folds=folds, solver="exact")


def coefficients(result: PathResult) -> torch.Tensor:
    return result.refit.weights["weight"][:, 0, 0]


def close(found: torch.Tensor, printed: list[float]) -> None:
    expected = torch.tensor(printed, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(found == 0, expected == 0)


def test_lasso_coefficients_are_glmnets() -> None:
    result = path(L1(1.0), [2 * LARGEST * 10**-decades for decades in BELOW])
    for k, printed in enumerate(BELOW.values(), start=1):
        close(coefficients(result)[k], printed)
    close(coefficients(result)[0], [c / len(Y) ** 0.5 for c in OLS])


def test_the_order_in_which_columns_come_in() -> None:
    """The third serum measurement leaves and returns: 10 columns, 9, 10 again."""
    result = path(L1(1.0), 2 * LARGEST * np.logspace(0, -4, 100)[2:80:2])
    used = coefficients(result)[1:].flip(0) != 0
    names = load_diabetes().feature_names
    assert [names[j] for j in used.int().argmax(0).argsort(stable=True)] == ORDER
    counts = used.sum(1).tolist()
    assert [n for n, _ in itertools.groupby(counts)] == [2, 3, 4, 5, 6, 7, 8, 9, 10, 9, 10]


@pytest.mark.parametrize(("alpha", "by_lambda"), [(0.5, HALF), (0.0, RIDGE)])
def test_the_square_is_divided_by_the_deviation_of_the_target(
    alpha: float, by_lambda: dict[float, list[float]]
) -> None:
    penalty = L1(2 * alpha) + L2((1 - alpha) / Y.std())
    result = path(penalty, list(by_lambda))
    for k, strength in enumerate(result.strengths[1:].tolist(), start=1):
        close(coefficients(result)[k], by_lambda[strength])


def test_cross_validation_and_both_rules_are_glmnets() -> None:
    result = path(L1(1.0), [2 * LARGEST * 10 ** (-n / 5) for n in CV], np.arange(len(Y)) % 10)
    values, printed = curve(result), torch.tensor(list(CV.values())[::-1], dtype=torch.float64)
    found = torch.stack([values.mean, values.standard_error], 1)[1:]
    torch.testing.assert_close(found, printed, rtol=1e-6, atol=0)
    assert minimum(result).strength == pytest.approx(2 * LARGEST * 10 ** (-9 / 5))
    assert one_standard_error(result).strength == pytest.approx(2 * LARGEST * 10 ** (-4 / 5))
