"""What a run has beyond its streams: descriptors by name, a connection for typed values, forwarded log records.

All of it reaches the program as descriptors at free numbers, which one environment variable announces by name. Without
any of it neither a descriptor nor a variable is added.
"""

from __future__ import annotations

import os
from _socket import SO_PASSCRED, SOL_SOCKET, socketpair
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING

from stockade._proto.lean import Launch
from stockade.comms.channel import Channel
from stockade.comms.names import COMMS, LOGS, MAXIMUM_NAMES, VARIABLE, announce, check_name
from stockade.comms.values import Comms
from stockade.errors import PolicyError
from stockade.streams import SOCKETPAIR, Streams, check_descriptor

if TYPE_CHECKING:
    import logging
    import socket

    from stockade.forwarded_logs import LogRelay

NamedDescriptor = int | IO[bytes] | IO[str]


class Attachments:
    """The attachments of one run. Nothing is opened before `open`; `finish` closes what `open` has opened.

    `comms` and `sockets` (by name) are the executor's ends.
    """

    def __init__(
        self,
        named: Mapping[str, NamedDescriptor] | None = None,
        *,
        comms: bool = False,
        forward_logs: bool | logging.Logger = False,
        keeps_ends: bool = True,
    ) -> None:
        """Check what is asked for. `keeps_ends` says whether there is a Process to keep our ends of sockets.

        Raises PolicyError for a name that cannot be given and for a socket whose other end nobody would have, TypeError
        for what is neither descriptor nor logger.
        """
        self._named: dict[str, int] = {}
        if named is not None and not isinstance(named, Mapping):
            raise TypeError(f"named_fds maps names to open files, it is no {type(named).__name__}")
        for name, descriptor in (named or {}).items():
            try:
                check_name(name)
            except ValueError as error:
                raise PolicyError(f"named_fds: {error}") from None
            if isinstance(descriptor, bool) or not (isinstance(descriptor, int) or hasattr(descriptor, "fileno")):
                raise TypeError(f"named_fds: {name} is an open file or its descriptor, no {type(descriptor).__name__}")
            self._named[name] = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            if self._named[name] == SOCKETPAIR and not keeps_ends:
                raise PolicyError(f"named_fds: {name}: run() has nobody to keep the other end of a socket; use start()")
        if len(self._named) > MAXIMUM_NAMES:
            raise PolicyError(f"named_fds: {len(self._named)} descriptors, and at most {MAXIMUM_NAMES} can be given")
        self._wants_comms, self._logger = comms, _logger(forward_logs)
        self._relay: LogRelay | None = None
        self.comms: Comms | None = None
        self.sockets: dict[str, socket.socket] = {}

    def open(self, streams: Streams, launch: Launch) -> None:
        """Open what was asked for: the program's ends go to `streams`, the announcement to `launch`.

        Raises PolicyError for a descriptor that may not be given, and for an environment with our variable in it.
        """
        if not (self._named or self._wants_comms or self._logger):
            return
        numbers: dict[str, int] = {}
        try:
            for name, descriptor in self._named.items():
                if descriptor == SOCKETPAIR:
                    numbers[name] = streams.add_own(self._open_socket(name))
                else:
                    numbers[name] = streams.add(descriptor, f"named_fds: {name}")
            if self._wants_comms:
                numbers[COMMS] = streams.add_own(self._open_comms())
            if self._logger is not None:
                numbers[LOGS] = streams.add_own(self._open_logs(self._logger))
            if any(entry.startswith(VARIABLE.encode() + b"=") for entry in launch.env):
                raise PolicyError(f"env: {VARIABLE} announces the named descriptors of this run; leave it out")
            launch.env.append(f"{VARIABLE}={announce(numbers)}".encode())
        except BaseException:
            self.close()
            raise

    def _open_socket(self, name: str) -> int:
        """Make a pair of connected stream sockets, keep one end, and return the other."""
        import socket  # loads much, and few need it

        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sockets[name] = ours
        return its.detach()

    def _open_comms(self) -> int:
        ours, its = socketpair()
        for each in (ours, its):
            each.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
        self.comms = Comms(Channel(ours), check_descriptor=lambda each: check_descriptor(each, f"descriptor {each}"))
        return its.detach()

    def _open_logs(self, logger: logging.Logger) -> int:
        from stockade.forwarded_logs import LogRelay

        reader, writer = os.pipe()
        # The description belongs to the program: a full pipe shall cost it records, not hold it up.
        os.set_blocking(writer, False)
        self._relay = LogRelay(reader, logger)
        return writer

    def start(self, pid: Callable[[], int]) -> None:
        """The run has begun; `pid` tells that of the program, for log records."""
        if self._relay is not None:
            self._relay.follow(pid)

    def finish(self) -> None:
        """The run has ended: hand on the log records that are there, and close."""
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.finish()
        self.close()

    def close(self) -> None:
        """Close our ends."""
        if self._relay is not None:
            self._relay.discard()
            self._relay = None
        if self.comms is not None:
            self.comms.close()
        for each in self.sockets.values():
            each.close()


def _logger(wanted: bool | logging.Logger) -> logging.Logger | None:
    if wanted is False or wanted is None:
        return None
    import logging

    if wanted is True:
        return logging.getLogger("stockade.sandboxee")
    if not isinstance(wanted, logging.Logger):
        raise TypeError(f"forward_logs is True or a logging.Logger, not {type(wanted).__name__}")
    return wanted
