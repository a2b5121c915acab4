"""Where musl's dynamic loader looks for a library.

RPATH or RUNPATH (the same thing to it) of the file that needs it and of those that loaded that one, then the
directories of /etc/ld-musl-ARCH.path or, without that file, three fixed ones. There is no cache. The C library and its
parts are the loader itself, whatever name they are asked for by.
Source: musl's manual, "Dynamic linking"; the order was checked against musl 1.2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from stockade.policy.box.hostfiles import HostFiles
from stockade.policy.box.linker import Found, Linker, Loaded, Place

DEFAULT_DIRECTORIES = ("/lib", "/usr/local/lib", "/usr/lib")
MAX_PATH_FILE_BYTES = 64 * 1024
# libc.so, libc.musl-x86_64.so.1, libpthread.so.0 …
_PARTS_OF_THE_LOADER = re.compile(r"lib(?:c|pthread|rt|m|dl|util|xnet)\..*")
_LOADER = re.compile(r"(?P<prefix>.*)/[^/]*/(?P<stem>ld-musl-[^/]+)\.so\.1")


def is_musl(interpreter: str) -> bool:
    """Whether a program's loader is musl's, by its name."""
    return os.path.basename(interpreter).startswith("ld-musl-")


def path_file(interpreter: str) -> str | None:
    """Return where that loader looks for its list of directories: /etc/ld-musl-x86_64.path for the one in /lib.

    It is beside the loader's directory, wherever that is.
    """
    match = _LOADER.fullmatch(interpreter)
    return f"{match['prefix']}/etc/{match['stem']}.path" if match else None


class MuslLinker(Linker):
    """Finds libraries as musl's loader would on this host. See `Linker`."""

    def __init__(self, files: HostFiles, interpreter: str) -> None:
        super().__init__(files)
        self._path_file = path_file(interpreter)
        self._system: tuple[str, ...] | None = None

    def is_loader(self, name: str) -> bool:
        """See `Linker`."""
        return _PARTS_OF_THE_LOADER.fullmatch(name) is not None

    def find(self, name: str, needed_by: Loaded) -> Found | None:
        """See `Linker`."""
        if "/" in name:
            return self._first([self._place(name, needed_by)], needed_by.elf)
        found = self._first(self._from_search_paths(name, needed_by), needed_by.elf)
        if found is not None:
            return found
        directories, listed_in = self._system_directories()
        return self._first([Place(f"{d}/{name}", False) for d in directories], needed_by.elf, listed_in)

    def _from_search_paths(self, name: str, needed_by: Loaded) -> Iterator[Place]:
        asking: Loaded | None = needed_by
        while asking is not None:
            for directory in asking.elf.runpath or asking.elf.rpath:
                yield self._place(f"{directory}/{name}", asking)
            asking = asking.parent

    def _system_directories(self) -> tuple[tuple[str, ...], str | None]:
        """Return the directories, and the file that lists them when there is one."""
        if self._path_file is None or not self._files.is_regular(self._path_file):
            return DEFAULT_DIRECTORIES, None
        if self._system is None:
            try:
                with open(self._path_file, encoding="utf-8", errors="replace") as file:
                    text = file.read(MAX_PATH_FILE_BYTES)
            except OSError:
                return DEFAULT_DIRECTORIES, None
            self._system = tuple(part for part in re.split(r"[:\n]", text) if part.startswith("/"))
        return self._system, self._path_file
