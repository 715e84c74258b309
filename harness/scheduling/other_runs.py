"""Jobs that another run has claimed: an idle run waits for them and takes them over if that run dies."""

import math
from collections.abc import Sequence
from time import monotonic, sleep

from harness.ledger import Ledger
from harness.scheduling.progress import Display
from harness.wording import plural

CHECK_INTERVAL = 1.0  # seconds between two looks at the jobs of other runs


class JobsOfOtherRuns:
    """Jobs of this run that another run had claimed when this run came to them."""

    def __init__(self) -> None:
        self.digests: list[str] = []
        self._checked = -math.inf
        self._announced = False

    def free_jobs(self, ledger: Ledger, retry: Sequence[str]) -> list[str]:
        """Return, once per interval, the jobs that have not ended, and forget all jobs.

        The caller claims the returned jobs again. Claims of dead runs are released first.
        """
        if not self.digests or monotonic() < self._checked + CHECK_INTERVAL:
            return []
        ledger.release_dead_claims()
        states = ledger.states(self.digests)
        self._checked, digests, self.digests = monotonic(), self.digests, []
        return [
            digest for digest in digests if states.get(digest) in ("planned", "claimed", *retry)
        ]

    def wait(self, display: Display) -> None:
        """Sleep until the next check, and show once that this run waits."""
        seconds = self._checked + CHECK_INTERVAL - monotonic()
        if seconds <= 0:
            return
        if not self._announced:
            self._announced = True
            jobs, verb = plural(len(self.digests), "job"), "is" if len(self.digests) == 1 else "are"
            display.note(f"{jobs} {verb} claimed by another run: waiting; Ctrl-C stops")
        sleep(seconds)
