"""Paths that a system call names, from the root of the box.

Source: path_resolution(7), openat(2), openat2(2), proc_pid_fd(5).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from stockade.kernel.signatures import signature
from stockade.monitor.memory import TaskMemory

AT_FDCWD = -100
PATH_MAX = 4096
RESOLVE_IN_ROOT = 0x10
# struct open_how: flags, mode, resolve, 8 bytes each.
_RESOLVE_OFFSET = 16
_DELETED = " (deleted)"


def path_argument(name: str, argument: int | str | None) -> int:
    """Position of the path that is meant: by position, by name, or the first one (None). ValueError for no path."""
    parameters = signature(name)
    paths = {parameter.name: index for index, parameter in enumerate(parameters) if parameter.kind.role == "path"}
    if argument is None and paths:
        return min(paths.values())
    if isinstance(argument, str) and argument in paths:
        return paths[argument]
    if isinstance(argument, int) and argument in paths.values():
        return argument
    have = ", ".join(f"{index} ({each!r})" for each, index in paths.items()) or "none"
    raise ValueError(f"argument {argument!r} of {name} is no path; those that are: {have}")


def resolve_argument(memory: TaskMemory, name: str, args: Sequence[int], index: int) -> str:
    """The path at position `index` of a call, as `Syscall.path` describes it. OSError as the call itself would fail."""
    parameters = signature(name)
    dirfd = AT_FDCWD
    if index and parameters[index - 1].kind.role == "dirfd":
        dirfd = (args[index - 1] & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
    # Some calls take a null pointer for "the descriptor itself".
    text = _read_path(memory, args[index]) if args[index] or dirfd == AT_FDCWD else ""
    if not text:
        if dirfd == AT_FDCWD:
            raise OSError(errno.ENOENT, "the path is empty")
        return _from_root(memory, _target(memory, f"fd/{dirfd}"))
    in_root = name == "openat2" and _resolves_in_root(memory, args[2])
    if text.startswith("/") and not in_root:
        return _normal("/", text)
    place = "cwd" if dirfd == AT_FDCWD else f"fd/{dirfd}"
    base = _from_root(memory, _target(memory, place, directory=True))
    if in_root:
        return _normal("/", base + _normal("/", text))
    return _normal(base, text)


def _read_path(memory: TaskMemory, address: int) -> str:
    raw = memory.read_string(address, PATH_MAX)
    if len(raw) >= PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, f"the path is longer than {PATH_MAX - 1} bytes")
    return os.fsdecode(raw)


def _resolves_in_root(memory: TaskMemory, how: int) -> bool:
    raw = memory.read_memory(how + _RESOLVE_OFFSET, 8)
    return bool(int.from_bytes(raw, "little") & RESOLVE_IN_ROOT)


def _target(memory: TaskMemory, place: str, *, directory: bool = False) -> str:
    """Where an entry of /proc/<tid> leads to: a path of the file system. OSError when there is none (any more)."""
    link = f"/proc/{memory.tid}/{place}"
    try:
        text, status = os.readlink(link), os.stat(link)
    except FileNotFoundError as error:
        if place.startswith("fd/") and os.path.exists(f"/proc/{memory.tid}"):
            raise OSError(errno.EBADF, f"descriptor {place[3:]} is not open") from error
        raise OSError(errno.ESRCH, "the task is gone") from error
    if directory and not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.ENOTDIR, f"{place} is no directory")
    if not text.startswith("/") or (text.endswith(_DELETED) and status.st_nlink == 0):
        raise OSError(errno.ENOENT, f"{place} leads to {text!r}, which has no path")
    return text


def _from_root(memory: TaskMemory, path: str) -> str:
    """A path of /proc as the task itself sees it: from its root, which it may have changed."""
    root = os.readlink(f"/proc/{memory.tid}/root").rstrip("/")
    if path == root or not path.startswith(f"{root}/"):
        if path == root:
            return "/"
        raise OSError(errno.ENOENT, f"{path!r} lies outside of the task's root {root!r}")
    return path[len(root) :]


def _normal(base: str, text: str) -> str:
    """`text` from the absolute `base`, without empty parts, "." and "..", by the text alone and never above "/"."""
    parts: list[str] = []
    for part in f"{base}/{text}".split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
