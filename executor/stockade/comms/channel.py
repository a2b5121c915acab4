"""One framed message at a time, with descriptors, over a connected unix stream socket.

A frame is a header (length of the payload and number of descriptors, 32 bits each, little endian), the payload, and
the descriptors as SCM_RIGHTS on the header's first byte. Everything received is bounded. Deadlines are in seconds of
time.monotonic(); with one nothing blocks beyond it (TimeoutError), without one poll(2) is not called.
"""

from __future__ import annotations

import os
import select
import struct
import time
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_CREDENTIALS,
    SCM_RIGHTS,
    SHUT_RDWR,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
    socketpair,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAXIMUM_PAYLOAD = 16 * 1024 * 1024
MAXIMUM_DESCRIPTORS = 250  # the kernel's own limit for one message is 253

_HEADER = struct.Struct("<II")
_CREDENTIALS = struct.Struct("iII")  # struct ucred
_CONTROL_SPACE = CMSG_SPACE(MAXIMUM_DESCRIPTORS * 4)
_PIECE = 1 << 18  # bytes that are received at once
# What is there at the deadline is taken, but nobody who trickles bytes can go on for long after it.
_LATE_PIECES = 4
_LONGEST_POLL = 86_400_000  # milliseconds


class ChannelError(Exception):
    """The other side sent something that is no frame, or too much."""


