"""Ctrl-C, and the signals by which a batch system ends a program.

After the first signal, a run ends when its running jobs have ended. The second one ends it at once.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.scheduling.executors.base import SIGNALS


@dataclass
class StopSignals:
    """A signal handler that counts the signals received.

    Args:
        in_process: whether jobs run in this process; the second signal then ends them by an exception.
    """

    in_process: bool = False
    last: int | None = None  # number of the latest signal
    count: int = 0
    announced: bool = False  # whether the user has read that the run is stopping

    @property
    def exit_code(self) -> int:
        """The exit code that a shell gives to a program ended by the latest signal."""
        return 128 + (self.last or signal.SIGINT)

    def __call__(self, number: int, _frame: Any) -> None:
        """Count a signal.

        Raises:
            KeyboardInterrupt: this is the second signal, and jobs run in this process.
        """
        self.last, self.count = number, self.count + 1
        if self.in_process and self.count >= 2:
            raise KeyboardInterrupt


@contextmanager
def watch_signals(*, in_process: bool = False) -> Iterator[StopSignals]:
    """Inside the block, count SIGINT, SIGTERM and SIGHUP, which then do not end the program.

    Python handles signals in the main thread only: in another one, as of a web server, none is counted.

    Args:
        in_process: see `StopSignals`.
    """
    stop = StopSignals(in_process)
    numbers = list(SIGNALS)
    if threading.current_thread() is not threading.main_thread():
        numbers.clear()
    elif hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)  # the user started the run with nohup
    handlers = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
