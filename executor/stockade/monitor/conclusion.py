"""The end of a run: one outcome, completed once, told to the user's Notify once, then given to all who wait."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stockade.monitor.callbacks import Callbacks
from stockade.monitor.notify import QuotaEvent
from stockade.monitor.outcome import KillReason, Outcome, Status
from stockade.monitor.supervision import Supervision


class Conclusion:
    """Of one run. `complete` adds to an outcome what every outcome carries."""

    def __init__(self, supervision: Supervision, callbacks: Callbacks, complete: Callable[[Outcome], None]) -> None:
        self._supervision, self._callbacks, self._complete = supervision, callbacks, complete
        self._lock = threading.Lock()
        self._left = [self._tell_quota, self._tell_finished]
        self.outcome: Outcome | None = None
        self.user_verdict = ""
        supervision.on_blame = self._blamed

    def reach(self, outcome: Outcome, *, aside: bool = False) -> None:
        """The run ends with `outcome`; the first one stands. Each step is done once, whoever comes to it.

        `aside`: called by another thread, because the one that follows the run is stuck in a callback or waits in vain.
        """
        with self._lock:
            is_first, outcome = self.outcome is None, self.outcome or outcome
            self.outcome = outcome
        if is_first:
            self._complete(outcome)
            outcome.user_verdict, outcome.abandoned_threads = self.user_verdict, self._callbacks.abandoned
            self._callbacks.program_ends()
        while True:
            with self._lock:
                if not self._left:
                    break
                tell = self._left.pop(0)
            tell(outcome, aside)
        if self._supervision.outcome is None:
            outcome.abandoned_threads = self._callbacks.abandoned
        self._supervision.announce(outcome=outcome)

    def _tell_quota(self, outcome: Outcome, aside: bool) -> None:
        reason, notify = outcome.kill, self._supervision.job.notify
        if outcome.status not in (Status.TIMEOUT, Status.LIMIT) or reason is None or notify is None:
            return
        if not aside:
            self._callbacks.tell("quota", self._supervision.pid, lambda: (_quota_event(reason),))
        elif self._callbacks.wants("quota"):
            self._callbacks.tell_aside("quota", lambda: notify.quota(_quota_event(reason)))
        outcome.user_verdict = self.user_verdict

    def _tell_finished(self, outcome: Outcome, aside: bool) -> None:
        finished = self._supervision.job.finished
        if finished is None:
            return
        if aside:
            self._callbacks.tell_aside("finished", lambda: finished(outcome))
        else:
            self._callbacks.tell_finished(lambda: finished(outcome))

    def _blamed(self, reason: KillReason) -> None:
        """A limit was passed, which was noticed only after the verdict. Called by a waiting thread."""
        notify = self._supervision.job.notify
        if notify is not None and self._callbacks.wants("quota"):
            self._callbacks.tell_aside("quota", lambda: notify.quota(_quota_event(reason)))


def _quota_event(reason: KillReason) -> QuotaEvent:
    return QuotaEvent(reason.name, reason.allowed, reason.measured)
