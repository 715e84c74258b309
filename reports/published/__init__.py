"""Numbers that papers print, beside the user's own, with what was done otherwise there spelled out."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Final, NamedTuple


class Printed(NamedTuple):
    """One number of a paper's table."""

    size: int  # training rows; 0: all of them
    method: str  # as it is called here
    called: str  # as the paper calls it
    task: str
    metric: str  # as it is called here
    value: float  # as printed


@dataclass(frozen=True)
class Study:
    """A paper with numbers to hold one's own against."""

    name: str
    title: str
    source: str
    backbone: str
    dev: int  # rows that checkpoints were chosen on; 0: as the paper says elsewhere
    draws: int
    about: str  # what else was done otherwise than here, or is not known

    @cached_property
    def numbers(self) -> tuple[Printed, ...]:
        """All numbers, in the order of the file."""
        text = (files("reports.published") / f"{self.name}.csv").read_text("utf-8")
        rows = csv.DictReader(text.splitlines())
        return tuple(
            Printed(int(row["size"]), row["method"], row["called"], row["task"], row["metric"], float(row["value"]))
            for row in rows
        )


STUDIES: Final[Mapping[str, Study]] = {
    study.name: study
    for study in (
        Study(
            name="unipelt",
            title="UniPELT (Mao et al. 2022)",
            source="Mao, Mathias, Hou, Almahairi, Ma, Han, Yih, Khabsa: UniPELT, ACL 2022, arXiv 2110.07577, Table 1",
            backbone="BERT-base, whether cased or not is not said",
            dev=1000,
            draws=5,
            about="tested on the whole validation splits (MNLI: matched); one metric a task; learning rates are in an appendix",
        ),
        Study(
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
