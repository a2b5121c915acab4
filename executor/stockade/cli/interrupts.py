"""Ctrl-C and termination: the run is ended in order, once; whoever asks again is obeyed at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """One of the signals that ask us to end came. `exit_code` is what a shell expects of a command that it ended."""

    def __init__(self, signo: int) -> None:
        super().__init__(signo)
        self.signo = signo
        self.exit_code = 128 + signo


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, the first signal raises Interrupted; another one ends this process, and with it everything in the box.

    A signal that was ignored (nohup, a background job) stays ignored.
    """

    def first(signo: int, frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, _leave)
        raise Interrupted(signo)

    before = {signo: signal.getsignal(signo) for signo in _SIGNALS}
    before = {signo: handler for signo, handler in before.items() if handler is not signal.SIG_IGN}
    for signo in before:
        signal.signal(signo, first)
    try:
        yield
    finally:
        for signo, handler in before.items():
            signal.signal(signo, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Within `interruptible`: the first signal raises Interrupted at the end of this block; a second ends us."""
    came: list[int] = []

    def note(signo: int, frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, _leave)
        came.append(signo)

    before = {signo: signal.getsignal(signo) for signo in _SIGNALS}
    before = {signo: handler for signo, handler in before.items() if handler is not signal.SIG_IGN}
    for signo in before:
        signal.signal(signo, note)
    try:
        yield
    finally:
        if not came:
            for signo, handler in before.items():
                signal.signal(signo, handler)
    if came:
        raise Interrupted(came[0])


def _leave(signo: int, frame: FrameType | None) -> None:
    # The forkserver notices that its owner is gone and kills what is left.
    os._exit(128 + signo)
