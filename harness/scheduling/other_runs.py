"""Jobs that another run has claimed. An idle run waits for them and takes them over if the other run dies."""

import math
from collections.abc import Sequence
from time import monotonic, sleep

from harness.ledger import Ledger
from harness.scheduling.progress import Display
from harness.wording import plural

CHECK_INTERVAL = 1.0  # seconds between two checks of these jobs


class JobsOfOtherRuns:
    """Jobs of this run that another run had claimed when this run tried to claim them."""

    def __init__(self) -> None:
        self.digests: list[str] = []
        self._last_check = -math.inf
        self._announced = False

    def pop_unfinished(self, ledger: Ledger, retry: Sequence[str]) -> list[str]:
        """Release the claims of dead runs, empty `digests`, and return those jobs that have not ended.

        Between two checks, return nothing. The caller tries to claim the returned jobs, and adds
        those that another run still has to `digests`.

        Args:
            ledger: open for writing.
            retry: states besides `planned` that may be tried again, such as `failed`.
        """
        if not self.digests or monotonic() < self._last_check + CHECK_INTERVAL:
            return []
        ledger.release_dead_claims()
        states = ledger.states(self.digests)
        self._last_check, digests, self.digests = monotonic(), self.digests, []
        return [
            digest for digest in digests if states.get(digest) in ("planned", "claimed", *retry)
        ]

    def wait(self, display: Display) -> None:
        """Sleep until the next check is due. The first time, show that this run waits."""
        seconds = self._last_check + CHECK_INTERVAL - monotonic()
        if seconds <= 0:
            return
        if not self._announced:
            self._announced = True
            jobs, verb = plural(len(self.digests), "job"), "is" if len(self.digests) == 1 else "are"
            display.note(f"{jobs} {verb} claimed by another run: waiting; Ctrl-C stops")
        sleep(seconds)