class Channel:
    """One end of a connection. Not for use by several threads at once in the same direction."""

    __slots__ = ("_socket",)

    def __init__(self, connection: socket) -> None:
        self._socket = connection

    @classmethod
    def from_descriptor(cls, descriptor: int) -> Channel:
        """Take over the connected unix socket `descriptor`."""
        return cls(socket(AF_UNIX, SOCK_STREAM, 0, descriptor))

    @staticmethod
    def pair() -> tuple[Channel, Channel]:
        """Two connected ends, close-on-exec."""
        first, second = socketpair(AF_UNIX, SOCK_STREAM)
        return Channel(first), Channel(second)

    def fileno(self) -> int:
        """Descriptor of this end, -1 when closed."""
        return self._socket.fileno()

    def is_readable(self) -> bool:
        """Whether something can be received without waiting, be it the end of the connection."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close this end. Closing twice is fine."""
        self._socket.close()

    def replace(self, descriptor: int) -> None:
        """Go on with the connected unix socket `descriptor` instead; the old one is closed."""
        self._socket.close()
        self._socket = socket(AF_UNIX, SOCK_STREAM, 0, descriptor)

    def shutdown(self) -> None:
        """Wake whoever receives on this end, and the other side; both see the end of the connection."""
        try:
            self._socket.shutdown(SHUT_RDWR)
        except OSError:
            return  # not connected any more: nobody is waiting

    def detach(self) -> int:
        """Give the descriptor away; this object is closed then."""
        return self._socket.detach()

    def send(self, payload: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send one frame. BrokenPipeError when the other side is gone (never SIGPIPE)."""
        if len(payload) > MAXIMUM_PAYLOAD or len(descriptors) > MAXIMUM_DESCRIPTORS:
            raise ChannelError(f"message of {len(payload)} bytes and {len(descriptors)} descriptors is too large")
        self.send_rest(*self.send_start(payload, descriptors))

    def send_start(
        self,
        payload: bytes,
        descriptors: Sequence[int] = (),
        credentials: tuple[int, int, int] | None = None,
        deadline: float | None = None,
    ) -> tuple[memoryview, float | None]:
        """Send as much of a frame as goes at once: what `send_rest` takes. After an error here nothing was sent.

        `credentials` are pid, uid and gid, which the kernel checks (SCM_CREDENTIALS, unix(7)).
        """
        frame = memoryview(_HEADER.pack(len(payload), len(descriptors)) + payload)
        ancillary = []
        if descriptors:
            ancillary = [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]
        if credentials is not None:
            ancillary.append((SOL_SOCKET, SCM_CREDENTIALS, _CREDENTIALS.pack(*credentials)))
        return frame[self._send(frame, ancillary, deadline) :], deadline

    def send_rest(self, rest: memoryview, deadline: float | None = None) -> None:
        """Send the rest of a frame."""
        while rest:
            rest = rest[self._send(rest, [], deadline) :]

    def _send(self, data: memoryview, ancillary: list[tuple[int, int, bytes]], deadline: float | None) -> int:
        if deadline is None:
            return self._socket.sendmsg([data], ancillary, MSG_NOSIGNAL)
        while True:
            self._wait(select.POLLOUT, deadline)
            try:
                return self._socket.sendmsg([data], ancillary, MSG_NOSIGNAL | MSG_DONTWAIT)
            except BlockingIOError:
                continue  # less room than the next piece needs

    def receive(self) -> tuple[bytes, list[int]]:
        """Receive one frame: (payload, descriptors). EOFError when the other side is gone, ChannelError on nonsense."""
        start = self.receive_start(_CONTROL_SPACE)
        return self.receive_rest(start, MAXIMUM_PAYLOAD), start.descriptors

    def receive_start(self, space: int, deadline: float | None = None) -> Start:
        """Wait for the start of a frame. `space` bounds, in bytes, the control messages that are taken with it.

        EOFError when the other side is gone. After an error here nothing was received.
        """
        header, ancillary, flags = self._receive_part(_HEADER.size, space, deadline)
        start = Start(header, ancillary, bool(flags & MSG_CTRUNC))
        if not header:
            start.close()
            raise EOFError("the other side has closed the connection")
        return start

    def receive_rest(self, start: Start, limit: int, deadline: float | None = None) -> bytes:
        """Receive the rest of a frame: its payload, of at most `limit` bytes.

        EOFError when the other side is gone, ChannelError on nonsense; the descriptors are closed then.
        """
        try:
            header = start.header
            if len(header) < _HEADER.size:
                header += self._receive_exactly(_HEADER.size - len(header), deadline)
            length, count = _HEADER.unpack(header)
            arrived = len(start.descriptors)
            if length > limit:
                raise ChannelError(f"bad frame: {length} bytes, and at most {limit} are taken")
            if count != arrived or start.truncated:
                raise ChannelError(f"bad frame: {length} bytes, {count} descriptors, {arrived} arrived")
            return self._receive_exactly(length, deadline)
        except BaseException:
            start.close()
            raise

    def _receive_exactly(self, size: int, deadline: float | None) -> bytes:
        """Receive `size` bytes. What is kept meanwhile grows with what came, however small the pieces are."""
        whole, late = bytearray(), 0
        while len(whole) < size:
            if deadline is not None and time.monotonic() > deadline:
                late += 1
                if late > _LATE_PIECES:
                    raise TimeoutError("the other side took too long")
            # No space for control messages: the kernel drops descriptors in the middle of a message.
            part = self._receive_part(min(size - len(whole), _PIECE), 0, deadline)[0]
            if not part:
                raise EOFError("the other side has closed the connection within a message")
            if len(part) == size:
                return part
            whole += part
        return bytes(whole)

    def _receive_part(
        self, size: int, space: int, deadline: float | None
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int]:
        """Receive what is there, up to `size` bytes: bytes, control messages and flags."""
        if deadline is None:
            return self._socket.recvmsg(size, space, MSG_CMSG_CLOEXEC)[:3]
        while True:
            self._wait(select.POLLIN, deadline)
            try:
                return self._socket.recvmsg(size, space, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)[:3]
            except BlockingIOError:
                continue  # somebody else has read it

    def _wait(self, event: int, deadline: float) -> None:
        """Wait until the socket is ready. TimeoutError when the deadline passes before."""
        poll = select.poll()
        poll.register(self._socket.fileno(), event)
        while True:
            left = deadline - time.monotonic()
            if poll.poll(max(0, min(int(left * 1000 + 0.999), _LONGEST_POLL))):
                return
            if left <= 0:
                raise TimeoutError("the other side took too long")


class Start:
    """The start of a frame: bytes of its header, descriptors, and credentials (pid, uid, gid) if they came along."""

    __slots__ = ("header", "descriptors", "credentials", "truncated")

    def __init__(self, header: bytes, ancillary: list[tuple[int, int, bytes]], truncated: bool) -> None:
        self.header, self.truncated = header, truncated
        self.descriptors = _descriptors(ancillary)
        self.credentials: tuple[int, int, int] | None = None
        for level, kind, data in ancillary:
            if level == SOL_SOCKET and kind == SCM_CREDENTIALS and len(data) == _CREDENTIALS.size:
                self.credentials = _CREDENTIALS.unpack(data)

    def close(self) -> None:
        """Close the descriptors."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    descriptors: list[int] = []
    for level, kind, data in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            usable = len(data) - len(data) % 4
            descriptors.extend(struct.unpack(f"{usable // 4}i", data[:usable]))
    return descriptors
