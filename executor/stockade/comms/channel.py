"""One framed message at a time, with descriptors, over a connected unix stream socket.

A frame is a header (length of the payload and number of descriptors, 32 bits each, little endian), the payload, and
the descriptors as SCM_RIGHTS on the header's first byte. Everything received is bounded.
"""

from __future__ import annotations

import os
import select
import struct
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_NOSIGNAL,
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
_CONTROL_SPACE = CMSG_SPACE(MAXIMUM_DESCRIPTORS * 4)


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
        frame = _HEADER.pack(len(payload), len(descriptors)) + payload
        ancillary = []
        if descriptors:
            ancillary = [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]
        sent = self._socket.sendmsg([frame], ancillary, MSG_NOSIGNAL)
        while sent < len(frame):
            sent += self._socket.send(frame[sent:], MSG_NOSIGNAL)

    def receive(self) -> tuple[bytes, list[int]]:
        """Receive one frame: (payload, descriptors). EOFError when the other side is gone, ChannelError on nonsense."""
        header, ancillary, flags, _ = self._socket.recvmsg(_HEADER.size, _CONTROL_SPACE, MSG_CMSG_CLOEXEC)
        descriptors = _descriptors(ancillary)
        try:
            if not header:
                raise EOFError("the other side has closed the connection")
            if len(header) < _HEADER.size:
                header += self._receive_exactly(_HEADER.size - len(header))
            length, count = _HEADER.unpack(header)
            if length > MAXIMUM_PAYLOAD or count != len(descriptors) or flags & MSG_CTRUNC:
                raise ChannelError(f"bad frame: {length} bytes, {count} descriptors, {len(descriptors)} arrived")
            return self._receive_exactly(length), descriptors
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise

    def _receive_exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._socket.recv(min(size, 1 << 20))
            if not part:
                raise EOFError("the other side has closed the connection within a message")
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    descriptors: list[int] = []
    for level, kind, data in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            usable = len(data) - len(data) % 4
            descriptors.extend(struct.unpack(f"{usable // 4}i", data[:usable]))
    return descriptors
