"""Comms: typed values both ways between a program that knows that it is sandboxed and its executor.

Each side trusts the other with nothing: what is received is bounded in size and, where asked, in time, has exactly the
type that was asked for, and is never unpickled. The same class serves both sides; it imports nothing heavy, and the
protobuf library only comes into play with the message classes of its user.
"""

from __future__ import annotations

import os
import time
from _socket import CMSG_SPACE

from stockade._proto.lean_values import (
    Boolean,
    Data,
    Descriptor,
    Identity,
    Signed,
    Text,
    Unsigned,
    UserMessage,
    UserStatus,
    Value,
)
from stockade._proto.wire import WireError, decode, encode
from stockade.comms.channel import Channel, ChannelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, Protocol, TypeVar

    from stockade._proto.wire import Message
    from stockade.comms.channel import Start

    class ProtobufMessage(Protocol):
        """A message of google.protobuf, as far as it is needed here."""

        DESCRIPTOR: Any

        def SerializeToString(self) -> bytes: ...  # noqa: N802

        @classmethod
        def FromString(cls, s: bytes) -> Any: ...  # noqa: N802

    AnyMessage = TypeVar("AnyMessage", bound=ProtobufMessage)

DEFAULT_LIMIT = 16 * 1024 * 1024
LARGEST_LIMIT = 1 << 30
# Bytes of a frame beyond the value itself: type and name of the value, lengths.
_OVERHEAD = 1024
_LONGEST_NAME = 512  # bytes, of a message type
# Room for one descriptor and the credentials. What does not fit is dropped by the kernel, and that is seen.
_CONTROL_SPACE = CMSG_SPACE(4) + CMSG_SPACE(12)
_NAMES = tuple(name for name, *_ in Value.FIELDS.values())


class CommsError(ChannelError):
    """What was received is not what was asked for, or the connection cannot go on; base of the other two."""


class CommsClosedError(CommsError, EOFError):
    """The other side has closed the connection, or has ended."""


class CommsTimeoutError(CommsError, TimeoutError):
    """The other side did not send, or take, a whole message in time."""


class CommsStatus:
    """A status that the other side has sent: `code`, 0 for success, and `text`. Compares by value."""

    __slots__ = ("code", "text")

    def __init__(self, code: int, text: str = "") -> None:
        self.code, self.text = code, text

    def __eq__(self, other: object) -> bool:
        return (self.code, self.text) == (other.code, other.text) if isinstance(other, CommsStatus) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.code, self.text))

    def __repr__(self) -> str:
        return f"CommsStatus(code={self.code}, text={self.text!r})"


class Credentials:
    """Who sent a message: `pid`, `uid` and `gid` as the kernel knows them, in the receiver's namespaces.

    A pid of 0 is that of a process outside of the receiver's pid namespace; ids that have no name in the receiver's
    user namespace are 65534.
    """

    __slots__ = ("pid", "uid", "gid")

    def __init__(self, pid: int, uid: int, gid: int) -> None:
        self.pid, self.uid, self.gid = pid, uid, gid

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Credentials):
            return NotImplemented
        return (self.pid, self.uid, self.gid) == (other.pid, other.uid, other.gid)

    def __hash__(self) -> int:
        return hash((self.pid, self.uid, self.gid))

    def __repr__(self) -> str:
        return f"Credentials(pid={self.pid}, uid={self.uid}, gid={self.gid})"


