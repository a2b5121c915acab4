"""Descriptors that this process was given by name, the connection for typed values among them."""

from __future__ import annotations

import os

from stockade.client.errors import ClientError
from stockade.comms import names
from stockade.comms.channel import Channel
from stockade.comms.values import Comms

_found: dict[str, int] | None = None
_comms: Comms | None = None


def descriptors() -> dict[str, int]:
    """The announced descriptors by name, ours (`names.RESERVED`) among them. Do not change the result.

    The first call takes the announcement out of the environment, and keeps the descriptors from programs that this one
    executes. ClientError when the announcement is none.
    """
    global _found
    if _found is None:
        value = os.environ.pop(names.VARIABLE, "")
        try:
            found = names.announced(value)
            for number in found.values():
                os.set_inheritable(number, False)
        except ValueError as error:
            raise ClientError(str(error)) from None
        except OSError as error:
            raise ClientError(f"the variable {names.VARIABLE} names descriptors that are not open ({error})") from error
        _found = found
    return _found


def forget() -> None:
    """The environment is another one now: look again."""
    global _found, _comms
    _found = _comms = None


def has_descriptor(name: str) -> bool:
    """Whether the executor has given this process a descriptor of that name."""
    return name in descriptors()


def descriptor(name: str) -> int:
    """The number of the descriptor `name`, the same at each call. ClientError when there is none."""
    found = descriptors()
    if name not in found:
        given = ", ".join(each for each in found if not each.startswith(names.RESERVED)) or "none"
        raise ClientError(f"this process was given no descriptor named {name!r}; there is {given}")
    return found[name]


def comms() -> Comms:
    """The connection for typed values to the executor, the same at each call. ClientError when there is none."""
    global _comms
    if _comms is None:
        found = descriptors().get(names.COMMS)
        if found is None:
            raise ClientError("this process has no connection for values: that takes Executor.start(..., comms=True)")
        _comms = Comms(Channel.from_descriptor(found))
    return _comms
