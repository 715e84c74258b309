"""Read results from a ledger as the runs that reports compare."""

import json
import sys
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import methods
from harness.commands.verify import job_problems
from harness.errors import CorruptData, UsageError
from harness.geometry import Geometry
from harness.jobs import BackboneSpec, canonical, recipe_from
from harness.ledger import Ledger, LedgerEntry, StoredSetting, looks
from harness.ledger.database import damage_errors, display_name
from harness.outcome import TEXTS, unpack_marks, unpack_predictions, unpack_probabilities
from harness.study import data_findings, option_reader, preregistration
from harness.study.data_findings import name_of, newest
from harness.study.grid_options import GridOptions
from harness.tasks import GROUPS, REGISTRY, metrics
from harness.wording import plural
from reports import compare
from reports.analysis.comparison import Comparison
from reports.analysis.hypothesis import Hypothesis
from reports.analysis.paired_runs import MixedRuns, NothingToCompare
from reports.analysis.run import STATUSES, RuleResult, Run, WrittenText

SHOWN_TEXTS: Final = 3  # texts of each run that a report shows


@dataclass(frozen=True, kw_only=True)
class ResultQuery:
    """Which results to read, as typed on the command line; None: no restriction."""

    db: str
    methods: str | None = None
    tasks: str | None = None
    sizes: str | None = None
    model: str | None = None  # part of a backbone's name
    recipe: int | None = None  # number of a recipe, from 1
    method_version: str | None = None  # such as prefix:2

    def method_names(self) -> list[str] | None:
        """Return the requested methods."""
        return option_reader.split(self.methods) if self.methods else None

    def method_versions(self) -> dict[str, int]:
        """Return the requested version of each method that has one.

        Raises:
            UsageError: the text is not a list of METHOD:NUMBER.
        """
        versions = {}
        for text in option_reader.split(self.method_version or ""):
            method, _, number = text.rpartition(":")
            if not method or not number.isdecimal():
                raise UsageError(f"--method-version must be METHOD:NUMBER, got {text!r}")
            versions[method] = int(number)
        return versions

    def task_names(self) -> list[str] | None:
        """Return the requested tasks, with groups replaced by their members."""
        if not self.tasks:
            return None
        groups = [GROUPS.get(name, (name,)) for name in option_reader.split(self.tasks)]
        return list(dict.fromkeys(name for group in groups for name in group))

    def size_numbers(self) -> list[int] | None:
        """Return the requested sizes.

        Raises:
            UsageError: a size is not a positive whole number.
        """
        if not self.sizes:
            return None
        reading = option_reader.OptionReader(GridOptions())
        sizes = [reading.number("sizes", text, least=1) for text in option_reader.split(self.sizes)]
        if reading.problems:
            raise UsageError(*reading.problems)
        return sizes


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


def matching_settings(ledger: Ledger, query: ResultQuery) -> tuple[list[int], Counter[str]]:
    """Return the settings of the requested backbone, recipe and tasks.

    Returns:
        Their numbers in the ledger; and by task, how many jobs on earlier data are left out.

    Raises:
        UsageError: there is no such backbone or recipe.
    """
    tasks = query.task_names()
    settings = ledger.settings()
    outdated = outdated_settings(settings, newest(ledger.meta_values()))
    left_out: Counter[str] = Counter()
    for known in outdated:
        left_out[known.setting["task"]["task"]] += known.ended
    ids = {known.id for known in outdated}
    settings = _with_results([known for known in settings if known.id not in ids])
    versions = query.method_versions()
    settings = [
        known
        for known in settings
        if versions.get(known.setting["method"]["name"], known.setting["method"]["version"])
        == known.setting["method"]["version"]
    ]
    settings = _with_recipe(_with_backbone(settings, query.model), query.recipe)
    matching = [k.id for k in settings if not tasks or k.setting["task"]["task"] in tasks]
    # Without a match, all are returned: the comparison then names the tasks that there are.
    return matching or [known.id for known in settings], left_out


def _with_results(settings: list[StoredSetting]) -> list[StoredSetting]:
    """Return the settings without those of a backbone and recipe that have no result, if others have one.

    The jobs of such a recipe were planned, and then the run was broken off.
    """
    places = {
        known.id: canonical([known.setting["backbone"], known.setting["recipe"]])
        for known in settings
    }
    ended = {places[known.id] for known in settings if known.ended}
    return [known for known in settings if places[known.id] in ended] or settings


def outdated_settings(
    settings: Sequence[StoredSetting], marks: Mapping[str, str]
) -> list[StoredSetting]:
    """Return the settings on other data than those that reports show.

    These are the data that a run asked for last, if they have results; or else those of the task's last
    results, or last jobs if it has no result.

    Args:
        settings: those of the ledger.
        marks: the name of the data that a run asked for last, by task.
    """

    def age(known: StoredSetting) -> tuple[bool, bool]:
        task = known.setting["task"]
        return known.ended > 0, marks.get(task["task"]) == name_of(task)

    newest_last = sorted(settings, key=age)  # a stable sort
    last = {known.setting["task"]["task"]: known.setting["task"] for known in newest_last}
    return [
        known for known in settings if known.setting["task"] != last[known.setting["task"]["task"]]
    ]


def _with_backbone(settings: list[StoredSetting], model: str | None) -> list[StoredSetting]:
    if model is None:
        return settings
    lines = {known.id: BackboneSpec(**known.setting["backbone"]).line() for known in settings}
    matching = [known for known in settings if model.lower() in lines[known.id].lower()]
    if not matching and settings:
        names = "; ".join(sorted(set(lines.values())))
        raise UsageError(f"--model: no results of a backbone {model!r}; there are {names}")
    return matching


