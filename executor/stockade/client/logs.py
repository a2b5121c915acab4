"""Handing log records to the executor."""

from __future__ import annotations

import logging
import os

from stockade._proto.lean_values import LogRecord
from stockade._proto.wire import encode
from stockade.client.errors import ClientError
from stockade.client.named import descriptors
from stockade.comms.names import LOGS

# A pipe takes so much in one piece (PIPE_BUF, pipe(7)), so that records of several threads and processes do not mix.
LONGEST_FRAME = 4096
_HEADER = 4
# Bytes of name and text; the rest of the frame is for the numbers.
_LONGEST_NAME, _LONGEST_TEXT = 64, 3900
_LARGEST = 2**32 - 1


class ForwardingHandler(logging.Handler):
    """Writes records to the executor's pipe. Never waits: what finds the pipe full is dropped, and counted.

    A record is its level, the name of its logger and its formatted text, shortened to about 3900 bytes.
    """

    def __init__(self, pipe: int, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._pipe, self._dropped = pipe, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            level, text = min(max(record.levelno, 0), _LARGEST), _cut(self.format(record), _LONGEST_TEXT)
            self._write(LogRecord(level=level, name=_cut(record.name, _LONGEST_NAME), text=text, dropped=self._dropped))
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Say how many records were dropped since the last one that was sent, if there is room for that now."""
        if self._dropped:
            self._write(LogRecord(dropped=self._dropped))
        super().close()

    def _write(self, message: LogRecord) -> None:
        payload = encode(message)
        try:
            os.write(self._pipe, len(payload).to_bytes(_HEADER, "little") + payload)
            self._dropped = 0
        except (BlockingIOError, BrokenPipeError):
            self._dropped = min(self._dropped + 1, _LARGEST)


def forward_logs(logger: logging.Logger | None = None, level: int = logging.NOTSET) -> ForwardingHandler:
    """Send what `logger` (the root logger by default) and those below it log from `level` on to the executor.

    Returns the handler that was added; the level of the logger itself is not changed. ClientError when the run was not
    started with `forward_logs`.
    """
    pipe = descriptors().get(LOGS)
    if pipe is None:
        raise ClientError("nobody receives log records: the run was not started with forward_logs")
    handler = ForwardingHandler(pipe, level)
    (logger or logging.getLogger()).addHandler(handler)
    return handler


def _cut(text: str, longest: int) -> str:
    """Give a text of at most so many bytes of UTF-8, which it always is."""
    data = text[:longest].encode("utf-8", "backslashreplace")
    return text[:longest] if len(data) <= longest and text.isascii() else data[:longest].decode("utf-8", "ignore")
