"""Provenance of a result: versions, machine and device. Only listed facts are recorded, so no secret is."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "scipy",
    "scikit-learn",
    "safetensors",
)
# Files that importlib.metadata reads of every distribution.
METADATA = ("METADATA", "PKG-INFO", "RECORD", "top_level.txt", "entry_points.txt")


@cache
def program_version() -> str:
    """Return the version of bench, with the commit if it runs from a checkout."""
    try:
        number = version("simplexbench")
    except PackageNotFoundError:
        number = "not installed"
    return f"{number} ({commit})" if (commit := _commit()) else number


def environment() -> dict[str, str]:
    """Return the versions of everything that may change the last digits of a number."""
    versions = {
        "simplexbench": program_version(),
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
    }
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return versions


@cache
def processor() -> str:
    """Return the processor's name: libraries choose their kernels by it."""
    try:  # on Linux, where `platform` does not know the name
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def unreadable_distributions() -> list[str]:
    """Return the folders of distributions whose metadata are not text.

    Libraries that search for plug-ins cannot be imported beside them.
    """
    return [
        str(getattr(distribution, "_path", distribution.locate_file("")))
        for distribution in distributions()
        if not _has_readable_metadata(distribution)
    ]


def _has_readable_metadata(distribution: Distribution) -> bool:
    try:
        for name in METADATA:
            distribution.read_text(name)
    except UnicodeDecodeError:
        return False
    return True


def device_name(device: str) -> str:
    """Return the device with its name."""
    if not device.startswith("cuda"):
        return f"{device} ({platform.processor() or platform.machine()})"
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


def _commit() -> str:
    """Return the commit of a checkout, marked if files differ from it; empty without a checkout or git."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", os.fspath(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603  # fixed arguments
    return done.stdout.strip()


def python_line() -> str:
    """Return the interpreter, for `bench --version`."""
    return f"Python {platform.python_version()} on {sys.platform}"
