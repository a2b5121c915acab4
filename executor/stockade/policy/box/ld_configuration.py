"""The directories that /etc/ld.so.conf lists.

The dynamic loader never reads that file: ldconfig does, and writes what it finds into the loader's cache. A library
that lies in a listed directory and is not in the cache is found neither on the host nor in a box, so nothing is mounted
because of this file. It serves to tell people why a library is not found.
Source: ldconfig(8).
"""

from __future__ import annotations

import glob
import os

CONFIGURATION = "/etc/ld.so.conf"
MAX_FILES = 256
MAX_BYTES = 256 * 1024


def configured_directories(path: str | None = None) -> tuple[str, ...]:
    """Return the directories that ldconfig would look through besides the default ones, in its order."""
    found: dict[str, None] = {}
    _read(path or CONFIGURATION, found, set())
    return tuple(found)


def directory_with(name: str) -> str | None:
    """Return the listed directory that holds a file `name`, or None."""
    if "/" in name:
        return None
    return next((d for d in configured_directories() if os.path.isfile(f"{d}/{name}")), None)


def _read(path: str, found: dict[str, None], seen: set[str]) -> None:
    if path in seen or len(seen) >= MAX_FILES or not os.path.isfile(path):
        return
    seen.add(path)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(MAX_BYTES).splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                for included in sorted(glob.glob(os.path.join(os.path.dirname(path), pattern))):
                    _read(included, found, seen)
        elif words and words[0].startswith("/"):
            found[words[0].rstrip("/")] = None
