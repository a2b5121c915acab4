"""The mounts of a box as a tree of paths: what may stand where, and what would hide what.

Entries are added in the order in which they are mounted. Explicit ones, which the policy lists, conflict loudly; those
found for libraries give way to explicit ones and never replace anything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from stockade._proto import comms_pb2
from stockade.errors import PolicyError
from stockade.policy.box.box_paths import ancestors, lexical
from stockade.policy.box.hostfiles import HostFiles
from stockade.policy.box.paths import is_beneath
from stockade.text import escape, quote
from stockade.units import format_size

Kind = comms_pb2.MountOperation.Kind
BIND_FILE = comms_pb2.MountOperation.BIND_FILE
BIND_DIRECTORY = comms_pb2.MountOperation.BIND_DIRECTORY
TMPFS = comms_pb2.MountOperation.TMPFS
PROC = comms_pb2.MountOperation.PROC
SYMLINK = comms_pb2.MountOperation.SYMLINK
DIRECTORY = comms_pb2.MountOperation.DIRECTORY
KIND_NAMES = {
    BIND_FILE: "file",
    BIND_DIRECTORY: "directory",
    TMPFS: "tmpfs",
    PROC: "proc",
    SYMLINK: "symlink",
    DIRECTORY: "empty directory",
}
# Kinds that other mounts may lie beneath.
HOLDS_MOUNTS = frozenset({BIND_DIRECTORY, TMPFS, DIRECTORY})
# Kinds that each run makes for itself. So does a run with writable binds, and with anything beneath one of these.
MADE_PER_RUN = frozenset({TMPFS, PROC})
MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """One mount. Fields as in comms.proto's MountOperation; `origin` says which part of the policy asks for it."""

    kind: Kind
    target: str
    origin: str
    source: str = ""
    writable: bool = False
    executable: bool = False
    if_exists: bool = False
    size: int = 0
    inodes: int = 0
    mode: int = 0
    full: bool = False
    device: bool = False
    # Set when the entry is added to a tree: each run makes it for itself.
    per_run: bool = False
    # The innermost mount that it lies beneath, or None.
    above: Entry | None = None

    @property
    def is_bind(self) -> bool:
        """Whether it shows a file or directory of the host."""
        return self.kind in (BIND_FILE, BIND_DIRECTORY)

    @property
    def needs_existing_point(self) -> bool:
        """Whether its mount point lies in a directory of the host, where stockade makes nothing."""
        return self.above is not None and self.above.kind == BIND_DIRECTORY

    @property
    def host_point(self) -> str:
        """The host path of the mount point; only when `needs_existing_point`."""
        assert self.above is not None
        return self.above.source + self.target.removeprefix(self.above.target)

    def operation(self) -> comms_pb2.MountOperation:
        """Return the step that makes this mount."""
        return comms_pb2.MountOperation(
            kind=self.kind,
            target=self.target,
            source=self.source,
            writable=self.writable,
            executable=self.executable,
            if_exists=self.if_exists,
            size=self.size,
            inodes=self.inodes,
            mode=self.mode,
            full=self.full,
            device=self.device,
        )

    def describe(self) -> str:
        """Return one line for people, safe to print."""
        what, target, source = KIND_NAMES[self.kind], escape(self.target), escape(self.source)
        if self.is_bind:
            words = ["writable" if self.writable else "read-only"]
            words += ["executable"] if self.writable and self.executable else []
            words += ["device"] if self.device else []
            words += ["if it exists"] if self.if_exists else []
            shown = f"{target} from {source}" if self.source != self.target else target
            return f"{what} {shown} ({', '.join(words)})"
        if self.kind == TMPFS:
            executable = ", executable" if self.executable else ""
            return f"{what} {target} ({format_size(self.size)}, {self.inodes} files, mode {self.mode:04o}{executable})"
        if self.kind == SYMLINK:
            return f"{what} {target} -> {source}"
        return f"{what} {target}" + (" (everything)" if self.full else "")