class Comms:
    """One end of a connection on which typed values travel.

    `limit` bounds each value, in bytes, both ways. Every method takes `timeout` in seconds for the whole message: None
    waits for ever, 0 takes what is there. Not for several threads at once in the same direction.

    Methods raise CommsTimeoutError and CommsClosedError; CommsError when something else than was asked for has arrived,
    which is lost then; TypeError and ValueError for a value that cannot be sent. After half a message, or nonsense, no
    further message can be told from the rest: the connection is shut down, and every later call is a CommsError.
    """

    __slots__ = ("_channel", "_limit", "_check_descriptor", "_failure")

    def __init__(
        self,
        channel: Channel,
        *,
        limit: int = DEFAULT_LIMIT,
        check_descriptor: Callable[[int], object] | None = None,
    ) -> None:
        """Take over `channel`. `check_descriptor` is asked about each descriptor before it is sent, and may raise."""
        self._channel, self._check_descriptor = channel, check_descriptor
        self._failure = ""
        self.limit = limit

    @property
    def limit(self) -> int:
        """Bytes that one value may have, both ways; may be set. 16 MiB unless something else was asked for."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise TypeError(f"limit is a number of bytes, not {type(limit).__name__}")
        if not 0 < limit <= LARGEST_LIMIT:
            raise ValueError(f"limit must be from 1 to {LARGEST_LIMIT} bytes, not {limit}")
        self._limit = limit

    def fileno(self) -> int:
        """Descriptor of this end, for select and poll; -1 when closed."""
        return self._channel.fileno()

    def close(self) -> None:
        """Close this end. Closing twice is fine."""
        self._failure = self._failure or "it was closed here"
        self._channel.close()

    def __enter__(self) -> Comms:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- sending ---

    def send_int(self, value: int, *, timeout: float | None = None) -> None:
        """Send a signed number of 64 bits."""
        number = _number(value, -(1 << 63), (1 << 63) - 1)
        self._send(Value(signed=Signed(value=number & (1 << 64) - 1)), timeout)

    def send_uint(self, value: int, *, timeout: float | None = None) -> None:
        """Send an unsigned number of 64 bits."""
        self._send(Value(unsigned=Unsigned(value=_number(value, 0, (1 << 64) - 1))), timeout)

    def send_bool(self, value: bool, *, timeout: float | None = None) -> None:
        """Send True or False."""
        if not isinstance(value, bool):
            raise TypeError(f"a bool is needed, not {type(value).__name__}")
        self._send(Value(boolean=Boolean(value=value)), timeout)

    def send_string(self, value: str, *, timeout: float | None = None) -> None:
        """Send a text. ValueError when it holds lone surrogates, as names of files that are no UTF-8 do."""
        if not isinstance(value, str):
            raise TypeError(f"a str is needed, not {type(value).__name__}")
        self._send(Value(text=Text(value=value)), timeout)

    def send_bytes(self, value: bytes | bytearray | memoryview, *, timeout: float | None = None) -> None:
        """Send bytes."""
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(f"bytes are needed, not {type(value).__name__}")
        self._send(Value(data=Data(value=bytes(value))), timeout)

    def send_message(self, message: ProtobufMessage, *, timeout: float | None = None) -> None:
        """Send a protobuf message."""
        name = message.DESCRIPTOR.full_name
        self._send(Value(message=UserMessage(type=name, value=message.SerializeToString())), timeout)

    def send_status(self, code: int, text: str = "", *, timeout: float | None = None) -> None:
        """Send how something went: a signed number of 32 bits, 0 for success, and a text for people."""
        if not isinstance(text, str):
            raise TypeError(f"a str is needed, not {type(text).__name__}")
        self._send(Value(status=UserStatus(code=_number(code, -(1 << 31), (1 << 31) - 1), text=text)), timeout)

    def send_descriptor(self, descriptor: int, *, timeout: float | None = None) -> None:
        """Send an open file; the other side gets a descriptor of its own for it."""
        number = _number(descriptor, 0, (1 << 31) - 1)
        if self._check_descriptor is not None:
            self._check_descriptor(number)
        self._send(Value(descriptor=Descriptor()), timeout, (number,))

    def send_credentials(self, *, timeout: float | None = None) -> None:
        """Send who we are: pid, real uid and real gid, checked by the kernel (SCM_CREDENTIALS, unix(7))."""
        self._send(Value(identity=Identity()), timeout, (), (os.getpid(), os.getuid(), os.getgid()))

    # --- receiving ---

    def recv_int(self, *, timeout: float | None = None) -> int:
        """Receive what `send_int` sent."""
        raw: int = self._receive("signed", timeout).value
        return raw - (1 << 64) if raw >= 1 << 63 else raw

    def recv_uint(self, *, timeout: float | None = None) -> int:
        """Receive what `send_uint` sent."""
        value: int = self._receive("unsigned", timeout).value
        return value

    def recv_bool(self, *, timeout: float | None = None) -> bool:
        """Receive what `send_bool` sent."""
        value: bool = self._receive("boolean", timeout).value
        return value

    def recv_string(self, *, timeout: float | None = None) -> str:
        """Receive what `send_string` sent. It may hold anything: escape it before it is shown."""
        value: str = self._receive("text", timeout).value
        return value

    def recv_bytes(self, *, timeout: float | None = None) -> bytes:
        """Receive what `send_bytes` sent."""
        value: bytes = self._receive("data", timeout).value
        return value

    def recv_message(self, cls: type[AnyMessage], *, timeout: float | None = None) -> AnyMessage:
        """Receive what `send_message` sent, a message of the class `cls`; CommsError when it is of another type."""
        received = self._receive("message", timeout)
        wanted = cls.DESCRIPTOR.full_name
        if received.type != wanted:
            raise CommsError(f"a message of type {received.type[:_LONGEST_NAME]!r} arrived, and {wanted} was asked for")
        try:
            message: AnyMessage = cls.FromString(received.value)
        except Exception as error:  # what the library raises is its own (DecodeError, RecursionError)
            raise CommsError(f"what arrived is no {wanted}: {error}") from None
        return message

    def recv_status(self, *, timeout: float | None = None) -> CommsStatus:
        """Receive what `send_status` sent."""
        received = self._receive("status", timeout)
        return CommsStatus(received.code, received.text)

    def recv_descriptor(self, *, timeout: float | None = None) -> int:
        """Receive what `send_descriptor` sent: a new descriptor, close-on-exec, that is the caller's to close.

        What it is has been chosen by the other side: it may be anything, or block for ever.
        """
        descriptors: list[int] = []
        self._receive("descriptor", timeout, descriptors)
        return descriptors[0]

    def recv_credentials(self, *, timeout: float | None = None) -> Credentials:
        """Receive what `send_credentials` sent: who that was, as the kernel says."""
        return Credentials(*self._receive("identity", timeout))

    # --- how ---

    def _send(
        self,
        value: Value,
        timeout: float | None,
        descriptors: Sequence[int] = (),
        credentials: tuple[int, int, int] | None = None,
    ) -> None:
        self._check_usable()
        deadline = _deadline(timeout)
        try:
            payload = encode(value)
        except WireError as error:
            raise ValueError(f"this cannot be sent: {error}") from None
        if len(payload) > self._limit + _OVERHEAD or self._too_long(value):
            raise ValueError(f"a value of about {len(payload)} bytes is too long: at most {self._limit} may be sent")
        try:
            rest, _ = self._channel.send_start(payload, descriptors, credentials, deadline)
        except TimeoutError:
            raise CommsTimeoutError("the other side took nothing in time") from None
        except ConnectionError as error:
            raise self._give_up(error) from None
        try:
            self._channel.send_rest(rest, deadline)
        except BaseException as error:  # also Ctrl-C: half a message is out
            raise self._give_up(error) from None

    def _receive(self, wanted: str, timeout: float | None, descriptors: list[int] | None = None) -> Any:
        """Receive a value of the kind `wanted` (a field of Value); its descriptors are appended to `descriptors`."""
        self._check_usable()
        deadline = _deadline(timeout)
        try:
            start = self._channel.receive_start(_CONTROL_SPACE, deadline)
        except TimeoutError:
            raise CommsTimeoutError("the other side sent nothing in time") from None
        except (EOFError, ConnectionError) as error:
            raise self._give_up(error) from None
        try:
            kind, value = self._parse(start, self._channel.receive_rest(start, self._limit + _OVERHEAD, deadline))
            if kind == wanted == "descriptor" and descriptors is not None:
                descriptors += start.descriptors
                start.descriptors = []
        except BaseException as error:  # also Ctrl-C: half a message is read
            raise self._give_up(error) from None
        finally:
            start.close()
        if kind != wanted:
            raise CommsError(f"a value of type {kind} arrived, and {wanted} was asked for; it is lost")
        if kind != "identity":
            return value
        if start.credentials is None:
            raise CommsError("no credentials came along: the socket was not made for them (SO_PASSCRED)")
        return start.credentials

    def _parse(self, start: Start, payload: bytes) -> tuple[str, Message]:
        """The kind and the value of a frame. WireError or CommsError when it is none."""
        message = decode(Value, payload)
        for kind in _NAMES:
            value: Message | None = getattr(message, kind)
            if value is not None:
                break
        else:
            raise CommsError("a value without a type")
        if self._too_long(message):
            raise CommsError(f"a value of more than {self._limit} bytes")
        if len(start.descriptors) != (kind == "descriptor"):
            raise CommsError(f"{len(start.descriptors)} descriptors with a value of type {kind}")
        return kind, value

    def _too_long(self, message: Value) -> bool:
        """Whether the value itself passes the limit, or the name of its type what there is room for."""
        if message.text is not None:
            # A character has up to four bytes, so that most texts need not be encoded once more.
            length = len(message.text.value)
            return 4 * length > self._limit and len(message.text.value.encode()) > self._limit
        if message.message is not None and len(message.message.type) > _LONGEST_NAME:
            return True
        holder = message.data or message.message
        return holder is not None and len(holder.value) > self._limit

    def _check_usable(self) -> None:
        if self._failure:
            raise CommsError(f"the connection is of no use any more: {self._failure}")

    def _give_up(self, error: BaseException) -> BaseException:
        """Shut the connection down; the error to raise for `error`."""
        closed = isinstance(error, (EOFError, ConnectionError))
        self._failure = self._failure or ("the other side has closed it" if closed else f"{error}" or "interrupted")
        self._channel.shutdown()
        if isinstance(error, EOFError):
            return CommsClosedError(str(error))
        if isinstance(error, ConnectionError):
            return CommsClosedError("the other side has closed the connection")
        if isinstance(error, TimeoutError):
            return CommsTimeoutError("the other side took too long over one message")
        if isinstance(error, (ChannelError, WireError)):
            return CommsError(f"the other side sent nonsense: {error}")
        return error


def _number(value: int, lowest: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"an int is needed, not {type(value).__name__}")
    if not lowest <= value <= highest:
        raise ValueError(f"{value if abs(value) < 1 << 128 else 'the number'} is not from {lowest} to {highest}")
    return value


def _deadline(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout is a number of seconds or None, not {type(timeout).__name__}")
    if not 0 <= timeout < float("inf"):
        raise ValueError(f"timeout must be at least 0 and finite, not {timeout!r}")
    return time.monotonic() + timeout
