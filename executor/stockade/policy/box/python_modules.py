"""What lies in directories of Python packages: shared objects, and the other directories that .pth files name.

Sources: CPython's documentation of `site`; importlib's suffixes of extension modules.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stockade.kernel.binfmt import BinfmtError
from stockade.policy.box.box_paths import PSEUDO_FILE_SYSTEMS, is_within, lexical
from stockade.policy.box.hostfiles import HostFiles
from stockade.policy.box.paths import is_beneath, path_problem
from stockade.text import quote

# A large environment (a deep-learning one) has 60 000 files, some hundred of them shared objects.
MAX_FILES = 400_000
MAX_DEPTH = 40
MAX_PTH_FILES = 256
MAX_PTH_BYTES = 64 * 1024
MAX_PTH_DIRECTORIES = 256


@dataclass(frozen=True, slots=True)
class PathFiles:
    """What the .pth files of some directories name: directories to show, and what is not shown, with the reason."""

    directories: tuple[str, ...]
    left_out: tuple[str, ...]


class SharedObjects:
    """Finds the shared objects beneath directories, links to directories not followed."""

    def __init__(self, host: HostFiles) -> None:
        self._host = host
        self._seen: set[tuple[int, int]] = set()
        self._files = 0

    def beneath(self, directory: str, skip: Sequence[str] = ()) -> Iterator[str]:
        """Yield the path of every shared object; of none twice. The names in `skip` are not entered at the top.

        BinfmtError when there are more files than any environment has.
        """
        waiting = [(directory, 0)]
        self._host.note_listing(directory)
        while waiting:
            current, depth = waiting.pop()
            found, inner = self._list(current)
            if found and current != directory:
                self._host.note_listing(current)
            yield from found
            if depth >= MAX_DEPTH:
                raise BinfmtError(f"has packages in directories more than {MAX_DEPTH} deep in {quote(directory)}")
            waiting += [(path, depth + 1) for path in inner if depth or os.path.basename(path) not in skip]

    def _list(self, directory: str) -> tuple[list[str], list[str]]:
        """Return the shared objects and the directories in a directory, each sorted; nothing the second time."""
        found, inner = [], []
        try:
            status = os.stat(directory)
            if (status.st_dev, status.st_ino) in self._seen:
                return [], []
            self._seen.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                for entry in entries:
                    self._files += 1
                    if self._files > MAX_FILES:
                        raise BinfmtError(f"has more than {MAX_FILES} files in its directories of packages")
                    if entry.is_dir(follow_symlinks=False):
                        inner.append(entry.path)
                    elif _is_shared_object(entry.name):
                        found.append(entry.path)
        except OSError:
            return [], []  # not readable: nor will it be in the box
        return sorted(found), sorted(inner)


def _is_shared_object(name: str) -> bool:
    return name.endswith(".so") or ".so." in name


def read_path_files(
    packages: Sequence[str], shown: Sequence[str], writable: Sequence[str], host: HostFiles
) -> PathFiles:
    """Return what the .pth files in the directories `packages` name that does not lie within `shown`.

    Such a file decides what else of the host is shown. So one that lies within `writable`, host directories that the
    box can write to, is not obeyed: it may be the work of an earlier run.
    """
    found: dict[str, None] = {}
    left_out: dict[str, None] = {}
    for directory in packages:
        for file in _path_files(directory, host):
            for line in _lines(file):
                named = lexical(os.path.join(directory, line))
                if any(is_within(named, other) for other in (*shown, *found)) or not os.path.isdir(named):
                    continue
                problem = _problem(file, named, shown, writable)
                if problem is None and len(found) < MAX_PTH_DIRECTORIES:
                    host.look(named)
                    found[named] = None
                else:
                    reason = problem or f"there are more than {MAX_PTH_DIRECTORIES}"
                    left_out[f"{quote(named)}, which {quote(file)} names: {reason}"] = None
    return PathFiles(tuple(found), tuple(left_out))


def _path_files(directory: str, host: HostFiles) -> list[str]:
    host.note_listing(directory)
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".pth") and not name.startswith("."))
    except OSError:
        return []
    files = [f"{directory}/{name}" for name in names[:MAX_PTH_FILES]]
    return [file for file in files if host.is_regular(file)]


def _lines(path: str) -> list[str]:
    """Return the lines of a .pth file that name something; those that run code are Python's own affair."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(MAX_PTH_BYTES).splitlines()
    except OSError:
        return []
    return [
        line.rstrip()
        for line in lines
        if line.strip() and not line.startswith(("#", "import ", "import\t")) and "\0" not in line
    ]


def _problem(file: str, named: str, shown: Sequence[str], writable: Sequence[str]) -> str | None:
    """Say why a directory that a .pth file names is not shown, or None."""
    real, real_file = os.path.realpath(named), os.path.realpath(file)
    if any(is_within(real_file, directory) for directory in writable):
        return "the box can write that file"
    if any(path_problem(path, "directory") for path in (named, real)):
        return "its name is not UTF-8"
    if any(is_within(real, pseudo) for pseudo in PSEUDO_FILE_SYSTEMS):
        return "it is no directory that can be shown"
    if _too_wide(real) or _too_wide(named) or any(is_beneath(directory, real) for directory in shown):
        return "it holds more than packages; if it is meant, mount it with add_directory()"
    return None


def _too_wide(path: str) -> bool:
    """Whether a directory is the root, one directly beneath it (/home, /etc, /usr), or a user's home."""
    home = os.path.expanduser("~")
    return path.count("/") < 2 or path == home or os.path.dirname(path) == "/home" or _is_mount_of_all(path)


def _is_mount_of_all(path: str) -> bool:
    """Whether a path is the host's root under another name."""
    try:
        status, root = os.stat(path), os.stat("/")
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) == (root.st_dev, root.st_ino)
