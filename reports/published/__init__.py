"""Published scores: the numbers that papers print, and how their protocols are known to differ."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from math import nan
from statistics import fmean
from typing import Final, NamedTuple

# Metrics that some papers print as fractions and others in percent.
_FRACTIONS: Final = frozenset({"ter", "meteor", "mover", "bert-score", "bleurt"})


class PublishedScore(NamedTuple):
    """One number in a table of a paper."""

    size: int  # number of training rows; 0: all rows
    method: str  # the name of the method here
    called: str  # its name in the paper
    task: str
    metric: str  # the name of the metric here
    value: float  # as printed

    @property
    def points(self) -> float:
        """The value; × 100 where the paper prints a metric as a fraction."""
        fraction = self.metric.partition("/")[0] in _FRACTIONS and self.value < 2
        return 100 * self.value if fraction else self.value


@dataclass(frozen=True)
class PublishedStudy:
    """A paper whose scores can stand beside those of a report."""

    name: str
    title: str
    source: str
    backbone: str
    dev: int  # number of rows for choosing checkpoints; 0: not in the table
    draws: int
    about: str  # further differences from the protocol here

    @cached_property
    def numbers(self) -> tuple[PublishedScore, ...]:
        """All scores, in the order of the file."""
        return tuple(
            PublishedScore(
                int(row["size"]),
                row["method"],
                row["called"],
                row["task"],
                row["metric"],
                float(row["value"]),
            )
            for row in _rows(self.name)
        )


STUDIES: Final[Mapping[str, PublishedStudy]] = {
    study.name: study
    for study in (
        PublishedStudy(
            name="unipelt",
            title="UniPELT (Mao et al. 2022)",
            source="Mao, Mathias, Hou, Almahairi, Ma, Han, Yih, Khabsa: UniPELT, ACL 2022, "
            "arXiv 2110.07577, Table 1",
            backbone="BERT-base (cased or uncased is not stated)",
            dev=1000,
            draws=5,
            about="tested on the whole validation splits (MNLI: matched); one metric per task; "
            "learning rates in an appendix",
        ),
        PublishedStudy(
            name="li-liang",
            title="Prefix-Tuning (Li & Liang 2021)",
            source="Li, Liang: Prefix-Tuning, ACL 2021, arXiv 2101.00190, Table 2 of the proceedings",
            backbone="GPT-2 medium and large",
            dev=0,
            draws=0,
            about="trained on all rows; texts are written by a beam search of 5 and scored by the official scripts, "
            "which split and lower-case texts in other ways",
        ),
    )
}


def human_score(task: str, metrics: Sequence[str]) -> float:
    """Return the score of people on a task, in points: the mean of its metrics on the test rows of GLUE.

    The annotators learned each task from twenty examples. Source: Nangia and Bowman, Human vs.
    Muppet, ACL 2019, arXiv 1905.10425; Liu et al., MT-DNN, ACL 2019, arXiv 1901.11504, print these
    numbers metric by metric in Table 2. NaN if a metric is not known.
    """
    scores = [_human_scores().get((task, metric), []) for metric in metrics]
    return fmean(fmean(values) for values in scores) if scores and all(scores) else nan


@cache
def _human_scores() -> Mapping[tuple[str, str], list[float]]:
    """Return the scores by task and metric; MNLI has two, because it has two test sets."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in _rows("people"):
        values.setdefault((row["task"], row["metric"]), []).append(float(row["value"]))
    return values


def _rows(name: str) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(
        (files("reports.published") / f"{name}.csv").read_text("utf-8").splitlines()
    )
