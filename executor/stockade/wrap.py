"""Lines of text for a terminal of a given width. Every floor but the lowest may import this module."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from stockade.text import escape

SMALLEST_WIDTH = 40
INDENT = "  "
_LABEL_WIDTH = 10
# What may not be broken in a builder call or a text policy: everything up to a blank that is outside of quotes.
_CODE_WORD = re.compile(r'(?:[^ "]|"(?:\\.|[^"\\])*"?)+')


def printable(text: str) -> str:
    """Return `text` with everything escaped that may not reach a terminal; what is escaped already stays as it is."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else escape(character) for character in text)


def cells(text: str) -> int:
    """Return how many columns printable text takes on a terminal: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(_character_cells(character) for character in text)


def _character_cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrap(text: str, width: int, *, code: bool = False) -> list[str]:
    """Break `text`, made printable, into lines of at most `width` columns; at least one line.

    Words that are too long are cut, but not those of `code`: a change of policy can be copied from the screen, on which
    such a line runs over the edge.
    """
    words: Sequence[str] = _CODE_WORD.findall(printable(text)) if code else printable(text).split(" ")
    lines: list[str] = []
    line = ""
    for word in words:
        for piece in [word] if code else _cut(word, width):
            if line and cells(line) + 1 + cells(piece) <= width:
                line += f" {piece}"
                continue
            if line:
                lines.append(line)
            line = piece
    return [*lines, line]


def _cut(word: str, width: int) -> Iterator[str]:
    """Cut a word into pieces of at most `width` columns."""
    while cells(word) > width:
        end, used = 0, 0
        while end < len(word) and used + _character_cells(word[end]) <= width:
            used += _character_cells(word[end])
            end += 1
        yield word[: max(end, 1)]
        word = word[max(end, 1) :]
    yield word


def paragraph(text: str, width: int, *, indent: str = "", code: bool = False) -> list[str]:
    """Wrap `text`; the lines after the first are indented by one step more than `indent`."""
    lines = wrap(text, width - len(indent) - len(INDENT), code=code)
    return [indent + lines[0], *(indent + INDENT + line for line in lines[1:])]


def labelled(label: str, text: str, width: int) -> list[str]:
    """Wrap `text` into a column to the right of `label`."""
    lines = wrap(text, width - len(INDENT) - _LABEL_WIDTH)
    first = f"{INDENT}{label:<{_LABEL_WIDTH}}{lines[0]}".rstrip()
    return [first, *(INDENT + " " * _LABEL_WIDTH + line for line in lines[1:])]
