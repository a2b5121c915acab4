"""What the traced calls of a run cost: how often each was made, how often it failed, how long it took.

A call that goes on is followed to its return, so that the time is measured from letting it go to its return. That costs
one more stop for each call, which is why nobody gets it who has not asked.
"""

from __future__ import annotations

import heapq
import time
from typing import NamedTuple

from stockade._proto import report_pb2
from stockade.monitor.hooks import Verdict
from stockade.monitor.violations import Call

SLOWEST = 10
# Numbers may be hostile, and with them the names of calls that no table knows.
MAXIMUM_NAMES = 1000
OTHERS = "other calls"
LARGEST_ERRNO = 4095
# A call that is interrupted and will be made again has not failed: ERESTARTSYS to ERESTART_RESTARTBLOCK.
RESTARTS = range(512, 517)
_GOING_ON = frozenset(("allow", "inspect"))


class _Row:
    """The calls of one name, times in nanoseconds."""

    __slots__ = ("count", "deciding", "errors", "longest", "total")

    def __init__(self) -> None:
        self.count = self.errors = self.total = self.longest = self.deciding = 0


class _Slow(NamedTuple):
    """One call; ordered by the time that it took."""

    taken: int
    at: int
    tid: int
    call: Call


class _Running(NamedTuple):
    """A call that was let go: when, and with which verdict."""

    since: int
    call: Call
    verdict: Verdict


class TraceSummary:
    """Collects, in bounded memory."""

    def __init__(self) -> None:
        self._began = time.monotonic_ns()
        self._rows: dict[str, _Row] = {}
        self._slowest: list[_Slow] = []
        self._deciding: dict[int, int] = {}
        self._running: dict[int, _Running] = {}

    def asked(self, tid: int) -> None:
        """The task `tid` makes a traced call, which is about to be decided."""
        self._deciding[tid] = time.monotonic_ns()

    def answered(self, tid: int, call: Call, verdict: Verdict) -> bool:
        """The call was decided, and the task is about to go on. Whether the call is made, and so will return."""
        now = time.monotonic_ns()
        row = self._row(call.name)
        row.count += 1
        row.deciding += now - self._deciding.pop(tid, now)
        row.errors += verdict.kind == "errno"
        if verdict.kind not in _GOING_ON:
            return False
        self._running[tid] = _Running(time.monotonic_ns(), call, verdict)
        return True

    def returned(self, tid: int, call: Call, value: int) -> Verdict | None:
        """The call has returned `value` to the task; the verdict with which it was let go, None when it was not."""
        now = time.monotonic_ns()
        # A thread that executes a program goes on with another number.
        key = tid if tid in self._running else self._made_by(call)
        running = self._running.pop(key, None)
        if running is None:
            return None
        taken, row = now - running.since, self._row(call.name)
        row.total += taken
        row.longest = max(row.longest, taken)
        row.errors += -LARGEST_ERRNO <= value < 0 and -value not in RESTARTS
        slow = _Slow(taken, running.since - self._began, tid, call)
        if len(self._slowest) < SLOWEST:
            heapq.heappush(self._slowest, slow)
        else:
            heapq.heappushpop(self._slowest, slow)
        return running.verdict

    def ended(self, tid: int) -> None:
        """The task is gone: its call will not return."""
        self._deciding.pop(tid, None)
        self._running.pop(tid, None)

    def message(self) -> report_pb2.TraceSummary:
        """The summary: the calls that took longest in all first. Texts are safe to print."""
        from stockade.monitor.plain_calls import format_plain

        rows = sorted(self._rows.items(), key=lambda each: (-each[1].total, -each[1].count, each[0]))
        calls = [
            report_pb2.TracedCall(
                syscall=name,
                count=row.count,
                errors=row.errors,
                total_time=row.total / 1e9,
                longest_time=row.longest / 1e9,
                decision_time=row.deciding / 1e9,
            )
            for name, row in rows
        ]
        slowest = [
            report_pb2.SlowCall(
                text=format_plain(each.call.name, each.call.architecture, each.call.args),
                time=each.taken / 1e9,
                at=each.at,
                tid=each.tid,
            )
            for each in sorted(self._slowest, reverse=True)
        ]
        return report_pb2.TraceSummary(calls=calls, slowest=slowest)

    def _row(self, name: str) -> _Row:
        row = self._rows.get(name)
        if row is None:
            key = name if len(self._rows) < MAXIMUM_NAMES else OTHERS
            row = self._rows.setdefault(key, _Row())
        return row

    def _made_by(self, call: Call) -> int:
        """The task that was seen to make this very call; 0 for none."""
        return next((tid for tid, running in self._running.items() if running.call is call), 0)
