"""The files that a program needs before its first instruction: itself, its interpreter, its loader, its libraries.

Found as the kernel and the dynamic loader find them, without running anything (`ldd` runs the program). What a program
opens later by itself, with dlopen() or by an import statement, is not among them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from stockade.errors import PolicyError
from stockade.kernel.binfmt import BinfmtError
from stockade.policy.box.box_paths import check_source
from stockade.policy.box.hostfiles import Fingerprint, HostFiles, still_holds
from stockade.policy.box.library_search import LibrarySearch, Missing
from stockade.text import quote

MAX_REMEMBERED = 128
# A result that rests on more evidence than this is not worth keeping.
MAX_REMEMBERED_EVIDENCE = 2000


@dataclass(frozen=True, slots=True)
class Libraries:
    """What has to be in the box for one program, in the order in which it was found."""

    # (path inside, path on the host), all regular files, the program first
    files: tuple[tuple[str, str], ...]
    # (path inside, what the link says): the program's path when that is a link on the host
    symlinks: tuple[tuple[str, str], ...]
    # Directories that must exist because a search path goes through them and back up ("/a/b/../c")
    directories: tuple[str, ...]
    missing: tuple[Missing, ...]
    # A library that is found only relative to the program's own place, for which the loader needs /proc; or None
    needs_proc: str | None
    evidence: dict[str, Fingerprint] = field(compare=False)


_remembered: dict[str, Libraries] = {}
_remembered_lock = threading.Lock()


def libraries_for_binary(path: str) -> Libraries:
    """Return what the program or script at the absolute host path `path` needs in the box to start.

    Paths inside are those at which kernel and loader will look. `/etc/ld.so.cache` is among the files only when a
    library lies where nothing but the cache leads. Results are remembered for as long as every file that was looked at
    is unchanged. PolicyError: the path is not canonical, or the file is broken, hostile or beyond the limits.
    SetupError: it is missing or unreadable (ENOENT, EACCES), or made for another architecture (ENOEXEC).
    """
    with _remembered_lock:
        known = _remembered.get(path)
    if known is not None and still_holds(known.evidence):
        return known
    check_source(path, "libraries_for_binary")
    host = HostFiles()
    search = LibrarySearch(host)
    try:
        search.add_program(path)
    except BinfmtError as error:
        raise PolicyError(f"libraries_for_binary: {quote(path)} {error}", path=path) from None
    found = Libraries(
        files=tuple(search.files.items()),
        symlinks=tuple(search.symlinks.items()),
        directories=tuple(search.directories),
        missing=tuple(search.missing.values()),
        needs_proc=search.needs_proc,
        evidence=host.evidence,
    )
    with _remembered_lock:
        _remembered.pop(path, None)
        if len(found.evidence) <= MAX_REMEMBERED_EVIDENCE:
            while len(_remembered) >= MAX_REMEMBERED:
                _remembered.pop(next(iter(_remembered)))
            _remembered[path] = found
    return found
