"""Paths as text, by whole components; beyond what `paths` says of them. Nothing here looks at the host."""

from __future__ import annotations

import os

from stockade.errors import PolicyError
from stockade.policy.box.paths import is_beneath, source_problem, target_problem
from stockade.text import quote

# What lies beneath these are no programs and no libraries, whatever a program's headers say.
PSEUDO_FILE_SYSTEMS = ("/proc", "/sys", "/dev")


def is_within(path: str, ancestor: str) -> bool:
    """Whether `path` is `ancestor` or lies beneath it: /data-x is not within /data."""
    return path == ancestor or is_beneath(path, ancestor)


def ancestors(path: str) -> list[str]:
    """Return every directory above the canonical `path` but the root, the outermost first: /a/b/c -> [/a, /a/b]."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def lexical(path: str) -> str:
    """Return the absolute `path` without '.', '..' and needless slashes, as text."""
    return "/" + os.path.normpath(path).lstrip("/")


def check_target(target: str, origin: str) -> None:
    """Raise PolicyError, beginning with `origin`, unless something can be mounted at `target` inside the box."""
    problem = target_problem(target)
    if problem:
        raise PolicyError(f"{origin}: {problem}{_suggest(target)}", path=target)


def check_source(source: str, origin: str) -> None:
    """Raise PolicyError, beginning with `origin`, unless `source` may name a file of the host to be mounted."""
    problem = source_problem(source)
    if problem is None and source == "/":
        problem = "the source is the whole host, its /proc included; mount the directories that the program needs"
    if problem:
        raise PolicyError(f"{origin}: {problem}{_suggest(source)}", path=source)


def _suggest(path: str) -> str:
    """Return the canonical spelling of a path as the end of a message, when it has one."""
    if not path.startswith("/") or "\0" in path or lexical(path) in (path, "/"):
        return ""
    return f"; write {quote(lexical(path))}"
