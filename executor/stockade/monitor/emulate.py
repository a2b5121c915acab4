"""Deciding about paths without a race: a file is opened for the program, from a private copy of what it asked for.

A hook that reads a path and then lets the kernel make the call decides about a path that another thread can exchange
before the kernel reads it. An `OpenRequest` holds a copy of everything that the call hands over in memory, and of where
a relative path begins; the rule looks at the copy, `open()` opens the copy, and the program gets the open file. What
happens to its memory meanwhile does not matter. open(2), openat2(2), path_resolution(7).
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence

from stockade._proto.lean import OpenFile
from stockade.kernel import files
from stockade.kernel.process import AT_FDCWD
from stockade.monitor.hooks import Verdict
from stockade.monitor.memory import TaskMemory
from stockade.monitor.opener import BoxOpener

PATH_MAX = 4096
PAGE = 4096
E2BIG, EFAULT, EINVAL, EOPNOTSUPP = 7, 14, 22, 95

O_LARGEFILE = 0o100000 if os.uname().machine == "x86_64" else 0o400000
# What open() and openat() look at; they ignore the rest, openat2() does not. Each is one bit or more of <fcntl.h>.
_SYNC_AND_SIZE = os.O_SYNC | os.O_DSYNC | os.O_ASYNC | os.O_DIRECT | O_LARGEFILE | os.O_NOATIME
_MAKING = os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_APPEND | os.O_TMPFILE
KNOWN_FLAGS = os.O_ACCMODE | _MAKING | _SYNC_AND_SIZE | os.O_NOCTTY | os.O_NONBLOCK
KNOWN_FLAGS |= os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_PATH
# What is left of them with O_PATH.
PATH_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PERMISSION_BITS = 0o7777
# O_TMPFILE includes O_DIRECTORY; this is its own bit.
_TMPFILE = os.O_TMPFILE & ~os.O_DIRECTORY

# Which argument of which call is what: directory (None: the working directory), path, flags, mode.
ARGUMENTS = {
    "open": (None, 0, 1, 2),
    "openat": (0, 1, 2, 3),
    "creat": (None, 0, None, 1),
    "openat2": (0, 1, None, None),
}


class OpenRequest:
    """What a call asks to open: private copies, which the program cannot change any more.

    `path`: the bytes as the program gave them, empty when they cannot be read. `flags` (O_…), `mode` and `resolve`
    (RESOLVE_…, see openat2(2)) are as the kernel would understand them. The working directory or directory descriptor
    at which a relative path begins is held open until the hook has answered.
    """

    def __init__(self, name: str, args: Sequence[int], memory: TaskMemory, opener: BoxOpener | None) -> None:
        """Copy what the call `name` with `args` asks for. ValueError when it opens no file."""
        if name not in ARGUMENTS:
            raise ValueError(f"{name} does not open a file by its path; {', '.join(sorted(ARGUMENTS))} do")
        self._memory, self._opener = memory, opener
        self._opened: list[int] = []
        self._held: list[int] = []
        self._is_closed = False
        where, path, _, _ = ARGUMENTS[name]
        self._error, self.flags, self.mode, self.resolve = _read_how(name, args, memory)
        copied = _read_path(memory, args[path])
        self._is_readable, self.path = copied is not None, copied or b""
        self._pin_directory(AT_FDCWD if where is None else _int(args[where]))
        self._umask, self._pid, self._tid = _task_facts(memory) if self._needs_task_facts() else (0, 0, 0)

    @property
    def writes(self) -> bool:
        """Whether a file could be changed or made by it."""
        changes = self.flags & os.O_ACCMODE or self.flags & (os.O_CREAT | os.O_TRUNC | _TMPFILE)
        return not self.flags & os.O_PATH and bool(changes)

    @property
    def full_path(self) -> bytes:
        """The path from the root of the box, with `.`, `..` and repeated slashes taken out as if no link were there.

        It names what would be opened only where no symbolic link lies on the way: `open(follow_links=False)` sees to
        that. b"" when the path is empty, cannot be read, or begins at a directory that is not there.
        """
        if not self.path:
            return b""
        base = b"/"
        if self._held:
            base = os.readlink(b"/proc/self/fd/%d" % self._held[0])
            if not base.startswith(b"/") or base.endswith(b" (deleted)"):
                return b""
            if self.resolve & files.RESOLVE_IN_ROOT:
                inside = posixpath.normpath(b"/" + self.path.lstrip(b"/"))
                return posixpath.normpath(base + inside)
        elif not self.path.startswith(b"/"):
            return b""
        return b"/" + posixpath.normpath(posixpath.join(base, self.path)).lstrip(b"/")

    def open(self, *, follow_links: bool = True) -> Verdict:
        """Open the file as the program would have, and hand it over: a Verdict.descriptor, or Verdict.errno.

        Root, mounts, working directory, ids, permission mask and flags are the program's. Not `follow_links`: a path
        with a symbolic link anywhere fails with ELOOP.

        Two things fail that the kernel would do. Nothing is opened that could make us wait: what is no regular file, no
        directory and none of null, zero, full, random and urandom is ENXIO (a FIFO, a terminal, another device). And
        O_PATH is EOPNOTSUPP, where it does not fail for another reason: the kernel hands no such descriptor over.
        SetupError or OSError when nothing can be opened for this program at all, which, when the hook lets it pass,
        denies.
        """
        if self._error:
            return Verdict.errno(self._error)
        if self._opener is None or self._is_closed:
            raise OSError(EINVAL, "files are opened for the program only while a hook decides about its call")
        wanted = OpenFile(path=self.path, unreadable_path=not self._is_readable, flags=self.flags, mode=self.mode)
        wanted.resolve = self.resolve | (0 if follow_links else files.RESOLVE_NO_SYMLINKS)
        wanted.umask, wanted.pid, wanted.tid = self._umask, self._pid, self._tid
        error, descriptor = self._opener.open(self._memory.tid, wanted, self._held[0] if self._held else None)
        if descriptor < 0:
            return Verdict.errno(error)
        if self.flags & os.O_PATH:
            os.close(descriptor)
            return Verdict.errno(EOPNOTSUPP)
        self._opened.append(descriptor)
        if self._is_closed:  # meanwhile: the hook has taken too long
            self.close()
        return Verdict.descriptor(descriptor, close_on_exec=bool(self.flags & os.O_CLOEXEC))

    def opened_path(self) -> bytes:
        """Path, inside the box, of the file that `open()` has opened, with all links followed; b"" when there is none.

        What is no file of a file system has a name like "pipe:[7]"; " (deleted)" follows the path of a deleted file.
        """
        return os.readlink(b"/proc/self/fd/%d" % self._opened[-1]) if self._opened else b""

    def close(self, handed_over: int = -1) -> None:
        """Close what is held and opened, but for the descriptor that is handed over: the hook has answered."""
        self._is_closed = True
        for descriptors in (self._held, self._opened):
            while descriptors:
                descriptor = descriptors.pop()
                if descriptor != handed_over:
                    os.close(descriptor)

    def _pin_directory(self, number: int) -> None:
        """Hold where the path begins; nothing when that is of no account, or when there is nothing (EBADF)."""
        if self.path.startswith(b"/") and not self.resolve & files.RESOLVE_IN_ROOT:
            return
        name = "cwd" if number == AT_FDCWD else f"fd/{number}"
        try:
            self._held.append(os.open(f"/proc/{self._memory.tid}/{name}", os.O_PATH | os.O_CLOEXEC))
        except FileNotFoundError:
            return

    def _needs_task_facts(self) -> bool:
        return bool(self.flags & (os.O_CREAT | _TMPFILE)) or b"self" in self.path


def _read_path(memory: TaskMemory, address: int) -> bytes | None:
    """The path at `address`, at most one byte more than the kernel takes; None when it cannot be read to its end."""
    try:
        return memory.read_string(address, PATH_MAX)
    except OSError as error:
        if error.errno != EFAULT:
            raise
        return None


def _read_how(name: str, args: Sequence[int], memory: TaskMemory) -> tuple[int, int, int, int]:
    """(error number, flags, mode, resolve): for openat2 from memory, for the others as the kernel converts them."""
    if name == "openat2":
        return _read_open_how(memory, args[2], args[3])
    _, _, flags_argument, mode_argument = ARGUMENTS[name]
    assert mode_argument is not None
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC if flags_argument is None else args[flags_argument]
    flags &= KNOWN_FLAGS
    if flags & os.O_PATH:
        flags &= PATH_FLAGS
    makes = flags & (os.O_CREAT | _TMPFILE)
    return 0, flags, args[mode_argument] & PERMISSION_BITS if makes else 0, 0


def _read_open_how(memory: TaskMemory, address: int, size: int) -> tuple[int, int, int, int]:
    """Copy a struct open_how once. Its size and what follows the known fields are judged as the kernel does."""
    if size < files.OPEN_HOW_SIZE:
        return EINVAL, 0, 0, 0
    if size > PAGE:
        return E2BIG, 0, 0, 0
    try:
        copied = memory.read_memory(address, size)
    except OSError as error:
        if error.errno != EFAULT:
            raise
        copied = b""
    if len(copied) < size:
        return EFAULT, 0, 0, 0
    if any(copied[files.OPEN_HOW_SIZE :]):
        return E2BIG, 0, 0, 0
    flags, mode, resolve = (int.from_bytes(copied[start : start + 8], "little") for start in (0, 8, 16))
    return 0, flags, mode, resolve


def _task_facts(memory: TaskMemory) -> tuple[int, int, int]:
    """(umask, pid, tid) of a task, the latter two as the box numbers them."""
    status = memory.status()
    if not status:
        raise ProcessLookupError(3, "the task that made the call is gone")
    return int(status["Umask"], 8), int(status["NStgid"].split()[-1]), int(status["NSpid"].split()[-1])


def _int(register: int) -> int:
    """A register as the kernel reads an int."""
    low = register & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low
