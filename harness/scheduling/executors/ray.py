"""Workers on a Ray cluster: one actor for each slot, results by value to the process that owns the ledger.

Ray starts processes and tells when a node is gone; retries are the scheduler's, so Ray's own are
off. Every node needs this program, and the models and data where its Hub cache can find them.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from harness import provenance
from harness.artefacts import tensor_files
from harness.errors import CannotWrite, DiskTrouble, Unavailable
from harness.outcome import Outcome
from harness.redaction import told
from harness.scheduling.executors.base import Finished, Lost, Where, Work
from harness.training.ticket import Ticket
from harness.training.worker import run_pack

if TYPE_CHECKING:
    from harness.outcome import Progress

READY = 120.0  # seconds for a first actor to start


class RayExecutor:
    """Slots on the nodes of a cluster; a GPU is a slot, or a processor core where there is none.

    Args:
        address: of a running cluster, or `auto`; `local` starts one on this machine.
        slots: how many at most; 0: as many as the cluster has GPUs, or cores.
        work: what an actor does with a pack.

    Raises:
        Unavailable: Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str, slots: int = 0, work: Work = run_pack) -> None:
        try:
            import ray
        except ImportError:
            raise Unavailable(
                "the executor ray needs Ray: pip install 'simplexbench[ray]'"
            ) from None
        _see(address)
        try:
            where = None if address == "local" else address
            ray.init(
                address=where, log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise Unavailable(
                f"no Ray cluster answers at {address}: {str(error).splitlines()[0]}"
            ) from None
        found = ray.cluster_resources()
        gpus, cores = int(found.get("GPU", 0)), int(found.get("CPU", 0))
        count = max(1, min(slots or gpus or cores, gpus or cores))
        self.devices = ("cuda:0" if gpus else "cpu",) * count
        self._ray, self._slots = ray, [_Slot(ray, self.devices[0], work) for _ in range(count)]

    def idle(self) -> list[int]:
        """The slots that have nothing to do and an actor on some node."""
        ready = [
            number for number, slot in enumerate(self._slots) if slot.pack is None and slot.ready()
        ]
        nobody = not ready and all(slot.pack is None for slot in self._slots)
        return [0] if nobody else ready  # somebody must wait for a first actor: `submit` does

    def submit(self, slot: int, tickets: Sequence[Ticket]) -> None:
        """Give a pack to an idle slot."""
        self._slots[slot].submit(tuple(tickets))

    def events(self, timeout: float) -> list[Finished | Lost]:
        """What came back within the time."""
        busy = {
            slot.pack: number for number, slot in enumerate(self._slots) if slot.pack is not None
        }
        if not busy:
            sleep(timeout)
            return []
        done, _ = self._ray.wait(list(busy), num_returns=1, timeout=timeout)
        return [self._slots[busy[one]].take(busy[one]) for one in done]

    def where(self) -> list[Where]:
        """How far each slot is."""
        return [slot.where() for slot in self._slots]

    def stop(self, slot: int) -> None:
        """End a slot's actor; what it was doing is lost."""
        self._slots[slot].stop()

    def close(self, *, kill: bool) -> None:  # noqa: ARG002  # an actor that is done and one that is not end alike
        """Let go of all actors, and of the cluster."""
        for slot in self._slots:
            slot.stop()
        self._ray.shutdown()


def _see(address: str) -> None:
    """See that somebody listens at `host:port`: Ray itself would try for minutes.

    Raises:
        Unavailable: nobody does.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise Unavailable(f"no Ray cluster answers at {address}: {error}") from None


class _Slot:
    """One actor, replaced when it is gone."""

    def __init__(self, ray: Any, device: str, work: Work) -> None:
        self._ray, self._device, self._work = ray, device, work
        self._actor: Any = None
        self._born: Any = None  # resolves when the actor has started
        self.pack: Any = None  # the pack at hand
        self._tickets: tuple[Ticket, ...] = ()
        self._asked: Any = None  # how far it is, asked and not yet answered
        self._at = (0, 0, False)
        self._started = 0.0

    def ready(self) -> bool:
        """Whether there is an actor that has started; else one is asked for."""
        if self._actor is None:
            gpus = 1 if self._device.startswith("cuda") else 0
            kind = self._ray.remote(
                num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0, max_concurrency=2
            )(_Actor)
            self._actor = kind.remote(self._device, self._work)
            self._born = self._actor.where.remote()
        if self._born is None:
            return True
        done, _ = self._ray.wait([self._born], timeout=0)
        if not done:
            return False
        try:
            self._ray.get(self._born)
        except self._ray.exceptions.RayError:
            self._actor = None
            return False
        self._born = None
        return True

    def submit(self, tickets: tuple[Ticket, ...]) -> None:
        end = monotonic() + READY
        while not self.ready():  # it was idle, and its actor may have gone since
            if monotonic() > end:
                raise Unavailable(
                    f"the Ray cluster gave no worker within {READY:.0f} s: are all its nodes gone or busy?"
                )
            sleep(0.1)
        self._tickets, self._started, self._at, self._asked = (
            tickets,
            monotonic(),
            (0, 0, False),
            None,
        )
        self.pack = self._actor.run.remote(tickets)

    def take(self, number: int) -> Finished | Lost:
        pack, self.pack = self.pack, None
        try:
            outcomes, files = self._ray.get(pack)
        except (
            self._ray.exceptions.RayTaskError
        ) as error:  # the work raised, which it does where its process must end
            self.stop()
            if isinstance(error.cause, DiskTrouble):
                raise error.cause from None
            reason = told(error.cause)
        except Exception as error:  # its node or its process is gone, or what it gave cannot travel
            self._actor = None
            reason = told(error).splitlines()[0]
        else:
            _keep(files, self._tickets)
            return Finished(number, tuple(outcomes))
        return Lost(number, tuple(ticket.job.digest for ticket in self._tickets), reason)

    def where(self) -> Where:
        if self.pack is None:
            return Where(self._device, None, 0, 0, False, 0.0)
        if self._asked is None:
            self._asked = self._actor.where.remote()
        elif self._ray.wait([self._asked], timeout=0)[0]:
            with suppress(self._ray.exceptions.RayError):  # `take` will tell
                self._at = self._ray.get(self._asked)
            self._asked = None
        since = monotonic() - self._started
        return Where(
            self._device,
            self._tickets[0].job.digest,
            *self._at,
            since=since,
            jobs=len(self._tickets),
        )

    def stop(self) -> None:
        if self._actor is not None:
            self._ray.kill(self._actor)
        if self.pack is None:
            self._actor = None


def _keep(files: dict[str, bytes], tickets: Sequence[Ticket]) -> None:
    """Trained tensors, which came by value, to where this machine keeps them.

    Raises:
        CannotWrite, DiskTrouble: it cannot.
    """
    folders = {ticket.job.digest: ticket.artefacts for ticket in tickets}
    try:
        for digest, content in files.items():
            tensor_files.keep(folders[digest], digest, content)
    except OSError as error:
        raise CannotWrite(f"trained tensors cannot be written: {error}") from error


class _Actor:
    """What runs on a node: one thread works, another says how far it is."""

    def __init__(self, device: str, work: Work) -> None:
        import os

        for name in (
            "OMP_NUM_THREADS",
            "MKL_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "NUMEXPR_NUM_THREADS",
        ):
            os.environ[name] = "1"
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._device, self._work, self._at = device, work, (0, 0, False)

    def where(self) -> tuple[int, int, bool]:
        """Step, steps, and whether it is testing."""
        return self._at

    def run(self, tickets: Sequence[Ticket]) -> tuple[list[Outcome], dict[str, bytes]]:
        """Outcomes, and the files of trained tensors by digest."""
        import torch

        if self._device == "cpu":
            torch.set_num_threads(1)  # Ray may have imported it before the environment was set

        def note(_digest: str, step: int, steps: int, phase: str) -> None:
            self._at = (step, steps, phase == "testing")

        progress: Progress = note
        with TemporaryDirectory() as folder:
            here = [replace(ticket, artefacts=Path(folder)) for ticket in tickets]
            try:
                outcomes = self._work(here, self._device, progress)
            except SystemExit as error:  # which would end the actor
                raise RuntimeError(f"SystemExit: {error}") from None
            except DiskTrouble:
                raise
            except Exception as error:  # an error with half a character in its text would end the actor without a reason
                raise RuntimeError(told(error)) from None
            outcomes = [
                replace(one, versions={**provenance.environment(), **one.versions})
                for one in outcomes
            ]  # its node's own
            files = {path.stem: path.read_bytes() for path in Path(folder).glob("*.safetensors")}
        return outcomes, files
