"""The files that a program needs before its first instruction: itself, its interpreter, its loader, its libraries.

Found as the kernel and the dynamic loader find them, without running anything (`ldd` runs the program). What a program
opens later by itself, with dlopen() or by an import statement, is not among them.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from dataclasses import dataclass, field

from stockade.errors import PolicyError, SetupError
from stockade.kernel.architectures import native
from stockade.kernel.binfmt import (
    ET_DYN,
    ET_EXEC,
    SCRIPT_DEPTH,
    BinfmtError,
    native_architecture,
    open_regular,
    read_script_line,
)
from stockade.policy.box_paths import PSEUDO_FILE_SYSTEMS, check_source, is_within, lexical
from stockade.policy.elf import Elf, read_elf
from stockade.policy.hostfiles import Fingerprint, HostFiles, still_holds
from stockade.policy.linker import CACHE_PATH, Found, Linker, Loaded
from stockade.policy.paths import path_problem
from stockade.text import quote

MAX_FILES = 512
MAX_REMEMBERED = 128
# A result that rests on more evidence than this is not worth keeping.
MAX_REMEMBERED_EVIDENCE = 2000
# Where a bare name after `#!/usr/bin/env` is looked up: the PATH that a program in the box has unless it is given one.
DEFAULT_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


@dataclass(frozen=True, slots=True)
class Missing:
    """A library that the loader would not find on this host."""

    name: str
    needed_by: str


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
    search = _Search()
    try:
        search.add_program(path, depth=0)
    except BinfmtError as error:
        raise PolicyError(f"libraries_for_binary: {quote(path)} {error}", path=path) from None
    found = search.result()
    with _remembered_lock:
        _remembered.pop(path, None)
        if len(found.evidence) <= MAX_REMEMBERED_EVIDENCE:
            while len(_remembered) >= MAX_REMEMBERED:
                _remembered.pop(next(iter(_remembered)))
            _remembered[path] = found
    return found


class _Search:
    """Collects the files of one program."""

    def __init__(self) -> None:
        self._host = HostFiles()
        self._linker = Linker(self._host)
        self._files: dict[str, str] = {}
        self._symlinks: dict[str, str] = {}
        self._directories: dict[str, None] = {}
        self._missing: dict[str, Missing] = {}
        self._needs_proc: str | None = None

    def result(self) -> Libraries:
        return Libraries(
            files=tuple(self._files.items()),
            symlinks=tuple(self._symlinks.items()),
            directories=tuple(self._directories),
            missing=tuple(self._missing.values()),
            needs_proc=self._needs_proc,
            evidence=self._host.evidence,
        )

    def add_program(self, path: str, depth: int) -> None:
        """Add a program, or a script and what interprets it. `depth` counts the scripts on the way to it."""
        if depth > SCRIPT_DEPTH:
            raise BinfmtError(f"is a script whose interpreters are scripts, more than {SCRIPT_DEPTH} deep")
        real = self._add_main_file(path)
        try:
            elf, script = read_elf(real), _script_line(real)
        except OSError as error:
            raise _cannot_read(path, error) from None
        if elf is not None:
            self._add_elf(real, elf)
        elif script is not None:
            self._add_interpreter(path, *script, depth)
        else:
            raise BinfmtError("is neither an ELF file nor a script with a #! line")

    def _add_main_file(self, path: str) -> str:
        """Add the file at `path`; when that is a link on the host, the file at its own place and the link.

        The box then looks as the host does to programs that ask where they lie (Python, or `$ORIGIN` in a RUNPATH).
        """
        if not self._host.is_regular(path):
            raise _cannot_read(path, _open_error(path))
        real = os.path.realpath(path)
        check_source(real, f"libraries_for_binary: {quote(path)} leads to a file that cannot be mounted")
        self._host.look(real)
        self._files[real] = real
        if real != path:
            self._symlinks[path] = real
        return real

    def _add_interpreter(self, script: str, interpreter: bytes, argument: bytes, depth: int) -> None:
        path = _path_text(interpreter, "interpreter")
        self._add_named(path, f"{quote(script)} is a script for it", depth)
        if os.path.basename(path) != "env":
            return
        name = _command_of_env(argument)
        if name is None:
            return
        if "/" in name:
            self._add_named(_path_text(name.encode(), "interpreter"), f"{quote(script)} runs it", depth)
            return
        for directory in DEFAULT_PATH:
            if self._host.is_regular(f"{directory}/{name}"):
                self.add_program(f"{directory}/{name}", depth + 1)
                return
        hint = f"install {quote(name)}, or mount it yourself instead of libraries_for_binary"
        where = ":".join(DEFAULT_PATH)
        raise SetupError("find_libraries", errno.ENOENT, name, hint, detail=f"{quote(script)} needs it along {where}")

    def _add_named(self, path: str, why: str, depth: int) -> None:
        if not self._host.is_regular(path):
            raise SetupError("find_libraries", errno.ENOENT, path, "install it", detail=why)
        self.add_program(path, depth + 1)

    def _add_elf(self, path: str, elf: Elf) -> None:
        _require_native(path, elf)
        program = Loaded(path, elf, None)
        known = set()
        if elf.interpreter is not None:
            known = self._add_loader(elf, elf.interpreter)
        queue = deque([program])
        while queue:
            current = queue.popleft()
            for name in current.elf.needed:
                if name in known:
                    continue
                known.add(name)
                found = self._linker.find(name, current)
                if found is None:
                    self._missing.setdefault(name, Missing(name, current.path))
                    continue
                self._add_library(name, current, found)
                known.update((found.elf.soname or name, os.path.basename(found.paths[0])))
                queue.append(Loaded(found.paths[0], found.elf, current))

    def _add_loader(self, program: Elf, interpreter: str) -> set[str]:
        """Add the loader at its place; return the names under which libraries ask for it."""
        path = _path_text(interpreter.encode(), "loader")
        if not self._host.is_regular(path):
            detail = "the program's loader is not on this host"
            raise SetupError(
                "find_libraries", errno.ENOENT, path, "install the C library that it was built for", detail=detail
            )
        loader = self._host.library(path)
        if loader is None or loader.kind not in (ET_DYN, ET_EXEC) or not loader.fits(program):
            raise BinfmtError(f"names the loader {quote(path)}, which is no loader for {program.architecture}")
        self._add_file(path)
        return {name for name in (loader.soname, os.path.basename(path)) if name}

    def _add_library(self, name: str, needed_by: Loaded, found: Found) -> None:
        for path in found.paths:
            self._add_file(path)
        if found.by_cache:
            self._add_file(CACHE_PATH)
        if found.by_program_origin and self._needs_proc is None:
            self._needs_proc = name
        if len(self._files) > MAX_FILES:
            raise BinfmtError(f"needs more than {MAX_FILES} files")

    def _add_file(self, path: str) -> None:
        inside = lexical(path)
        source = inside if inside == path else os.path.realpath(path)
        self._host.look(source)
        self._files.setdefault(inside, source)
        parts = path.split("/")
        for index, part in enumerate(parts):
            if part == "..":
                self._directories.setdefault(lexical("/".join(parts[:index])))


def _require_native(path: str, elf: Elf) -> None:
    if elf.kind not in (ET_EXEC, ET_DYN):
        raise BinfmtError("is an ELF file, but neither a program nor a library")
    if elf.architecture != native().name:
        detail = f"it is made for {elf.architecture}, this machine is {native_architecture()}"
        hint = f"use a build for {native_architecture()}"
        raise SetupError("find_libraries", errno.ENOEXEC, path, hint, detail=detail)


def _script_line(path: str) -> tuple[bytes, bytes] | None:
    descriptor = open_regular(path)
    try:
        return read_script_line(descriptor)
    finally:
        os.close(descriptor)


def _command_of_env(argument: bytes) -> str | None:
    """Return the program that `env` will run when it is called with a `#!` line's argument."""
    text = argument.decode("utf-8", "replace")
    # Without -S the whole argument is one word to env, blanks included.
    words = text.removeprefix("-S").split() if text.startswith("-S") else [text]
    for word in words:
        if word and not word.startswith("-") and "=" not in word:
            return word
    return None


def _path_text(raw: bytes, what: str) -> str:
    """Return a path that a file names, when it is one that can be mounted."""
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BinfmtError(f"names the {what} {quote(raw)}, which is not UTF-8") from None
    problem = path_problem(path, what)
    if problem is None and any(is_within(path, pseudo) for pseudo in PSEUDO_FILE_SYSTEMS):
        problem = f"the {what} {quote(raw)} is no file that could be mounted"
    if problem:
        raise BinfmtError(f"cannot be started: {problem}")
    return path


def _open_error(path: str) -> OSError:
    try:
        os.close(open_regular(path))
    except OSError as error:
        return error
    return OSError(errno.ENOENT, "it was not there a moment ago", path)


def _cannot_read(path: str, error: OSError) -> SetupError:
    hint = None
    if error.errno == errno.ENOENT:
        hint = "install it on this host, or correct the path of libraries_for_binary"
    elif error.errno == errno.EACCES:
        hint = "its libraries can be found only by reading it; mount the files yourself with add_file()"
    elif error.errno == errno.EISDIR:
        hint = "it is a directory; use add_directory()"
    return SetupError("find_libraries", error.errno or 0, path, hint)
