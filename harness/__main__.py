"""Entry point of the command `bench`."""

import sys

import harness


def main() -> None:
    """Run the command line, after checking that `methods` and `reports` are the packages of bench."""
    try:
        harness.prepare()
    except ImportError as error:
        sys.exit(f"bench: {error}")
    try:
        from harness.cli.app import run_command_line

        run_command_line()
    except KeyboardInterrupt:  # before the command line handles it
        sys.exit(130)


if __name__ == "__main__":
    main()
