"""The card of an exported model: its training, its scores and their confidence intervals."""

import json
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Final, NamedTuple

from harness.artefacts.restore import StoredModel
from harness.backbones import checkpoints
from harness.tasks import metrics
from harness.wording import listed, plural
from reports.document import metric_title

RESAMPLES: Final = 1000


class ScoreInterval(NamedTuple):
    """A 95 % confidence interval of a score, in the units of the score."""

    low: float
    high: float
    method: str


def text(model: StoredModel, form: str, at: str | None) -> str:
    """Return the card in Markdown.

    Args:
        model: the trained model.
        form: the format of the exported files.
        at: the exported point of the simplex; None for the centroid.
    """
    if model.all_rows is not None:
        return _of_all_rows(model, model.all_rows, form)
    entry = model.entry
    exported_point = (
        "the centroid of its simplex" if at is None else f"the point {at} of its simplex"
    )
    point = f", {exported_point}" if model.vertices > 1 else ""
    by_score, reason = intervals(model)
    lines = "\n".join(_line(model, name, by_score.get(name)) for name in task_scores(model))
    missing = f"{reason}\n\n" if reason else ""
    basis = (
        "The 95 % intervals are over test rows, for this one training, and not over draws. "
        if by_score
        else ""
    )
    samples = model.method.test_samples
    if samples:
        tested = f", as the mean prediction of {samples} sampled models"
    else:
        tested = " at the centroid" if at is not None else ""
    return (
        f"# {entry.label} on {entry.task}\n\n"
        f"{model.backbone.line()}{point}. Size {entry.size}, draw {entry.draw}, seed {entry.seed}: "
        f"trained on {entry.n_train} rows, checkpoint chosen on {entry.n_dev} dev rows. "
        f"On {entry.n_test} test rows{tested}:\n\n"
        f"{lines}\n\n{missing}"
        f"{basis}One training: other draws of the same size differ, see the report.\n\n"
        f"Job {entry.digest}; rows {entry.fingerprint}; format {form}; {_answers(model, form)}.\n"
        f"{_usage(model, form)}"
    )


def _of_all_rows(model: StoredModel, made: Mapping[str, Any], form: str) -> str:
    """Return the card of a model that was trained on all rows."""
    entry, by_steps = model.entry, model.method.closed_form is None
    trained = (
        f"for {plural(made['steps'], 'step')}, the median of those that dev rows chose"
        if by_steps
        else "with the median of the settings that dev rows chose"
    )
    if entry.setting["task"].get("holdout"):
        rows, left = f"all {entry.n_train} labelled rows", " No row was left to test it on."
    else:
        rows, left = f"all {entry.n_train} rows of the training split", ""
    if made["read"] < entry.n_train:
        rows = f"{made['read']} of {rows.removeprefix('all ')}, as many as these steps read,"
        left = ""
    return (
        f"# {entry.label} on {entry.task}\n\n"
        f"{model.backbone.line()}. Trained on {rows} {trained} in {plural(made['draws'], 'draw')}.{left}\n\n"
        f"{expectation(model)}\n\n"
        f"Seed {entry.seed}; rows {entry.fingerprint}; format {form}; {_answers(model, form)}.\n"
        f"{_usage(model, form)}"
    )


def expectation(model: StoredModel) -> str:
    """Return a sentence on the score to expect of a model that was trained on all rows, and on what it rests."""
    assert model.all_rows is not None
    expected, names = model.all_rows["expected"], _metric_names(model)
    title = score_title(model.entry.setting["task"])
    # The score is the mean of the metrics, negated where less is better.
    known = [metrics.METRICS[name].better for name in names if name in metrics.METRICS]
    sign = -1 if known == ["lower"] * len(names) else 1
    samples = model.method.test_samples
    how = f", as the mean answer of {samples} sampled models" if samples else ""
    basis = (
        f"with {expected['size']} training labels, it scored {_shown(sign * expected['mean'], names)} on average on "
        f"the test rows of {plural(expected['draws'], 'draw')}{how}"
    )
    if expected["low"] is None:
        return f"What to expect is not estimated; {basis} ({title})."
    low, high = sorted(sign * expected[end] + 0.0 for end in ("low", "high"))  # 0 has no sign
    ends = f"{_shown(low, names)} to {_shown(high, names)}"
    return f"Expect {ends} ({title}; 95 % interval for this one model); {basis}."


def score_title(task: Mapping[str, Any]) -> str:
    """Return what the score of a task is, given its part of a setting."""
    titles = [metric_title(name.rpartition("/")[0], task["labels"]) for name in task["metrics"]]
    return titles[0] if len(titles) == 1 else f"the mean of {listed(titles)}"


def _answers(model: StoredModel, form: str) -> str:
    """Return what the model answers with."""
    if model.writes:
        return f"texts of at most {model.recipe.target_length} tokens"
    if not model.multilabel:
        return f"classes: {', '.join(model.labels) or 'a number'}"
    # A head in the format of PEFT, and the logits of a graph, are shifted, so that the threshold is .5.
    threshold = 0.0 if form in ("peft", "onnx") else model.metadata["scale"].get("threshold", 0.0)
    names = ", ".join(model.labels)
    return f"classes: {names}; a row has all of them with a probability above {_sigmoid(threshold):.3g}"


