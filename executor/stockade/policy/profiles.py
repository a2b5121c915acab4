"""Ready-made policies: the text policies that come with the package, found by name."""

from __future__ import annotations

from pathlib import Path

from stockade.errors import PolicyError
from stockade.policy.finding import closest
from stockade.text import quote

SUFFIX = ".textproto"


def directory() -> Path:
    """Give the directory of the ready-made policies: in the installed package, or linked to the source tree."""
    return Path(__file__).resolve().parent.parent / "policies"


def names() -> tuple[str, ...]:
    """Give the names of all ready-made policies, sorted."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in directory().glob(f"*{SUFFIX}")))


def find(name: str) -> Path:
    """Give the file of a ready-made policy. Raises PolicyError, with the closest known name, when there is none."""
    known = names()
    if name not in known:
        raise PolicyError(f"there is no ready-made policy named {quote(name)}", suggestion=closest(name, known))
    return directory() / f"{name}{SUFFIX}"
