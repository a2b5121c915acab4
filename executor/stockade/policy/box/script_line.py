"""Which program the argument of a `#!/usr/bin/env` line has env run, read as env itself reads it.

Sources: env(1) of GNU coreutils, "-S/--split-string usage in scripts".
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from stockade.kernel.binfmt import BinfmtError

# Where a bare name is looked up: the PATH that a program in the box has unless it is given one.
DEFAULT_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
# Options of env that take the next word as their value, when it does not stand in the same word.
_TAKES_A_WORD = ("-u", "--unset", "-C", "--chdir", "-a", "--argv0")
_LETTERS_WITH_VALUE = "uCa"
_MAX_NESTED = 5


@dataclass(frozen=True, slots=True)
class EnvCommand:
    """What env will run: a path or a bare name, and the directories in which it looks for a bare name."""

    name: str
    path: tuple[str, ...] = DEFAULT_PATH


def command_of_env(argument: str) -> EnvCommand | None:
    """Return what `env` runs when it is called with a `#!` line's argument; None when it runs nothing.

    The kernel hands the whole rest of the line over as one word: only `-S` makes several of it. BinfmtError when the
    text after `-S` cannot be split.
    """
    words = [argument] if argument else []
    path: tuple[str, ...] = DEFAULT_PATH
    for _ in range(_MAX_NESTED):
        words = _without_options(words)
        while words and "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            if name == "PATH":
                path = tuple(part for part in value.split(":") if part.startswith("/"))
        if not words:
            return None
        if os.path.basename(words[0]) != "env":
            return EnvCommand(words[0], path)
        words = words[1:]
    raise BinfmtError("starts env by env, more often than any script needs")


def _without_options(words: list[str]) -> list[str]:
    """Drop the options in front of env's command; the text of each -S is split and takes its place."""
    words = list(words)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            return words
        text = _split_string_of(word)
        if text is not None:
            words = _split(text or (words.pop(0) if words else "")) + words
        elif word in _TAKES_A_WORD or (not word.startswith("--") and word[-1] in _LETTERS_WITH_VALUE):
            words = words[1:]
    return words[1:] if words and words[0] == "-" else words


def _split_string_of(word: str) -> str | None:
    """Return the text that a word such as -Stext, -iStext or --split-string=text has to be split; None: it has none."""
    if word.startswith("--"):
        option, _, text = word.partition("=")
        return text if len(option) > 3 and "--split-string".startswith(option) else None
    before, found, text = word[1:].partition("S")
    return text if found and not any(letter in _LETTERS_WITH_VALUE for letter in before) else None


def _split(text: str) -> list[str]:
    import shlex  # few scripts need it, and starting takes time

    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise BinfmtError(f"has an env -S line that cannot be split: {error}") from None
