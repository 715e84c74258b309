"""Random effects: how much true effects differ between tasks, and a prediction for one more task."""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.conventions import ALPHA, Array
from reports.statistics.t_test import t_quantile

PREDICTION_COVERS: Final = "covers 87 to 95 % in simulations with 4 to 12 tasks"


class RandomEffects(NamedTuple):
    """A mean over a random sample of tasks, in the units of the effects; NaN if the data allow none."""

    tasks: int
    mean: float
    predicted_low: float  # bounds of the effect on one more task
    predicted_high: float
    tau2: float  # the variance of true effects over tasks
    i2: float  # the share of the observed variance that is tau2's, 0 to 1


def random_effects(
    effects: ArrayLike, variances: ArrayLike, *, level: float = 1 - ALPHA
) -> RandomEffects:
    """Estimate the random-effects mean of effects (tasks,) measured with variances (tasks,).

    Tau² is the estimate of DerSimonian and Laird (1986). The prediction interval is that of Higgins,
    Thompson and Spiegelhalter (2009), with the error of Hartung and Knapp, and two degrees of
    freedom fewer than tasks. It requires at least three tasks and a positive variance of each task.

    Variances from few draws are uncertain, and so are tau² and the weights computed from them. With four
    to ten draws and true effects that differ by a quarter to twice the noise of a draw, the prediction
    interval covers 87 to 95 % with four to twelve tasks (least if tau² is small), 95 % or more with three
    and 93 to 95 % with twenty (`tests.benchmarks.coverage`).
    """
    values, noise = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if values.shape != noise.shape or values.ndim != 1:
        raise ValueError(
            f"{values.shape} effects and {noise.shape} variances do not belong together"
        )
    tasks = values.size
    if tasks < 2 or not (noise > 0).all() or not np.isfinite(values).all():
        mean = float(values.mean()) if tasks else math.nan
        return RandomEffects(tasks, mean, *[math.nan] * 4)
    tau2, q = _between(values, noise)
    weights = 1 / (noise + tau2)
    mean = float(weights @ values / weights.sum())
    error = math.sqrt(float(weights @ (values - mean) ** 2) / (tasks - 1) / float(weights.sum()))
    wide = (
        t_quantile(tasks - 2, (1 + level) / 2) * math.hypot(error, math.sqrt(tau2))
        if tasks > 2
        else math.nan
    )
    return RandomEffects(
        tasks=tasks,
        mean=mean,
        predicted_low=mean - wide,
        predicted_high=mean + wide,
        tau2=tau2,
        i2=max(0.0, 1 - (tasks - 1) / q) if q > 0 else 0.0,
    )


def _between(values: Array, noise: Array) -> tuple[float, float]:
    """Return tau² and Cochran's Q, with the weights of a fixed-effect model."""
    weights = 1 / noise
    total = float(weights.sum())
    mean = float(weights @ values) / total
    q = float(weights @ (values - mean) ** 2)
    scale = total - float(weights @ weights) / total
    return max(0.0, (q - (values.size - 1)) / scale), q
