"""Read results from a ledger as the runs that reports compare."""

import json
import sys
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import methods
from harness.errors import CorruptData, UsageError
from harness.geometry import Geometry
from harness.jobs import BackboneSpec, canonical, recipe_from
from harness.ledger import Ledger, LedgerEntry, looks
from harness.ledger.database import damage_errors, display_name
from harness.outcome import unpack_probabilities
from harness.results import stored_values
from harness.results.integrity import job_problems
from harness.results.query import ResultQuery, matching_settings, outdated_settings
from harness.study import data_findings, preregistration
from harness.study.data_findings import newest
from harness.tasks import REGISTRY, metrics
from harness.wording import plural
from reports import compare
from reports.analysis.comparison import Comparison
from reports.analysis.hypothesis import Hypothesis
from reports.analysis.paired_runs import MixedRuns, NothingToCompare
from reports.analysis.run import STATUSES, RuleResult, Run


def comparison_of(query: ResultQuery, baseline: str | None) -> Comparison:
    """Compare the requested results with a baseline.

    Raises:
        UsageError: the query matches nothing, or results of several backbones or recipes.
        CorruptData: a stored result was changed or is damaged.
    """
    found, hypothesis, findings = runs_of(query)
    try:
        return compare(
            found,
            baseline=baseline,
            methods=query.method_names(),
            tasks=query.task_names(),
            sizes=query.size_numbers(),
            hypothesis=hypothesis,
            findings=findings,
        )
    except (MixedRuns, NothingToCompare) as error:
        raise UsageError(str(error)) from error


def runs_of(
    query: ResultQuery,
) -> tuple[list[Run], Hypothesis | None, Mapping[str, tuple[str, ...]]]:
    """Return the runs of the requested backbone, recipe and tasks, the declared hypothesis, and findings on data.

    Results on earlier data of a task are left out, and their number is printed to standard error.

    Raises:
        UsageError: there is no such backbone or recipe, or a size is not a number.
        CorruptData: a stored result was changed or is damaged.
    """
    query.size_numbers()  # raises before anything is read
    with damage_errors(query.db), Ledger(query.db) as ledger:
        ids, outdated = matching_settings(ledger, query)
        entries = ledger.entries(settings=ids)
        blobs = ledger.all_blobs(ids)
        if problems := list(job_problems(entries, blobs)):
            head = f"{display_name(query.db)} is damaged or was edited; `bench db verify` lists every problem:"
            raise CorruptData("\n".join([head, *problems[:3]]))
        hypothesis = preregistration.declared_hypothesis(ledger)
        if hypothesis is not None:
            hypothesis = hypothesis._replace(narrowed=_narrowed(ledger, ids, hypothesis))
        values = ledger.meta_values()
        stored_looks = looks.parse(values.get(looks.KEY))
        revisions = {
            known.setting["task"]["task"]: known.setting["task"]["revision"]
            for known in ledger.settings()
            if known.id in ids
        }
        findings = data_findings.read(values, revisions)
        found = runs(entries, blobs, stored_looks)
    for task, count in (+outdated).items():  # without those that have no result
        print(  # noqa: T201
            f"bench: {task}: left out {plural(count, 'result')} of that name on other data, classes or metrics",
            file=sys.stderr,
        )
    return found, hypothesis, findings


def _narrowed(ledger: Ledger, ids: Collection[int], hypothesis: Hypothesis) -> bool:
    """Return whether a request leaves out results of the hypothesis's method or baseline.

    Results on earlier data of a task do not count.
    """
    names = {label.partition("(")[0] for label in (hypothesis.method, hypothesis.baseline)}
    settings = ledger.settings()
    outdated = {known.id for known in outdated_settings(settings, newest(ledger.meta_values()))}
    return any(
        known.setting["method"]["name"] in names
        for known in settings
        if known.id not in ids and known.id not in outdated
    )


def runs(
    entries: Sequence[LedgerEntry],
    blobs: Mapping[str, Mapping[str, bytes]],
    stored_looks: looks.Looks | None = None,
) -> list[Run]:
    """Return one run for each job.

    Args:
        entries: the jobs.
        blobs: the blobs of each job, by digest and kind.
        stored_looks: see `harness.ledger.looks`.
    """
    lines: dict[int, tuple[BackboneSpec, str, str]] = {}  # of each setting: many jobs share one
    known_labels: dict[bytes, NDArray[np.float64]] = {}  # most runs of a task have the same
    found = []
    for entry in entries:
        setting = entry.setting
        if id(setting) not in lines:
            backbone = BackboneSpec(**setting["backbone"])
            recipe = recipe_from(setting["recipe"]).line()
            task = setting["task"]
            # Equal for two tasks whose rows are scored alike.
            scoring = canonical([task[key] for key in ("revision", "version", "metrics", "labels")])
            lines[id(setting)] = backbone, recipe, scoring
        run = _run(entry, blobs.get(entry.digest, {}), *lines[id(setting)], known_labels)
        if stored_looks:
            place = looks.place_of(setting, entry.size)
            run = replace(
                run,
                looks=looks.of_method(stored_looks, place),
                look_draws=looks.draws_of_method(stored_looks, place),
            )
        found.append(run)
    return found


