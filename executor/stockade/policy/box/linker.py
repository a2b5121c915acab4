"""Where the dynamic loader looks for a library, in its order.

RPATH of the file that needs it and of those that loaded that one (unless it has a RUNPATH), RUNPATH, the loader's
cache, the default directories. `LD_LIBRARY_PATH` is not known when a policy is planned and plays no part. A file is
taken only if it is ELF for the same machine, as the loader does; this is also what keeps a hostile program, which may
name any path, from having the host's other files mounted. This is glibc's loader; `musl` describes the other one, and
`ld_configuration` why ld.so.conf is not read.
Sources: ld.so(8), and for the cache what ldconfig(8) writes.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from stockade.kernel.binfmt import ET_DYN, MACHINES
from stockade.policy.box.box_paths import PSEUDO_FILE_SYSTEMS, is_within, lexical
from stockade.policy.box.elf import Elf
from stockade.policy.box.hostfiles import HostFiles, TooManyLooksError
from stockade.policy.box.paths import path_problem

CACHE_PATH = "/etc/ld.so.cache"
CACHE_MAGIC = b"glibc-ld.so.cache1.1"
CACHE_HEADER = struct.Struct("=20sII5I")
CACHE_ENTRY = struct.Struct("=iIIIQ")
MAX_CACHE_BYTES = 16 << 20
MAX_CACHED_FOR_ONE_NAME = 16

# Directory name under /lib and /usr/lib on distributions that keep several architectures side by side.
MULTIARCH = {
    (MACHINES["x86_64"], 64): "x86_64-linux-gnu",
    (MACHINES["x86_64"], 32): "x86_64-linux-gnux32",
    (MACHINES["i386"], 32): "i386-linux-gnu",
    (MACHINES["aarch64"], 64): "aarch64-linux-gnu",
}
_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file in the process: the path by which the loader opened it, and who asked for it (None: the program)."""

    path: str
    elf: Elf
    parent: Loaded | None


@dataclass(frozen=True, slots=True)
class Found:
    """A library that was found: the paths at which the loader may look for it, the best first."""

    paths: tuple[str, ...]
    elf: Elf
    # The file of the loader's own without which it would not look there: its cache, or musl's list of directories.
    listed_in: str | None = None
    # Found relative to the place of the program itself, which the loader learns from /proc/self/exe.
    by_program_origin: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A path at which the loader looks, and whether it has to know the program's own place for it."""

    path: str
    by_program_origin: bool


