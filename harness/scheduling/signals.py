"""Ctrl-C and the signals of a batch system: the first ends a run when what is in flight has finished, the second at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Stop:
    """Whether to stop, and how.

    Args:
        here: whether the work is done in this process, which a second signal must tear out of it.
    """

    here: bool = False
    signal: int | None = None
    times: int = 0
    told: bool = False  # whether the user knows

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program ended by that signal."""
        return 128 + (self.signal or signal.SIGINT)

    def __call__(self, number: int, _frame: Any) -> None:
        """Note a signal.

        Raises:
            KeyboardInterrupt: it is the second, and the work is done here.
        """
        self.signal, self.times = number, self.times + 1
        if self.here and self.times >= 2:
            raise KeyboardInterrupt


@contextmanager
def watch_signals(*, here: bool = False) -> Iterator[Stop]:
    """Count Ctrl-C and the like instead of being ended by them; `here`: see `Stop`."""
    stop = Stop(here)
    numbers = [
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
    ]
    if (
        hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    ):  # nohup: it is to outlive the terminal
        numbers.remove(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
