"""Printing. A run never prints on standard output: there only help, version and the answers of other commands go.

Written to the descriptors themselves: nothing is left in a buffer when the reader has gone, and no error is raised.
"""

from __future__ import annotations

import errno
import os
import sys

from stockade.wrap import SMALLEST_WIDTH, printable

_DEFAULT_WIDTH = 80


class OutputError(Exception):
    """Standard output took less than it was given: what was asked for is not complete."""


def fill_standard_streams() -> None:
    """Put something at the standard descriptors that are closed, before a file of ours lands there.

    Input is empty then. Writing to output or error fails with EBADF, as it does for a program that is called itself.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def say(text: str) -> None:
    """Print lines to standard error. What is not printable in them is escaped."""
    _write(2, _escaped(text.rstrip("\n")) + "\n")


def print_out(text: str) -> None:
    """Print help and the like to standard output."""
    _write(1, text)


def print_answer(text: str) -> None:
    """Print lines that were asked for to standard output. What is not printable in them is escaped.

    Raises OutputError when they cannot be written, but not when the reader has gone, who has seen enough.
    """
    _complete(_write(1, _escaped(text)))


def print_data(text: str) -> None:
    """Print exactly `text` to standard output, in UTF-8, as a file would hold it. Raises as `print_answer` does.

    On a terminal it is for people, and what is not printable is escaped, but for tabs.
    """
    if not _is_terminal(1):
        _complete(_write_bytes(1, text.encode("utf-8", "surrogateescape")))
        return
    _complete(_write(1, "\t".join(_escaped(part) for part in text.split("\t"))))


def width(descriptor: int = 2) -> int:
    """Columns for texts: COLUMNS, or those of the terminal at `descriptor`, or 80. At least 40."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return max(int(columns), SMALLEST_WIDTH)
    try:
        return max(os.get_terminal_size(descriptor).columns or _DEFAULT_WIDTH, SMALLEST_WIDTH)
    except OSError:
        return _DEFAULT_WIDTH


def _escaped(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _complete(error_number: int) -> None:
    if error_number not in (0, errno.EPIPE):
        raise OutputError(os.strerror(error_number))


def _write(descriptor: int, text: str) -> int:
    """Write all of `text`; the error number when that fails, with which only some callers have to do."""
    stream = sys.stdout if descriptor == 1 else sys.stderr
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return _write_bytes(descriptor, text.encode(encoding, "backslashreplace"))


def _write_bytes(descriptor: int, data: bytes) -> int:
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError as error:
        # Nobody reads it, or it is closed: the exit code says what matters.
        return error.errno or errno.EIO
    return 0
