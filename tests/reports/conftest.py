"""Made-up runs: a grid of blocks with known effects, from which single runs can be taken away or spoilt."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import hypothesis
import numpy as np
import pytest

from reports.analysis.run import Run

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

PLAIN = Run(
    digest="0",
    backbone="toy-encoder@1, mean pooling, float32",
    recipe="200 steps, batch 16, best on dev",
    method="fine-tuning",
    task="rte",
    size=50,
    draw=0,
    seed=0,
    status="done",
    score=0.6,
    metrics={"accuracy": 0.6},
    better={"accuracy": "higher"},
    dev_score=0.62,
    collapsed=False,
    rows="rows",
    n_train=50,
    n_dev=50,
    n_test=1000,
    holdout=False,
    seen=False,
    trained=1000,
    stored=4000,
    seconds_training=1.5,
    seconds_evaluation=0.5,
    peak_bytes=1 << 20,
    shared=False,
    versions="program 1, torch 2",
    scored_by=("accuracy",),
    classes=("no", "yes"),
)
LABELS = np.arange(1000) % 2.0


def answers(score: float, order: np.ndarray) -> np.ndarray:
    """Predictions of which the easiest rows are right, as many as the score says."""
    right = np.zeros(LABELS.size, dtype=bool)
    right[order[: round(score * LABELS.size)]] = True
    return np.where(right, LABELS, 1 - LABELS)


def _grid(
    methods: dict[str, float] | None = None,
    tasks: Sequence[str] = ("cola", "mrpc", "qnli", "rte", "sst2", "stsb"),
    sizes: Sequence[int] = (50, 200),
    draws: int = 5,
    seeds: int = 1,
    noise: float = 0.01,
) -> list[Run]:
    """Runs of methods whose scores differ from the first by the given amounts, plus noise."""
    rng = np.random.default_rng(7)
    runs = []
    for t, task in enumerate(tasks):
        order = np.random.default_rng(t).permutation(LABELS.size)  # of the rows by difficulty
        for size in sizes:
            for draw in range(draws):
                level = 0.6 + 0.03 * t + 0.02 * np.log2(size / 50) + rng.normal(0, 0.02)
                for seed in range(seeds):
                    for method, effect in (
                        methods or {"fine-tuning": 0.0, "prefix": -0.01, "simplex": 0.02}
                    ).items():
                        score = float(np.clip(level + effect + rng.normal(0, noise), 0, 1))
                        score = round(score, 3)
                        two = (
                            {"accuracy": score, "f1": score + 0.01}
                            if task in ("mrpc", "qqp")
                            else {"accuracy": score}
                        )
                        runs.append(
                            replace(
                                PLAIN,
                                digest=f"{method}/{task}/{size}/{draw}/{seed}",
                                method=method,
                                task=task,
                                size=size,
                                draw=draw,
                                seed=seed,
                                score=score,
                                metrics=two,
                                better=dict.fromkeys(two, "higher"),
                                dev_score=score + 0.01,
                                rows=f"{task}/{size}/{draw}",
                                n_train=size,
                                n_dev=size,
                                predictions=answers(score, order),
                                labels={"": LABELS},
                            )
                        )
    return runs


@pytest.fixture
def grid() -> Callable[..., list[Run]]:
    """Makes the runs of a plan; see `_grid`."""
    return _grid


@pytest.fixture(scope="session")
def grid_of() -> Callable[..., list[Run]]:
    """The same, for fixtures that live longer."""
    return _grid


@pytest.fixture
def plain() -> Run:
    """One finished run."""
    return PLAIN
