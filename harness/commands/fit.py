"""`bench fit`: train the best method of a study on all labelled rows, and write the model to a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median, median_low

from rich.console import Console

from harness import jobs
from harness.artefacts import restore
from harness.artefacts.restore import StoredModel
from harness.commands.export import write_folder
from harness.errors import Unavailable, UsageError
from harness.ledger import LedgerEntry
from harness.results import best_model, expected_score
from harness.results.best_model import Choice
from harness.results.query import ResultQuery
from harness.scheduling.executors import devices
from harness.scheduling.summary import print_line, progress_printer
from harness.study import automatic, planning, request
from harness.study.grid_options import GridOptions
from harness.study.planning import Plan
from harness.training.ticket import Ticket


def fit(grid: GridOptions, db: str, folder: Path) -> StoredModel:
    """Train the best method of a study on all rows of the training split, and write the model to a new folder.

    The method is the one with the best mean dev score at the greatest size. It is trained for the median of the steps
    that dev rows chose in its draws. No test score is read for either.

    Args:
        grid: the options of the study, as `bench run` had them.
        db: its database.
        folder: a folder that does not exist yet.

    Raises:
        UsageError: the options name several tasks, or the folder exists.
        Unavailable: the study has no finished jobs, or training diverged.
        BenchError: as `bench run`.
    """
    out, log = Console(), Console(stderr=True)
    if folder.exists():
        raise UsageError(f"{folder} exists: name another folder")
    progress = progress_printer(log)
    plan = planning.plan(automatic.resolve(request.read(grid)[0], progress), progress)
    if len(plan.tasks) > 1:
        raise UsageError(f"fit trains on one task: choose one of {', '.join(plan.tasks)}")
    choice = best_model.choose(ResultQuery(db=db), {job.digest for job in plan.jobs})
    print_line(out, choice.comparison)
    with log.status("training on all rows") as status:
        model = _trained(
            plan, db, choice, lambda text: status.update(f"training on all rows: {text}")
        )
    write_folder(model, folder, "safetensors", None)
    return model


def _trained(plan: Plan, db: str, choice: Choice, progress: Callable[[str], None]) -> StoredModel:
    """Return the model of the chosen method, trained on all rows, with what to expect of it."""
    from harness.training.jobs import all_rows

    best = [job for job in choice.best.jobs if job.state == "done"]
    if not best:
        raise Unavailable(
            f"{choice.best.name} diverged in every draw: choose others with --methods"
        )
    steps = median_low(job.result["best_step"] for job in best if job.result)
    (job,) = (job for job in plan.jobs if job.digest == best[0].digest)
    ticket = Ticket(job=job, task=plan.tasks[job.draw.task], keep="none", artefacts=Path())
    threshold = _threshold(db, best) if ticket.task.multilabel else None
    trained = all_rows.train(
        ticket,
        devices.choose(devices.parse("auto"), 0, 1)[0],
        steps=steps,
        threshold=threshold,
        progress=lambda step: progress(f"step {step} of {steps}"),
    )
    model = StoredModel(best[0], trained.tensors, trained.metadata)
    by_steps = model.method.closed_form is None
    read = min(trained.rows, steps * job.recipe.batch_size) if by_steps else trained.rows
    # The draws chose a threshold, or averaged the answers of sampled models, and the model does not.
    other = (ticket.task.multilabel and threshold is None) or model.method.test_samples
    expected = expected_score.of_all_rows(db, choice, read, interval=not other)
    draws = len({entry.draw for entry in best})
    made = {"steps": steps, "read": read, "draws": draws, "expected": expected._asdict()}
    coordinates = job.coordinates() | {"size": trained.rows, "rows": trained.fingerprint}
    entry = replace(
        best[0],
        digest=jobs.digest(job.setting(), {**coordinates, "steps": steps}),
        size=trained.rows,
        fingerprint=trained.fingerprint,
        n_train=trained.rows,
        n_dev=0,
        n_test=0,
        note="",
        metrics={},
        result=None,
    )
    return StoredModel(entry, trained.tensors, {**trained.metadata, restore.ALL_ROWS: made})


def _threshold(db: str, entries: Sequence[LedgerEntry]) -> float | None:
    """Return the median of the thresholds that dev rows chose in the draws; None if the tensors of one are missing."""
    try:
        found = [restore.load(db, entry.digest).metadata["scale"]["threshold"] for entry in entries]
    except Unavailable:  # not kept, or no longer there
        return None
    return float(median(found))
