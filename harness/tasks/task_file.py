"""Tasks that a TOML file describes."""

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from harness.errors import UsageError
from harness.tasks import metrics, user_files
from harness.tasks.base import Task
from harness.tasks.files.cells import as_label, is_blank, text_problem
from harness.tasks.files.decoding import decode
from harness.tasks.files.delimiters import delimiter_named
from harness.tasks.files.problems import Problems
from harness.tasks.files.table_files import read_bytes
from harness.tasks.label_kinds import KINDS
from harness.tasks.sources import Source, hub_splits
from harness.wording import escaped, short
from methods.core.suggestions import did_you_mean

_KEYS: Final = (
    *("name", "data", "test", "text", "label", "kind", "labels", "positive", "metrics", "group"),
    *("strict", "delimiter", "encoding", "dataset", "config", "split", "test_split"),
)


def read(path: Path) -> Task:
    """Return the task that a TOML file describes; paths in it are relative to the file.

    Keys: name, data and test, or of the Hub dataset, config, split and test_split; text (one or two
    columns), label (several for the kinds "multilabel" and "text"), kind ("classes", "number", "multilabel" or
    "text"), labels,
    positive, metrics, group, strict (true or false), delimiter, encoding.

    Raises:
        UsageError: lists everything that is wrong with the file or the files that it names.
    """
    entries = _entries(path)
    lists = _check(escaped(str(path)), entries)
    delimiter = entries.get("delimiter")
    return user_files.from_options(
        _origin(path, entries),
        lists["text"],
        lists["label"],
        test=path.parent / _expanded(entries["test"]) if "test" in entries else None,
        name=entries.get("name"),
        kind=entries.get("kind", "classes" if lists.get("labels") else None),
        metrics=[metrics.located(name, path.parent) for name in lists.get("metrics", [])] or None,
        labels=lists.get("labels"),
        group=entries.get("group"),
        positive=lists["positive"][0] if "positive" in lists else None,
        strict=entries.get("strict", False),
        delimiter=None if delimiter is None else delimiter_named(delimiter),
        encoding=entries.get("encoding"),
    )


def _origin(path: Path, entries: Mapping[str, Any]) -> Path | Source:
    """Return the training file, or the splits of a dataset of the Hub."""
    if "dataset" not in entries:
        return path.parent / _expanded(entries["data"])
    return hub_splits(
        entries["dataset"],
        entries.get("config"),
        entries.get("split", "train"),
        entries.get("test_split"),
    )


def _entries(path: Path) -> dict[str, Any]:
    content = decode(path, read_bytes(path), guess=False).text
    try:
        return tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        hint = "; in double quotes a backslash begins an escape: write a path in single quotes"
        raise UsageError(
            f"{escaped(str(path))} is not valid TOML: {error}{hint if chr(92) in content else ''}"
        ) from None


def _check(at: str, entries: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the entries that may be lists, as lists, by key.

    Raises:
        UsageError: lists everything that is wrong with the entries.
    """
    problems = Problems()
    for key in entries.keys() - set(_KEYS):
        problems.add(
            f"{at}: unknown key {key!r}{did_you_mean(key, _KEYS)}; there are {', '.join(_KEYS)}"
        )
    of_hub = ("dataset", "config", "split", "test_split")
    for key in ("dataset" if "dataset" in entries else "data", "text", "label"):
        if key not in entries:
            problems.add(f"{at}: the key {key!r} is missing")
    if (
        mixed := {"data", "test"} & entries.keys()
        if "dataset" in entries
        else {*of_hub} & entries.keys()
    ):
        problems.add(
            f"{at}: {', '.join(sorted(mixed))}: name 'data' and 'test', or 'dataset' and its splits"
        )
    for key in ("name", "data", "test", "group", "delimiter", "encoding", *of_hub):
        if key in entries and (not isinstance(entries[key], str) or not entries[key]):
            problems.add(f"{at}: {key!r} must be a text, got {entries[key]!r}")
        elif key in ("data", "test") and not str(entries.get(key, "")).isprintable():
            problems.add(
                f"{at}: {key!r} is {entries[key]!a}: in double quotes a backslash begins an escape, "
                "write the path in single quotes"
            )
    if not isinstance(entries.get("strict", False), bool):
        problems.add(f"{at}: 'strict' must be true or false, got {entries['strict']!r}")
    if entries.get("kind", "classes") not in KINDS:
        known = " or ".join(KINDS)
        problems.add(f"{at}: 'kind' must be {known}, got {entries['kind']!r}")
    keys = [key for key in ("text", "label", "labels", "positive", "metrics") if key in entries]
    lists = {key: _texts(f"{at}: {key!r}", key, entries[key], problems) for key in keys}
    labels = lists.get("labels")
    kind = entries.get("kind")
    fewest = 1 if kind == "multilabel" else 2
    if labels is not None and (kind == "number" or len(set(labels)) < max(fewest, len(labels))):
        problems.add(
            f"{at}: 'labels' must name {'two or more ' * (fewest > 1)}different classes, and a number has none"
        )
    if len(lists.get("positive", [])) > 1:
        problems.add(f"{at}: 'positive' must be one label, got {', '.join(lists['positive'])}")
    problems.raise_if_any()
    return lists


def _texts(at: str, key: str, value: object, problems: Problems) -> list[str]:
    """Return a text or a list of texts as a list; labels may be numbers."""
    items = value if isinstance(value, list) else [value]
    of_labels = key in ("labels", "positive")
    simple = (str, int, float) if of_labels else (str,)
    if not items or not all(isinstance(item, simple) and item != "" for item in items):
        problems.add(f"{at} must be a text or a list of texts, got {value!r}")
        return []
    texts = [as_label(item) if of_labels else str(item) for item in items]
    for text in texts:
        if problem := text_problem(text):
            problems.add(
                f"{at}: {short(text)}: {'no label' if is_blank(text) and of_labels else problem}"
            )
    return texts


def _expanded(text: str) -> Path:
    """Return a path with the user's home folder for `~`; an unknown user's `~name` stays as it is."""
    with suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)
