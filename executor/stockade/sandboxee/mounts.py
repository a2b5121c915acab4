"""Building the file system of a box from a list of operations. mount_setattr(2), move_mount(2), openat2(2).

Targets are resolved beneath the new root by descriptor, so that no symbolic link in a mounted source leads out of it;
mount points are created on file systems of the box alone, never inside a mounted source.
"""

from __future__ import annotations

import os
import stat

from stockade._proto.lean import MountOperation, MountPoint
from stockade.kernel import mount
from stockade.sandboxee.steps import Step, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT_OPTIONS = {"mode": "0755", "size": "4m", "nr_inodes": "65536"}
EROFS, ENOTDIR, EISDIR, ENODEV = 30, 20, 21, 19

_DIRECTORY_FLAGS = mount.O_PATH_FLAGS | os.O_DIRECTORY


class Tree:
    """A root under construction: a descriptor of it, and the devices on which mount points may be created."""

    __slots__ = ("devices", "root")

    def __init__(self, root: int) -> None:
        self.root = root
        self.devices = {os.fstat(root).st_dev}

    @classmethod
    def create(cls) -> Tree:
        """Mount an empty tmpfs over `/` (out of sight of every path that is already resolved) and take it as root."""
        with Step("mount_root", "/"):
            attributes = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV
            root = mount.new_filesystem("tmpfs", ROOT_OPTIONS, attributes)
            slash = os.open("/", mount.O_PATH_FLAGS)
            mount.move_mount(root, slash, "/")
            os.close(slash)
        return cls(root)

    def seal(self) -> None:
        """Make the root itself read-only; what is mounted on it keeps its own flags."""
        with Step("mount_root", "/"):
            mount.set_attributes(self.root, mount.MOUNT_ATTR_RDONLY, recursive=False, path="/")

    def directory(self, path: str) -> int:
        """Open the directory `path`, making what is missing of it."""
        try:
            return mount.open_beneath(self.root, path or "/", _DIRECTORY_FLAGS)
        except FileNotFoundError:
            parent = self.directory(os.path.dirname(path.rstrip("/")))
        try:
            self._check_ours(parent, path)
            with Step("mount_point", path):
                os.mkdir(os.path.basename(path), 0o755, dir_fd=parent)
        finally:
            os.close(parent)
        with Step("mount_point", path):
            return mount.open_beneath(self.root, path, _DIRECTORY_FLAGS)

    def mount_point(self, path: str, *, directory: bool) -> int:
        """Open the mount point `path`, making it and its parents where they are missing."""
        if directory:
            with Step("mount_point", path):
                return self.directory(path)
        with Step("mount_point", path):
            try:
                return mount.open_beneath(self.root, path)
            except FileNotFoundError:
                parent = self.directory(os.path.dirname(path))
            try:
                self._check_ours(parent, path)
                os.close(os.open(os.path.basename(path), os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444, dir_fd=parent))
            finally:
                os.close(parent)
            return mount.open_beneath(self.root, path)

    def _check_ours(self, parent: int, path: str) -> None:
        if os.fstat(parent).st_dev not in self.devices:
            detail = "the mount point is missing in a mounted source and is not made there"
            raise StepError("mount_point", EROFS, path, detail)

    def attach(self, detached: int, path: str, *, directory: bool, ours: bool) -> None:
        """Attach a detached mount at `path` and close it."""
        if ours:
            self.devices.add(os.fstat(detached).st_dev)
        target = self.mount_point(path, directory=directory)
        with Step("mount", path):
            mount.move_mount(detached, target, path)
        os.close(target)
        os.close(detached)


def open_source(operation: MountOperation) -> int | None:
    """A detached mount of an operation's source with its final attributes; None when it may be, and is, missing."""
    recursive = operation.kind == MountOperation.BIND_DIRECTORY
    with Step("open_source", operation.source):
        try:
            source = mount.open_tree(operation.source, recursive=recursive)
        except FileNotFoundError:
            if operation.if_exists:
                return None
            raise
    try:
        _check_kind(source, operation)
        with Step("mount_attributes", operation.source):
            mount.set_attributes(source, _bind_attributes(operation), recursive=recursive, path=operation.source)
    except BaseException:
        os.close(source)
        raise
    return source


def _check_kind(source: int, operation: MountOperation) -> None:
    mode = os.fstat(source).st_mode
    if operation.kind == MountOperation.BIND_DIRECTORY and not stat.S_ISDIR(mode):
        raise StepError("open_source", ENOTDIR, operation.source, "a directory is asked for")
    if operation.kind == MountOperation.BIND_FILE and stat.S_ISDIR(mode):
        raise StepError("open_source", EISDIR, operation.source, "a file is asked for")
    if operation.device and not stat.S_ISCHR(mode):
        raise StepError("open_source", ENODEV, operation.source, "a character device is asked for")


