"""Ctrl-C and the signals of a batch system.

The first signal stops a run when its running jobs have ended, the second one stops it at once.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.scheduling.executors.base import SIGNALS


@dataclass
class StopSignals:
    """A signal handler that counts the signals which ask the run to stop.

    Args:
        in_process: whether jobs run in this process; a second signal must then raise out of them.
    """

    in_process: bool = False
    last: int | None = None  # number of the latest signal
    count: int = 0
    announced: bool = False  # whether a message has announced the stop

    @property
    def exit_code(self) -> int:
        """The exit code by which a shell recognises a program that a signal ended."""
        return 128 + (self.last or signal.SIGINT)

    def __call__(self, number: int, _frame: Any) -> None:
        """Count a signal.

        Raises:
            KeyboardInterrupt: it is the second one, and jobs run in this process.
        """
        self.last, self.count = number, self.count + 1
        if self.in_process and self.count >= 2:
            raise KeyboardInterrupt


@contextmanager
def watch_signals(*, in_process: bool = False) -> Iterator[StopSignals]:
    """Count SIGINT, SIGTERM and SIGHUP inside the block instead of being ended by them.

    Args:
        in_process: see `StopSignals`.
    """
    stop = StopSignals(in_process)
    numbers = list(SIGNALS)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)  # nohup: the run is to outlive its terminal
    handlers = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