def _with_recipe(settings: list[StoredSetting], number: int | None) -> list[StoredSetting]:
    if number is None:
        return settings
    lines = {known.id: recipe_from(known.setting["recipe"]).line() for known in settings}
    recipes = sorted(set(lines.values()))
    if not 1 <= number <= len(recipes):
        raise UsageError(
            f"--recipe: there is no recipe {number}; the results have {plural(len(recipes), 'recipe')}"
        )
    return [known for known in settings if lines[known.id] == recipes[number - 1]]


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
    labels = _by_split(blobs, "labels")
    for data in labels.values():
        if data not in known_labels:
            known_labels[data] = numbers(data)
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
        predictions=numbers(blobs["predictions"]) if "predictions" in blobs else np.empty(0),
        labels={split: known_labels[data] for split, data in labels.items()},
        probabilities={
            split: unpack_probabilities(data)
            for split, data in _by_split(blobs, "probabilities").items()
        },
        writes=bool(setting["task"].get("text")),
        text_scores=_text_scores(blobs),
        texts=_some_texts(blobs),
        temperature=numbers(blobs["temperature"]).item() if "temperature" in blobs else None,
        identities=None if identities is None else numbers(identities),
        groups=_groups(blobs),
        field_repeats=_field_repeats(blobs),
        repeated=_repeated(blobs),
        full=_full(blobs),
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


def _by_split(blobs: Mapping[str, bytes], kind: str) -> dict[str, bytes]:
    """Return the blobs of one kind by the suffix of the test set, in the order of the predictions."""
    return {
        name.removeprefix(kind).removeprefix("/"): data
        for name, data in sorted(blobs.items())
        if name.partition("/")[0] == kind
    }


def _text_scores(blobs: Mapping[str, bytes]) -> NDArray[np.float64] | None:
    """Return the score of each written text [rows]; None for other tasks. All test sets have equal weight."""
    parts = [numbers(data) for data in _by_split(blobs, "row_scores").values()]
    if not parts:
        return None
    rows = sum(map(len, parts))
    return np.concatenate([part * (rows / (len(parts) * len(part))) for part in parts])


def _some_texts(blobs: Mapping[str, bytes]) -> list[WrittenText]:
    """Return texts that were written, of rows that are evenly spread over the test rows; none for other tasks."""
    sources: list[Any] = [
        source
        for data in _by_split(blobs, "sources").values()
        for source in unpack_predictions(data)
    ]
    if not sources:
        return []
    references: list[Any] = [
        of_row
        for data in _by_split(blobs, "labels").values()
        for of_row in unpack_predictions(data)
    ]
    texts: list[Any] = unpack_predictions(blobs["predictions"])
    count = min(SHOWN_TEXTS, len(sources))
    rows = [(2 * number + 1) * len(sources) // (2 * count) for number in range(count)]
    return [WrittenText(sources[row], references[row][0], texts[row]) for row in rows]


def _groups(blobs: Mapping[str, bytes]) -> NDArray[np.float64] | None:
    """Return the group of each test row [rows], the same number in every draw; None if they are not stored."""
    parts = [numbers(data) for data in _by_split(blobs, "groups").values()]
    if not parts:
        return None
    rows = sum(len(numbers(data)) for data in _by_split(blobs, "labels").values())
    groups = np.concatenate(parts)
    identities = numbers(blobs["identities"]) if "identities" in blobs else np.arange(rows)
    if not groups.size:  # no two rows share a group
        return identities.astype(np.float64)
    # The smallest identity of a group's rows names the group, since whole groups are held out.
    names, place = np.unique(groups, return_inverse=True)
    smallest = np.full(len(names), np.inf)
    np.minimum.at(smallest, place, identities)
    return smallest[place]


def _field_repeats(blobs: Mapping[str, bytes]) -> tuple[float, ...]:
    """Return the rows per distinct value of each text field, in the test split where it repeats most."""
    labels = _by_split(blobs, "labels")
    repeats = [
        len(numbers(labels[split])) / numbers(data)
        for split, data in _by_split(blobs, "distinct").items()
    ]
    return tuple(np.max(repeats, axis=0).tolist()) if repeats else ()


def _repeated(blobs: Mapping[str, bytes]) -> NDArray[np.int64] | None:
    """Return the numbers of the test rows whose texts are also trained on; None if they are not stored."""
    parts, start = [], 0
    stored = _by_split(blobs, "repeated")
    for split, data in _by_split(blobs, "labels").items():
        if split not in stored:
            return None
        parts.append(numbers(stored[split]).astype(np.int64) + start)
        start += len(numbers(data))
    return np.concatenate(parts) if parts else None


def _full(blobs: Mapping[str, bytes]) -> int | None:
    """Return the number of test rows with as many tokens as fit; None if it is not stored."""
    stored = _by_split(blobs, "full")
    return int(sum(numbers(data).sum() for data in stored.values())) if stored else None


@lru_cache(maxsize=64)  # labels and groups, which many runs share, are unpacked once
def numbers(data: bytes) -> NDArray[np.float64]:
    """Return the values of `unpack_predictions` as an array that cannot be written to.

    It is `[rows]`, or `[rows, classes]` of zeros and ones. Texts count as zeros.
    """
    raw = zlib.decompress(data)
    if raw[:1] == TEXTS:  # their scores are stored beside them
        values = np.zeros(len(json.loads(raw[1:])))
    elif (marks := unpack_marks(raw)) is not None:
        values = marks.astype(np.float64)
    else:
        values = np.frombuffer(raw, f"<{raw[:1].decode()}", offset=1).astype(np.float64)
    values.flags.writeable = False
    return values


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