class Linker:
    """Finds libraries as the loader would on this host."""

    def __init__(self, files: HostFiles) -> None:
        self._files = files
        self._cache: dict[str, list[str]] | None = None
        self._tried = 0

    def is_loader(self, name: str) -> bool:
        """Whether the loader takes a library of this name to be itself, without looking for a file."""
        return False

    def find(self, name: str, needed_by: Loaded) -> Found | None:
        """Return where the library `name`, needed by `needed_by`, is; None when the loader would not find it.

        BinfmtError when a file on the way is broken, or the search is absurdly long.
        """
        if "/" in name:
            return self._first([self._place(name, needed_by)], needed_by.elf)
        found = self._first(self._from_search_paths(name, needed_by), needed_by.elf)
        if found is not None or needed_by.elf.no_default:
            return found
        return self._by_default(name, needed_by.elf)

    def _first(self, places: Iterator[Place] | list[Place], wanted: Elf, listed_in: str | None = None) -> Found | None:
        for place in places:
            elf = self._suitable(place.path, wanted)
            if elf is not None:
                return Found((place.path,), elf, listed_in, place.by_program_origin)
        return None

    def _suitable(self, path: str, wanted: Elf) -> Elf | None:
        self._tried += 1
        if self._tried > self._files.max_looks:
            limit = self._files.max_looks
            raise TooManyLooksError(f"makes the search for its libraries look at more than {limit} places")
        if not path.startswith("/") or path_problem(lexical(path), "path"):
            return None
        if any(is_within(lexical(path), pseudo) for pseudo in PSEUDO_FILE_SYSTEMS):
            return None
        elf = self._files.library(path)
        return elf if elf is not None and elf.kind == ET_DYN and elf.fits(wanted) else None

    def _from_search_paths(self, name: str, needed_by: Loaded) -> Iterator[Place]:
        if not needed_by.elf.runpath:
            asking: Loaded | None = needed_by
            while asking is not None:
                if not asking.elf.runpath:  # a file's RPATH counts only if it has no RUNPATH
                    yield from (self._place(f"{directory}/{name}", asking) for directory in asking.elf.rpath)
                asking = asking.parent
        yield from (self._place(f"{directory}/{name}", needed_by) for directory in needed_by.elf.runpath)

    def _place(self, path: str, owner: Loaded) -> Place:
        """Expand `$ORIGIN`, `$LIB` and `$PLATFORM` in a path that `owner` asks for."""
        if "$" not in path:
            return Place(path, False)
        values = {
            "ORIGIN": os.path.dirname(owner.path),
            "LIB": self._default_directories(owner.elf)[0].lstrip("/"),
            "PLATFORM": owner.elf.architecture,
        }
        expanded = _TOKEN.sub(lambda match: values[match[1] or match[2]], path)
        uses_origin = any("ORIGIN" in match.groups() for match in _TOKEN.finditer(path))
        return Place(expanded, uses_origin and owner.parent is None)

    def _by_default(self, name: str, wanted: Elf) -> Found | None:
        """Search the cache and the default directories.

        The cache decides for the loader, so it decides here. But when the default directories hold the same file, the
        loader finds it there without a cache, and the box can do without one.
        """
        fitting = [(path, elf) for path in self._cached(name) if (elf := self._suitable(path, wanted)) is not None]
        default = self._first([Place(f"{d}/{name}", False) for d in self._default_directories(wanted)], wanted)
        if not fitting:
            return default
        cached = tuple(path for path, _ in fitting)
        if default is not None and self._files.same(default.paths[0], cached[0]):
            return Found(tuple(dict.fromkeys((*default.paths, cached[0]))), default.elf)
        return Found(cached, fitting[0][1], listed_in=CACHE_PATH)

    def _default_directories(self, wanted: Elf) -> tuple[str, ...]:
        triple = MULTIARCH.get((wanted.machine, wanted.bits))
        if triple and any(self._files.is_directory(f"{top}/{triple}") for top in ("/lib", "/usr/lib")):
            return f"/lib/{triple}", f"/usr/lib/{triple}", "/lib", "/usr/lib"
        return ("/lib64", "/usr/lib64", "/lib", "/usr/lib") if wanted.bits == 64 else ("/lib", "/usr/lib")

    def _cached(self, name: str) -> list[str]:
        if self._cache is None:
            self._cache = read_cache(CACHE_PATH) if self._files.is_regular(CACHE_PATH) else {}
        return self._cache.get(name, [])[:MAX_CACHED_FOR_ONE_NAME]


def read_cache(path: str) -> dict[str, list[str]]:
    """Return the paths that ldconfig's cache has for each library name, in its order; empty when it is no such cache.

    Entries for other machines are among them.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CACHE_BYTES + 1)
    except OSError:
        return {}
    if len(data) > MAX_CACHE_BYTES or len(data) < CACHE_HEADER.size or not data.startswith(CACHE_MAGIC):
        return {}
    count = CACHE_HEADER.unpack_from(data)[1]
    end = CACHE_HEADER.size + count * CACHE_ENTRY.size
    names: dict[str, list[str]] = {}
    for _, key, value, _, _ in CACHE_ENTRY.iter_unpack(data[CACHE_HEADER.size : end] if end <= len(data) else b""):
        name, target = _c_string(data, key), _c_string(data, value)
        if name and target:
            names.setdefault(name, []).append(target)
    return names


def _c_string(data: bytes, offset: int) -> str | None:
    end = data.find(b"\0", offset, offset + 4097)
    return None if end < 0 else data[offset:end].decode("utf-8", "replace")
