"""What is wrong with a command line."""

from __future__ import annotations

from collections.abc import Iterable


class UsageError(Exception):
    """The command line is wrong; nothing was done. `command` is the command that it was for ("stockade run")."""

    def __init__(self, command: str, message: str) -> None:
        super().__init__(message)
        self.command = command


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean …?)" with the known name that is most like `name`, or nothing when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def exactly(command: str, words: list[str], *names: str) -> list[str]:
    """Return `words`, which must be one for each of `names` ("POLICY"), for people. Raises UsageError."""
    if len(words) < len(names):
        raise UsageError(command, f"{names[len(words)]} is missing")
    if len(words) > len(names):
        raise UsageError(command, f"one word too many: {words[len(names)]!r}")
    return words


def exclusive(command: str, given: dict[str, bool]) -> None:
    """Refuse more than one of options that exclude each other, which are given or not. Raises UsageError."""
    found = [name for name, is_given in given.items() if is_given]
    if len(found) > 1:
        raise UsageError(command, f"{found[0]} and {found[1]} exclude each other: give one of them")
