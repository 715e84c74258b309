"""Which stored results a command asks for, and the settings of a ledger that it matches."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.jobs import BackboneSpec, canonical, recipe_from
from harness.ledger import Ledger, StoredSetting
from harness.study import option_reader
from harness.study.data_findings import name_of, newest
from harness.study.grid_options import GridOptions
from harness.tasks import GROUPS
from harness.wording import plural


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
