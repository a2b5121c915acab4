"""The search for the files of one program, step by step. `libraries` is what others use.

Paths in the result are those at which kernel and loader will look.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from dataclasses import dataclass

from stockade.errors import SetupError
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
from stockade.policy.box.box_paths import PSEUDO_FILE_SYSTEMS, check_source, is_within, lexical
from stockade.policy.box.elf import Elf, read_elf
from stockade.policy.box.hostfiles import HostFiles
from stockade.policy.box.linker import Found, Linker, Loaded
from stockade.policy.box.musl import MuslLinker, is_musl
from stockade.policy.box.paths import path_problem
from stockade.policy.box.script_line import EnvCommand, command_of_env
from stockade.text import quote

MAX_FILES = 512


@dataclass(frozen=True, slots=True)
class Missing:
    """A library that the loader would not find on this host."""

    name: str
    needed_by: str


class LibrarySearch:
    """Collects the files of one program, and of modules that it will load.

    `files`: path inside -> path on the host, all regular files, in the order in which they were found, the program
    first. `symlinks`: path inside -> what the link says. `directories`: those that must exist because a search path
    goes through them and back up ("/a/b/../c"). `needs_proc`: a library that is found only relative to the program's
    own place, for which the loader needs /proc; or None.
    """

    def __init__(self, host: HostFiles, max_files: int = MAX_FILES) -> None:
        self.files: dict[str, str] = {}
        self.symlinks: dict[str, str] = {}
        self.directories: dict[str, None] = {}
        self.missing: dict[str, Missing] = {}
        self.needs_proc: str | None = None
        self._host = host
        self._max_files = max_files
        self._linker = Linker(host)
        self._program: Loaded | None = None
        self._loader_names: set[str] = set()
        # Libraries that no search path of the file that asks, or of the program, has a say about.
        self._plain: dict[str, Found | None] = {}

    def add_program(self, path: str, depth: int = 0) -> None:
        """Add a program, or a script and what interprets it. `depth` counts the scripts on the way to it.

        BinfmtError: a file is broken, hostile or beyond the limits. SetupError: one is missing or unreadable.
        """
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
        self.files[real] = real
        if real != path:
            self.symlinks[path] = real
        return real

    def _add_interpreter(self, script: str, interpreter: bytes, argument: bytes, depth: int) -> None:
        path = _path_text(interpreter, "interpreter")
        self._add_named(path, f"{quote(script)} is a script for it", depth)
        if os.path.basename(path) != "env":
            return
        command = command_of_env(_argument_text(argument))
        if command is not None:
            self._add_command(script, command, depth)

    def _add_command(self, script: str, command: EnvCommand, depth: int) -> None:
        name = command.name
        if "/" in name:
            self._add_named(_path_text(name.encode(), "interpreter"), f"{quote(script)} runs it", depth)
            return
        for directory in command.path:
            if self._host.is_regular(f"{directory}/{name}"):
                self.add_program(f"{directory}/{name}", depth + 1)
                return
        hint = f"install {quote(name)}, or mount it yourself instead of libraries_for_binary"
        detail = f"{quote(script)} needs it along {':'.join(command.path)}"
        raise SetupError("find_libraries", errno.ENOENT, name, hint, detail=detail)

    def _add_named(self, path: str, why: str, depth: int) -> None:
        if not self._host.is_regular(path):
            raise SetupError("find_libraries", errno.ENOENT, path, "install it", detail=why)
        self.add_program(path, depth + 1)

    def add_module(self, path: str, elf: Elf) -> None:
        """Add the libraries of a shared object that the program added last will load; not the object itself.

        A library that is not found is none of the program's needs: loading the module fails as it does on the host.
        """
        self._add_needed(Loaded(path, elf, self._program), set(self._loader_names), required=False)

    def _add_elf(self, path: str, elf: Elf) -> None:
        _require_native(path, elf)
        self._loader_names = set() if elf.interpreter is None else self._add_loader(elf, elf.interpreter)
        self._program = Loaded(path, elf, None)
        self._plain = {}
        self._add_needed(self._program, set(self._loader_names), required=True)

    def _add_needed(self, first: Loaded, known: set[str], *, required: bool) -> None:
        queue = deque([first])
        while queue:
            current = queue.popleft()
            for name in current.elf.needed:
                if name in known or self._linker.is_loader(name):
                    continue
                known.add(name)
                found = self._find(name, current)
                if found is None:
                    if required:
                        self.missing.setdefault(name, Missing(name, current.path))
                    continue
                self._add_library(name, found)
                known.update((found.elf.soname or name, os.path.basename(found.paths[0])))
                queue.append(Loaded(found.paths[0], found.elf, current))

    def _find(self, name: str, needed_by: Loaded) -> Found | None:
        asking: Loaded | None = needed_by
        while asking is not None and not (asking.elf.rpath or asking.elf.runpath or asking.elf.no_default):
            asking = asking.parent
        if asking is not None or "/" in name:
            return self._linker.find(name, needed_by)
        if name not in self._plain:
            self._plain[name] = self._linker.find(name, needed_by)
        return self._plain[name]

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
        self._linker = MuslLinker(self._host, path) if is_musl(path) else Linker(self._host)
        self._add_file(path)
        return {name for name in (loader.soname, os.path.basename(path)) if name}

    def _add_library(self, name: str, found: Found) -> None:
        for path in found.paths:
            self._add_file(path)
        if found.listed_in is not None:
            self._add_file(found.listed_in)
        if found.by_program_origin and self.needs_proc is None:
            self.needs_proc = name
        if len(self.files) > self._max_files:
            raise BinfmtError(f"needs more than {self._max_files} files")

    def _add_file(self, path: str) -> None:
        inside = lexical(path)
        source = inside if inside == path else os.path.realpath(path)
        self._host.look(source)
        self.files.setdefault(inside, source)
        parts = path.split("/")
        for index, part in enumerate(parts):
            if part == "..":
                self.directories.setdefault(lexical("/".join(parts[:index])))


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


def _argument_text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BinfmtError(f"has a #! line with the argument {quote(raw)}, which is not UTF-8") from None


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
