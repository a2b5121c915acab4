"""The directory of the disk cache: where it is, whether it may be trusted, and files in it that come and go whole.

The directory and each file must belong to the effective user, and nobody else may write to them; what is otherwise is
not used, and not repaired. All files are reached through the descriptor of the directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping

VARIABLE = "STOCKADE_CACHE_DIR"
MAX_FILES = 256
MAX_BYTES = 32 << 20
MAX_FILE = 4 << 20
# A temporary file of this age, in seconds, belongs to a process that was killed.
ABANDONED_AFTER = 3600
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_NAME = re.compile(r"[0-9a-f]{64}\Z")
_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{16}\Z")


def directory_path(environment: Mapping[str, str] | None = None) -> str | None:
    """Give the place of the cache: where it is, or would be if it were switched on; None if there is no place for it.

    That is $STOCKADE_CACHE_DIR, else $XDG_CACHE_HOME/stockade, else $HOME/.cache/stockade; the first one of these that
    is an absolute path. Looks at the environment only.
    """
    values = os.environ if environment is None else environment
    candidates = ((VARIABLE, ""), ("XDG_CACHE_HOME", "/stockade"), ("HOME", "/.cache/stockade"))
    for name, rest in candidates:
        value = values.get(name, "")
        if value.startswith("/"):
            return os.path.normpath(value + rest)
    return None


def switched_off(environment: Mapping[str, str] | None = None) -> bool:
    """Say whether $STOCKADE_CACHE_DIR is set to something that is no absolute path: to nothing, for example."""
    value = (os.environ if environment is None else environment).get(VARIABLE)
    return value is not None and not value.startswith("/")


@contextlib.contextmanager
def opened(*, create: bool = False) -> Iterator[int | None]:
    """Open the directory of the cache and give its descriptor; None when there is none that may be used.

    With `create` a missing directory is made, with mode 0700, beneath one of this user's or of root's.
    """
    path = None if switched_off() else directory_path()
    descriptor = _open(path, create) if path is not None else None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def read(directory: int, name: str) -> bytes | None:
    """Give the content of a file of the cache; None when there is none that may be used."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or not _is_ours(status):
            return None
        content = b""
        while len(content) <= MAX_FILE and (more := os.read(descriptor, MAX_FILE + 1 - len(content))):
            content += more
        return content if len(content) <= MAX_FILE else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def write(directory: int, name: str, content: bytes) -> None:
    """Put a file into the cache, whole or not at all, and remove the oldest ones when there are too many.

    A failure leaves the cache as it was.
    """
    if len(content) > MAX_FILE:
        return
    temporary = f".{name}.{os.urandom(8).hex()}"
    try:
        _write_new(directory, temporary, content)
        try:
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(temporary, dir_fd=directory)
            raise
        _prune(directory)
    except OSError:
        pass


def _open(path: str, create: bool) -> int | None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            if not create:
                return None
            _make(path)
            descriptor = os.open(path, flags)
    except OSError:
        return None
    if _is_ours(os.fstat(descriptor)):
        return descriptor
    os.close(descriptor)
    return None


def _make(path: str) -> None:
    """Make the directory, and the one above it (~/.cache) if that is missing too."""
    parent = os.path.dirname(path)
    if not os.path.lexists(parent):
        _make_one(parent)
    _make_one(path)


def _make_one(path: str) -> None:
    # Root with the HOME of somebody else (sudo) leaves nothing there that its owner could not use.
    if os.stat(os.path.dirname(path)).st_uid not in (0, os.geteuid()):
        raise PermissionError(f"{path} would lie in a directory of another user")
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _WRITABLE_BY_OTHERS


def _write_new(directory: int, name: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    except BaseException:
        os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)


def _prune(directory: int) -> None:
    """Remove abandoned temporary files, and the oldest files until three quarters of what is allowed are left."""
    found: list[tuple[float, int, str]] = []
    for name in os.listdir(directory):
        if not _NAME.match(name) and not _TEMPORARY.match(name):
            continue
        with contextlib.suppress(OSError):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if _TEMPORARY.match(name):
                if abs(time.time() - status.st_mtime) > ABANDONED_AFTER:
                    os.unlink(name, dir_fd=directory)
                continue
            found.append((status.st_mtime, status.st_size, name))
    count, size = len(found), sum(each[1] for each in found)
    if count <= MAX_FILES and size <= MAX_BYTES:
        return
    for _, length, name in sorted(found):
        if count <= MAX_FILES * 3 // 4 and size <= MAX_BYTES * 3 // 4:
            break
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory)
        count, size = count - 1, size - length
