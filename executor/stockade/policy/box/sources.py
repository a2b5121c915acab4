"""Looking at every source of a plan before anything is started, so that what is missing is said at once."""

from __future__ import annotations

import errno
import os
import stat

from stockade.errors import SetupError
from stockade.policy.box.box_paths import check_source
from stockade.policy.box.filesystem import SAFE_DEVICES, Plan
from stockade.policy.box.mounts import BIND_DIRECTORY, BIND_FILE, Entry
from stockade.text import quote


def check_sources(plan: Plan) -> None:
    """Raise SetupError unless the host has everything that `plan` mounts, in the right kind.

    Step "open_source": a source is missing (ENOENT), a directory where a file is wanted (EISDIR) or the other way round
    (ENOTDIR), cannot be reached (EACCES), or is a device node (ENODEV). Step "mount_point": a mount beneath a host
    directory has no place there. PolicyError: a source leads into the host's /proc.
    """
    host = _landmarks()
    for entry in plan.entries:
        if entry.is_bind:
            _check_source(entry, host)
        if entry.needs_existing_point:
            _check_point(entry)


def _landmarks() -> tuple[tuple[int, int], int]:
    """Return (device, inode) of the host's root, and the device of its /proc (0: there is none)."""
    root = os.stat("/")
    try:
        proc = os.stat("/proc").st_dev
    except OSError:
        proc = 0
    return (root.st_dev, root.st_ino), proc


def _check_source(entry: Entry, host: tuple[tuple[int, int], int]) -> None:
    try:
        status = os.stat(entry.source)
        mode = status.st_mode
    except OSError as error:
        if entry.if_exists and error.errno == errno.ENOENT:
            return
        raise SetupError("open_source", error.errno or 0, entry.source, _missing_hint(entry, error)) from None
    if entry.kind == BIND_FILE and stat.S_ISDIR(mode):
        hint = f"it is a directory: use add_directory({_argument(entry.source)}), or kind: DIRECTORY"
        raise SetupError("open_source", errno.EISDIR, entry.source, hint)
    if entry.kind == BIND_DIRECTORY and not stat.S_ISDIR(mode):
        hint = f"it is no directory: use add_file({_argument(entry.source)}), or kind: FILE"
        raise SetupError("open_source", errno.ENOTDIR, entry.source, hint)
    if not entry.device and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
        hint = f"device nodes cannot be used inside; add_dev() gives {', '.join(SAFE_DEVICES)}"
        raise SetupError("open_source", errno.ENODEV, entry.source, hint)
    root, proc = host
    if status.st_dev != proc and (status.st_dev, status.st_ino) != root:
        return
    real = os.path.realpath(entry.source)
    check_source(real, f"{entry.origin}: {quote(entry.source)} leads to {quote(real)}")


def _missing_hint(entry: Entry, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        link = " (it is a symbolic link to something that is not there)" if os.path.islink(entry.source) else ""
        return f"{entry.origin} mounts it{link}: create it, or say if_exists"
    if error.errno == errno.EACCES:
        return f"{entry.origin} mounts it: this user may not search a directory above it"
    return f"{entry.origin} mounts it"


def _check_point(entry: Entry) -> None:
    """Check that a mount point in a host directory is there: stockade makes nothing in directories of the host."""
    assert entry.above is not None
    if entry.above.if_exists and not os.path.exists(entry.above.source):
        return
    point = entry.host_point
    path = entry.above.source
    for name in point.removeprefix(entry.above.source).strip("/").split("/"):
        path = f"{path}/{name}"
        if os.path.islink(path):
            hint = (
                f"{entry.origin} is mounted through the symbolic link {quote(path)}; mount at its destination instead"
            )
            raise SetupError("mount_point", errno.ELOOP, entry.target, hint)
    try:
        is_directory = stat.S_ISDIR(os.stat(point).st_mode)
    except OSError as error:
        hint = f"{entry.origin} is mounted in a directory of the host, where nothing is made: create {quote(point)}"
        raise SetupError("mount_point", error.errno or 0, entry.target, hint) from None
    if is_directory != (entry.kind != BIND_FILE):
        wanted = "a file" if entry.kind == BIND_FILE else "a directory"
        hint = f"{quote(point)} of the host, over which {entry.origin} is mounted, must be {wanted}"
        raise SetupError("mount_point", errno.EISDIR if is_directory else errno.ENOTDIR, entry.target, hint)


def _argument(path: str) -> str:
    return quote(path, limit=4096)
