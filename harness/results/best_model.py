"""The trained model with the best dev scores, for a user who has no other reason to choose one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.errors import Unavailable, UsageError
from harness.jobs import BackboneSpec, canonical
from harness.ledger import Ledger, LedgerEntry
from harness.ledger.database import damage_errors, display_name
from harness.results.query import ResultQuery, matching_settings
from harness.wording import plural

SHOWN = 3  # methods that are named after the best


@dataclass(frozen=True)
class Candidate:
    """The finished jobs of one method on one backbone with one recipe, on the same draws as other candidates."""

    name: str
    jobs: Sequence[LedgerEntry]
    floor: float = 0.0  # the dev score of a run that diverged

    @property
    def dev_score(self) -> float:
        """The mean dev score over draws and seeds, each weighted by its dev rows; 1.0 is perfect."""
        rows = sum(job.n_dev for job in self.jobs)
        scores = (
            found if (found := _dev_score(job)) is not None else self.floor for job in self.jobs
        )
        return sum(job.n_dev * score for job, score in zip(self.jobs, scores, strict=True)) / rows

    @property
    def kept(self) -> list[LedgerEntry]:
        """The jobs whose tensors were kept, the best dev score first; of equal ones, the first draw."""
        kept = [
            job
            for job in self.jobs
            if job.state == "done" and job.result and job.result["artefact"] is not None
        ]
        return sorted(kept, key=lambda job: (-(_dev_score(job) or 0.0), job.draw, job.seed))


@dataclass(frozen=True)
class Choice:
    """The chosen method, with those that it was chosen from, the best first.

    Attributes:
        best: the method with the best mean dev score.
        others: the other methods.
        smaller: the jobs of the best method at the next smaller size; None: there is none.
    """

    best: Candidate
    others: Sequence[Candidate]
    smaller: Candidate | None

    @property
    def size(self) -> int:
        """The number of training examples."""
        return self.best.jobs[0].size

    @property
    def digest(self) -> str:
        """The job whose model is to be used: of the best method, the draw with the best dev score.

        Raises:
            Unavailable: no tensors of the best method were kept.
        """
        if not self.best.kept:
            raise Unavailable(
                f"{self.best.name} has the best dev scores, but its tensors were not kept: run it again with "
                "--keep all, or choose among other methods with --methods"
            )
        return self.best.kept[0].digest

    @property
    def comparison(self) -> str:
        """A sentence on the choice of the method, and one on its test score."""
        draws = len({job.draw for job in self.best.jobs})
        where = f"over {plural(draws, 'draw')} of {self.size}"
        others = ", ".join(f"{one.name} {100 * one.dev_score:.1f}" for one in self.others[:SHOWN])
        beside = f" ({others})" if others else ""
        test = fmean(job.metrics["score"] for job in self.best.jobs)
        return (
            f"{self.best.name} has the best mean dev score {where}: {100 * self.best.dev_score:.1f}{beside}. "
            f"Its mean test score is {100 * test:.1f}; `bench report` tells which differences are settled"
        )

    @property
    def reason(self) -> str:
        """The comparison, and a sentence on the draw."""
        draw = self.best.kept[0].draw
        return f"{self.comparison}. Draw {draw} has the best dev score of its models that were kept"


def choose(query: ResultQuery, digests: Collection[str] | None = None) -> Choice:
    """Return the method with the best mean dev score.

    The methods are compared at the greatest size, on the draws and seeds that all of them ended. A run that diverged
    has a dev score of 0 or, if another run has less, as with errors, the least of all: without it, a method that
    diverges would have an advantage. No test score is read.

    Args:
        query: the results to choose from.
        digests: the only jobs to choose from; None: all of the query.

    Raises:
        UsageError: there are several tasks, recipes, or versions of a method.
        Unavailable: no job has finished, or the methods have no draw in common.
        CorruptData: the database is damaged.
    """
    with damage_errors(query.db), Ledger(query.db) as ledger:
        settings, _ = matching_settings(ledger, query)
        entries = [
            entry
            for entry in ledger.entries(settings=settings)
            if entry.state in ("done", "diverged")
        ]
    if digests is not None:
        entries = [entry for entry in entries if entry.digest in digests]
    if wanted := query.method_names():
        entries = [
            entry for entry in entries if {entry.label, entry.label.partition("(")[0]} & set(wanted)
        ]
    if wanted_sizes := query.size_numbers():
        entries = [entry for entry in entries if entry.size in wanted_sizes]
    if wanted_tasks := query.task_names():
        entries = [entry for entry in entries if entry.task in wanted_tasks]
    if not entries:
        raise Unavailable(
            f"{display_name(query.db)} has no such finished job to choose from: `bench status` lists all"
        )
    if len(tasks := sorted({entry.task for entry in entries})) > 1:
        raise UsageError(f"--best: choose one of the tasks with --tasks: {', '.join(tasks)}")
    _check_one_recipe(entries)
    sizes = sorted({entry.size for entry in entries})
    candidates = _candidates([entry for entry in entries if entry.size == sizes[-1]])
    best, *others = sorted(candidates, key=lambda one: (-one.dev_score, _bytes(one), one.name))
    setting = canonical(best.jobs[0].setting)
    smaller = [
        entry
        for entry in entries
        if sizes[:-1] and entry.size == sizes[-2] and canonical(entry.setting) == setting
    ]
    return Choice(best, others, Candidate(best.name, smaller) if smaller else None)


def _check_one_recipe(entries: Sequence[LedgerEntry]) -> None:
    """Refuse results whose dev scores cannot be compared."""
    recipes = {canonical(entry.setting["recipe"]) for entry in entries}
    if len(recipes) > 1:
        raise UsageError(
            f"--best: the results have {len(recipes)} recipes: choose one with --recipe"
        )
    versions: dict[str, set[int]] = {}
    for entry in entries:
        method = entry.setting["method"]
        versions.setdefault(method["name"], set()).add(method["version"])
    for name, found in versions.items():
        if len(found) > 1:
            raise UsageError(
                f"--best: {name} has results of several versions: choose one with --method-version {name}:{max(found)}"
            )


def _candidates(entries: Sequence[LedgerEntry]) -> list[Candidate]:
    """Return the candidates, with the jobs of the draws and seeds that all of them finished.

    Raises:
        Unavailable: the methods have no draw in common.
    """
    by_setting: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        by_setting.setdefault(canonical(entry.setting), []).append(entry)
    shared = set.intersection(
        *({(job.fingerprint, job.seed) for job in jobs} for jobs in by_setting.values())
    )
    if not shared:
        raise Unavailable(
            "no draw was finished by all methods: run them on the same draws, or choose with --methods"
        )
    names = _names([jobs[0] for jobs in by_setting.values()])
    known = [found for entry in entries if (found := _dev_score(entry)) is not None]
    floor = min([0.0, *known])
    return [
        Candidate(name, [job for job in jobs if (job.fingerprint, job.seed) in shared], floor)
        for name, jobs in zip(names, by_setting.values(), strict=True)
    ]


def _names(firsts: Sequence[LedgerEntry]) -> list[str]:
    """Return names that tell candidates apart: their label, with the backbone if there are several."""
    backbones = {canonical(job.setting["backbone"]) for job in firsts}
    if len(backbones) == 1:
        return [job.label for job in firsts]
    return [f"{job.label} on {BackboneSpec(**job.setting['backbone']).line()}" for job in firsts]


def _dev_score(job: LedgerEntry) -> float | None:
    """Return the dev score of a job; None if it diverged."""
    found = (job.result or {}).get("dev_score")
    return None if found is None or job.state == "diverged" else float(found)


def _bytes(candidate: Candidate) -> int:
    return int((candidate.jobs[0].result or {}).get("stored", 0))
