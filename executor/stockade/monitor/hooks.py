"""What a hook is given and what it may answer.

A hook is a callable that is named in a `trace` rule and decides in Python what happens to a call. It runs in the thread
that follows the sandboxee, while the calling task is stopped. What it reads from the task's memory can be changed by
another thread before the kernel reads it again: a hook that reads memory and then allows is *advisory*, and the report
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stockade._proto import report_pb2
from stockade.monitor.memory import TaskMemory

MAXIMUM_ERRNO = 4095


class Verdict:
    """The answer of a hook: `Verdict.ALLOW`, `Verdict.KILL` or `Verdict.errno(n)`."""

    __slots__ = ("error", "kind")
    ALLOW: Verdict
    KILL: Verdict

    def __init__(self, kind: str, error: int = 0) -> None:
        self.kind, self.error = kind, error

    @classmethod
    def errno(cls, error: int) -> Verdict:
        """The call is not made and fails with `error`, 1 to 4095. ValueError for anything else."""
        if not isinstance(error, int) or not 1 <= error <= MAXIMUM_ERRNO:
            raise ValueError(f"an error number is from 1 to {MAXIMUM_ERRNO}, not {error!r}")
        return cls("errno", error)

    def __repr__(self) -> str:
        return f"Verdict.errno({self.error})" if self.kind == "errno" else f"Verdict.{self.kind.upper()}"


Verdict.ALLOW = Verdict("allow")
Verdict.KILL = Verdict("kill")


class Syscall:
    """One call that a hook decides.

    `name`, `number`, `architecture`; `args`, the six raw arguments as unsigned 64-bit numbers; `pid` and `tid` as the
    host sees them; `instruction_pointer`, `stack_pointer`.
    """

    __slots__ = (
        "_memory",
        "architecture",
        "args",
        "instruction_pointer",
        "memory_was_read",
        "name",
        "number",
        "stack_pointer",
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
    ) -> None:
        self.name, self.number, self.architecture, self.tid = name, number, architecture, tid
        self.args = tuple(args)
        self.instruction_pointer, self.stack_pointer = instruction_pointer, stack_pointer
        self._memory = TaskMemory(tid)
        self.memory_was_read = False

    @property
    def pid(self) -> int:
        """Process (thread group) that makes the call."""
        return self._memory.pid()

    @property
    def program(self) -> str:
        """Path, inside the box, of the program that the calling process runs."""
        return self._memory.program()

    def read_memory(self, address: int, size: int) -> bytes:
        """Up to `size` bytes of the caller's memory. OSError(EFAULT) when nothing is mapped at `address`."""
        self.memory_was_read = True
        return self._memory.read_memory(address, size)

    def read_string(self, address: int, limit: int = 4096) -> bytes:
        """The bytes up to the next NUL at `address`, at most `limit`. OSError(EFAULT) when nothing is mapped there."""
        self.memory_was_read = True
        return self._memory.read_string(address, limit)

    @property
    def arguments(self) -> list[report_pb2.Argument]:
        """The decoded arguments, with names, types and text. Reads memory."""
        from stockade.monitor.decode import decode_arguments

        self.memory_was_read = True
        return decode_arguments(self.name, self.architecture, self.args, self._memory)

    def __repr__(self) -> str:
        arguments = ", ".join(hex(argument) for argument in self.args)
        return f"<Syscall {self.name}({arguments}) of {self.tid}>"


Hook = Callable[[Syscall], Verdict]
Hooks = Mapping[str, Hook]
