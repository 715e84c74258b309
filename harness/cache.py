"""Cache between runs, such as the fingerprints of draws: a finished grid is recognised without reading its data."""

import json
import os
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.atomic_write import atomic_write


def folder() -> Path:
    """Return the cache folder: `BENCH_CACHE`, or the platform's folder for caches."""
    if path := os.environ.get("BENCH_CACHE"):
        return Path(path)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "simplexbench"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "simplexbench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simplexbench"


class DiskCache:
    """A small dictionary in one file, whose name is a hash of what the values depend on. It can be deleted."""

    def __init__(self, kind: str, *depends_on: Any) -> None:
        name = sha256(json.dumps([kind, *depends_on], sort_keys=True).encode()).hexdigest()[:24]
        self._path = folder() / kind / f"{name}.json"
        self._changed = False
        self._values: dict[str, Any] = {}
        try:
            values = json.loads(self._path.read_text("utf-8"))
            self._values = values if isinstance(values, dict) else {}
        except (OSError, ValueError):
            pass  # missing or corrupt

    def get(self, key: str) -> Any:
        """Return the value of a key, or None."""
        return self._values.get(key)

    def set(self, key: str, value: Any) -> None:
        """Set a value; `save` writes it to disk."""
        self._values[key] = value
        self._changed = True

    def save(self) -> None:
        """Write the file if a value was set."""
        if not self._changed:
            return
        with suppress(OSError):  # a read-only home must not end a run
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic_write(self._path) as draft:
                draft.write_text(json.dumps(self._values, sort_keys=True), "utf-8")
