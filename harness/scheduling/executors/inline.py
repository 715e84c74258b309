"""Runs packs in this process, one after the other. For debuggers, and for tests of the scheduler."""

from collections.abc import Sequence

from harness.errors import DiskTrouble
from harness.redaction import error_message
from harness.scheduling.executors.base import PackFinished, PackLost, Work, WorkerStatus
from harness.training.jobs.worker import run_pack
from harness.training.ticket import Ticket


class InlineExecutor:
    """An executor whose only worker is this process: `events` runs the pack.

    Until it is closed, torch uses one thread, as in a worker: sums are added in the same order.
    """

    def __init__(self, device: str, work: Work = run_pack) -> None:
        import torch

        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self.devices = (device,)
        self._work = work
        self._tickets: tuple[Ticket, ...] = ()

    def idle(self) -> list[int]:
        """Return the worker, unless it has a pack that the next call of `events` will run."""
        return [] if self._tickets else [0]

    def submit(self, worker: int, tickets: Sequence[Ticket]) -> None:  # noqa: ARG002  # there is only one
        """Keep the pack for the next call of `events`."""
        self._tickets = tuple(tickets)

    def events(self, timeout: float) -> list[PackFinished | PackLost]:  # noqa: ARG002  # it runs the pack instead of waiting
        """Run the pack and return how it ended."""
        if not self._tickets:
            return []
        tickets, self._tickets = self._tickets, ()
        try:
            return [PackFinished(0, tuple(self._work(tickets, self.devices[0], lambda *_: None)))]
        except DiskTrouble:
            raise
        except (Exception, SystemExit) as error:
            return [
                PackLost(0, tuple(ticket.job.digest for ticket in tickets), error_message(error))
            ]

    def status(self) -> list[WorkerStatus]:
        """Return an idle worker: the scheduler submits a pack and has it run between two calls."""
        return [WorkerStatus.idle(self.devices[0])]

    def kill_worker(self, worker: int) -> None:
        """Do nothing: the worker is this process."""

    def close(self, *, kill: bool) -> None:  # noqa: ARG002  # nothing runs between two calls
        """Let torch use its threads again."""
        import torch

        torch.set_num_threads(self._threads)
