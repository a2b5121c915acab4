"""Reading text policies with everything that they include, each file once.

`include: "minimal"` names a ready-made policy; a name with a slash or with the suffix .textproto is a file, looked up
beside the file that includes it. How the pieces are joined is said in `combine`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy import profiles
from stockade.policy.finding import FieldPath
from stockade.policy.text.file import read_file
from stockade.policy.text.locations import Locations
from stockade.policy.text.origin import Source
from stockade.policy.text.syntax import MAX_TEXT, decode, parse_message
from stockade.policy.text.variables import VariablePart
from stockade.text import CUT_MARK, quote

# Deeper chains, and more files, are no policies that a person could review.
MAX_DEPTH = 16
MAX_FILES = 64
# A message can quote what somebody wrote, however long that is.
_LONGEST_MESSAGE = 2000


@dataclass(eq=False)
class TextPart(VariablePart):
    """One text: its message without includes and variables, which are kept beside it, and where its fields stand.

    `directory` is where its includes are looked up, None for a text that is no file. `via` are the places of the
    includes that lead to it, the nearest last.
    """

    source: str
    directory: str | None
    message: policy_pb2.Policy
    locations: Locations
    via: tuple[str, ...] = ()
    variables: Sequence[policy_pb2.Variable] = ()
    names: Sequence[str] = ()
    includes: list[TextPart] = field(default_factory=list)

    @classmethod
    def read(cls, text: str, source: str, directory: str | None, via: tuple[str, ...] = ()) -> TextPart:
        """Read the syntax of one text. Raises PolicyError with its place, and with those that include it."""
        try:
            message = parse_message(text, source)
        except PolicyError as error:
            raise including(error, via) from None
        part = cls(source, directory, message, Locations(text), via, list(message.variables), list(message.include))
        message.ClearField("variables")
        message.ClearField("include")
        return part

    def place(self, path: FieldPath) -> str:
        line, _ = self.locations.of(path) or (1, 1)
        return f"{self.source}:{line}"

    def error(
        self, path: FieldPath, message: str, suggestion: str | None = None, syscall: str | None = None
    ) -> PolicyError:
        line, column = self.locations.of(path) or (1, 1)
        if len(message) > _LONGEST_MESSAGE:
            message = message[:_LONGEST_MESSAGE] + CUT_MARK
        error = PolicyError(
            message, source=self.source, line=line, column=column, suggestion=suggestion, syscall=syscall
        )
        return including(error, self.via)


class Reader:
    """Reads one policy with what it includes; `sources` lists the files in the order in which they were read."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self._size = 0
        self._known: dict[tuple[int, int], TextPart] = {}
        # Files that are being read, from the outermost one inwards.
        self._open: list[TextPart] = []

    def text(self, text: str, source: str) -> TextPart:
        """Read a text that is no file: it can include ready-made policies and absolute paths."""
        part = TextPart.read(text, source, None)
        self._include_all(part)
        return part

    def file(self, path: str) -> TextPart:
        """Read a file with all that it includes."""
        content = read_file(path)
        self.sources.append(Source.of(path, content.data))
        part = TextPart.read(decode(content.data, path), path, os.path.dirname(path))
        self._known[content.identity] = part
        self._size += len(content.data)
        self._include_all(part)
        return part

    def _include_all(self, part: TextPart) -> None:
        self._open.append(part)
        for index, name in enumerate(part.names):
            included = self._include(part, index, name)
            if any(included is other for other in part.includes):
                first = next(place for place, other in enumerate(part.includes) if other is included)
                raise part.error(("include", index), f"it is included already, at {part.place(('include', first))}")
            part.includes.append(included)
        self._open.pop()

    def _include(self, part: TextPart, index: int, name: str) -> TextPart:
        """Give the part for one include, which may have been read before."""
        where: FieldPath = ("include", index)
        try:
            path = _find(name, part.directory)
            content = read_file(path, regular=True)
        except PolicyError as error:
            hint = "; variables are not replaced in the names of includes" if "$" in name else ""
            shown = f"{error.path}: " if error.path and error.path != name else ""
            message = f"include of {quote(name)}: {shown}{error.message}{hint}"
            raise part.error(where, message, error.suggestion) from error
        known = self._known.get(content.identity)
        if known is not None:
            # Another name of the same file: what it leads to counts as well.
            self.sources.append(Source.of(path, content.data))
            if known in self._open:
                raise part.error(where, self._cycle_text(known, part.place(where)))
            return known
        self._size += len(content.data)
        for reached, limit in (
            (len(self._open) > MAX_DEPTH, f"includes are nested more than {MAX_DEPTH} deep"),
            (len(self._known) >= MAX_FILES, f"the policy consists of more than {MAX_FILES} files"),
            (self._size > MAX_TEXT, f"the policy with all its includes is longer than {MAX_TEXT >> 20} MiB"),
        ):
            if reached:
                raise part.error(where, limit)
        self.sources.append(Source.of(path, content.data))
        via = (*part.via, part.place(where))
        try:
            text = decode(content.data, path)
        except PolicyError as error:
            raise including(error, via) from None
        found = self._known[content.identity] = TextPart.read(text, path, os.path.dirname(path), via)
        self._include_all(found)
        return found

    def _cycle_text(self, known: TextPart, place: str) -> str:
        inner = self._open[next(index for index, part in enumerate(self._open) if part is known) :]
        chain = " -> ".join([*(part.via[-1] for part in inner[1:]), place])
        if len(inner) == 1:
            return f"{quote(known.source)} includes itself"
        return f"{quote(known.source)} includes itself, by way of {chain}"


def including(error: PolicyError, via: Sequence[str]) -> PolicyError:
    """Give an error in an included file with the places of the includes that lead to it."""
    if not via:
        return error
    chain = ", which is included at ".join(reversed(via))
    return PolicyError(
        f"{error.message} (included at {chain})",
        source=error.source,
        line=error.line,
        column=error.column,
        suggestion=error.suggestion,
        syscall=error.syscall,
        path=error.path,
    )


def _find(name: str, directory: str | None) -> str:
    """Give the path of an include. Raises PolicyError, without a place, for one that has none."""
    if not name:
        raise PolicyError("the name is empty")
    if "/" not in name and not name.endswith(profiles.SUFFIX):
        return os.fspath(profiles.find(name))
    if os.path.isabs(name):
        return name
    if directory is None:
        raise PolicyError("a text that is no file can include ready-made policies and absolute paths only")
    relative = name
    while relative.startswith("./"):
        relative = relative[2:].lstrip("/")
    return os.path.join(directory, relative)
