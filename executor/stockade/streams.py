"""stdin, stdout, stderr and other descriptors of a run: what the program gets, and what the caller keeps."""

from __future__ import annotations

import itertools
import os
import select
import stat
import subprocess
import threading
from collections.abc import Sequence
from typing import IO, Any, Final

from stockade.errors import PolicyError

PIPE: Final = subprocess.PIPE
STDOUT: Final = subprocess.STDOUT
DEVNULL: Final = subprocess.DEVNULL
# Hand over the caller's own stream. A terminal is never handed over itself: it is copied through a pipe.
INHERIT: Final = -4
# Make a pair of connected sockets: the program gets one end, the caller keeps the other (`named_fds` only).
SOCKETPAIR: Final = -5

Stream = int | IO[Any] | None

_CHUNK = 65536
_BACKGROUND_PAUSE = 500  # milliseconds
_PIPE_BUFFER = 65536


class Relay(threading.Thread):
    """Copies one descriptor to another until the source ends; for terminals, which are never handed over."""

    def __init__(self, source: int, target: int, *, close_target: bool) -> None:
        super().__init__(name="stockade-relay", daemon=True)
        self._source, self._target, self._close_target = source, target, close_target
        self._stop_reader, self._stop_writer = os.pipe()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        poll.register(self._stop_reader, select.POLLIN)
        try:
            while True:
                ready = [descriptor for descriptor, _ in poll.poll()]
                if self._stop_reader in ready or self._source not in ready:
                    return
                if _in_background(self._source):
                    # Reading would stop this process (SIGTTIN). Look again when it may be in the foreground.
                    if self._stopped_within(_BACKGROUND_PAUSE):
                        return
                    continue
                data = os.read(self._source, _CHUNK)
                if not data:
                    return
                while data:
                    data = data[os.write(self._target, data) :]
        except OSError:
            return  # the other side is gone; the run itself goes on
        finally:
            self._close()

    def _stopped_within(self, milliseconds: int) -> bool:
        poll = select.poll()
        poll.register(self._stop_reader, select.POLLIN)
        return bool(poll.poll(milliseconds))

    def _close(self) -> None:
        os.close(self._target if self._close_target else self._source)
        os.close(self._stop_reader)

    def stop(self) -> None:
        """Stop a relay whose source may never end (a terminal's input)."""
        os.close(self._stop_writer)

    def discard(self) -> None:
        """Close what a relay that was never started holds."""
        self._close()
        self.stop()


def _in_background(descriptor: int) -> bool:
    """Whether `descriptor` is our terminal, and another process group has it."""
    try:
        return os.tcgetpgrp(descriptor) != os.getpgrp()
    except OSError:
        return False  # no terminal, or not ours: reading it stops nobody


