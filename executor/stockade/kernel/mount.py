"""The mount API by descriptors: open_tree, move_mount, mount_setattr, fsopen, pivot_root, openat2, statx."""

from __future__ import annotations

import ctypes
import os

from stockade.kernel.calls import Address, Int, Path, Size, library_call, system_call

# open_tree(2)
OPEN_TREE_CLONE = 1
AT_RECURSIVE = 0x8000
AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100

# move_mount(2)
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40

# mount_setattr(2)
MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR_IDMAP = 0x00100000
MS_PRIVATE = 1 << 18

# fsopen(2), fsconfig(2), fsmount(2)
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

# umount2(2)
MNT_DETACH = 2

# openat2(2)
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

# statx(2)
STATX_INO = 0x100
STATX_MNT_ID = 0x1000
STATX_MNT_ID_UNIQUE = 0x4000
_STATX_SIZE = 256
_STATX_INO_OFFSET = 32
_STATX_DEVICE_OFFSET = 136
_STATX_MNT_ID_OFFSET = 144

O_PATH_FLAGS = os.O_PATH | os.O_CLOEXEC

_open_tree = system_call("open_tree", Int, Path, Int)
_move_mount = system_call("move_mount", Int, Path, Int, Path, Int)
_mount_setattr = system_call("mount_setattr", Int, Path, Int, Address, Size)
_fsopen = system_call("fsopen", Path, Int)
_fsconfig = system_call("fsconfig", Int, Int, Path, Path, Int)
_fsmount = system_call("fsmount", Int, Int, Int)
_pivot_root = system_call("pivot_root", Path, Path)
_umount2 = library_call("umount2", Path, Int)
_openat2 = system_call("openat2", Int, Path, Address, Size)
_statx = system_call("statx", Int, Path, Int, Int, Address)

_MountAttributes = ctypes.c_uint64 * 4
_OpenHow = ctypes.c_uint64 * 3


def open_tree(path: str, *, recursive: bool) -> int:
    """open_tree(2): a descriptor of a detached copy of the mount at the host path `path`, symbolic links followed."""
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    return _open_tree(AT_FDCWD, os.fsencode(path), flags, path=path)


def move_mount(mount: int, target: int, path: str | None = None) -> None:
    """move_mount(2): attach the detached `mount` at the descriptor `target`. `path` names the target in errors."""
    _move_mount(mount, b"", target, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH, path=path)


def set_attributes(mount: int, attributes: int, *, recursive: bool, path: str | None = None) -> None:
    """mount_setattr(2): set `attributes` (MOUNT_ATTR_…) on `mount` and, when recursive, on all mounts beneath it.

    They become private as well: a copy of a shared mount would otherwise pass what is mounted on it on to the original,
    and get, without these attributes, what is mounted there.
    """
    structure = _MountAttributes(attributes, 0, MS_PRIVATE, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _mount_setattr(mount, b"", flags, ctypes.addressof(structure), 32, path=path)


def set_idmap(mount: int, user_namespace: int, path: str | None = None) -> None:
    """mount_setattr(2): show the files of the detached `mount` with the ids mapped by `user_namespace`."""
    structure = _MountAttributes(MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
    _mount_setattr(mount, b"", AT_EMPTY_PATH, ctypes.addressof(structure), 32, path=path)


def make_private() -> None:
    """mount_setattr(2): nothing that is mounted from here on is seen by other mount namespaces, or theirs here."""
    structure = _MountAttributes(0, 0, MS_PRIVATE, 0)
    _mount_setattr(AT_FDCWD, b"/", AT_RECURSIVE, ctypes.addressof(structure), 32, path="/")


def new_filesystem(kind: str, options: dict[str, str], attributes: int) -> int:
    """fsopen(2), fsconfig(2), fsmount(2): a detached mount of a new file system; an empty option value is a flag."""
    context = _fsopen(os.fsencode(kind), FSOPEN_CLOEXEC, path=kind)
    try:
        for name, value in options.items():
            if value:
                _fsconfig(context, FSCONFIG_SET_STRING, name.encode(), value.encode(), 0, path=f"{kind} {name}={value}")
            else:
                _fsconfig(context, FSCONFIG_SET_FLAG, name.encode(), None, 0, path=f"{kind} {name}")
        _fsconfig(context, FSCONFIG_CMD_CREATE, None, None, 0, path=kind)
        return _fsmount(context, FSMOUNT_CLOEXEC, attributes, path=kind)
    finally:
        os.close(context)


def pivot_root(new_root: bytes, put_old: bytes) -> None:
    """pivot_root(2)."""
    _pivot_root(new_root, put_old, path=new_root)


def detach(path: bytes) -> None:
    """umount2(2) with MNT_DETACH: take the mount at `path`, and all beneath it, out of the tree."""
    _umount2(path, MNT_DETACH, path=path)


def open_beneath(root: int, path: str, flags: int = O_PATH_FLAGS, mode: int = 0) -> int:
    """openat2(2) with `root` as the root of the lookup: neither `..` nor a symbolic link leads out of it."""
    how = _OpenHow(flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    return _openat2(root, os.fsencode(path), ctypes.addressof(how), 24, path=path)


def identity(path: str) -> tuple[int, int, int] | None:
    """statx(2): (mount id, device, inode) of what `path` leads to on the host, or None when there is nothing."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    try:
        _statx(AT_FDCWD, os.fsencode(path), 0, STATX_INO | STATX_MNT_ID | STATX_MNT_ID_UNIQUE, ctypes.addressof(buffer))
    except FileNotFoundError:
        return None
    view = memoryview(buffer)

    def number(offset: int) -> int:
        return int.from_bytes(view[offset : offset + 8], "little")

    return number(_STATX_MNT_ID_OFFSET), number(_STATX_DEVICE_OFFSET), number(_STATX_INO_OFFSET)
