"""Writing files so that at every moment there is either the old content or the new one, and never half of either."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from stockade.errors import SandboxError


class FileError(SandboxError):
    """A file cannot be read or written; it is as it was."""

    def __init__(self, path: str, what: str, reason: str, hint: str = "") -> None:
        self.path = path
        super().__init__(f"{path}: cannot {what} it: {reason}{'; ' if hint else ''}{hint}")


class KnownFile:
    """A regular file, read once, whose content can be replaced as long as nobody else has changed it.

    A symbolic link stands for the file that it leads to. Raises FileError for what cannot be read.
    """

    def __init__(self, path: str, limit: int) -> None:
        """Read `path`, at most `limit` bytes and one more."""
        self.path = path
        try:
            self._real = os.path.realpath(path, strict=True)
            # Not waiting for somebody to write to a named pipe.
            descriptor = os.open(self._real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            raise FileError(path, "read", os.strerror(error.errno or errno.EIO)) from None
        try:
            self._status = os.fstat(descriptor)
            if not stat.S_ISREG(self._status.st_mode):
                raise FileError(path, "read", "it is no regular file")
            with open(descriptor, "rb", closefd=False) as file:
                self.data = file.read(limit + 1)
        except OSError as error:
            raise FileError(path, "read", os.strerror(error.errno or errno.EIO)) from None
        finally:
            os.close(descriptor)

    def replace(self, data: bytes) -> None:
        """Give the file the content `data`, with the same owner, mode and extended attributes.

        Raises FileError, and leaves the file as it is, when that cannot be done, or when the file was changed since it
        was read.
        """
        if self._status.st_nlink > 1:
            raise FileError(self.path, "replace", "it has other names (hard links), which would keep the old text")
        if not os.access(self._real, os.W_OK):
            raise FileError(self.path, "replace", os.strerror(errno.EACCES))
        temporary = _temporary(self._real)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _write_all(descriptor, data)
                self._take_over(descriptor)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if not self._is_unchanged():
                raise FileError(self.path, "replace", "somebody else has just changed it", "run the command again")
            os.rename(temporary, self._real)
        except OSError as error:
            raise FileError(self.path, "replace", os.strerror(error.errno or errno.EIO)) from None
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def _take_over(self, descriptor: int) -> None:
        """Give the new file what the old one has beside its content."""
        status = os.fstat(descriptor)
        if (status.st_uid, status.st_gid) != (self._status.st_uid, self._status.st_gid):
            os.fchown(descriptor, self._status.st_uid, self._status.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(self._status.st_mode))
        for name in os.listxattr(self._real):
            try:
                os.setxattr(descriptor, name, os.getxattr(self._real, name))
            except OSError:
                # Labels of security modules are set by the system, and may not be ours to set.
                if not name.startswith("security."):
                    raise

    def _is_unchanged(self) -> bool:
        now, before = os.stat(self._real), self._status
        return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) == (
            before.st_dev,
            before.st_ino,
            before.st_size,
            before.st_mtime_ns,
        )


def write_new(path: str, data: bytes, *, force: bool, hint: str) -> None:
    """Write `data` to the new file `path`. With `force` an existing file is replaced.

    Raises FileError, and leaves nothing behind, when that cannot be done; with `hint` when there is such a file.
    """
    if os.path.isdir(path):
        raise FileError(path, "write", os.strerror(errno.EISDIR))
    if force and os.path.isfile(path):
        KnownFile(path, 0).replace(data)
        return
    temporary = _temporary(os.path.abspath(path))
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)
        # Unlike a rename, this fails if there is something of that name, be it a link that leads nowhere.
        os.link(temporary, path, follow_symlinks=False)
    except OSError as error:
        exists = error.errno == errno.EEXIST
        raise FileError(path, "write", os.strerror(error.errno or errno.EIO), hint if exists else "") from None
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _temporary(path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name[:200]}.{os.urandom(6).hex()}")


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
