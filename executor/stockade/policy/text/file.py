"""Policy files on disk: reading them with errors for people, and replacing them as a whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from dataclasses import dataclass

from stockade.errors import PolicyError
from stockade.policy import profiles
from stockade.policy.finding import closest
from stockade.policy.text.syntax import MAX_TEXT, check_size
from stockade.text import quote

# More names than these in a directory are not compared with one that is missing.
_MAX_NAMES = 10000


@dataclass(frozen=True, slots=True)
class Content:
    """A file that was read: its bytes, and its identity, whatever name it was reached by."""

    data: bytes
    identity: tuple[int, int]


def read_file(path: str, *, regular: bool = False) -> Content:
    """Read a policy file of at most MAX_TEXT bytes.

    With `regular`, pipes and devices are refused (and not waited for). Raises PolicyError, with the path and the
    closest name in the directory, for a file that cannot be read.
    """
    _check_name(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if regular else 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if regular and not stat.S_ISREG(status.st_mode):
                raise PolicyError("cannot read the policy: it is no regular file", source=path, path=path)
            data = file.read(MAX_TEXT + 1)
    except FileNotFoundError as error:
        hint, suggestion = _near(path)
        if os.path.islink(path):
            hint = " (it is a symbolic link to something that is not there)"
        message = f"cannot read the policy: {error.strerror}{hint}"
        raise PolicyError(message, source=path, path=path, suggestion=suggestion) from error
    except OSError as error:
        raise PolicyError(f"cannot read the policy: {error.strerror}", source=path, path=path) from error
    check_size(len(data), path)
    return Content(data, (status.st_dev, status.st_ino))


def write_file(path: str, text: str) -> None:
    """Write a text to a file; a file that is there keeps its permissions, and its content until the new one is whole.

    A symbolic link is followed. Raises PolicyError, with the path, when the file cannot be written.
    """
    _check_name(path)
    try:
        target = os.path.realpath(path)
        temporary = f"{target}.{secrets.token_hex(8)}.tmp"
        mode = _permissions(target)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with open(descriptor, "wb") as file:
                if mode is not None:
                    os.fchmod(descriptor, mode)
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise PolicyError(f"cannot write the policy: {error.strerror}", source=path, path=path) from error


def _check_name(path: str) -> None:
    try:
        usable = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise PolicyError(f"no file can be named {quote(path)}", path=path)


def _permissions(path: str) -> int | None:
    """Give the permission bits of a file that is there, None for a new one. Raises OSError unless it is a file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    return stat.S_IMODE(status.st_mode)


def _near(path: str) -> tuple[str, str | None]:
    """Give a hint and the closest name for a file that is not there."""
    directory, name = os.path.split(path)
    try:
        with os.scandir(directory or ".") as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MAX_NAMES), strict=False) if entry.name != name]
    except OSError:
        names = []
    stem = name.removesuffix(profiles.SUFFIX)
    # Without their suffix, or all of them would be much alike.
    stems = {each.removesuffix(profiles.SUFFIX): each for each in sorted(names)}
    near = stems.get(closest(stem, stems) or "")
    ready = stem in profiles.names()
    hint = f". There is a ready-made policy {quote(stem)}, which is found by its name, not as a file" if ready else ""
    return hint, os.path.join(directory, near) if near else None
