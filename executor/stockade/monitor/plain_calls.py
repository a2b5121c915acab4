"""System calls as text when nothing but their registers is left: the memory that they spoke of is long another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from stockade.monitor.decode import decode_arguments, format_call


class _NoMemory:
    """A reader without any memory: what a pointer points at is shown as the pointer's value."""

    def read_memory(self, address: int, size: int) -> NoReturn:
        raise ValueError("the memory of the time is gone")


def format_plain(name: str, architecture: str, args: Sequence[int]) -> str:
    """Return a call as one line, safe to print: flags and numbers as symbols, pointers in hexadecimal.

    `args` are the six registers: `openat(AT_FDCWD, 0x7ffc1000, O_RDONLY|O_CLOEXEC)`.
    """
    return format_call(name, decode_arguments(name, architecture, args, _NoMemory()))
