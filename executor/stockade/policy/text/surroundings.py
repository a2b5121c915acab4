"""The variables that every text policy has: HOME and PWD, as the caller's surroundings say."""

from __future__ import annotations

import os

HOME, PWD = "HOME", "PWD"
BUILT_IN = (HOME, PWD)


def surroundings(name: str) -> str | None:
    """Give the value of HOME (the environment variable) or PWD (the real path of the current directory).

    None when it is not set, when the current directory is gone, and for every other name.
    """
    if name == HOME:
        return os.environ.get(HOME)
    if name != PWD:
        return None
    try:
        return os.getcwd()
    except OSError:
        return None
