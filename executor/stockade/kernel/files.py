"""Opening files, and what namespaces and file systems stand behind descriptors and paths."""

from __future__ import annotations

import ctypes
import fcntl

from stockade.kernel.calls import Address, Int, Path, Size, library_call, system_call

# openat2(2): open_how.resolve
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
RESOLVE_CACHED = 0x20
# Size of the first version of struct open_how, three 64-bit numbers.
OPEN_HOW_SIZE = 24

# statfs(2)
PROC_SUPER_MAGIC = 0x9FA0
_STATFS_SIZE = 256

# ioctl_ns(2)
NS_GET_USERNS = 0xB701

_openat2 = system_call("openat2", Int, Path, Address, Size)
_statfs = library_call("statfs", Path, Address)

_OpenHow = ctypes.c_uint64 * 3


def openat2(directory: int, path: bytes | None, flags: int, mode: int, resolve: int) -> int:
    """openat2(2). `path` None stands for an address where nothing is mapped."""
    how = _OpenHow(flags, mode, resolve)
    return _openat2(directory, path, ctypes.addressof(how), OPEN_HOW_SIZE, path=path)


def filesystem_type(path: bytes) -> int:
    """statfs(2): the number (…_SUPER_MAGIC) of the type of the file system at `path`."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    _statfs(path, ctypes.addressof(buffer), path=path)
    return int.from_bytes(buffer.raw[:8], "little")


def owning_user_namespace(namespace: int) -> int:
    """ioctl_ns(2): a close-on-exec descriptor of the user namespace that owns the one behind `namespace`."""
    return fcntl.ioctl(namespace, NS_GET_USERNS)
