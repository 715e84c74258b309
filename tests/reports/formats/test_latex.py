"""LaTeX compiles the LaTeX report."""

import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from reports import compare, render

TEX = shutil.which("pdflatex")
if os.environ.get("CI"):
    assert TEX, "CI must have LaTeX: .ci/reading"
pytestmark = pytest.mark.skipif(
    not TEX, reason="no pdflatex: apt-get install texlive-latex-recommended"
)
HOSTILE = r"\input{/etc/passwd} $x^2$ #1 % & _ {} ~ \end{tabular} 名前 é ß 'q' `q` -- <a> | ² ↑"


@pytest.mark.parametrize("name", ["simplex", HOSTILE])
def test_the_report_compiles(grid, tmp_path, name):
    """It requires booktabs only, whatever the names of methods and tasks, and names cannot read files."""
    runs = grid(
        {"fine-tuning": 0.0, "prefix": 0.0, name: 0.02},
        tasks=("rte", "sst2", "cola", "mrpc", "qnli", "qqp", "stsb", "wnli"),
    )
    runs = [replace(run, task=f"{name} task") if run.task == "rte" else run for run in runs]
    report = render(compare(runs), format="latex", command=f"bench report --methods '{name}'")
    page = (
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage[T1]{fontenc}"
        "\\usepackage{textcomp}\\begin{document}\n"
    )
    (tmp_path / "r.tex").write_text(page + report + "\\end{document}\n", "utf-8")
    words = [TEX, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "r.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "r.pdf").stat().st_size > 10_000
    assert "(/etc/passwd" not in done.stdout  # LaTeX logs the files that it opens like this
