"""The clocks of a run, and the one thread that looks at them when nobody else does."""

from __future__ import annotations

import math
import threading
import time

from stockade.limits import Duration
from stockade.monitor.outcome import Cause, KillReason
from stockade.monitor.supervision import INSIST_SECONDS, LONGEST_WAIT, Supervision
from stockade.units import parse_duration


class Clocks:
    """The wall-clock limit of a run, the time that callbacks may take, and the grace after `terminate`.

    Any thread may `check` them. `keep` has a thread of their own do so, one at most, which sleeps until the next moment
    that counts, or until one of them is changed.
    """

    def __init__(self, supervision: Supervision, wall_time: float | None) -> None:
        self._supervision = supervision
        self._wall_time = wall_time
        self._kill_at: float | None = None
        self._lock = threading.Lock()
        self._keeper: threading.Thread | None = None
        # Whether a clock was changed, and how many slow callbacks had begun, at the last look.
        self._changed, self._seen = False, 0

    def set_wall_time(self, seconds: float | None) -> None:
        """Change the limit: seconds since the start of the run, None for none. What has passed already counts."""
        self._wall_time = seconds
        self._change()

    def kill_after(self, grace: float) -> None:
        """Kill the run as terminated when it has not ended in `grace` seconds from now. The earliest moment stands."""
        moment = time.monotonic() + grace
        self._kill_at = moment if self._kill_at is None else min(self._kill_at, moment)
        self._change()

    def keep(self) -> None:
        """Have a thread look at the clocks until the verdict is there."""
        with self._lock:
            if self._keeper is None and self._supervision.outcome is None:
                self._keeper = threading.Thread(target=self._look, name="stockade-clock", daemon=True)
                self._keeper.start()

    def _change(self) -> None:
        self._changed = True
        self.keep()
        self._supervision.announce()  # whoever waits looks again

    def _look(self) -> None:
        callbacks = self._supervision.callbacks
        while self._supervision.outcome is None:
            self._changed, self._seen = False, callbacks.begun_slowly
            self._supervision.wait(self.check(), also_for=lambda: self._changed or callbacks.begun_slowly != self._seen)

    def check(self) -> float | None:
        """End the run when a clock has run out; seconds until the next look, None for never."""
        waits = []
        if self._supervision.outcome is None:
            if self._supervision.kill_reason is not None:
                self._supervision.insist()
                waits.append(INSIST_SECONDS)
            wall_time, kill_at = self._wall_time, self._kill_at
            if wall_time is not None and (left := self._supervision.expire_wall_time(wall_time)):
                waits.append(left)
            if kill_at is not None:
                waits.append(self._check_grace(kill_at))
            if self._supervision.job.has_callbacks:
                waits.append(self._supervision.callbacks.check())
        return min(*waits, LONGEST_WAIT) if waits else None

    def _check_grace(self, kill_at: float) -> float:
        left = kill_at - time.monotonic()
        if left > 0:
            return left
        self._supervision.kill(KillReason(Cause.TERMINATE))
        return INSIST_SECONDS


def grace_seconds(grace: Duration) -> float:
    """The time between TERM and KILL in seconds. ValueError for what is no such time."""
    seconds = parse_duration(grace) if isinstance(grace, str) else grace
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise ValueError(f"grace: {grace!r} is no time; it must be 0 seconds or more, or None to wait for ever")
    return float(seconds)
