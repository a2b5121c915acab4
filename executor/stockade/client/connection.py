"""The connection of this process to its executor, as its environment announces it."""

from __future__ import annotations

import os
import stat

from stockade.client.detect import is_sandboxed
from stockade.client.errors import ClientError
from stockade.comms.channel import Channel
from stockade.sandboxee.client_variable import CHECK_IN, FORK, NAME

_HELP = {
    CHECK_IN: "sandbox_me_here() is for a program that was started with sandbox_at='client', and works once",
    FORK: "become_fork_server() is for a program of Executor.start_fork_server(), and works once",
}


class Connection:
    """`kind` is CHECK_IN or FORK; `second` the descriptor that comes with it (the launch, or a proc)."""

    __slots__ = ("channel", "kind", "second")

    def __init__(self, kind: str, channel: Channel, second: int) -> None:
        self.kind, self.channel, self.second = kind, channel, second


_announced: Connection | None = None
_looked = False


def announced() -> Connection | None:
    """The connection that this process was started with, None when there is none or it has been used.

    Looking takes the announcement out of the environment, and keeps the descriptors from programs that this one
    executes. ClientError when the announcement is none.
    """
    global _announced, _looked
    if not _looked:
        _looked = True
        value = os.environ.pop(NAME, None)
        _announced = None if value is None else _read(value)
    return _announced


def take(kind: str) -> Connection:
    """The connection of that kind, which is then used up. ClientError when there is none."""
    global _announced
    found = announced()
    if found is None or found.kind != kind:
        if is_sandboxed():
            raise ClientError(f"this process is under its policy already; {_HELP[kind]}")
        raise ClientError(f"this process has no connection for that; {_HELP[kind]}")
    _announced = None
    return found


def _read(value: str) -> Connection:
    kind, *numbers = value.split(":")
    if kind not in _HELP or len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ClientError(f"the variable {NAME} is {value!r}, which no executor says")
    connection, second = (int(number) for number in numbers)
    try:
        if not stat.S_ISSOCK(os.fstat(connection).st_mode):
            raise ClientError(f"the variable {NAME} names the descriptor {connection}, which is no socket")
        os.set_inheritable(connection, False)
        os.set_inheritable(second, False)
    except OSError as error:
        raise ClientError(f"the variable {NAME} is {value!r}, but these are not open ({error})") from error
    return Connection(kind, Channel.from_descriptor(connection), second)
