"""Numbers that papers print, beside the user's own, with what was done otherwise there spelled out."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from math import nan
from statistics import fmean
from typing import Final, NamedTuple


class PublishedScore(NamedTuple):
    """One number of a paper's table."""

    size: int  # training rows; 0: all of them
    method: str  # as it is called here
    called: str  # as the paper calls it
    task: str
    metric: str  # as it is called here
    value: float  # as printed


@dataclass(frozen=True)
class PublishedStudy:
    """A paper with numbers to hold one's own against."""

    name: str
    title: str
    source: str
    backbone: str
    dev: int  # rows that checkpoints were chosen on; 0: as the paper says elsewhere
    draws: int
    about: str  # what else was done otherwise than here, or is not known

    @cached_property
    def numbers(self) -> tuple[PublishedScore, ...]:
        """All numbers, in the order of the file."""
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
            source="Mao, Mathias, Hou, Almahairi, Ma, Han, Yih, Khabsa: UniPELT, ACL 2022, arXiv 2110.07577, Table 1",
            backbone="BERT-base, whether cased or not is not said",
            dev=1000,
            draws=5,
            about="tested on the whole validation splits (MNLI: matched); one metric a task; learning rates are in an appendix",
        ),
        PublishedStudy(
            name="li-liang",
            title="Prefix-Tuning (Li & Liang 2021)",
            source="Li, Liang: Prefix-Tuning, ACL 2021, arXiv 2101.00190, Table 2 of the proceedings",
            backbone="GPT-2 medium and large",
            dev=0,
            draws=0,
            about="trained on all rows; text is generated, and scored by the metrics of each task",
        ),
    )
}


def people(task: str, metrics: Sequence[str]) -> float:
    """What people reach on a task, in points: the mean of its metrics on GLUE's test rows; NaN where that is not known.

    Annotators who had learned each task from twenty examples. Source: Nangia and Bowman, Human vs.
    Muppet, ACL 2019, arXiv 1905.10425, whose numbers Liu et al., MT-DNN, ACL 2019, arXiv
    1901.11504, Table 2, print metric by metric.
    """
    found = [_people().get((task, metric), []) for metric in metrics]
    return fmean(fmean(values) for values in found) if found and all(found) else nan


@cache
def _people() -> Mapping[tuple[str, str], list[float]]:
    """Two values where a task has two test sets: MNLI, matched and mismatched."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in _rows("people"):
        values.setdefault((row["task"], row["metric"]), []).append(float(row["value"]))
    return values


def _rows(name: str) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(
        (files("reports.published") / f"{name}.csv").read_text("utf-8").splitlines()
    )
