"""Where a CPython interpreter will look for its standard library and for packages, found without running it.

As the interpreter itself finds it at start: a virtual environment's pyvenv.cfg first, then upwards from the place of
the interpreter's real file to a standard library of its version. The version is that of file names, which is all that
there is to go by: `python3.11`, `libpython3.11.so.1.0`, `lib/python3.11/os.py`.
Sources: CPython's documentation of `sys.prefix`, `site`, `venv` and "The initialization of the sys.path module search
path"; the order of steps is that of Modules/getpath.py and Lib/site.py.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass

from stockade.errors import PolicyError, SetupError
from stockade.policy.box.elf import Elf
from stockade.policy.box.hostfiles import HostFiles
from stockade.text import quote

MAX_CONFIGURATION_BYTES = 64 * 1024
LIBRARY_DIRECTORIES = ("lib", "lib64")
_FILE_NAME = re.compile(r"python(\d+\.\d+t?)?(?:\d*|d?m?u?|-dbg|-debug)")
_SHARED_NAME = re.compile(r"libpython(\d+\.\d+t?)[a-z]*\.so.*")
_VERSION_DIRECTORY = re.compile(r"python(\d+\.\d+t?)")


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment."""

    directory: str
    # Of the interpreter that it was made with: the directory of the file.
    home: str
    system_packages: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one interpreter looks. Every path is as the interpreter will write it, links above it and all."""

    version: str
    prefix: str
    # The standard library; beneath it lib-dynload and, of an interpreter on its own, site-packages.
    library: str
    # lib-dynload when it lies elsewhere.
    extensions: str | None
    # The standard library in one file, or None.
    archive: str | None
    environment: Environment | None
    # Existing directories of packages, whose .pth files are read, in the interpreter's order.
    packages: tuple[str, ...]


def find_layout(path: str, real: str, elf: Elf, host: HostFiles) -> Layout:
    """Return the layout of the interpreter that is called `path`, whose file is `real`.

    PolicyError: it is no CPython, or arranged in a way that is not supported. SetupError: its library is missing.
    """
    _refuse_others(path, real, elf)
    environment = find_environment(path, host)
    starts = [environment.home, os.path.realpath(environment.home)] if environment else []
    starts = list(dict.fromkeys([*starts, os.path.dirname(real)]))
    for name in (path, real):
        if host.is_regular(f"{name}._pth"):
            raise PolicyError(
                f"add_python: {quote(name + '._pth')} replaces the interpreter's search path, which is not supported; "
                "mount the directories that it lists with add_directory(), and the interpreter with "
                "add_libraries_for_binary()",
                path=path,
            )
    version = _version_of(path, real, elf) or _only_version(path, starts, host)
    for start in starts:
        found = _search_up(start, version, host)
        if found is not None:
            prefix, top = found
            return _layout_of(version, prefix, top, start, environment, host)
    detail = f"there is no standard library of Python {version} above {' or '.join(quote(start) for start in starts)}"
    hint = f"no directory there has a lib/python{version}/os.py: install it, or name an interpreter that is installed"
    raise SetupError("find_python", errno.ENOENT, path, hint, detail=detail)


def find_environment(path: str, host: HostFiles) -> Environment | None:
    """Return the virtual environment that the interpreter called `path` belongs to, or None."""
    beside = os.path.dirname(path)
    for directory in (os.path.dirname(beside), beside):
        file = os.path.join(directory, "pyvenv.cfg")
        if not host.is_regular(file):
            continue
        values = _read_configuration(file)
        home = values.get("home")
        if home is None:
            return None
        if not os.path.isabs(home) or "\0" in home:
            raise PolicyError(f"add_python: {quote(file)} says home = {quote(home)}, which is no absolute path")
        system = values.get("include-system-site-packages", "true").lower() == "true"
        return Environment(directory, os.path.normpath(home), system)
    return None


def _read_configuration(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(MAX_CONFIGURATION_BYTES).splitlines()
    except OSError as error:
        raise SetupError("find_python", error.errno or 0, path, "it makes a virtual environment") from None
    values: dict[str, str] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if equals:
            values.setdefault(key.strip().lower(), value.strip())
    return values


def _refuse_others(path: str, real: str, elf: Elf) -> None:
    names = [os.path.basename(path), os.path.basename(real), *elf.needed]
    if any(name.startswith(("pypy", "libpypy")) for name in names):
        raise PolicyError(
            f"add_python: {quote(path)} is PyPy, and only CPython is supported; mount its directory with "
            "add_directory() and its libraries with add_libraries_for_binary()",
            path=path,
        )


def _version_of(path: str, real: str, elf: Elf) -> str | None:
    """Return the version by the names of the file and of its shared library; None when they do not say."""
    for name in elf.needed:
        match = _SHARED_NAME.fullmatch(name)
        if match:
            return match[1]
    match = _FILE_NAME.fullmatch(os.path.basename(real)) or _FILE_NAME.fullmatch(os.path.basename(path))
    if match is None:
        raise PolicyError(
            f"add_python: {quote(real)} does not look like a Python interpreter: neither its name nor a library that "
            "it is linked with says python; for another program use add_libraries_for_binary()",
            path=path,
        )
    return match[1]


def _only_version(path: str, starts: list[str], host: HostFiles) -> str:
    """Return the version of the only standard library in reach."""
    found: dict[str, None] = {}
    for start in starts:
        for directory in _upwards(start):
            for top in LIBRARY_DIRECTORIES:
                for name in _names(f"{directory}/{top}"):
                    match = _VERSION_DIRECTORY.fullmatch(name)
                    if match and host.is_regular(f"{directory}/{top}/{name}/os.py"):
                        found[match[1]] = None
    if len(found) == 1:
        return next(iter(found))
    said = ", ".join(sorted(found)) or "none"
    raise PolicyError(
        f"add_python: the name of {quote(path)} does not say its version, nor do the standard libraries near it: "
        f"{said}; give the path that ends in the version, such as bin/python3.11",
        path=path,
    )


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _upwards(start: str) -> list[str]:
    """Return `start` and the directories above it without the root, as the interpreter goes through them."""
    found = []
    while start not in ("", "/"):
        found.append(start)
        start = os.path.dirname(start)
    return found


def _search_up(start: str, version: str, host: HostFiles) -> tuple[str, str] | None:
    """Return the prefix, and "lib" or "lib64", of the first standard library from `start` upwards."""
    for landmark in (f"python{version.replace('.', '')}.zip", f"python{version}/os.py", f"python{version}/os.pyc"):
        for directory in _upwards(start):
            for top in LIBRARY_DIRECTORIES:
                if host.is_regular(f"{directory}/{top}/{landmark}"):
                    return directory, top
    return None


def _layout_of(
    version: str, prefix: str, top: str, start: str, environment: Environment | None, host: HostFiles
) -> Layout:
    library, archive = f"{prefix}/{top}/python{version}", f"{prefix}/{top}/python{version.replace('.', '')}.zip"
    packages: list[str] = []
    if environment is not None:
        packages += [f"{environment.directory}/{lib}/python{version}/site-packages" for lib in LIBRARY_DIRECTORIES]
    if environment is None or environment.system_packages:
        packages += _base_packages(prefix, top, version)
    extensions = next(
        (
            f"{directory}/{top}/python{version}/lib-dynload"
            for directory in _upwards(start)
            if host.is_directory(f"{directory}/{top}/python{version}/lib-dynload")
        ),
        None,
    )
    return Layout(
        version=version,
        prefix=prefix,
        library=library,
        extensions=None if extensions == f"{library}/lib-dynload" else extensions,
        archive=archive if host.is_regular(archive) else None,
        environment=environment,
        packages=_existing(packages, host),
    )


def _existing(directories: list[str], host: HostFiles) -> tuple[str, ...]:
    """Return those that exist; of two names of one (lib64 is a link to lib in environments) the first."""
    found: dict[str, str] = {}
    for directory in directories:
        if host.is_directory(directory):
            found.setdefault(os.path.realpath(directory), directory)
    return tuple(found.values())


def _base_packages(prefix: str, top: str, version: str) -> list[str]:
    """Return where an interpreter of that prefix looks for packages, distributions' own places included."""
    packages = [f"{prefix}/{top}/python{version}/site-packages"]
    if top != "lib":
        packages += [f"{prefix}/lib/python{version}/site-packages"]
    if prefix == "/usr" and top != "lib":  # Fedora and its relatives
        packages += [f"/usr/local/{lib}/python{version}/site-packages" for lib in (top, "lib")]
    if prefix == "/usr":  # Debian and its relatives
        packages += [f"{prefix}/local/lib/python{version}/dist-packages", f"{prefix}/lib/python3/dist-packages"]
        packages += [f"{prefix}/lib/python{version}/dist-packages"]
    return packages
