"""The options of `bench run` that say how jobs run. None of them changes the numbers of a job."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

OptionalText = str | None
PANEL = "How jobs run"


KeptTensors = StrEnum("KeptTensors", ["none", "small", "all"])
TestedRules = StrEnum("TestedRules", ["own", "all"])  # the rules whose checkpoints are tested
ExecutorName = StrEnum("ExecutorName", ["local", "ray"])


def _option(*names: str, text: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=PANEL, metavar=metavar)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The values of these options, as the user typed them."""

    db: Annotated[
        str,
        typer.Option(
            "--db",
            envvar="BENCH_DB",
            help="The database of results.",
            rich_help_panel=PANEL,
            metavar="FILE",
        ),
    ] = "results.db"
    devices: Annotated[
        str,
        _option(
            "--devices",
            text="auto, cpu, mps, cuda, or a list such as cuda:0,1.",
            metavar="DEVICES",
        ),
    ] = "auto"
    jobs: Annotated[
        str,
        _option("-j", "--jobs", text="Jobs at once on each device; 0: automatic.", metavar="N"),
    ] = "0"
    keep: Annotated[
        KeptTensors,
        _option(
            "--keep",
            text="Trained tensors to keep: none, small (all but more than half of a backbone or 50 MB of it), or all.",
        ),
    ] = KeptTensors.small
    retry_failed: Annotated[
        bool, _option("--retry-failed", text="Run failed and diverged jobs again.")
    ] = False
    retry: Annotated[
        OptionalText,
        _option(
            "--retry",
            text="Run jobs again that ended this way: failed, diverged, or an error class such as Timeout.",
            metavar="CLASS,CLASS",
        ),
    ] = None
    max_failures: Annotated[
        OptionalText,
        _option(
            "--max-failures",
            text="Start no more jobs after this many have failed or diverged.",
            metavar="N",
        ),
    ] = None
    fail_fast: Annotated[bool, _option("--fail-fast", text="The same as --max-failures 1.")] = False
    timeout: Annotated[
        OptionalText,
        _option("--timeout", text="Fail a job that takes longer than this.", metavar="SECONDS"),
    ] = None
    zeroed: Annotated[
        bool,
        _option(
            "--zeroed",
            text="Also test each trained head on the bare backbone, "
            "which shows what the method's other tensors contribute.",
        ),
    ] = False
    pack: Annotated[
        str,
        _option(
            "--pack",
            text="Jobs to train in one forward pass; auto: as many as fit on a GPU, 1 elsewhere.",
            metavar="auto|N",
        ),
    ] = "auto"
    executor: Annotated[
        ExecutorName,
        _option("--executor", text="Run workers on this machine or on a Ray cluster."),
    ] = ExecutorName.local
    ray_address: Annotated[
        str,
        _option(
            "--ray-address",
            text="Ray cluster address; auto: a cluster that is running; local: a new one for this run.",
            metavar="ADDRESS",
        ),
    ] = "auto"
    shard: Annotated[
        OptionalText,
        _option(
            "--shard",
            text="Run only part K of N of the grid, into its own database; "
            "`bench db merge` combines the parts.",
            metavar="K/N",
        ),
    ] = None
    hypothesis: Annotated[
        OptionalText,
        _option(
            "--hypothesis",
            text="Preregister the comparison that this study tests, before its first result. Example: simplex:prefix.",
            metavar="METHOD:BASELINE",
        ),
    ] = None
    rope: Annotated[
        OptionalText,
        _option(
            "--rope",
            text="With --hypothesis: smaller differences, in points, do not matter. Default: 1.",
            metavar="POINTS",
        ),
    ] = None
    max_draws: Annotated[
        OptionalText,
        _option(
            "--max-draws",
            text="With --hypothesis: the draws after which the study ends. "
            "It may then be analysed earlier as well, at stricter levels.",
            metavar="N",
        ),
    ] = None
    timing: Annotated[
        bool,
        _option(
            "--timing",
            text="Run one job at a time on each device, so that measured time and memory are of that job alone.",
        ),
    ] = False
    compiled: Annotated[
        bool,
        _option(
            "--compile",
            text="Compile the training step of packs: about a minute for each kind of job, then faster.",
        ),
    ] = False
    captured: Annotated[
        bool,
        _option(
            "--cuda-graphs",
            text="Record the training step of packs as a CUDA graph, which a GPU starts with one call.",
        ),
    ] = False
    rules: Annotated[
        TestedRules,
        _option(
            "--rules",
            text="all: also test the checkpoints that other selection rules would choose.",
        ),
    ] = TestedRules.own
    inline: Annotated[
        bool, _option("--inline", text="Run the jobs in this process, for a debugger.")
    ] = False
    yes: Annotated[
        bool,
        _option(
            "--yes",
            "-y",
            text="Do not ask whether to go on when a run is estimated to take more than an hour.",
        ),
    ] = False
