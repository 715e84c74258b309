"""What produced a number besides the job itself: versions, machine, device. An allow-list, so no secret is ever kept."""

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
METADATA = (
    "METADATA",
    "PKG-INFO",
    "RECORD",
    "top_level.txt",
    "entry_points.txt",
)  # what is read of every distribution


@cache
def program_version() -> str:
    """The version of this program, with the commit where it runs from a checkout."""
    try:
        number = version("simplexbench")
    except PackageNotFoundError:
        number = "not installed"
    return f"{number} ({commit})" if (commit := _commit()) else number


def environment() -> dict[str, str]:
    """Versions of everything that may move a number in its last digits."""
    found = {
        "simplexbench": program_version(),
        "python": platform.python_version(),
        "platform": _platform(),
    }
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


@cache
def processor() -> str:
    """The processor's name: libraries take other kernels on another."""
    try:  # only Linux has it, where platform knows no name
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def unreadable() -> list[str]:
    """The folders of distributions whose metadata are no text: who looks for plug-ins cannot be imported beside them."""
    return [
        str(getattr(one, "_path", one.locate_file("")))
        for one in distributions()
        if not _readable(one)
    ]


def _readable(one: Distribution) -> bool:
    try:
        for name in METADATA:
            one.read_text(name)
    except UnicodeDecodeError:
        return False
    return True


def device_name(device: str) -> str:
    """The device as people call it."""
    if not device.startswith("cuda"):
        return f"{device} ({platform.processor() or platform.machine()})"
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


def _platform() -> str:
    return f"{platform.system()}-{platform.machine()}"


def _commit() -> str:
    """The commit of a checkout, with a mark if files differ from it; empty where there is none or no git."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+changes" if changed else "")


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", os.fspath(root), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603  # words of this file
    return done.stdout.strip()


def python_line() -> str:
    """The interpreter, for `bench --version`."""
    return f"Python {platform.python_version()} on {sys.platform}"
