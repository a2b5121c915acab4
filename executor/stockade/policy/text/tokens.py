"""The tokens of a text protobuf with their places, comments among them: what the readers of policy texts share.

They run on texts that google.protobuf has accepted, so nothing is judged here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<blank>\s+)
      |(?P<comment>\#[^\n]*)
      |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      |(?P<word>-?\s*[\w.+-]+)
      |(?P<mark>.)""",
    re.VERBOSE,
)
CLOSING = {"{": "}", "<": ">", "[": "]"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind ("comment", "string", "word", "mark"), its text, and where it begins (counted from 1)."""

    kind: str
    text: str
    line: int
    column: int

    @property
    def last_line(self) -> int:
        """The line on which it ends: a minus sign and its number may stand on two."""
        return self.line + self.text.count("\n")


def tokens(text: str) -> list[Token]:
    """Split a text protobuf into tokens, without blanks; a comment is one token, from its # to the end of its line."""
    found: list[Token] = []
    line, start = 1, 0
    for match in _TOKEN.finditer(text):
        written = match.group()
        if match.lastgroup != "blank":
            found.append(Token(match.lastgroup or "", written, line, match.start() - start + 1))
        newlines = written.count("\n")
        if newlines:
            line += newlines
            start = match.start() + written.rindex("\n") + 1
    return found
