"""What the statistics cost before they are used."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MODULES = "equivalence expected_best intervals multiple_testing power random_effects ranks sign_flip t_test"


def test_scipy_is_loaded_late():
    """Importing any of the statistics loads no scipy."""
    names = ", ".join(f"reports.statistics.{name}" for name in MODULES.split())
    code = f"import sys, {names}; print('scipy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "False"
