"""Log records of a program, received and handed to a logger of the executor's side.

What arrives is hostile: each record is bounded by its frame, their rate by a bucket of tokens, the text is escaped, no
logger is made by a name that the program chose. Reading stops while the rate is exceeded; the pipe fills then, and the
program's handler drops records and counts them.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable

from stockade._proto.lean_values import LogRecord
from stockade._proto.wire import WireError, decode
from stockade.text import CUT_MARK, escape

# Records a second in the long run, and at once.
RATE, BURST = 1000.0, 2000.0
# Length of a frame with its four bytes of header; the most that a pipe takes in one piece (PIPE_BUF, pipe(7)).
LONGEST_FRAME, HEADER = 4096, 4
LONGEST_NAME = 64
_CHUNK = 65536
# Of what the pipe holds at the end at most so much is read: it may have been made larger.
_MOST_AT_THE_END = 1 << 20
# Milliseconds between looks while the rate is exceeded.
_PAUSE = 50
_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")


class LogRelay:
    """Reads the pipe of one run in a thread of its own, until the program has gone or `finish` is called."""

    def __init__(self, source: int, logger: logging.Logger) -> None:
        """Take over `source`, the reading end of the pipe."""
        self._source, self._logger = source, logger
        self._stop_reader, self._stop_writer = os.pipe()
        self._finishing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid: Callable[[], int] = lambda: 0
        self._buffer = bytearray()
        self._tokens, self._filled_at = BURST, time.monotonic()
        self._lost = 0  # records that came after the tokens had run out, at the end
        self._warned = self._nonsense = False

    def follow(self, pid: Callable[[], int]) -> None:
        """Start reading. `pid` gives the pid of the program, which records carry as their attribute `sandboxee`."""
        self._pid = pid
        self._thread = threading.Thread(target=self._run, name="stockade-logs", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Hand on what has arrived and is within the bounds, stop, and close."""
        if self._finishing.acquire(blocking=False):  # two threads may close the process at once
            os.close(self._stop_writer)
        # A handler of the logger, which runs in the thread itself, may be what ends the run.
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def discard(self) -> None:
        """Close what a relay that follows nothing holds."""
        for descriptor in (self._source, self._stop_reader, self._stop_writer):
            os.close(descriptor)

    def _run(self) -> None:
        try:
            os.set_blocking(self._source, False)
            while not self._nonsense:
                self._fill_tokens()
                if self._tokens < 1:
                    if self._wait(_PAUSE, source=False):
                        break
                elif self._wait(None, source=True) or not self._read():
                    break
            self._read_the_rest()
        finally:
            os.close(self._source)
            os.close(self._stop_reader)

    def _wait(self, milliseconds: int | None, *, source: bool) -> bool:
        """Wait until there is something to read; whether it is time to stop."""
        poll = select.poll()
        poll.register(self._stop_reader, select.POLLIN)
        if source:
            poll.register(self._source, select.POLLIN)
        return any(descriptor == self._stop_reader for descriptor, _ in poll.poll(milliseconds))

    def _read(self) -> bool:
        """Read once and hand on whole records, as many as there are tokens for. False at the end of the pipe."""
        # What waits in the buffer for tokens comes first.
        if len(self._buffer) < LONGEST_FRAME:
            try:
                data = os.read(self._source, _CHUNK)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._buffer += data
        self._hand_on()
        return True

    def _read_the_rest(self) -> None:
        """The program has gone, or nobody wants to wait any more: what is there, within the bounds."""
        total = 0
        while not self._nonsense and total < _MOST_AT_THE_END:
            try:
                data = os.read(self._source, _CHUNK)
            except BlockingIOError:
                break
            if not data:
                break
            total += len(data)
            self._buffer += data
            self._hand_on(at_the_end=True)
        self._hand_on(at_the_end=True)
        if self._lost:
            self._say(f"{self._lost} log records of the program came too fast and were dropped")

    def _hand_on(self, *, at_the_end: bool = False) -> None:
        """Hand on the whole records in the buffer; without tokens they stay there, or at the end are dropped."""
        position = 0
        while not self._nonsense and len(self._buffer) - position >= HEADER and (self._tokens >= 1 or at_the_end):
            length = int.from_bytes(self._buffer[position : position + HEADER], "little")
            if not 0 < length <= LONGEST_FRAME - HEADER:
                self._nonsense = True  # where the next record begins cannot be known any more
                self._warn("what follows is ignored")
                break
            end = position + HEADER + length
            if end > len(self._buffer):
                break
            if self._tokens >= 1:
                self._tokens -= 1
                self._handle(bytes(self._buffer[position + HEADER : end]))
            else:
                self._lost += 1
            position = end
        del self._buffer[:position]

    def _handle(self, payload: bytes) -> None:
        try:
            received = decode(LogRecord, payload)
        except WireError:
            self._warn("it is left out")
            return
        if received.dropped:
            self._say(f"{received.dropped} log records of the program came too fast and were dropped")
            if not received.level and not received.text:
                return  # the last word of a handler that could send no record more
        level = min(max(received.level, 1), logging.CRITICAL)
        if not self._logger.isEnabledFor(level):
            return
        name = "".join(mark if mark in _NAME_CHARACTERS else "?" for mark in received.name[:LONGEST_NAME])
        self._log(level, f"{self._logger.name}.{name}" if name else self._logger.name, shortened(received.text))

    def _warn(self, consequence: str) -> None:
        if not self._warned:
            self._warned = True
            self._say(f"the program sent something that is no log record; {consequence}")

    def _say(self, text: str) -> None:
        """Log a warning of our own."""
        if self._logger.isEnabledFor(logging.WARNING):
            self._log(logging.WARNING, self._logger.name, text)

    def _log(self, level: int, name: str, text: str) -> None:
        # No arguments: a percent sign in the text is one.
        record = self._logger.makeRecord(
            name, level, "(sandboxee)", 0, text, (), None, extra={"sandboxee": self._pid()}
        )
        self._logger.handle(record)

    def _fill_tokens(self) -> None:
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) * RATE)
        self._filled_at = now


def shortened(text: str) -> str:
    """One line of text, safe to print, of bounded length."""
    line = escape(text)
    return line if len(line) <= LONGEST_FRAME else line[:LONGEST_FRAME] + CUT_MARK
