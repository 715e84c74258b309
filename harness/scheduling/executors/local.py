"""One worker process for each device slot of this machine.

Every slot has a pool of its own with a single worker: a worker that dies takes down nothing but its
own pack. Workers end with this process, whatever ends it, and never heed Ctrl-C; how far they are
stands in shared memory without locks, so a worker that is killed cannot leave one taken.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from harness.errors import DiskTrouble, Unavailable
from harness.outcome import Outcome
from harness.redaction import told
from harness.scheduling.executors.base import Finished, Lost, Where, Work
from harness.training.ticket import Ticket
from harness.training.worker import run_pack

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (
    "SIGINT",
    "SIGTERM",
    "SIGHUP",
)  # a terminal or a cluster sends them to every process; the parent decides


class LocalExecutor:
    """Worker processes on this machine.

    Args:
        devices: one for each slot, such as `cpu` or `cuda:0`; a device may stand there several
            times.
        threads: processor threads for each slot.
        work: what a worker does with a pack; found by its name in the worker.
    """

    def __init__(self, devices: Sequence[str], threads: int = 1, work: Work = run_pack) -> None:
        self.devices = tuple(devices)
        self._slots = [_Slot(device, threads, work) for device in devices]
        self._trouble: Exception | None = (
            None  # with which a slot came back, told when all that came with it is taken
        )

    def idle(self) -> list[int]:
        """The slots that have nothing to do."""
        return [number for number, slot in enumerate(self._slots) if slot.future is None]

    def submit(self, slot: int, tickets: Sequence[Ticket]) -> None:
        """Give a pack to an idle slot."""
        self._slots[slot].submit(tuple(tickets))

    def events(self, timeout: float) -> list[Finished | Lost]:
        """What came back within the time."""
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        busy = [slot.future for slot in self._slots if slot.future is not None]
        if not busy:
            sleep(timeout if not self.idle() else 0)
            return []
        wait(busy, timeout=timeout, return_when=FIRST_COMPLETED)
        found = []
        for number, slot in enumerate(self._slots):
            if slot.future is not None and slot.future.done():
                try:
                    found.append(slot.take(number))
                except DiskTrouble as error:
                    self._trouble = error
        return found if found or self._trouble is None else self.events(0)

    def where(self) -> list[Where]:
        """How far each slot is."""
        return [slot.where() for slot in self._slots]

    def stop(self, slot: int) -> None:
        """End a slot's worker, whatever it is doing."""
        self._slots[slot].stop()

    def close(self, *, kill: bool) -> None:
        """Let go of all workers."""
        for slot in self._slots:
            slot.close(kill=kill)


class _Slot:
    """One device, one process."""

    def __init__(self, device: str, threads: int, work: Work) -> None:
        self._device, self._threads, self._work = device, threads, work
        self._context = multiprocessing.get_context(
            "spawn"
        )  # a fork would copy locks and a CUDA context
        with _starting():
            self._board: Any = self._context.RawArray("q", 3)
        self._pool: ProcessPoolExecutor | None = None
        self.future: Future[list[Outcome]] | None = None
        self._tickets: tuple[Ticket, ...] = ()
        self._started = 0.0

    def submit(self, tickets: tuple[Ticket, ...]) -> None:
        self._tickets, self._started = tickets, monotonic()
        self._board[:] = [0, 0, 0]
        with _starting(), _signals_held():
            while self.future is None:
                if self._pool is None:
                    arguments = (self._device, self._threads, os.getpid(), self._board)
                    self._pool = ProcessPoolExecutor(
                        1, self._context, initializer=_begin, initargs=arguments
                    )
                try:
                    self.future = self._pool.submit(_do, self._work, tickets)
                except BrokenProcessPool:  # the worker died while it had nothing to do
                    self.close(kill=True)

    def take(self, number: int) -> Finished | Lost:
        assert self.future is not None
        future, self.future = self.future, None
        error = future.exception()  # asked, not raised: a job's SystemExit would end this process
        if error is None:
            return Finished(number, tuple(future.result()))
        self.close(kill=True)  # the pool is broken, or the pack or its outcome could not travel
        if isinstance(error, DiskTrouble):
            raise error
        return Lost(number, tuple(ticket.job.digest for ticket in self._tickets), told(error))

    def where(self) -> Where:
        if self.future is None:
            return Where(self._device, None, 0, 0, False, 0.0)
        step, steps, testing = self._board[:]
        return Where(
            self._device,
            self._tickets[0].job.digest,
            step,
            steps,
            bool(testing),
            monotonic() - self._started,
            len(self._tickets),
        )

    def stop(self) -> None:
        """Kill the worker: the pool notices, and `take` tells of the pack as lost."""
        processes = list((self._pool._processes or {}).values()) if self._pool else []
        for process in processes:  # the pool has no public way to end a busy worker
            with suppress(ProcessLookupError):
                process.kill()

    def close(self, *, kill: bool) -> None:
        if self._pool is None:
            return
        if kill:
            self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool, self.future = None, None


@contextmanager
def _starting() -> Iterator[None]:
    """Say in words what the start of a worker lacks.

    Raises:
        Unavailable: file descriptors, processes or shared memory are used up.
    """
    try:
        yield
    except OSError as error:
        hint = "ask for fewer at once (-j 1), raise `ulimit -n`, or make room in /dev/shm"
        raise Unavailable(
            f"no worker can be started ({error.strerror or error}): {hint}"
        ) from error


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold signals back while a worker is started: it inherits that, and for this process none is lost."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would let some of them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, name) for name in SIGNALS})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in the worker
# -----------------------------------------------------------------------------------------------------

_here: dict[str, Any] = {}


def _begin(device: str, threads: int, parent: int, board: Any) -> None:
    """Set the process up before anything heavy is imported."""
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    _end_with(parent)
    kind, _, index = device.partition(":")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    mine = visible.split(",")[int(index or 0)] if visible else index or "0"
    os.environ["CUDA_VISIBLE_DEVICES"] = mine if kind == "cuda" else ""
    for name in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ):
        os.environ[name] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = (
        "1"  # everything was fetched before workers start
    )
    _here["device"], _here["board"] = "cuda:0" if kind == "cuda" else device, board


def _end_with(parent: int) -> None:
    """Let this process end when its parent does, even by SIGKILL."""
    if platform.system() == "Linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it went before we asked
            os._exit(1)
        return

    def watch() -> None:
        while os.getppid() == parent:
            sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(work: Work, tickets: tuple[Ticket, ...]) -> list[Outcome]:
    board = _here["board"]

    def note(_digest: str, step: int, steps: int, phase: str) -> None:
        board[:] = [step, steps, phase == "testing"]

    return work(tickets, _here["device"], note)
