"""What is worth keeping between runs: the fingerprints of draws, so that a finished grid is recognised without its rows."""

import json
import os
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.atomic_write import atomic_write


def folder() -> Path:
    """The cache folder: `BENCH_CACHE`, or the platform's place for caches."""
    if named := os.environ.get("BENCH_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "simplexbench"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "simplexbench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simplexbench"


class Kept:
    """A small dictionary in a file of its own, named by what its values depend on. Losing it costs time, never a result."""

    def __init__(self, kind: str, *depends_on: Any) -> None:
        name = sha256(json.dumps([kind, *depends_on], sort_keys=True).encode()).hexdigest()[:24]
        self._path = folder() / kind / f"{name}.json"
        self._changed = False
        self._values: dict[str, Any] = {}
        try:
            found = json.loads(self._path.read_text("utf-8"))
            self._values = found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            pass  # missing, unreadable or half-written: made again

    def get(self, key: str) -> Any:
        """The value, or None."""
        return self._values.get(key)

    def set(self, key: str, value: Any) -> None:
        """Keep a value; `save` writes it."""
        self._values[key] = value
        self._changed = True

    def save(self) -> None:
        """Write what changed, whole or not at all."""
        if not self._changed:
            return
        with suppress(OSError):  # a read-only home must not end a run
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic_write(self._path) as draft:
                draft.write_text(json.dumps(self._values, sort_keys=True), "utf-8")
