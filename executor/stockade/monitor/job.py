"""What the monitor needs to know of a run before it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stockade.comms.channel import Channel
from stockade.monitor.decisions import Decisions
from stockade.monitor.hooks import Hooks, declaration_of
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
    # Seconds that a callback may take, unless it is slow.
    hook_timeout: float
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
    # What the policy's own program says, when the installed one notifies of what that refuses or traces (unotify).
    decisions: Decisions | None = None
    # The program is a copy that a fork server has made of itself: it executes nothing, and installs the filter itself.
    forked: bool = False
    # Whether that fork server is ending, and so its copies with it.
    server_is_dying: Callable[[], bool] | None = None
    # Whether a process is in the box of that fork server.
    server_has_in_box: Callable[[int], bool] | None = None
    # Is told the outcome of the run, in the thread that follows it, before anybody else.
    finished: Callable[[Outcome], None] | None = None

    @property
    def has_callbacks(self) -> bool:
        """Whether functions of the user are called during the run."""
        return bool(self.hook_names) or self.notify is not None

    @property
    def wakeable(self) -> bool:
        """Whether other threads may ask work of the one that follows the run: after `start`, or for slow hooks."""
        return self.announce_start or any(declaration_of(hook).slow for hook in self.hooks.values())
