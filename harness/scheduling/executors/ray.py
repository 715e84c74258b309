"""Workers that are actors of a Ray cluster. They send their results to this process, which writes the ledger.

Ray starts the processes and reports lost nodes. The scheduler retries jobs, so Ray's own retries are
off. Every node requires this program, and the models and data in its Hub cache.
"""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

from harness import provenance
from harness.artefacts import tensor_files
from harness.errors import CannotWrite, DiskTrouble, Unavailable
from harness.outcome import Outcome
from harness.redaction import error_message
from harness.scheduling.executors.base import (
    THREAD_VARIABLES,
    PackFinished,
    PackLost,
    Work,
    WorkerStatus,
)
from harness.training.jobs.worker import run_pack
from harness.training.ticket import Ticket

ACTOR_START = 120.0  # seconds to wait for an actor to start if no worker has one


class RayExecutor:
    """Workers on the nodes of a cluster.

    Args:
        address: of a running cluster; `auto` finds one, `local` starts one on this machine.
        workers: maximum number of workers; 0: one for each GPU of the cluster, or for each core if it has no GPU.
        work: runs a pack.

    Raises:
        Unavailable: Ray is not installed, or the cluster does not answer.
    """

    def __init__(self, address: str, workers: int = 0, work: Work = run_pack) -> None:
        try:
            import ray
        except ImportError:
            raise Unavailable(
                "the executor ray needs Ray: pip install 'simplexbench[ray]'"
            ) from None
        _check_address(address)
        try:
            ray.init(
                address=None if address == "local" else address,
                log_to_driver=False,
                logging_level="ERROR",
                ignore_reinit_error=True,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise Unavailable(
                f"no Ray cluster answers at {address}: {str(error).splitlines()[0]}"
            ) from None
        resources = ray.cluster_resources()
        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
        count = max(1, min(workers or gpus or cores, gpus or cores))
        self.devices = ("cuda:0" if gpus else "cpu",) * count
        self._ray, self._workers = ray, [_RayWorker(ray, device, work) for device in self.devices]

    def idle(self) -> list[int]:
        """Return the idle workers whose actor has started; if every worker is idle, at least one."""
        ready = [
            number
            for number, worker in enumerate(self._workers)
            if worker.pack is None and worker.ready()
        ]
        all_idle = all(worker.pack is None for worker in self._workers)
        return [0] if all_idle and not ready else ready  # `submit` waits for the actor of worker 0

    def submit(self, worker: int, tickets: Sequence[Ticket]) -> None:
        """Give a pack to an idle worker."""
        self._workers[worker].submit(tuple(tickets))

    def events(self, timeout: float) -> list[PackFinished | PackLost]:
        """Return one pack that ended. If none has ended, wait at most `timeout` seconds for one."""
        running = {
            worker.pack: number
            for number, worker in enumerate(self._workers)
            if worker.pack is not None
        }
        if not running:
            return []
        ended, _ = self._ray.wait(list(running), num_returns=1, timeout=timeout)
        return [self._workers[running[pack]].take_event(running[pack]) for pack in ended]

    def status(self) -> list[WorkerStatus]:
        """Return the status of each worker."""
        return [worker.status() for worker in self._workers]

    def kill_worker(self, worker: int) -> None:
        """Kill the actor of a worker."""
        self._workers[worker].kill()

    def close(self, *, kill: bool) -> None:  # noqa: ARG002  # without `kill` all are idle
        """Kill all actors and leave the cluster."""
        for worker in self._workers:
            worker.kill()
        self._ray.shutdown()


def _check_address(address: str) -> None:
    """Check that a program listens at `host:port`: Ray itself would try for minutes.

    Raises:
        Unavailable: no program listens there.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise Unavailable(f"no Ray cluster answers at {address}: {error}") from None


class _RayWorker:
    """One actor, started when it is first needed and again after it died."""

    def __init__(self, ray: Any, device: str, work: Work) -> None:
        self._ray, self._device, self._work = ray, device, work
        self._actor: Any = None
        self._started: Any = None  # resolves when the actor has started; None afterwards
        self.pack: Any = None  # resolves to what `_RayActor.run` returns; None: idle
        self._tickets: tuple[Ticket, ...] = ()
        self._progress_request: Any = None  # resolves to the actor's progress
        self._progress = (0, 0, False)  # step, steps, testing
        self._submitted = 0.0

    def ready(self) -> bool:
        """Return whether the actor has started; create one if there is none."""
        if self._actor is None:
            self._actor = self._ray.remote(
                num_cpus=1,
                num_gpus=1 if self._device.startswith("cuda") else 0,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=2,
            )(_RayActor).remote(self._device, self._work)
            self._started = self._actor.progress.remote()
        if self._started is None:
            return True
        if not self._ray.wait([self._started], timeout=0)[0]:
            return False
        try:
            self._ray.get(self._started)
        except self._ray.exceptions.RayError:
            self._actor = None
            return False
        self._started = None
        return True

    def submit(self, tickets: tuple[Ticket, ...]) -> None:
        """Give the pack to the actor; wait for the actor if it has not started."""
        deadline = monotonic() + ACTOR_START
        while not self.ready():  # the actor may have died since `idle`
            if monotonic() > deadline:
                raise Unavailable(
                    f"the Ray cluster started no worker within {ACTOR_START:.0f} s: are all its nodes gone or busy?"
                )
            sleep(0.1)
        self._tickets, self._submitted = tickets, monotonic()
        self._progress, self._progress_request = (0, 0, False), None
        self.pack = self._actor.run.remote(tickets)

    def take_event(self, number: int) -> PackFinished | PackLost:
        """Return how the pack ended, and make this worker idle.

        Args:
            number: of this worker.
        """
        pack, self.pack = self.pack, None
        try:
            outcomes, files = self._ray.get(pack)
        except (
            self._ray.exceptions.RayTaskError
        ) as error:  # `_RayActor.run` raised: its process must end
            self.kill()
            if isinstance(error.cause, DiskTrouble):
                raise error.cause from None
            reason = error_message(error.cause)
        except Exception as error:
            # The node or the process of the actor died, or Ray could not pickle the outcomes.
            self._actor = None
            reason = error_message(error).splitlines()[0]
        else:
            _keep_tensors(files, self._tickets)
            return PackFinished(number, tuple(outcomes))
        return PackLost(number, tuple(ticket.job.digest for ticket in self._tickets), reason)

    def status(self) -> WorkerStatus:
        if self.pack is None:
            return WorkerStatus.idle(self._device)
        if self._progress_request is None:
            self._progress_request = self._actor.progress.remote()
        elif self._ray.wait([self._progress_request], timeout=0)[0]:
            with suppress(self._ray.exceptions.RayError):  # `take_event` reports it
                self._progress = self._ray.get(self._progress_request)
            self._progress_request = None
        return WorkerStatus(
            self._device,
            self._tickets[0].job.digest,
            *self._progress,
            seconds=monotonic() - self._submitted,
            jobs=len(self._tickets),
        )

    def kill(self) -> None:
        """Kill the actor; `take_event` then returns its pack as lost."""
        if self._actor is not None:
            self._ray.kill(self._actor)
        if self.pack is None:
            self._actor = None


def _keep_tensors(files: dict[str, bytes], tickets: Sequence[Ticket]) -> None:
    """Write the trained tensors that a node sent to the artefact folders on this machine.

    Args:
        files: their content by digest.
        tickets: of the jobs in the pack.

    Raises:
        CannotWrite, DiskTrouble: the tensors cannot be written.
    """
    folders = {ticket.job.digest: ticket.artefacts for ticket in tickets}
    try:
        for digest, content in files.items():
            tensor_files.write_bytes(folders[digest], digest, content)
    except OSError as error:
        raise CannotWrite(f"trained tensors cannot be written: {error}") from error


class _RayActor:
    """Runs packs on a node. While one thread runs a pack, another one returns the progress."""

    def __init__(self, device: str, work: Work) -> None:
        os.environ |= dict.fromkeys(THREAD_VARIABLES, "1")
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._device, self._work, self._progress = device, work, (0, 0, False)

    def progress(self) -> tuple[int, int, bool]:
        """Return the step, the number of steps, and whether the job is testing."""
        return self._progress

    def run(self, tickets: Sequence[Ticket]) -> tuple[list[Outcome], dict[str, bytes]]:
        """Run a pack and return its outcomes, and the files of trained tensors by digest."""
        import torch

        if self._device == "cpu":
            torch.set_num_threads(1)  # Ray may have imported torch before the environment was set

        def report(_digest: str, step: int, steps: int, phase: str) -> None:
            self._progress = (step, steps, phase == "testing")

        with TemporaryDirectory() as folder:
            try:
                outcomes = self._work(
                    [replace(ticket, artefacts=Path(folder)) for ticket in tickets],
                    self._device,
                    report,
                )
            except SystemExit as error:  # it would end the actor without a reason
                raise RuntimeError(f"SystemExit: {error}") from None
            except DiskTrouble:
                raise
            except Exception as error:
                # An error whose text is not valid Unicode would end the actor without a reason.
                raise RuntimeError(error_message(error)) from None
            outcomes = [  # library versions may differ between nodes
                replace(outcome, versions={**provenance.environment(), **outcome.versions})
                for outcome in outcomes
            ]
            files = {path.stem: path.read_bytes() for path in Path(folder).glob("*.safetensors")}
        return outcomes, files
