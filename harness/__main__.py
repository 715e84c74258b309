"""Where the command `bench` starts."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Run the command line, if the packages found are this program's own."""
    os.environ.setdefault(
        "HF_HUB_DISABLE_TELEMETRY", "1"
    )  # read by the Hub's client when it is imported
    here = Path(__file__).resolve().parent.parent
    for name in ("methods", "reports"):
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != here:
            where = origin.parent if origin else "missing"
            sys.exit(
                f"bench: the package {name!r} that Python finds ({where}) is not the one of bench ({here / name}): "
                "start in another folder, or take it off PYTHONPATH"
            )
    try:
        from harness.cli.app import run_command_line

        run_command_line()
    except KeyboardInterrupt:  # before the command line could say so itself
        sys.exit(130)


if __name__ == "__main__":
    main()
