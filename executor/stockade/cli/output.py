"""Printing. What is ours goes to standard error; only help and version go to standard output, and no program runs then.

Written to the descriptors themselves: nothing is left in a buffer when the reader has gone, and no error is raised.
"""

from __future__ import annotations

import os
import sys

from stockade.report.wrap import SMALLEST_WIDTH, printable

_DEFAULT_WIDTH = 80


def say(text: str) -> None:
    """Print lines to standard error. What is not printable in them is escaped."""
    _write(2, "\n".join(printable(line) for line in text.rstrip("\n").split("\n")) + "\n")


def print_out(text: str) -> None:
    """Print to standard output, for commands that run no program."""
    _write(1, text)


def width() -> int:
    """Columns for reports: COLUMNS, or those of the terminal at standard error, or 80. At least 40."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return max(int(columns), SMALLEST_WIDTH)
    try:
        return max(os.get_terminal_size(2).columns or _DEFAULT_WIDTH, SMALLEST_WIDTH)
    except OSError:
        return _DEFAULT_WIDTH


def _write(descriptor: int, text: str) -> None:
    stream = sys.stdout if descriptor == 1 else sys.stderr
    encoding = getattr(stream, "encoding", None) or "utf-8"
    data = text.encode(encoding, "backslashreplace")
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        pass  # nobody reads it, or it is closed: the exit code says what matters
