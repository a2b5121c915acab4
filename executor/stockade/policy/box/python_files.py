"""What has to be in the box for a Python interpreter: the `python` field of a policy.

The interpreter with the links that lead to it, its libraries, its standard library, its virtual environment, the
packages that are installed for it, and the libraries that extension modules among all these are linked with. Found by
looking only; the interpreter is not run. Directories are shown whole and read-only.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from stockade.errors import PolicyError, SetupError
from stockade.kernel.binfmt import BinfmtError, open_regular, read_script_line
from stockade.policy.box.box_paths import PSEUDO_FILE_SYSTEMS, check_source, is_within
from stockade.policy.box.elf import Elf, read_elf
from stockade.policy.box.hostfiles import Fingerprint, HostFiles, TooManyLooksError, still_holds
from stockade.policy.box.library_search import LibrarySearch, Missing
from stockade.policy.box.paths import path_problem
from stockade.policy.box.python_layout import Layout, find_layout
from stockade.policy.box.python_modules import PathFiles, SharedObjects, read_path_files
from stockade.text import quote

MAX_LINKS = 40
MAX_LOOKS = 100_000
MAX_SHARED_OBJECTS = 10_000
MAX_LIBRARIES = 2_000
MAX_REMEMBERED = 16
# Names by which one interpreter is called within an environment.
_NAMES_OF_ONE = ("python", "python3")
# In a standard library but none of its modules: packages that `Layout.packages` lists when they count.
_PACKAGES = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class PythonFiles:
    """What has to be in the box for one interpreter. All is read-only."""

    version: str
    # The directory that sys.base_prefix will name
    prefix: str
    # (path inside, path on the host)
    directories: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    # (path inside, what the link says)
    symlinks: tuple[tuple[str, str], ...]
    # Directories that must exist because a search path goes through them and back up
    passed_through: tuple[str, ...]
    # Libraries of the interpreter itself that are not on this host
    missing: tuple[Missing, ...]
    # A library for which the loader needs /proc, or None
    needs_proc: str | None
    # Directories that .pth files name and that are not shown, with the reason, for people
    left_out: tuple[str, ...]
    evidence: dict[str, Fingerprint] = field(compare=False)


_remembered: dict[tuple[str, tuple[str, ...]], PythonFiles] = {}
_remembered_lock = threading.Lock()


def python_files(path: str, writable: Sequence[str] = ()) -> PythonFiles:
    """Return what the CPython interpreter at the absolute host path `path` needs in the box.

    `writable` are host directories that the box can write to; .pth files in them are not obeyed. Results are remembered
    for as long as what was looked at is unchanged. PolicyError: it is no CPython, or its files are broken, hostile,
    beyond the limits or arranged in a way that is not supported. SetupError: something is missing or unreadable.
    """
    key = path, tuple(os.path.realpath(directory) for directory in writable)
    with _remembered_lock:
        known = _remembered.get(key)
    if known is not None and still_holds(known.evidence):
        return known
    check_source(path, "add_python")
    try:
        found = _find(path, key[1])
    except BinfmtError as error:
        raise PolicyError(f"add_python: {quote(path)} {error}", path=path) from None
    with _remembered_lock:
        _remembered.pop(key, None)
        while len(_remembered) >= MAX_REMEMBERED:
            _remembered.pop(next(iter(_remembered)))
        _remembered[key] = found
    return found


def _find(path: str, writable: tuple[str, ...]) -> PythonFiles:
    host = HostFiles(MAX_LOOKS)
    links, real = _follow(path, host)
    elf = _read_interpreter(path, real)
    search = LibrarySearch(host, MAX_LIBRARIES)
    search.add_program(real)
    missing = tuple(search.missing.values())
    layout = find_layout(path, real, elf, host)
    directories = _directories(layout)
    by_path_files = read_path_files(layout.packages, tuple(directories), writable, host)
    directories |= {directory: os.path.realpath(directory) for directory in by_path_files.directories}
    _add_modules(search, elf, layout, by_path_files, host)
    files = dict(search.files) | _single_files(layout, host)
    if layout.environment is not None:
        links |= _siblings(layout, real, host)
        if is_within(real, os.path.realpath(layout.environment.directory)):
            base_links, base = _base_interpreter(layout, os.path.basename(path), host)
            links |= base_links
            files |= base
    return PythonFiles(
        version=layout.version,
        prefix=layout.prefix,
        directories=tuple(directories.items()),
        files=tuple(files.items()),
        symlinks=tuple(links.items()),
        passed_through=tuple(search.directories),
        missing=missing,
        needs_proc=search.needs_proc,
        left_out=by_path_files.left_out,
        evidence=host.evidence,
    )


def _follow(path: str, host: HostFiles) -> tuple[dict[str, str], str]:
    """Return the links from `path` on, each with the absolute path that it leads to, and the file at their end."""
    links: dict[str, str] = {}
    current = path
    for _ in range(MAX_LINKS):
        if not os.path.islink(current):
            break
        beyond = os.path.join(os.path.realpath(os.path.dirname(current)), os.readlink(current))
        beyond = os.path.join(os.path.realpath(os.path.dirname(beyond)), os.path.basename(beyond))
        check_source(beyond, f"add_python: {quote(path)} leads to a file that cannot be mounted")
        links[current] = beyond
        current = beyond
    real = os.path.realpath(current)
    check_source(real, f"add_python: {quote(path)} leads to a file that cannot be mounted")
    if real != current:
        links[current] = real
    host.look(path)
    host.look(real)
    return links, real


def _read_interpreter(path: str, real: str) -> Elf:
    try:
        elf = read_elf(real)
        script = None if elf is not None else _script_of(real)
    except OSError as error:
        hint = "install it on this host, or correct the path of add_python"
        if error.errno == errno.EACCES:
            hint = "what it needs can be found only by a user who may read it"
        raise SetupError("find_python", error.errno or 0, path, hint) from None
    if elf is not None:
        return elf
    if script is None:
        raise PolicyError(f"add_python: {quote(path)} is no program", path=path)
    raise PolicyError(
        f"add_python: {quote(path)} is a script for {quote(script)}, not a Python interpreter. Version managers put "
        f"such scripts in the place of the interpreter; name the one that it starts{_behind(path)}",
        path=path,
    )


def _script_of(path: str) -> bytes | None:
    descriptor = open_regular(path)
    try:
        found = read_script_line(descriptor)
    finally:
        os.close(descriptor)
    return found[0] if found else None


def _behind(path: str) -> str:
    """Return where the interpreters behind a shim of pyenv or the like are, as the end of a message."""
    directory, name = os.path.split(path)
    versions = os.path.join(os.path.dirname(directory), "versions")
    try:
        found = [f"{versions}/{version}/bin/{name}" for version in sorted(os.listdir(versions))]
    except OSError:
        found = []
    found = [candidate for candidate in found if os.path.isfile(candidate)]
    if found:
        return f", for example {' or '.join(quote(candidate) for candidate in found[-2:])}"
    return f" (python3 -c 'import sys; print(sys.executable)' says which, and so does `pyenv which {name}`)"


def _directories(layout: Layout) -> dict[str, str]:
    """Return the directories to show: path inside -> path on the host. Those that lie within another are left out."""
    wanted = [layout.library, *([layout.extensions] if layout.extensions else []), *layout.packages]
    found: dict[str, str] = {}
    for directory in wanted:
        real = os.path.realpath(directory)
        if real in found.values() or any(is_within(directory, other) for other in found):
            continue
        pseudo = any(is_within(name, top) for name in (directory, real) for top in PSEUDO_FILE_SYSTEMS)
        if pseudo or path_problem(directory, "directory"):
            raise PolicyError(f"add_python: {quote(directory)} cannot be mounted", path=directory)
        # A standard library was known by a file in it. A directory of packages may be a link to anything.
        if directory in layout.packages and os.path.basename(real) not in _PACKAGES:
            raise PolicyError(
                f"add_python: {quote(directory)} leads to {quote(real)}, which is not called site-packages; if it is "
                "meant, mount it with add_directory()",
                path=directory,
            )
        found[directory] = real
    return found


def _add_modules(
    search: LibrarySearch, program: Elf, layout: Layout, by_path_files: PathFiles, host: HostFiles
) -> None:
    """Add the libraries that extension modules, and libraries that packages bring along, are linked with."""
    objects = SharedObjects(host)
    # A module that is no library for this interpreter, or a broken one, cannot be imported on the host either.
    number = 0
    places = [(layout.library, _PACKAGES), *((directory, ()) for directory in layout.packages)]
    places += [(directory, ()) for directory in (layout.extensions, *by_path_files.directories) if directory]
    for directory, skip in places:
        for path in objects.beneath(directory, skip):
            number += 1
            if number > MAX_SHARED_OBJECTS:
                raise BinfmtError(f"has more than {MAX_SHARED_OBJECTS} extension modules")
            try:
                elf = read_elf(path)
                if elf is not None and elf.fits(program):
                    search.add_module(path, elf)
            except TooManyLooksError:
                raise
            except (BinfmtError, OSError):
                continue


def _siblings(layout: Layout, real: str, host: HostFiles) -> dict[str, str]:
    """Return the other names of the interpreter in its virtual environment: scripts there may be written for any."""
    assert layout.environment is not None
    found = {}
    for name in (*_NAMES_OF_ONE, f"python{layout.version}"):
        sibling = f"{layout.environment.directory}/bin/{name}"
        if os.path.islink(sibling) and os.path.realpath(sibling) == real:
            host.look(sibling)
            found[sibling] = real
    return found


def _base_interpreter(layout: Layout, name: str, host: HostFiles) -> tuple[dict[str, str], dict[str, str]]:
    """Return the links and the file of the interpreter that an environment holds a copy of: `sys._base_executable`."""
    assert layout.environment is not None
    for candidate in (name, *_NAMES_OF_ONE[1:], f"python{layout.version}"):
        path = f"{layout.environment.home}/{candidate}"
        if host.is_regular(path):
            links, real = _follow(path, host)
            return (links, {real: real}) if read_elf(real) is not None else ({}, {})
    return {}, {}


def _single_files(layout: Layout, host: HostFiles) -> dict[str, str]:
    found = []
    if layout.environment is not None:
        beside = (layout.environment.directory, f"{layout.environment.directory}/bin")
        found += [f"{directory}/pyvenv.cfg" for directory in beside]
    if layout.archive is not None:
        found.append(layout.archive)
    # Where Debian keeps what a link in the standard library leads to.
    found.append(f"/etc/python{layout.version}/sitecustomize.py")
    if os.path.realpath(f"{layout.library}/sitecustomize.py") != found[-1]:
        found.pop()
    return {path: os.path.realpath(path) for path in found if host.is_regular(path)}
