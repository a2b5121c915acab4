"""Feeding a program, collecting its output and keeping its clocks, in one loop of the caller's own thread."""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import Any

from stockade.clocks import Clocks
from stockade.monitor.outcome import Cause, KillReason
from stockade.monitor.supervision import LONGEST_WAIT, Supervision
from stockade.streams import Streams

_CHUNK = 65536


class Communication:
    """One exchange with a running program. `timeout` is the caller's patience, as in subprocess."""

    def __init__(self, supervision: Supervision, streams: Streams, clocks: Clocks, output_limit: int) -> None:
        self._supervision, self._streams, self._clocks = supervision, streams, clocks
        self._output_limit, self._captured = output_limit, 0
        self._excess: KillReason | None = None
        self._input = memoryview(b"")
        self._outputs: dict[int, list[bytes]] = {}
        self._by_name = {"stdout": streams.stdout, "stderr": streams.stderr}
        for descriptor in self._by_name.values():
            if descriptor >= 0:
                os.set_blocking(descriptor, False)
                self._outputs[descriptor] = []
        self._open = set(self._outputs)

    def run(self, data: bytes | None, timeout: float | None, args: Any) -> None:
        """Exchange until the verdict is there and all output has been read.

        Raises subprocess.TimeoutExpired with the output so far when `timeout` seconds pass; the run then goes on, and
        the exchange may be taken up again.
        """
        poll = select.poll()
        poll.register(self._supervision.event, select.POLLIN)
        for descriptor in self._open:
            poll.register(descriptor, select.POLLIN)
        if data is not None:
            self._input = memoryview(data)
        if self._streams.stdin >= 0:
            os.set_blocking(self._streams.stdin, False)
            if self._input:
                poll.register(self._streams.stdin, select.POLLOUT)
            else:
                self._close_input()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._finished():
            wait = self._clocks.check()
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise subprocess.TimeoutExpired(args, timeout or 0.0, self.output("stdout"), self.output("stderr"))
                wait = min(left, LONGEST_WAIT if wait is None else wait)
            for descriptor, _ in poll.poll(None if wait is None else max(1, int(wait * 1000 + 0.999))):
                self._handle(poll, descriptor)
        if self._excess is not None:
            self._supervision.blame(self._excess)

    def output(self, name: str) -> bytes | None:
        """What has been read of "stdout" or "stderr", None when it is not captured."""
        parts = self._outputs.get(self._by_name[name])
        return None if parts is None else b"".join(parts)

    def _finished(self) -> bool:
        if self._supervision.outcome is None:
            return False
        if self._nobody_writes():
            # What is in the pipes is all.
            for descriptor in list(self._open):
                while self._read(descriptor):
                    pass
            self._open.clear()
        return not self._open

    def _nobody_writes(self) -> bool:
        """Whether nothing of the run is left that could write, or all of it stays stopped because a hook is stuck."""
        return self._supervision.gone or self._supervision.is_abandoned()

    def _handle(self, poll: select.poll, descriptor: int) -> None:
        if descriptor == self._supervision.event:
            os.eventfd_read(descriptor)
        elif descriptor == self._streams.stdin:
            if not self._write():
                poll.unregister(descriptor)
                self._close_input()
        elif not self._read(descriptor):
            poll.unregister(descriptor)
            self._open.discard(descriptor)

    def _read(self, descriptor: int) -> bool:
        """Read once. False at the end of the stream."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return not self._nobody_writes()
        if not data:
            return False
        room = self._output_limit - self._captured
        if len(data) > room:
            if self._excess is None:
                self._excess = KillReason(Cause.LIMIT, "output", self._output_limit, self._captured + len(data))
            self._supervision.kill(self._excess)
            data = data[: max(room, 0)]
        self._captured += len(data)
        self._outputs[descriptor].append(data)
        return True

    def _write(self) -> bool:
        """Write what the pipe takes. False when all is written or nobody reads any more."""
        try:
            self._input = self._input[os.write(self._streams.stdin, self._input[:_CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return bool(self._input)

    def _close_input(self) -> None:
        if self._streams.stdin >= 0:
            os.close(self._streams.stdin)
            self._streams.stdin = -1
