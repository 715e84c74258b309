"""The options that `run`, `plan` and `fetch` share: which grid. Values are kept as typed; `request.py` reads them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.study.presets import DEFAULTS, PRESETS

Text = str | None

WHAT = "What to compare"
OWN_DATA = "Your own data"
SAMPLING = "How examples are drawn"
TRAINING = "How everything is trained"


def _option(name: str, text: str, panel: str, *, metavar: str = "TEXT", exception: str = "") -> Any:
    """Return a Typer option whose help text ends with its entry of `DEFAULTS`, and with an exception to it.

    In the text, a list wraps at its spaces. Typer would cut a default that it shows itself.
    """
    default = DEFAULTS.get(name.removeprefix("--").replace("-", "_"), "").replace(",", ", ")
    default += f"; {exception}" if exception else ""
    return typer.Option(
        name,
        help=f"{text} \\[default: {default}]" if default else text,
        rich_help_panel=panel,
        show_default=False,
        metavar=metavar,
    )


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """The grid as typed; None for an option that was not given."""

    methods: Annotated[
        Text,
        _option(
            "--methods",
            "Methods to compare, or `all` (see `bench list methods`).",
            WHAT,
            metavar="NAME,NAME",
        ),
    ] = None
    tasks: Annotated[
        Text,
        _option(
            "--tasks",
            "Tasks or groups: glue, toy (see `bench list tasks`).",
            WHAT,
            metavar="NAME,NAME",
            exception="with --data, --dataset or --task-file (see --help-all): only your own tasks",
        ),
    ] = None
    sizes: Annotated[
        Text,
        _option(
            "--sizes",
            "Numbers of labelled training examples; 30 % more are drawn as dev examples (see --dev).",
            WHAT,
            metavar="N,N",
        ),
    ] = None
    draws: Annotated[
        Text,
        _option(
            "--draws",
            "Random training sets (draws) for each task and size; more can be added later.",
            WHAT,
            metavar="N",
        ),
    ] = None
    seeds: Annotated[
        Text,
        _option(
            "--seeds",
            "Trainings on each draw, each with its own initial values, batch order and dropout.",
            WHAT,
            metavar="N",
        ),
    ] = None
    model: Annotated[
        Text,
        _option("--model", "A model on the Hub, a folder, or `tiny` (comes with bench).", WHAT),
    ] = None
    set_: Annotated[
        list[str],
        _option(
            "--set",
            "Set an option of one method, or of every method that has it. "
            "Several values make variants: simplex.vertices=2,6.",
            WHAT,
            metavar="[METHOD.]OPTION=VALUE",
        ),
    ] = field(default_factory=list)
    preset: Annotated[
        Text,
        _option(
            "--preset",
            "quick: two methods on a small backbone, for a first answer; smoke: a check of the installation; "
            "low-data: 5 draws with 2 seeds each.",
            WHAT,
        ),
    ] = None
    wnli: Annotated[
        bool, _option("--wnli", "Include WNLI in the group `glue`.", WHAT, metavar="")
    ] = False
    task_file: Annotated[
        list[Path],
        _option("--task-file", "A TOML file that describes a task.", OWN_DATA, metavar="FILE"),
    ] = field(default_factory=list)
    data: Annotated[
        Path | None,
        _option(
            "--data",
            "A file of labelled examples: CSV, TSV, JSON or Parquet.",
            OWN_DATA,
            metavar="FILE",
        ),
    ] = None
    dataset: Annotated[
        Text,
        _option(
            "--dataset",
            "A dataset of the Hub instead of a file, such as stanfordnlp/imdb; its newest commit is noted.",
            OWN_DATA,
            metavar="OWNER/NAME",
        ),
    ] = None
    config: Annotated[
        Text,
        _option("--config", "The configuration of the dataset.", OWN_DATA, metavar="NAME"),
    ] = None
    split: Annotated[
        Text,
        _option(
            "--split",
            "The split of the dataset to draw from; by default train.",
            OWN_DATA,
            metavar="NAME",
        ),
    ] = None
    test_split: Annotated[
        Text,
        _option(
            "--test-split",
            "The split of the dataset to test on; without it, each draw holds out rows.",
            OWN_DATA,
            metavar="NAME",
        ),
    ] = None
    text: Annotated[
        Text,
        _option(
            "--text",
            "The column of the file that holds the text, or two columns for pairs.",
            OWN_DATA,
            metavar="COLUMN[,COLUMN]",
        ),
    ] = None
    label: Annotated[
        Text,
        _option(
            "--label",
            "The column that holds the label. With --kind multilabel (see --help-all), it holds lists of classes, or "
            "there are several columns of 0 and 1. With --kind text, one or more columns hold references.",
            OWN_DATA,
            metavar="COLUMN[,COLUMN]",
        ),
    ] = None
    test: Annotated[
        Path | None,
        _option(
            "--test",
            "A file of test examples. Without it, each draw holds out a random quarter of the rows, or 2000 if that is "
            "less (--test-limit); rows with the same text, or the same value of --group, stay together.",
            OWN_DATA,
            metavar="FILE",
        ),
    ] = None
    kind: Annotated[
        Text,
        _option(
            "--kind",
            "What the label is: one of several classes, a number, or any number of classes.",
            OWN_DATA,
            metavar="classes|number|multilabel|text",
        ),
    ] = None
    group: Annotated[
        Text,
        _option(
            "--group",
            "The column that marks rows that are not independent: those with the same value, such as an author.",
            OWN_DATA,
            metavar="COLUMN",
        ),
    ] = None
    metrics: Annotated[
        Text,
        _option(
            "--metrics",
            "The metrics whose mean is the score. Default: accuracy for classes, pearson and spearman for "
            "numbers, micro-f1 for multilabel, bleu for text. Others: f1, macro-f1, matthews, mse, rmse, chrf, ter, "
            "rouge1, rouge2, rougeL, evaluate:NAME.",
            OWN_DATA,
            metavar="NAME,NAME",
        ),
    ] = None
    positive: Annotated[
        Text,
        _option(
            "--positive",
            "With two classes, the one for which F1 and average precision are computed. "
            "Default: the second in alphabetical order.",
            OWN_DATA,
            metavar="LABEL",
        ),
    ] = None
    name: Annotated[
        Text,
        _option(
            "--name",
            "The name of the task; by default that of the file.",
            OWN_DATA,
            metavar="NAME",
        ),
    ] = None
    strict_data: Annotated[
        bool,
        _option(
            "--strict-data",
            "Refuse rows without a text or a label instead of leaving them out.",
            OWN_DATA,
            metavar="",
        ),
    ] = False
    delimiter: Annotated[
        Text,
        _option(
            "--delimiter",
            "What separates the columns of the file: one character, or `tab`; by default it is recognised.",
            OWN_DATA,
            metavar="CHARACTER",
        ),
    ] = None
    encoding: Annotated[
        Text,
        _option(
            "--encoding",
            "The encoding of the file, such as cp1252; by default it is recognised.",
            OWN_DATA,
            metavar="NAME",
        ),
    ] = None
    dev: Annotated[
        Text,
        _option(
            "--dev",
            "Dev examples: extra (30 % of the size, in addition to it), "
            "carved (30 % of the size, taken from the training examples), or a number.",
            SAMPLING,
            metavar="extra|carved|N",
        ),
    ] = None
    sampling: Annotated[
        Text,
        _option(
            "--sampling",
            "Draw examples at random, or stratified by class.",
            SAMPLING,
            metavar="random|stratified",
        ),
    ] = None
    per_class: Annotated[
        bool,
        _option(
            "--per-class",
            "--sizes are numbers of examples per class instead of in total.",
            SAMPLING,
            metavar="",
        ),
    ] = False
    test_limit: Annotated[
        Text,
        _option(
            "--test-limit",
            "Test on at most this many examples, the same for all methods; 0: on all.",
            SAMPLING,
            metavar="N",
        ),
    ] = None
    steps: Annotated[Text, _option("--steps", "Training steps.", TRAINING, metavar="N")] = None
    batch_size: Annotated[
        Text, _option("--batch-size", "Examples per training step.", TRAINING, metavar="N")
    ] = None
    eval_every: Annotated[
        Text,
        _option("--eval-every", "Steps between evaluations on the dev set.", TRAINING, metavar="N"),
    ] = None
    patience: Annotated[
        Text,
        _option(
            "--patience",
            "Stop a job after this many evaluations without a better dev score; 0: never.",
            TRAINING,
            metavar="N",
        ),
    ] = None
    max_length: Annotated[
        Text,
        _option(
            "--max-length",
            "Tokens per example; the rest is cut. auto: 32 to 512, so that 99 % of the rows are whole.",
            TRAINING,
            metavar="N|auto",
        ),
    ] = None
    truncate: Annotated[
        Text,
        _option(
            "--truncate",
            "What is kept of a text that has more tokens: head, tail, or both.",
            TRAINING,
            metavar="head|tail|both",
        ),
    ] = None
    class_weights: Annotated[
        Text,
        _option(
            "--class-weights",
            "none, or balanced: rare classes weigh as much in the loss as frequent ones.",
            TRAINING,
            metavar="none|balanced",
        ),
    ] = None
    target_length: Annotated[
        Text,
        _option(
            "--target-length",
            "Tokens of a text that is written, at most; for tasks that write text.",
            TRAINING,
            metavar="N",
        ),
    ] = None
    beams: Annotated[
        Text,
        _option(
            "--beams",
            "Beams of the search that writes a text; 1: greedy.",
            TRAINING,
            metavar="N",
        ),
    ] = None
    dev_score: Annotated[
        Text,
        _option(
            "--dev-score",
            "What scores the dev examples of a task that writes text: their loss, or the metrics of texts that are "
            "written at each evaluation, which takes longer.",
            TRAINING,
            metavar="loss|metric",
        ),
    ] = None
    length_penalty: Annotated[
        Text,
        _option(
            "--length-penalty",
            "Power of its length by which the score of a beam is divided; above 0 favours long texts.",
            TRAINING,
            metavar="X",
        ),
    ] = None
    pooling: Annotated[
        Text,
        _option(
            "--pooling",
            "model (the model's own), cls, or mean (for sentence encoders).",
            TRAINING,
            metavar="model|cls|mean",
        ),
    ] = None
    dtype: Annotated[
        Text,
        _option(
            "--dtype",
            "float32, bfloat16, float64, or tf32 (float32 with TF32 matrix products on CUDA).",
            TRAINING,
            metavar="TYPE",
        ),
    ] = None

    def value(self, name: str) -> str:
        """Return an option as typed, or as the preset sets it, or its default."""
        typed: str | None = getattr(self, name)
        if typed is not None:
            return typed
        return PRESETS.get(self.preset or "", {}).get(name, DEFAULTS[name])