class Tree:
    """Entries by target, in order."""

    def __init__(self, host: HostFiles) -> None:
        self.entries: dict[str, Entry] = {}
        self._host = host
        # Every directory that must exist above an entry, with the first entry that needs it.
        self._parents: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Add an explicit mount. PolicyError naming both when it conflicts with an earlier one."""
        present = self.entries.get(entry.target)
        if present is not None:
            _require_identical(present, entry)
        else:
            self._insert(entry)

    def add_found(self, entry: Entry) -> None:
        """Add a file, link or directory that was found for a library, unless an explicit mount provides that path.

        PolicyError when an explicit mount leaves no place for it.
        """
        entry = replace(entry, target=self._through_links(entry.target))
        if entry.target in self.entries:
            return
        if entry.kind == DIRECTORY and entry.target in self._parents:
            return
        above = self._above(entry.target)
        if above is not None and above.kind == BIND_DIRECTORY:
            point = replace(entry, above=above).host_point
            if self._host.look(point) is not None or entry.kind == DIRECTORY:
                return  # the directory shows it, or something of the policy's choice in its place
            raise PolicyError(
                f"{entry.origin}: {quote(entry.target)} has no place: {_name(above)} covers its directory and does not "
                f"hold it; mount that directory somewhere else, or add the file to {quote(above.source)}",
                path=entry.target,
            )
        self._insert(entry)

    def provides(self, name: str) -> bool:
        """Whether an explicit mount may provide a library of this file name, at a place only the program knows."""
        return any(
            entry.is_bind
            and (
                os.path.basename(entry.target) == name
                or (entry.kind == BIND_DIRECTORY and self._host.is_regular(f"{entry.source}/{name}"))
            )
            for entry in self.entries.values()
        )

    def _insert(self, entry: Entry) -> None:
        covered = self._parents.get(entry.target)
        if covered is not None:
            if entry.kind == DIRECTORY:
                return
            raise PolicyError(
                f"{_name(entry)} would cover {_name(covered)}, which is mounted before it; list it first",
                path=entry.target,
            )
        above = self._above(entry.target)
        if above is not None:
            _check_above(entry, above)
        per_run = (
            entry.kind in MADE_PER_RUN or (entry.is_bind and entry.writable) or (above is not None and above.per_run)
        )
        entry = replace(entry, per_run=per_run, above=above)
        self.entries[entry.target] = entry
        for parent in ancestors(entry.target):
            self._parents.setdefault(parent, entry)

    def _above(self, target: str) -> Entry | None:
        for parent in reversed(ancestors(target)):
            if parent in self.entries:
                return self.entries[parent]
        return None

    def _through_links(self, target: str) -> str:
        """Return where `target` really lies when directories above it are explicit symbolic links of the box."""
        for _ in range(MAX_LINKS):
            link = next((self.entries[p] for p in ancestors(target) if p in self.entries), None)
            while link is not None and link.kind != SYMLINK:
                beyond = [p for p in ancestors(target) if is_beneath(p, link.target) and p in self.entries]
                link = self.entries[beyond[0]] if beyond else None
            if link is None:
                return target
            rest = target.removeprefix(link.target)
            target = lexical(os.path.join(os.path.dirname(link.target), link.source) + rest)
        raise PolicyError(f"{quote(target)}: the symbolic links of the policy above it lead in a circle", path=target)


def _name(entry: Entry) -> str:
    """Return how messages name an entry: its origin, kind and paths."""
    source = f" from {quote(entry.source)}" if entry.source and entry.source != entry.target else ""
    return f"{entry.origin} ({KIND_NAMES[entry.kind]} {quote(entry.target)}{source})"


def _require_identical(present: Entry, entry: Entry) -> None:
    """Raise PolicyError unless `entry` says the same as the earlier entry of its target."""
    if replace(entry, origin=present.origin, per_run=present.per_run, above=present.above) == present:
        return
    reason = "they differ in their options" if present.source == entry.source else "only one of them can be there"
    raise PolicyError(f"{_name(entry)} conflicts with {_name(present)}: {reason}", path=entry.target)


def _check_above(entry: Entry, above: Entry) -> None:
    """Raise PolicyError unless `entry` can lie beneath `above`."""
    if above.kind == SYMLINK:
        resolved = lexical(os.path.join(os.path.dirname(above.target), above.source))
        resolved = resolved.rstrip("/") + entry.target.removeprefix(above.target)
        reason = f"write the target as {quote(resolved)}"
        raise PolicyError(
            f"{_name(entry)} lies beneath the symbolic link of {_name(above)}; {reason}", path=entry.target
        )
    if above.kind not in HOLDS_MOUNTS:
        raise PolicyError(
            f"{_name(entry)} lies beneath {_name(above)}; nothing can be mounted beneath a {KIND_NAMES[above.kind]}",
            path=entry.target,
        )
    if above.kind == BIND_DIRECTORY and entry.kind in (SYMLINK, DIRECTORY):
        raise PolicyError(
            f"{_name(entry)} would have to be made inside {_name(above)}, a directory of the host, "
            "in which stockade changes nothing",
            path=entry.target,
        )
