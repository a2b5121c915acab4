"""Refuses mounts through which a program could write to the cache of policies, and so to the filters of later runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from stockade.errors import PolicyError
from stockade.policy.box.mounts import Entry
from stockade.policy.caching.directory import VARIABLE, directory_path
from stockade.text import quote


def check_writable_mounts(entries: Iterable[Entry]) -> None:
    """Raise PolicyError for a writable mount of the host that holds the cache directory, or lies in it.

    Also when the cache is switched off or does not exist: a later run may use it. Compares the directories themselves
    along the real paths, because a bind mount on the host shows them under other names.
    """
    directory = directory_path()
    if directory is None:
        return
    real = os.path.realpath(directory)
    for entry in entries:
        if entry.is_bind and entry.writable:
            _check(entry, os.path.realpath(entry.source), real)


def _check(entry: Entry, source: str, cache: str) -> None:
    mount = f"{entry.origin}: the writable mount of {quote(entry.source)} at {quote(entry.target)}"
    if _identity(source) in set(_identities(cache)):
        raise PolicyError(
            f"{mount} holds {quote(cache)}, where compiled policies are kept: the program could change the filters of "
            f"later runs. Mount something narrower, or move the cache with {VARIABLE}",
            path=entry.source,
        )
    if _identity(cache) in set(_identities(source)):
        raise PolicyError(
            f"{mount} lies in {quote(cache)}, where compiled policies are kept: the program could change the filters "
            f"of later runs. Mount another directory, or move the cache with {VARIABLE}",
            path=entry.source,
        )


def _identities(path: str) -> Iterator[tuple[int, int] | str]:
    """Give what identifies `path` and each directory above it."""
    while True:
        yield _identity(path)
        if path == "/":
            return
        path = os.path.dirname(path)


def _identity(path: str) -> tuple[int, int] | str:
    """Give (device, inode) of a file; the path itself when there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return path
    return status.st_dev, status.st_ino