def _usage(model: StoredModel, form: str) -> str:
    """Return how the folder is used."""
    if form == "safetensors":
        asked = '"a text" "another"' if model.texts == 2 else '"a text"'
        return "\n".join(["", "```sh", f"bench predict FOLDER {asked}", "```", ""])
    texts = '{"text": TEXT, "text_pair": SECOND}' if model.texts == 2 else "TEXT"
    if model.writes:
        return _writing(model, form)
    if form == "onnx":
        return _graph(model)
    if form == "transformers":
        none = ', function_to_apply="none"' if not model.labels else ""
        lines = [
            "from transformers import pipeline",
            "",
            f'classify = pipeline("text-classification", model=FOLDER, truncation=True{none})',
            f"classify({texts})",
        ]
    else:
        local = checkpoints.local_folder(model.backbone.name)
        revision = "" if local else f", revision={model.backbone.revision!r}"
        classes = f"id2label={dict(enumerate(model.labels))}" if model.labels else "num_labels=1"
        lines = [
            "from peft import PeftModel",
            "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
            "",
            "base = AutoModelForSequenceClassification.from_pretrained(",
            f'    {str(local or model.backbone.name)!r}{revision}, {classes}, dtype="float32"',
            ")",
            "tokenizer = AutoTokenizer.from_pretrained(FOLDER)",
            "base.config.pad_token_id = tokenizer.pad_token_id",
            "model = PeftModel.from_pretrained(base, FOLDER)",
        ]
    return "\n".join(["", "```python", *lines, "```", ""])


def _graph(model: StoredModel) -> str:
    """Return how a graph answers."""
    read = 'padding=True, truncation=True, return_tensors="np"'
    if (
        model.texts == 2 and model.method.reads_apart
    ):  # both texts in one call, so that they have equal lengths
        rows = [
            f"rows = tokenizer([TEXT, SECOND], {read})",
            "batch = {name: rows[name][:1] for name in rows}",
            'batch |= {f"second_{name}": rows[name][1:] for name in rows}',
        ]
    else:
        texts = "[TEXT], [SECOND]" if model.texts == 2 else "[TEXT]"
        rows = [f"batch = tokenizer({texts}, {read})"]
    names = "AutoConfig.from_pretrained(FOLDER).id2label"
    if not model.labels:
        answer = ["float(logits[0, 0])"]
    elif model.multilabel:
        answer = [
            f"names = {names}",
            "[names[number] for number in names if logits[0, number] > 0]",
        ]
    else:
        answer = [f"{names}[int(logits[0].argmax())]"]
    library = "AutoConfig, AutoTokenizer" if model.labels else "AutoTokenizer"
    lines = [
        "from onnxruntime import InferenceSession",
        f"from transformers import {library}",
        "",
        "tokenizer = AutoTokenizer.from_pretrained(FOLDER)",
        'session = InferenceSession(f"{FOLDER}/model.onnx")',
        *rows,
        "inputs = {one.name: batch[one.name] for one in session.get_inputs()}",
        "(logits,) = session.run(None, inputs)",
        *answer,
    ]
    return "\n".join(["", "```python", *lines, "```", ""])


def _writing(model: StoredModel, form: str) -> str:
    """Return how other programs write with the model in a folder."""
    local = checkpoints.local_folder(model.backbone.name)
    folder = checkpoints.locate(model.backbone.name, model.backbone.revision)
    encodes = json.loads((folder / "config.json").read_text("utf-8")).get(
        "is_encoder_decoder", False
    )
    library = "AutoModelForSeq2SeqLM" if encodes else "AutoModelForCausalLM"
    source = repr(str(local or model.backbone.name)) if form == "peft" else "FOLDER"
    revision = f", revision={model.backbone.revision!r}" if form == "peft" and not local else ""
    most = model.recipe.target_length
    lines = [
        "import torch",
        *(["from peft import PeftModel"] if form == "peft" else []),
        f"from transformers import AutoTokenizer, {library}",
        "",
        "tokenizer = AutoTokenizer.from_pretrained(FOLDER)",
        f'model = {library}.from_pretrained({source}{revision}, dtype="float32")',
        *(["model = PeftModel.from_pretrained(model, FOLDER)"] if form == "peft" else []),
        'ids = tokenizer(TEXT)["input_ids"]' + ("" if encodes else " + [tokenizer.eos_token_id]"),
        f"written = model.generate(input_ids=torch.tensor([ids]), do_sample=False, max_new_tokens={most})",
        f"tokenizer.decode(written[0{', 1:' if encodes else ', len(ids):'}], skip_special_tokens=True)",
    ]
    return "\n".join(["", "```python", *lines, "```", ""])