def _bind_attributes(operation: MountOperation) -> int:
    attributes = mount.MOUNT_ATTR_NOSUID
    if not operation.device:
        attributes |= mount.MOUNT_ATTR_NODEV
    if operation.writable:
        attributes |= 0 if operation.executable else mount.MOUNT_ATTR_NOEXEC
    elif not operation.device:
        attributes |= mount.MOUNT_ATTR_RDONLY
    if operation.device:
        attributes |= mount.MOUNT_ATTR_NOEXEC
    return attributes


def _new_tmpfs(operation: MountOperation) -> int:
    attributes = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV
    if not operation.executable:
        attributes |= mount.MOUNT_ATTR_NOEXEC
    options = {"size": str(operation.size), "mode": f"{operation.mode or 0o755:o}"}
    if operation.inodes:
        options["nr_inodes"] = str(operation.inodes)
    with Step("tmpfs", operation.target):
        return mount.new_filesystem("tmpfs", options, attributes)


def _new_proc(operation: MountOperation) -> int:
    # Read-only: what is written to /proc/self/mem becomes code, whatever the protection of the memory.
    attributes = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV | mount.MOUNT_ATTR_NOEXEC | mount.MOUNT_ATTR_RDONLY
    options = {"hidepid": "2"} if operation.full else {"hidepid": "2", "subset": "pid"}
    with Step("proc", operation.target):
        return mount.new_filesystem("proc", options, attributes)


def detached_proc() -> int:
    """A proc of the caller's pid namespace that can be written to and is mounted nowhere."""
    attributes = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV | mount.MOUNT_ATTR_NOEXEC
    with Step("proc", "of the fork server"):
        return mount.new_filesystem("proc", {"hidepid": "2", "subset": "pid"}, attributes)


def execute(tree: Tree, operations: Sequence[MountOperation], sources: Sequence[int | None]) -> None:
    """Carry out `operations` in order. `sources` holds, for each, its opened source (None: none, or left out)."""
    for operation, source in zip(operations, sources, strict=True):
        kind = operation.kind
        if kind in (MountOperation.BIND_FILE, MountOperation.BIND_DIRECTORY):
            if source is not None:
                is_directory = kind == MountOperation.BIND_DIRECTORY
                tree.attach(source, operation.target, directory=is_directory, ours=False)
        elif kind == MountOperation.TMPFS:
            tree.attach(_new_tmpfs(operation), operation.target, directory=True, ours=True)
        elif kind == MountOperation.PROC:
            tree.attach(_new_proc(operation), operation.target, directory=True, ours=False)
        elif kind == MountOperation.SYMLINK:
            _make_symlink(tree, operation)
        elif kind == MountOperation.DIRECTORY:
            os.close(tree.mount_point(operation.target, directory=True))
        else:
            raise StepError("mount", 0, operation.target, f"unknown kind {kind} of mount operation")


def _make_symlink(tree: Tree, operation: MountOperation) -> None:
    parent = tree.mount_point(os.path.dirname(operation.target), directory=True)
    with Step("symlink", operation.target):
        os.symlink(operation.source, os.path.basename(operation.target), dir_fd=parent)
    os.close(parent)


def is_bind(operation: MountOperation) -> bool:
    """Whether the operation needs a source of the host."""
    return operation.kind in (MountOperation.BIND_FILE, MountOperation.BIND_DIRECTORY)


def open_sources(operations: Sequence[MountOperation]) -> list[int | None]:
    """Open the sources of all operations, in order."""
    return [open_source(operation) if is_bind(operation) else None for operation in operations]


def make_mount_points(tree: Tree, points: Sequence[MountPoint]) -> None:
    """Create the mount points that runs need, before the root is sealed."""
    for point in points:
        os.close(tree.mount_point(point.path, directory=point.directory))


def enter_root_and_forget_the_old(tree: Tree, proc: int) -> None:
    """pivot_root(2) into the tree, detach the old root, and verify that it is gone.

    `proc` is a descriptor of /proc that was opened on the old root.
    """
    with Step("pivot_root", "/"):
        os.fchdir(tree.root)
        mount.pivot_root(b".", b".")
        mount.detach(b".")
        os.chdir("/")
    root, parent, expected = os.stat("/"), os.stat("/.."), os.fstat(tree.root)
    identities = {(entry.st_dev, entry.st_ino) for entry in (root, parent, expected)}
    mountinfo = os.open("self/mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    with open(mountinfo, "rb") as lines:
        roots = [line for line in lines if line.split(b" ", 5)[4] == b"/"]
    if len(identities) != 1 or len(roots) != 1 or b" - tmpfs " not in roots[0]:
        raise StepError("detach_old_root", 0, "/", "the old root is still reachable")
