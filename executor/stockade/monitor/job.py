"""What the monitor needs to know of a run before it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stockade.comms.channel import Channel
from stockade.monitor.hooks import Hooks
from stockade.monitor.notify import Notify
from stockade.monitor.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Job:
    """One run. `hook_names` is in the order of the filter's numbering; `hooks` has a callable for each of them.

    `judge` is there when the data of a seccomp stop is no evidence: because the program may install filters of its own,
    which could forge it, or because the monitor is told of calls without any (unotify). It gives the data that our
    filter returns for a call (architecture token, number and six registers), None when ours does not ask.
    """

    channel: Channel
    mode: str
    monitor: str
    hook_names: tuple[str, ...]
    hooks: Hooks
    notify: Notify | None
    rlimits: dict[int, tuple[int, int]]
    filters: int
    shared_network: bool
    host_network: bool
    announce_start: bool
    # The program is executed without the filter and installs it itself (client library).
    deferred: bool
    asked_at: float
    # How many of the last events are kept.
    recorder_size: int
    trace_summary: bool
    judge: Callable[[int, int, Sequence[int]], int | None] | None = None
    # Is told the outcome of the run, in the thread that follows it, before anybody else.
    finished: Callable[[Outcome], None] | None = None