def intervals(model: StoredModel) -> tuple[dict[str, ScoreInterval], str]:
    """Return an interval over the test rows for each score, and why some scores have none.

    Accuracy has Wilson's score interval (Wilson 1927), other scores that of the percentile
    bootstrap (Efron 1979).
    """
    shown, entry = task_scores(model), model.entry
    if model.writes:
        return {}, "The scores of texts have no interval here; a report has one."
    by_score: dict[str, ScoreInterval] = {}
    # The accuracy of a single test set is enough for an interval; labels are not needed.
    if "accuracy" in shown and not any(name.startswith("accuracy/") for name in shown):
        by_score["accuracy"] = wilson(round(shown["accuracy"] * entry.n_test), entry.n_test)
    if not (rest := [name for name in shown if name not in by_score]):
        return by_score, ""
    test_sets = _test_sets(model)
    if isinstance(test_sets, str):
        titles = ", ".join(metric_title(name, model.labels) for name in rest)
        return by_score, f"No interval for {titles}: {test_sets}."
    for name in rest:
        if name.partition("/")[0] == "accuracy":
            predictions, labels, _ = test_sets[name.partition("/")[2]]
            correct = sum(p == y for p, y in zip(predictions, labels, strict=True))
            by_score[name] = wilson(correct, len(labels))
    return _bootstrap(_metric_names(model), test_sets, shown) | by_score, ""


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def wilson(correct: int, count: int) -> ScoreInterval:
    """Return Wilson's score interval of a proportion (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.975)
    centre = (correct + z**2 / 2) / (count + z**2)
    half = z / (count + z**2) * math.sqrt(correct * (count - correct) / count + z**2 / 4)
    return ScoreInterval(max(0.0, centre - half), min(1.0, centre + half), "Wilson")


def _bootstrap(
    names: Sequence[str], test_sets: Mapping[str, metrics.Scored], shown: Mapping[str, float]
) -> dict[str, ScoreInterval]:
    """Return percentile intervals of scores over resamples of the rows of each test set."""
    import numpy as np

    rng = np.random.default_rng(0)  # a fixed seed: the same model gives the same card
    resampled = []
    for _ in range(RESAMPLES):
        drawn = {
            suffix: rng.integers(len(scored.labels), size=len(scored.labels)).tolist()
            for suffix, scored in test_sets.items()
        }
        samples = {
            suffix: metrics.Scored(
                [scored.predictions[index] for index in drawn[suffix]],
                [scored.labels[index] for index in drawn[suffix]],
            )
            for suffix, scored in test_sets.items()
        }
        values, score = metrics.compute_all(names, samples)
        resampled.append(values | {"score": score})
    ends = {
        name: np.quantile([scores[name] for scores in resampled], [0.025, 0.975]) for name in shown
    }
    return {
        name: ScoreInterval(float(low), float(high), f"bootstrap, {RESAMPLES} resamples")
        for name, (low, high) in ends.items()
    }


def _test_sets(model: StoredModel) -> dict[str, metrics.Scored] | str:
    """Return the stored predictions and labels of each test set, or why there are none."""
    if not set(_metric_names(model)) <= set(metrics.METRICS):
        return "a metric that is a script is not run for a card"
    predictions = list(model.predictions)
    if sum(map(len, model.test_labels.values())) != len(predictions) or not predictions:
        return "the labels of the test rows are not stored"
    test_sets: dict[str, metrics.Scored] = {}
    for suffix, labels in model.test_labels.items():
        test_sets[suffix] = metrics.Scored(predictions[: len(labels)], labels)
        del predictions[: len(labels)]
    return test_sets


def _metric_names(model: StoredModel) -> list[str]:
    """Return the task's metrics without their versions."""
    return [name.rpartition("/")[0] for name in model.entry.setting["task"]["metrics"]]


def task_scores(model: StoredModel) -> dict[str, float]:
    """Return the task's metrics on each test set, and the score if there are several."""
    stored = sorted(model.entry.metrics.items())
    scores = {name: value for name, value in stored if _metrics_of(model, name)}
    return scores if len(scores) == 1 else scores | {"score": model.entry.metrics["score"]}


def _metrics_of(model: StoredModel, name: str) -> list[str]:
    """Return the task's metric that a name in the ledger stands for; empty for additional scores."""
    return [m for m in _metric_names(model) if name == m or name.startswith(f"{m}/")]


def _line(model: StoredModel, name: str, interval: ScoreInterval | None) -> str:
    """Return one line of the list of scores."""
    names = _metric_names(model) if name == "score" else _metrics_of(model, name)
    value = _shown(model.entry.metrics[name], names)
    title = metric_title(name, model.labels)
    if interval is None:
        return f"- {title} {value}"
    ends = f"{_shown(interval.low, names)} to {_shown(interval.high, names)}"
    return f"- {title} {value} ({ends}; {interval.method})"


def _shown(value: float, names: Sequence[str]) -> str:
    """Return a score, or a metric: in percent if 1 is perfect and higher is better."""
    in_percent = all(m in metrics.METRICS and metrics.METRICS[m].better == "higher" for m in names)
    return f"{100 * value:.1f}" if in_percent else f"{value:.4g}"
