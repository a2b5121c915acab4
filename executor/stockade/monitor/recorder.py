"""The flight recorder: the last events of a run, kept cheaply while it goes on, put into words when it ends badly."""

from __future__ import annotations

import errno
import signal
import time
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from stockade._proto import report_pb2
from stockade.monitor.hooks import Verdict
from stockade.text import escape

MAXIMUM_EVENTS = 65536
# Characters of a text that is kept with an event.
TEXT_LIMIT = 256
_SIGNAL_NAMES = {each.value: each.name for each in signal.Signals}

# (time, thread, name, architecture, registers, hook, answer) of a call; of another event the architecture is empty and
# its text stands in the place of the registers. A plain tuple: one is made for every event of every run.
_Event: TypeAlias = "tuple[int, int, str, str, Sequence[int] | str, str, str | Verdict]"


class FlightRecorder:
    """The last `size` events: calls that hooks decide, violations, signals, new and ending tasks, executed programs.

    With the size 0 nothing is kept, but events are counted all the same.
    """

    def __init__(self, size: int) -> None:
        self._events: deque[_Event] = deque(maxlen=size)
        self._began = time.monotonic_ns()
        self.seen = 0

    def record(
        self, tid: int, name: str, architecture: str, args: Sequence[int], answer: str | Verdict, hook: str = ""
    ) -> None:
        """Keep a call with its registers, what came of it, and the hook that said so if one did."""
        self.seen += 1
        self._events.append((time.monotonic_ns(), tid, name, architecture, args, hook, answer))

    def event(self, tid: int, name: str, text: str, answer: str = "") -> None:
        """Keep something that is no call: "signal", "exec", "fork", "exit". `text` may be hostile; it is cut."""
        self.seen += 1
        self._events.append((time.monotonic_ns(), tid, name, "", text[:TEXT_LIMIT], "", answer))

    def events(self) -> list[report_pb2.FlightEvent]:
        """What was kept, oldest first, with the calls in words as far as their registers tell. Safe to print."""
        return [self._in_words(event) for event in self._events]

    def _in_words(self, event: _Event) -> report_pb2.FlightEvent:
        from stockade.monitor.plain_calls import format_plain

        at, tid, name, architecture, what, hook, answer = event
        text = escape(what) if isinstance(what, str) else format_plain(name, architecture, what)
        words = (answer if isinstance(answer, str) else answer_words(answer))[:TEXT_LIMIT]
        shown = escape(f"{hook}: {words}" if hook else words)
        return report_pb2.FlightEvent(at=max(at - self._began, 0), tid=tid, name=name, text=text, answer=shown)

    def exit(self, tid: int, status: int) -> None:
        """Keep the end of a task, `status` as wait(2) gives it. Of threads that end together only the first is kept:
        the others would push out what came before.
        """
        words = signal_words(status & 0x7F) if status & 0x7F else f"exit code {status >> 8 & 0xFF}"
        last = self._events[-1] if self._events else None
        if last is None or last[2] != "exit" or last[4] != words:
            self.event(tid, "exit", words)

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return self._events.maxlen != 0

    @property
    def dropped(self) -> int:
        """How many events are no longer there."""
        return self.seen - len(self._events)


def signal_words(signo: int, code: int | None = None) -> str:
    """Say which signal it is, and with its si_code who raised it: "SIGSEGV, by the kernel (code 1)"."""
    name = _SIGNAL_NAMES.get(signo, f"signal {signo}")
    if code is None:
        return name
    return f"{name}, by {'a process' if code <= 0 else 'the kernel'} (code {code})"


def answer_words(verdict: Verdict) -> str:
    """Say what a verdict made of a call: "allowed", "EPERM", "returned 5"; not escaped."""
    match verdict.kind:
        case "allow":
            return "allowed"
        case "inspect":
            return "allowed, and inspected"
        case "errno":
            return errno.errorcode.get(verdict.value, f"error {verdict.value}")
        case "return":
            return f"returned {verdict.value}"
        case "descriptor":
            return "returned a descriptor"
        case "finish":
            return f"ended the run: {verdict.word}"
        case _:
            return "killed"
