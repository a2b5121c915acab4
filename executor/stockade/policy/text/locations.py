"""Where each field of a text protobuf stands: a small reader that keeps lines and columns, which the library drops.

It runs on texts that google.protobuf has accepted, so it need not judge them; on anything that it does not understand
it stops, and what it has found so far is used.
"""

from __future__ import annotations

import contextlib
from typing import TypeAlias

from stockade.policy.finding import FieldPath
from stockade.policy.text.tokens import CLOSING, tokens

# Line and column, counted from 1.
Location: TypeAlias = tuple[int, int]


class Locations:
    """Lines and columns by field path. A scalar is found at its value, a message at its name."""

    def __init__(self, text: str) -> None:
        self._found: dict[FieldPath, Location] = {}
        self._tokens = [(token.text, (token.line, token.column)) for token in tokens(text) if token.kind != "comment"]
        self._next = 0
        with contextlib.suppress(IndexError):
            self._fields((), closing="")

    def of(self, path: FieldPath) -> Location | None:
        """Give the place of a field, or of the nearest message around it; None when that is the whole policy."""
        while path:
            found = self._found.get(path)
            if found is not None:
                return found
            path = path[:-2]
        return None

    def _take(self) -> tuple[str, Location]:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _fields(self, path: FieldPath, closing: str) -> None:
        """Read fields up to the mark that closes their message, or to the end of the text."""
        counts: dict[str, int] = {}
        while True:
            if self._next == len(self._tokens):
                return
            name, place = self._take()
            if name == closing:
                return
            if name in (",", ";"):
                continue
            if self._tokens[self._next][0] == ":":
                self._take()
            if self._tokens[self._next][0] == "[":
                self._take()
                while self._tokens[self._next][0] != "]":
                    if self._tokens[self._next][0] == ",":
                        self._take()
                    self._value((*path, name, _count(counts, name)), None)
                self._take()
            else:
                self._value((*path, name, _count(counts, name)), place)

    def _value(self, path: FieldPath, name_place: Location | None) -> None:
        """Read one value, scalar or message, and note its place."""
        token, place = self._take()
        if token in ("{", "<"):
            self._found[path] = name_place or place
            self._fields(path, CLOSING[token])
            return
        self._found[path] = place
        while self._next < len(self._tokens) and token[0] in "\"'" and self._tokens[self._next][0][0] in "\"'":
            self._take()  # adjacent strings are one value


def _count(counts: dict[str, int], name: str) -> int:
    """Count one more occurrence of a field; gives its index."""
    counts[name] = counts.get(name, -1) + 1
    return counts[name]
