"""Workers that are processes of this machine.

Each worker has a process pool of its own, so a worker that dies loses only its own pack. It computes
with one thread, so a result does not depend on the number of workers. Workers
ignore Ctrl-C, and they end when this process ends, even if it is killed. They write their progress
to shared memory without a lock, since a killed worker would never release a lock.
"""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, Final

from harness.errors import DiskTrouble, Unavailable
from harness.outcome import Outcome
from harness.redaction import error_message
from harness.scheduling.executors import worker_start
from harness.scheduling.executors.base import PackFinished, PackLost, Work, WorkerStatus
from harness.training.jobs.worker import run_pack
from harness.training.ticket import Ticket

MOST_STARTS: Final = 6  # of a process, for one pack


class LocalExecutor:
    """Worker processes on this machine.

    Args:
        devices: of each worker, such as `cpu` or `cuda:0`; workers may share a device.
        work: runs a pack. Each worker imports it by name.
    """

    def __init__(self, devices: Sequence[str], work: Work = run_pack) -> None:
        self.devices = tuple(devices)
        self._workers = [_LocalWorker(device, work) for device in devices]
        self._disk_trouble: DiskTrouble | None = None  # the next call of `events` raises it

    def idle(self) -> list[int]:
        """Return the workers without a pack."""
        return [number for number, worker in enumerate(self._workers) if worker.future is None]

    def submit(self, worker: int, tickets: Sequence[Ticket]) -> None:
        """Give a pack to an idle worker."""
        self._workers[worker].submit(tuple(tickets))

    def events(self, timeout: float) -> list[PackFinished | PackLost]:
        """Return the packs that ended. If none has ended, wait at most `timeout` seconds for one."""
        self._raise_disk_trouble()
        running = [worker.future for worker in self._workers if worker.future is not None]
        if not running:
            return []
        wait(running, timeout=timeout, return_when=FIRST_COMPLETED)
        events = []
        for number, worker in enumerate(self._workers):
            if worker.future is not None and worker.future.done():
                try:
                    events.append(worker.take_event(number))
                except DiskTrouble as error:
                    self._disk_trouble = error
        if not events:
            self._raise_disk_trouble()
        return events

    def _raise_disk_trouble(self) -> None:
        if self._disk_trouble is not None:
            error, self._disk_trouble = self._disk_trouble, None
            raise error

    def status(self) -> list[WorkerStatus]:
        """Return the status of each worker."""
        return [worker.status() for worker in self._workers]

    def kill_worker(self, worker: int) -> None:
        """Kill a worker."""
        self._workers[worker].kill()

    def close(self, *, kill: bool) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.close(kill=kill)


class _LocalWorker:
    """One process on one device, started for the first pack and again after it died."""

    def __init__(self, device: str, work: Work) -> None:
        self._device, self._work = device, work
        self._context = worker_start.context_of(device)
        with worker_start.starting(device):
            self._progress: Any = self._context.RawArray("q", 3)  # step, steps, testing
        self._pool: ProcessPoolExecutor | None = None
        self.future: Future[list[Outcome]] | None = None
        self._tickets: tuple[Ticket, ...] = ()
        self._submitted = 0.0

    def submit(self, tickets: tuple[Ticket, ...]) -> None:
        """Give the pack to the process; start one if there is none.

        Raises:
            Unavailable: no process can be started.
        """
        self._tickets, self._submitted = tickets, monotonic()
        self._progress[:] = [0, 0, 0]
        starts = 0
        with worker_start.starting(self._device):
            while self.future is None:
                starts += 1
                if self._pool is None:
                    self._pool = ProcessPoolExecutor(
                        1,
                        self._context,
                        initializer=_start_worker,
                        initargs=(self._device, self._progress),
                    )
                try:
                    self.future = self._pool.submit(_run_in_worker, self._work, tickets)
                except (BrokenProcessPool, EOFError, ConnectionError) as error:
                    # The process died while it was idle, or the server from which it is forked died.
                    self.close(kill=True)
                    if starts == MOST_STARTS:
                        raise Unavailable(
                            f"cannot start a worker ({error_message(error)})"
                        ) from error
                    sleep(0.1 * (starts - 1))  # a server that was killed may take a moment to end

    def take_event(self, number: int) -> PackFinished | PackLost:
        """Return how the pack ended, and make this worker idle.

        Args:
            number: of this worker.
        """
        assert self.future is not None
        future, self.future = self.future, None
        error = future.exception()  # `result` would raise a SystemExit of a job in this process
        if error is None:
            return PackFinished(number, tuple(future.result()))
        self.close(kill=True)  # its process died, raised, or could not pickle the outcomes
        if isinstance(error, DiskTrouble):
            raise error
        return PackLost(
            number, tuple(ticket.job.digest for ticket in self._tickets), error_message(error)
        )

    def status(self) -> WorkerStatus:
        if self.future is None:
            return WorkerStatus.idle(self._device)
        step, steps, testing = self._progress[:]
        return WorkerStatus(
            self._device,
            self._tickets[0].job.digest,
            step,
            steps,
            bool(testing),
            monotonic() - self._submitted,
            len(self._tickets),
        )

    def kill(self) -> None:
        """Kill the process. The pool then ends the future with an error, and `take_event` returns the pack as lost."""
        # The pool has no public method that ends a busy process.
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


# -- what runs in the worker process

_worker_state: dict[str, Any] = {}  # the device of this process, and the array for its progress


def _start_worker(device: str, progress: Any) -> None:
    worker_start.prepare_worker()
    # A worker for a GPU sees only that one.
    seen = "cuda:0" if device.startswith("cuda") else device
    _worker_state.update(device=seen, progress=progress)


def _run_in_worker(work: Work, tickets: tuple[Ticket, ...]) -> list[Outcome]:
    def report(_digest: str, step: int, steps: int, phase: str) -> None:
        _worker_state["progress"][:] = [step, steps, phase == "testing"]

    return work(tickets, _worker_state["device"], report)
