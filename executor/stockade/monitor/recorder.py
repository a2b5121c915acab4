"""The flight recorder: the last events of a run, kept cheaply while it goes on and told when it ends badly."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from stockade._proto import report_pb2


class _Event(NamedTuple):
    at: int
    tid: int
    name: str
    architecture: str
    args: tuple[int, ...]
    answer: str


class FlightRecorder:
    """The last `size` events."""

    def __init__(self, size: int) -> None:
        self._events: deque[_Event] = deque(maxlen=size)
        self._began = time.monotonic_ns()
        self.seen = 0

    def record(self, tid: int, name: str, architecture: str, args: Sequence[int], answer: str) -> None:
        """Keep one event. `architecture` is "" for what is no call."""
        self.seen += 1
        self._events.append(_Event(time.monotonic_ns() - self._began, tid, name, architecture, tuple(args), answer))

    def events(self) -> list[report_pb2.FlightEvent]:
        """What was kept, oldest first, with the calls decoded without memory."""
        return [
            report_pb2.FlightEvent(at=event.at, tid=event.tid, name=event.name, answer=event.answer)
            for event in self._events
        ]

    @property
    def dropped(self) -> int:
        """How many events are no longer there."""
        return self.seen - len(self._events)
