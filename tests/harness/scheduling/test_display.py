"""What a terminal and a log show of a run."""

import re
from io import StringIO

import pytest
from rich.console import Console

from harness.scheduling.display import LiveDisplay, PlainDisplay
from harness.scheduling.executors.base import WorkerStatus
from harness.scheduling.progress import RunProgress
from harness.wording import duration


def running(digest, step, testing=False, jobs=1):
    """Return the status of a worker that runs a pack of sixty steps."""
    return WorkerStatus("cuda:0", digest, step, steps=60, testing=testing, seconds=2.0, jobs=jobs)


def board(*workers, jobs, **counts):
    """Return the text of the live board."""
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with LiveDisplay(console, jobs) as display:
        display.show(RunProgress(total=4, ended_before=1, **counts), workers)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


def test_the_board(make_job):
    """The board shows the counts, and the job and step of each worker; an idle worker shows no job."""
    job = make_job(task="toy[bold]")
    jobs = {job.digest: job}
    text = board(running(job.digest, 30), WorkerStatus.idle("cuda:1"), jobs=jobs, done=1, failed=1)
    assert "3 of 4 done" in text
    assert "1 failed" in text
    assert "1 job to do · measuring" in text
    assert "30 of 60" in text
    assert "lora · toy[bold] · 20 · draw 0" in text
    assert "idle" in text
    pack = board(running(job.digest, 30, jobs=5), jobs=jobs)
    assert "3 jobs to do" in pack
    assert "lora · toy[bold] · 20 · draw 0 and 4 more" in pack
    assert "testing" in board(running(job.digest, 60, testing=True), jobs=jobs)


def test_plain_lines(make_job, make_outcome):
    """Without a terminal each job is one line, whatever characters its name or error contains."""
    console = Console(file=StringIO(), width=40)
    with PlainDisplay(console) as display:
        progress = RunProgress(total=4, ended_before=1, done=1)
        display.finished(make_job("lora[red]"), make_outcome(make_job()), progress)
        outcome = make_outcome(make_job(), status="failed", error="ValueError: [/] no\nmore")
        display.finished(make_job(), outcome, RunProgress(total=4, ended_before=1, failed=1))
        display.note("[bold]")
    first, second, third = console.file.getvalue().splitlines()
    assert first.startswith("[2/4] lora[red] · toy-sentiment · 20 · draw 0:  50.0")
    assert "failed: ValueError: [/] no" in second
    assert third == "[bold]"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.96, "10.0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations(seconds, text):
    """A duration has at most two units."""
    assert duration(seconds) == text