class Streams:
    """The descriptors of one run.

    `child` maps numbers inside to descriptors here, which are closed by `close_child` once they have been sent.
    `stdin`, `stdout`, `stderr` are the caller's ends of pipes, -1 where there is none.
    """

    def __init__(self, stdin: Stream, stdout: Stream, stderr: Stream, pass_fds: Sequence[int] = ()) -> None:
        self.child: dict[int, int] = {}
        self.stdin = self.stdout = self.stderr = -1
        self.output_relays: list[Relay] = []
        self.input_relay: Relay | None = None
        self._owned: list[int] = []
        try:
            self._set_input(stdin)
            self.stdout = self._set_output(1, stdout)
            self.stderr = self._set_output(2, stderr)
            for descriptor in pass_fds:
                if descriptor in (0, 1, 2) or descriptor in list(self.child)[3:]:
                    raise PolicyError(f"pass_fds: descriptor {descriptor} is given twice; 0, 1 and 2 are the streams")
                self.child[descriptor] = check_descriptor(descriptor, f"pass_fds: descriptor {descriptor}")
        except BaseException:
            self.close_child()
            self.close_own()
            raise

    def _set_input(self, stdin: Stream) -> None:
        if stdin == STDOUT:
            raise ValueError("STDOUT is for stderr only")
        if stdin is None or stdin == PIPE:
            self.child[0], writer = self._pipe()
            if stdin == PIPE:
                self.stdin = writer
            else:
                os.close(writer)
        elif stdin == DEVNULL:
            self.child[0] = self._own(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        else:
            descriptor = _descriptor(stdin, 0)
            if os.isatty(descriptor):
                self.child[0], writer = self._pipe()
                self.input_relay = Relay(descriptor, writer, close_target=True)
            else:
                self.child[0] = check_descriptor(descriptor, "stdin")

    def _set_output(self, number: int, stream: Stream) -> int:
        name = "stdout" if number == 1 else "stderr"
        if stream == STDOUT:
            if number == 1:
                raise ValueError("STDOUT is for stderr only")
            self.child[2] = self.child[1]
            return -1
        if stream is None or stream == DEVNULL:
            self.child[number] = self._own(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
            return -1
        if stream == PIPE:
            reader, writer = os.pipe()
            self.child[number] = self._own(writer)
            return reader
        descriptor = _descriptor(stream, number)
        if not os.isatty(descriptor):
            self.child[number] = check_descriptor(descriptor, name)
            return -1
        reader, writer = os.pipe()
        self.child[number] = self._own(writer)
        self.output_relays.append(Relay(reader, descriptor, close_target=False))
        return -1

    def _pipe(self) -> tuple[int, int]:
        reader, writer = os.pipe()
        return self._own(reader), writer

    def _own(self, descriptor: int) -> int:
        self._owned.append(descriptor)
        return descriptor

    def add(self, descriptor: int, name: str) -> int:
        """Give the program a descriptor at a free number, which is returned; `name` is for errors."""
        number = next(number for number in itertools.count(3) if number not in self.child)
        self.child[number] = check_descriptor(descriptor, name)
        return number

    def add_own(self, descriptor: int) -> int:
        """As `add`, for a descriptor of ours that is closed once it has been sent."""
        return self.add(self._own(descriptor), "descriptor")

    def pass_sockets(self) -> bool:
        """Whether one of the program's descriptors is a socket."""
        return any(stat.S_ISSOCK(os.fstat(descriptor).st_mode) for descriptor in self.child.values())

    def start_relays(self) -> None:
        """Start copying to and from terminals."""
        for relay in (*self.output_relays, *([self.input_relay] if self.input_relay else [])):
            relay.start()

    def finish_relays(self, *, at_once: bool = False) -> None:
        """Let the copying of output come to its end (`at_once`: of what is there), and stop that of input."""
        for relay in self.output_relays:
            if not at_once:
                relay.join()
            relay.stop()
        self.output_relays.clear()
        if self.input_relay is not None:
            self.input_relay.stop()
            if self.input_relay.is_alive():
                self.input_relay.join()  # the caller may close its terminal, and its number be another's
            self.input_relay = None

    def close_child(self) -> None:
        """Close the program's ends, which have been sent or are not needed."""
        for descriptor in self._owned:
            os.close(descriptor)
        self._owned.clear()

    def close_own(self) -> None:
        """Close the caller's ends, and those of relays that were never started."""
        for relay in (*self.output_relays, *([self.input_relay] if self.input_relay else [])):
            relay.discard()
        self.output_relays.clear()
        self.input_relay = None
        for descriptor in (self.stdin, self.stdout, self.stderr):
            if descriptor >= 0:
                os.close(descriptor)
        self.stdin = self.stdout = self.stderr = -1


def _descriptor(stream: int | IO[Any], number: int) -> int:
    if isinstance(stream, int):
        if stream == INHERIT:
            return number
        if stream < 0:
            raise ValueError(f"{stream} is no descriptor and none of PIPE, DEVNULL, STDOUT, INHERIT")
        return stream
    return stream.fileno()


def check_descriptor(descriptor: int, name: str) -> int:
    """Refuse what would open the box: a directory leads to the host's root, a terminal can be typed into."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError as error:
        raise PolicyError(f"{name} is not open: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise PolicyError(f"{name} is a directory, from which the whole host could be reached; use add_directory")
    if stat.S_ISCHR(mode) and os.isatty(descriptor):
        raise PolicyError(f"{name} is a terminal, which is never handed over; use a pipe")
    return descriptor
