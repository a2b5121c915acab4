"""A call as a hook is given it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from stockade._proto import report_pb2
from stockade.monitor.blocked import sleep_of
from stockade.monitor.memory import TaskMemory
from stockade.monitor.paths import path_argument, resolve_argument

if TYPE_CHECKING:
    from stockade.monitor.emulate import OpenRequest
    from stockade.monitor.hooks import Verdict
    from stockade.monitor.opener import BoxOpener

_Structure = TypeVar("_Structure", bound="ctypes.Structure | ctypes.Union | ctypes.Array[Any]")
_ANSWERED = "the call has been answered: its task is not stopped any more"
_GONE = "the task that made the call is gone"


class WatchedMemory(TaskMemory):
    """Memory and descriptors of the calling task: notes that something was read which the program can change.

    `still_there` says whether the task still waits in this very call; it is asked after each reading, because the
    number of a task that has ended may be given to another one.
    """

    __slots__ = ("closed", "still_there", "was_read")

    def __init__(self, tid: int, still_there: Callable[[], bool] | None) -> None:
        super().__init__(tid)
        self.still_there, self.was_read, self.closed = still_there, False, False

    def check(self) -> None:
        """OSError(ESRCH) unless what was read just now is of the calling task."""
        if self.closed or (self.still_there is not None and not self.still_there()):
            raise ProcessLookupError(errno.ESRCH, _ANSWERED if self.closed else _GONE)

    def read_memory(self, address: int, size: int) -> bytes:
        """As TaskMemory, noted and checked."""
        self.was_read = True
        data = super().read_memory(address, size)
        self.check()
        return data

    def describe_fd(self, descriptor: int) -> str | None:
        """As TaskMemory, noted and checked."""
        self.was_read = True
        target = super().describe_fd(descriptor)
        self.check()
        return target


class Syscall:
    """One call that a hook decides.

    `name`, `number`, `architecture`; `args`, the six raw arguments as unsigned 64-bit numbers; `tid`, the calling
    thread as the host sees it; `instruction_pointer`, `stack_pointer`; `hook`, the name that the rule gives the hook.
    What is read through it is there until the call has been answered; after that reading raises OSError(ESRCH).
    """

    __slots__ = (
        "_memory",
        "_opener",
        "_requests",
        "_stack_pointer",
        "_status",
        "architecture",
        "args",
        "hook",
        "instruction_pointer",
        "name",
        "number",
        "tid",
    )

    def __init__(
        self,
        name: str,
        number: int,
        architecture: str,
        args: Sequence[int],
        tid: int,
        instruction_pointer: int,
        stack_pointer: int,
        hook: str = "",
        still_there: Callable[[], bool] | None = None,
        opener: BoxOpener | None = None,
    ) -> None:
        self.name, self.number, self.architecture, self.tid, self.hook = name, number, architecture, tid, hook
        self.args = tuple(args)
        self.instruction_pointer, self._stack_pointer = instruction_pointer, stack_pointer
        self._memory = WatchedMemory(tid, still_there)
        self._status: dict[str, str] = {}
        self._opener = opener
        self._requests: list[OpenRequest] = []

    @property
    def stack_pointer(self) -> int:
        """Stack pointer of the calling thread."""
        if not self._stack_pointer:  # unotify: the notification does not tell it
            sleep = sleep_of(self.tid)
            self._memory.check()
            self._stack_pointer = sleep.stack_pointer if sleep is not None else 0
        return self._stack_pointer

    def _read_status(self) -> dict[str, str]:
        if not self._status:
            status = self._memory.status()
            self._memory.check()
            if not status:
                raise ProcessLookupError(errno.ESRCH, _GONE)
            self._status = status
        return self._status

    @property
    def pid(self) -> int:
        """Process (thread group) that makes the call, as the host sees it."""
        return int(self._read_status()["Tgid"])

    @property
    def inner_pid(self) -> int:
        """The same process as it is numbered inside the box: what getpid() gives there."""
        return int(self._read_status()["NStgid"].split()[-1])

    @property
    def program(self) -> str:
        """Path, inside the box, of the program that the calling process runs; "" when it cannot be told."""
        program = self._memory.program()
        self._memory.check()
        return program

    @property
    def memory_was_read(self) -> bool:
        """Whether memory or descriptors were looked at, which the program can change before the kernel looks at them.

        A hook that allows after that is *advisory*.
        """
        return self._memory.was_read

    def read_memory(self, address: int, size: int) -> bytes:
        """Up to `size` bytes (at most 1 MiB) of the caller's memory. OSError(EFAULT): nothing is mapped there."""
        return self._memory.read_memory(address, size)

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        """The bytes up to the next NUL at `address`, at most `limit`. OSError(EFAULT): nothing is mapped there."""
        return self._memory.read_string(address, limit)

    @overload
    def read_struct(self, address: int, layout: str | struct.Struct) -> tuple[Any, ...]: ...
    @overload
    def read_struct(self, address: int, layout: type[_Structure]) -> _Structure: ...
    def read_struct(self, address: int, layout: Any) -> Any:
        """A structure of the caller's memory.

        `layout` is a `struct.Struct` or a format of that module, for a tuple of its values, or a ctypes structure, for
        an instance. OSError(EFAULT) unless all of it is mapped.
        """
        if isinstance(layout, type):
            return layout.from_buffer_copy(self._read_exactly(address, ctypes.sizeof(layout)))  # type: ignore[attr-defined]
        unpacker = layout if isinstance(layout, struct.Struct) else struct.Struct(layout)
        return unpacker.unpack(self._read_exactly(address, unpacker.size))

    def _read_exactly(self, address: int, size: int) -> bytes:
        data = self._memory.read_memory(address, size)
        if len(data) < size:
            raise OSError(errno.EFAULT, f"only {len(data)} of {size} bytes can be read")
        return data

    def path(self, argument: int | str | None = None) -> str:
        """An argument that is a path, as an absolute path from the root that the caller sees.

        `argument` is its position or its name ("newpath"); by default the first path of the call. A relative path is
        taken from the caller's working directory, or from the directory descriptor that comes with it. The result is
        made from text: empty parts and "." are left out, and ".." takes away the part before it. Symbolic links are not
        followed, neither the last part nor one on the way, so that the file which the kernel will reach can be another
        one; nor is looked whether anything is there. An empty path gives what its descriptor leads to. Undecodable
        bytes are surrogates (`os.fsencode` gives the bytes).

        ValueError when the argument is no path. OSError with the error that the call itself would meet: EFAULT (not
        readable), ENAMETOOLONG, EBADF and ENOTDIR (the descriptor), ENOENT (empty, or the directory was deleted).
        """
        self._memory.was_read = True
        path = resolve_argument(self._memory, self.name, self.args, path_argument(self.name, argument))
        self._memory.check()
        return path

    def open_request(self) -> OpenRequest:
        """What an open, openat, openat2 or creat asks to open, as a private copy: to decide about, and to open.

        A rule that looks at the request and answers with its `open()` cannot be raced. ValueError for another call.
        """
        from stockade.monitor.emulate import OpenRequest

        request = OpenRequest(self.name, self.args, self._memory, self._opener)
        self._requests.append(request)
        self._memory.check()
        return request

    def open(self) -> Verdict:
        """Open the file as the program would have, and hand it over; see `OpenRequest.open`."""
        return self.open_request().open()

    @property
    def arguments(self) -> list[report_pb2.Argument]:
        """The decoded arguments, with names, types and text for people. Never raises for what the program did."""
        from stockade.monitor.decode import decode_arguments

        return decode_arguments(self.name, self.architecture, self.args, self._memory)

    def __repr__(self) -> str:
        arguments = ", ".join(hex(argument) for argument in self.args)
        return f"<Syscall {self.name}({arguments}) of {self.tid}>"


def close(call: Syscall, handed_over: int = -1) -> None:
    """The call is about to be answered: nothing can be read through it any more.

    What was opened for it is closed, but for the descriptor that is handed over to the program.
    """
    call._memory.closed = True
    while call._requests:
        call._requests.pop().close(handed_over)


def watch(call: Syscall, still_there: Callable[[], bool]) -> None:
    """From here on each reading of the event is checked by `still_there`."""
    call._memory.still_there = still_there


class PinnedTask:
    """A stopped task that may end while somebody looks at it: tells whether its number is still its own."""

    __slots__ = ("_descriptor",)

    def __init__(self, tid: int) -> None:
        self._descriptor = os.open(f"/proc/{tid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __call__(self) -> bool:
        """Whether the task has not ended. An entry of /proc belongs to the task, never to its number."""
        try:
            os.stat("stat", dir_fd=self._descriptor)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
