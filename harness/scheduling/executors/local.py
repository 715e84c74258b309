"""One worker process for each device slot of this machine.

Every slot has its own pool with a single worker, so a worker that dies loses only its own pack.
Workers ignore Ctrl-C and end with this process, whatever ends it. They report their progress in
shared memory without locks, so a killed worker cannot leave a lock behind.
"""

import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from time import monotonic, sleep
from typing import Any

from harness.errors import DiskTrouble, Unavailable
from harness.outcome import Outcome
from harness.redaction import error_message
from harness.scheduling.executors.base import (
    SIGNALS,
    THREAD_VARIABLES,
    PackFinished,
    PackLost,
    SlotStatus,
    Work,
)
from harness.training.ticket import Ticket
from harness.training.worker import run_pack


class LocalExecutor:
    """Worker processes on this machine.

    Args:
        devices: one for each slot, such as `cpu` or `cuda:0`; a device may occur several times.
        threads: processor threads for each slot.
        work: called in a worker with each pack; the worker imports it by name.
    """

    def __init__(self, devices: Sequence[str], threads: int = 1, work: Work = run_pack) -> None:
        self.devices = tuple(devices)
        self._slots = [_LocalSlot(device, threads, work) for device in devices]
        self._disk_trouble: DiskTrouble | None = None  # raised after the events that came with it

    def idle(self) -> list[int]:
        """Return the slots without a pack."""
        return [number for number, slot in enumerate(self._slots) if slot.future is None]

    def submit(self, slot: int, tickets: Sequence[Ticket]) -> None:
        """Give a pack to an idle slot."""
        self._slots[slot].submit(tuple(tickets))

    def events(self, timeout: float) -> list[PackFinished | PackLost]:
        """Return the packs that ended; wait at most `timeout` seconds for one."""
        self._raise_disk_trouble()
        running = [slot.future for slot in self._slots if slot.future is not None]
        if not running:
            return []
        wait(running, timeout=timeout, return_when=FIRST_COMPLETED)
        events = []
        for number, slot in enumerate(self._slots):
            if slot.future is not None and slot.future.done():
                try:
                    events.append(slot.take_event(number))
                except DiskTrouble as error:
                    self._disk_trouble = error
        if not events:
            self._raise_disk_trouble()
        return events

    def _raise_disk_trouble(self) -> None:
        if self._disk_trouble is not None:
            error, self._disk_trouble = self._disk_trouble, None
            raise error

    def status(self) -> list[SlotStatus]:
        """Return how far each slot is."""
        return [slot.status() for slot in self._slots]

    def stop(self, slot: int) -> None:
        """Kill the worker of a slot."""
        self._slots[slot].kill()

    def close(self, *, kill: bool) -> None:
        """End all workers."""
        for slot in self._slots:
            slot.close(kill=kill)


class _LocalSlot:
    """One device with one worker process."""

    def __init__(self, device: str, threads: int, work: Work) -> None:
        self._device, self._threads, self._work = device, threads, work
        # A fork would copy locks and a CUDA context.
        self._context = multiprocessing.get_context("spawn")
        with _worker_start_errors():
            self._shared: Any = self._context.RawArray("q", 3)  # step, steps, testing
        self._pool: ProcessPoolExecutor | None = None
        self.future: Future[list[Outcome]] | None = None
        self._tickets: tuple[Ticket, ...] = ()
        self._submitted = 0.0

    def submit(self, tickets: tuple[Ticket, ...]) -> None:
        self._tickets, self._submitted = tickets, monotonic()
        self._shared[:] = [0, 0, 0]
        with _worker_start_errors(), _signals_blocked():
            while self.future is None:
                if self._pool is None:
                    self._pool = ProcessPoolExecutor(
                        1,
                        self._context,
                        initializer=_start_worker,
                        initargs=(self._device, self._threads, os.getpid(), self._shared),
                    )
                try:
                    self.future = self._pool.submit(_run_in_worker, self._work, tickets)
                except BrokenProcessPool:  # the worker died while it was idle
                    self.close(kill=True)

    def take_event(self, number: int) -> PackFinished | PackLost:
        """Return how the pack ended, and make the slot idle."""
        assert self.future is not None
        future, self.future = self.future, None
        error = future.exception()  # not raised: the SystemExit of a job would end this process
        if error is None:
            return PackFinished(number, tuple(future.result()))
        self.close(kill=True)  # the pool is broken, or the pack or its outcomes cannot be pickled
        if isinstance(error, DiskTrouble):
            raise error
        return PackLost(
            number, tuple(ticket.job.digest for ticket in self._tickets), error_message(error)
        )

    def status(self) -> SlotStatus:
        if self.future is None:
            return SlotStatus.idle(self._device)
        step, steps, testing = self._shared[:]
        return SlotStatus(
            self._device,
            self._tickets[0].job.digest,
            step,
            steps,
            bool(testing),
            monotonic() - self._submitted,
            len(self._tickets),
        )

    def kill(self) -> None:
        """Kill the worker; the pool notices, and `take_event` returns the pack as lost."""
        # The pool has no public way to end a busy worker.
        for process in list((self._pool._processes or {}).values()) if self._pool else []:
            with suppress(ProcessLookupError):
                process.kill()

    def close(self, *, kill: bool) -> None:
        if self._pool is None:
            return
        if kill:
            self.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool, self.future = None, None


@contextmanager
def _worker_start_errors() -> Iterator[None]:
    """Translate what the system reports when a worker cannot be started.

    Raises:
        Unavailable: file descriptors, processes or shared memory are used up.
    """
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"cannot start a worker ({error.strerror or error}): "
            "use fewer workers (-j 1), raise `ulimit -n`, or free space in /dev/shm"
        ) from error


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals while a worker starts: it inherits the mask, and this process receives them afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it inside the block would let some signals through
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# -- in the worker process

_worker: dict[str, Any] = {}  # its device and the shared array


def _start_worker(device: str, threads: int, parent: int, shared: Any) -> None:
    """Set up signals and the environment of a worker before any library is imported."""
    for number in SIGNALS:  # a terminal or a cluster sends them to every process of a run
        signal.signal(number, signal.SIG_IGN)
    _end_with_parent(parent)
    kind, _, index = device.partition(":")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpu = visible.split(",")[int(index or 0)] if visible else index or "0"
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu if kind == "cuda" else ""
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Models and data were downloaded before the workers start.
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    _worker["device"], _worker["shared"] = "cuda:0" if kind == "cuda" else device, shared


def _end_with_parent(parent: int) -> None:
    """End this process when its parent ends, even by SIGKILL."""
    if platform.system() == "Linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before the call
            os._exit(1)
        return

    def watch() -> None:
        while os.getppid() == parent:
            sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_in_worker(work: Work, tickets: tuple[Ticket, ...]) -> list[Outcome]:
    def report(_digest: str, step: int, steps: int, phase: str) -> None:
        _worker["shared"][:] = [step, steps, phase == "testing"]

    return work(tickets, _worker["device"], report)
