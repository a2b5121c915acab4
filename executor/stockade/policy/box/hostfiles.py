"""Looking at files of the host, and remembering what was seen.

A plan of mounts depends on files of the host: which libraries a program needs, whether an optional source exists.
`HostFiles` answers such questions and keeps the evidence, so that a finished plan can be used again as long as
`still_holds(evidence)`, without doing the work anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from stockade.kernel.binfmt import BinfmtError
from stockade.policy.box.elf import Elf, read_elf

# (device, inode, mtime in ns, size, type and permissions); None: there is no such file.
Fingerprint = tuple[int, int, int, int, int] | None

# Far above what a real program asks for; a hostile one may ask for a name in thousands of directories.
MAX_LOOKS = 20_000
# Behind a directory's path: what counts is also which names it holds.
LISTING = "/."


class TooManyLooksError(BinfmtError):
    """The search for libraries is longer than any real program makes it."""


def fingerprint(path: str) -> Fingerprint:
    """Return what tells this version of the file at `path` (links followed) from another; None when it is not there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    # A directory changes with every file made in it; that it is there is all that counts, unless it was listed.
    if stat.S_ISDIR(status.st_mode) and not path.endswith(LISTING):
        return status.st_dev, status.st_ino, 0, 0, status.st_mode
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode


def still_holds(evidence: Mapping[str, Fingerprint]) -> bool:
    """Whether every file is as it was when `evidence` was taken."""
    return all(fingerprint(path) == seen for path, seen in evidence.items())


class HostFiles:
    """One look at the host. `evidence` maps every path that was asked about to what was there.

    At most `max_looks` paths can be asked about.
    """

    def __init__(self, max_looks: int = MAX_LOOKS) -> None:
        self.max_looks = max_looks
        self.evidence: dict[str, Fingerprint] = {}
        self._elfs: dict[str, Elf | None] = {}

    def look(self, path: str) -> Fingerprint:
        """Return the fingerprint of `path`. TooManyLooksError when more paths are asked about than a program needs."""
        if path not in self.evidence:
            if len(self.evidence) >= self.max_looks:
                raise TooManyLooksError(f"makes the search for its libraries look at more than {self.max_looks} paths")
            self.evidence[path] = fingerprint(path)
        return self.evidence[path]

    def is_regular(self, path: str) -> bool:
        """Whether `path` is, or leads to, a regular file."""
        seen = self.look(path)
        return seen is not None and stat.S_ISREG(seen[4])

    def note_listing(self, directory: str) -> None:
        """Note that the result depends on which names `directory` holds."""
        self.look(directory + LISTING)

    def is_directory(self, path: str) -> bool:
        """Whether `path` is, or leads to, a directory."""
        seen = self.look(path)
        return seen is not None and stat.S_ISDIR(seen[4])

    def same(self, path: str, other: str) -> bool:
        """Whether both paths lead to one existing file."""
        seen, expected = self.look(path), self.look(other)
        return seen is not None and expected is not None and seen[:2] == expected[:2]

    def library(self, path: str) -> Elf | None:
        """Return the ELF file at `path`, or None when the loader would pass it over: not there, not ELF, not readable.

        BinfmtError when it is a broken ELF file.
        """
        if path not in self._elfs:
            self._elfs[path] = self._read(path)
        return self._elfs[path]

    def _read(self, path: str) -> Elf | None:
        if not self.is_regular(path):
            return None
        try:
            return read_elf(path)
        except OSError:
            return None
        except BinfmtError as error:
            raise BinfmtError(f"would load {path}, which {error}") from None
