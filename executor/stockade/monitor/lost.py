"""Exceptions that can change nothing any more, because what they belong to is over: told, not lost."""

from __future__ import annotations

import contextlib


class _Lost:
    """Raises an exception where the interpreter can only hand it to `sys.unraisablehook`."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


def report_lost(error: BaseException, where: str) -> None:
    """Hand the exception to `sys.unraisablehook`, which prints it unless the program has set it. Never raises.

    `where` says in one line what has raised it, and becomes a note of the exception.
    """
    with contextlib.suppress(Exception):  # a class of exceptions may forbid it
        error.add_note(f"ignored: raised by {where}")
    _Lost(error)
