"""What can be said against a policy, as single findings with their places, and how they are printed."""

from __future__ import annotations

from dataclasses import dataclass

from stockade.errors import PolicyError, SandboxError, UnsupportedError

# The policy cannot be used; it can, and somebody should look; it could be written better.
ERROR, WARNING, HINT = "error", "warning", "hint"
LEVELS = (ERROR, WARNING, HINT)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `code` names its kind for programs ("unreachable"); `line` and `column` count from 1, 0: unknown."""

    level: str
    code: str
    message: str
    file: str
    line: int = 0
    column: int = 0

    def text(self) -> str:
        """Return the finding as one line, as compilers write them; not yet safe to print."""
        numbers = [str(number) for number in (self.line, self.column) if number]
        return f"{':'.join([self.file, *numbers])}: {self.level}: {self.message}"

    def data(self, policy: str) -> dict[str, object]:
        """Return the finding for JSON; `policy` is the word of the command line."""
        place = {"file": self.file, "line": self.line or None, "column": self.column or None}
        return {"policy": policy, **place, "level": self.level, "code": self.code, "message": self.message}


def of_error(error: SandboxError, code: str, file: str) -> Finding:
    """Return the finding for an error that makes a policy unusable; about `file` unless the error says better."""
    if isinstance(error, PolicyError):
        near = f" (did you mean {error.suggestion!r}?)" if error.suggestion is not None else ""
        source, line, column = error.source, error.line, error.column
        if source is not None and line is None:
            source, line = split_place(source)
        return Finding(ERROR, code, error.message + near, source or file, line or 0, column or 0)
    return Finding(ERROR, "unsupported" if isinstance(error, UnsupportedError) else code, str(error), file)


def split_place(place: str) -> tuple[str, int]:
    """Split "gzip.textproto:12" into the file and the line; the line of a place without one is 0."""
    file, colon, line = place.rpartition(":")
    return (file, int(line)) if colon and line.isascii() and line.isdigit() else (place, 0)