def _run(
    entry: LedgerEntry,
    blobs: Mapping[str, bytes],
    backbone: BackboneSpec,
    recipe: str,
    scoring: str,
    known_labels: dict[bytes, NDArray[np.float64]],
) -> Run:
    setting, result = entry.setting, entry.result or {}
    names = tuple(name.rpartition("/")[0] for name in setting["task"]["metrics"])
    task = REGISTRY.get(entry.task)
    columns = {name: value for name, value in entry.metrics.items() if name != "score"}
    values = {name: value for name, value in columns.items() if not _rule(name)}
    curve = json.loads(zlib.decompress(blobs["curve"])) if "curve" in blobs else []
    best_step = result.get("best_step")
    labels = stored_values.by_split(blobs, "labels")
    for data in labels.values():
        if data not in known_labels:
            known_labels[data] = stored_values.numbers(data)
    identities = blobs.get("identities")
    return Run(
        digest=entry.digest,
        backbone=backbone.line(),
        recipe=recipe,
        method=entry.label,
        method_version=setting["method"]["version"],
        task=entry.task,
        size=entry.size,
        draw=entry.draw,
        seed=entry.seed,
        # planned and claimed are missing
        status=entry.state if entry.state in STATUSES else "missing",
        score=entry.metrics.get("score"),
        metrics=values,
        rules=_rules(columns),
        better={name: _better(name, names) for name in columns},
        dev_score=result.get("dev_score") if _dev_like_test(setting) else None,
        collapsed=bool(result.get("collapsed")),
        rows=f"{entry.fingerprint} {scoring}",  # two methods are compared on equal rows only
        n_train=entry.n_train,
        n_dev=entry.n_dev,
        n_test=entry.n_test,
        holdout=bool(setting["task"].get("holdout")),
        seen=task is not None and backbone.name in task.seen_by,
        trained=result.get("trained", 0),
        stored=result.get("stored", 0),
        seconds_training=result.get("seconds_training", 0.0),
        seconds_evaluation=result.get("seconds_evaluation", 0.0),
        peak_bytes=result.get("peak_bytes", 0),
        shared=entry.geometry.shared_costs,
        passes=_passes(entry.geometry),
        versions=_versions(result),
        plugin=result.get("versions", {}).get("plug-in", ""),
        curve=[(int(values[0]), _number(values[2])) for values in curve],
        losses=[_number(values[3]) for values in curve],
        by_steps=_by_steps(setting["method"]["name"]),
        sampled=next((v[4] for v in curve if v[0] == best_step and len(v) > 4), ()),
        predictions=stored_values.numbers(blobs["predictions"])
        if "predictions" in blobs
        else np.empty(0),
        labels={split: known_labels[data] for split, data in labels.items()},
        probabilities={
            split: unpack_probabilities(data)
            for split, data in stored_values.by_split(blobs, "probabilities").items()
        },
        writes=bool(setting["task"].get("text")),
        text_scores=stored_values.text_scores(blobs),
        texts=stored_values.some_texts(blobs),
        temperature=stored_values.numbers(blobs["temperature"]).item()
        if "temperature" in blobs
        else None,
        identities=None if identities is None else stored_values.numbers(identities),
        groups=stored_values.groups(blobs),
        field_repeats=stored_values.field_repeats(blobs),
        repeated=stored_values.repeated(blobs),
        full=stored_values.full(blobs),
        scored_by=names,
        classes=setting["task"]["labels"],
    )


def _dev_like_test(setting: Mapping[str, Any]) -> bool:
    """Return whether dev and test scores have the same metrics: dev texts can be scored by their loss."""
    scored_by_loss = recipe_from(setting["recipe"]).dev_score == "loss"
    return not (setting["task"].get("text") and scored_by_loss)


@cache
def _by_steps(method: str) -> bool:
    """Return whether a method is trained by steps, as every unknown one may be."""
    try:
        found = methods.class_of(method)
    except ValueError:  # the plug-in is not installed here
        return True
    return found.closed_form is methods.Method.closed_form


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _rules(columns: Mapping[str, float]) -> dict[str, RuleResult]:
    """Return the further selection rules that were tested; a stored `rule NAME METRIC` is a metric of one."""
    metrics: dict[str, dict[str, float]] = {}
    for name, value in columns.items():
        if rule := _rule(name):
            metrics.setdefault(rule, {})[name.removeprefix(f"rule {rule} ")] = value
    return {rule: RuleResult(rule, values) for rule, values in metrics.items()}


def _rule(name: str) -> str:
    """Return the selection rule of a stored metric; empty for the rule that chose the checkpoint."""
    return name.split(" ", 2)[1] if name.startswith("rule ") else ""


@cache
def _better(name: str, known: tuple[str, ...]) -> metrics.Direction:
    """Return the better direction of a metric: that of the known metric that it is a variant of."""
    plain = name.removeprefix(f"rule {_rule(name)} ").removeprefix("zeroed ")
    known = (*known, *metrics.METRICS)
    base = next((other for other in known if plain == other or plain.startswith(f"{other}/")), None)
    return metrics.better(base) if base else "higher"


def _passes(geometry: Geometry) -> str:
    """Describe how a training went through the model, without lengths, which follow from the rows."""
    if geometry.in_pack:
        return f"in {geometry.step_mode} packs of {geometry.pack_size}".replace("  ", " ")
    if geometry.micro_batch:
        return f"alone, {geometry.micro_batch} rows of a step at a time"
    return "alone"


def _versions(result: Mapping[str, Any]) -> str:
    versions = result.get("versions") or {}
    names = ("simplexbench", "python", "torch", "transformers")
    named = [f"{name} {versions[name]}" for name in names if name in versions]
    return ", ".join([*named, str(result["device"])]) if versions else ""
