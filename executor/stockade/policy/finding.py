"""One problem of a policy message, with its path in the message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

# Field names, each followed by the index of its occurrence (0 for fields that are not repeated):
# ("syscalls", 0, "rules", 3, "syscall", 0).
FieldPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem: where, what, and the closest known name if a name is wrong."""

    path: FieldPath
    message: str
    suggestion: str | None = None
    syscall: str | None = None


def beneath(path: FieldPath, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Put a path before the paths of findings."""
    for finding in findings:
        yield replace(finding, path=path + finding.path)


def path_text(path: FieldPath) -> str:
    """Write a path for people: syscalls.rules[3].syscall[0]; only repeated fields are written with an index."""
    text = ""
    for name, index in zip(path[::2], path[1::2], strict=True):
        text += f".{name}" if name not in _REPEATED else f".{name}[{index}]"
    return text[1:]


_REPEATED = frozenset(
    {"rules", "groups", "syscall", "when", "argument", "value", "mounts", "libraries_for_binary"}
    | {"raw_filters", "danger_reopened", "include", "variables", "python", "tested_with"}
    | {"phases", "danger_share_namespace", "optional_layer", "allow", "port"}
)


def closest(name: str, known: Iterable[str]) -> str | None:
    """Give the known name that is most like `name`, or None when none is near."""
    import difflib  # only needed for an error

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
