"""Entry point of the command `bench`."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Run the command line, after checking that `methods` and `reports` are the packages of bench."""
    # The Hub's client reads this when it is imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    here = Path(__file__).resolve().parent.parent
    for name in ("methods", "reports"):
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != here:
            where = origin.parent if origin else "missing"
            sys.exit(
                f"bench: the package {name!r} that Python finds ({where}) is not the one of bench ({here / name}): "
                "start bench in another folder, or remove it from PYTHONPATH"
            )
    try:
        from harness.cli.app import run_command_line

        run_command_line()
    except KeyboardInterrupt:  # before the command line handles it
        sys.exit(130)


if __name__ == "__main__":
    main()
