"""One system call as the monitor saw it, for explanations."""

from __future__ import annotations

from dataclasses import dataclass

from stockade.kernel.architectures import AARCH64, ARCHITECTURES, X86_64
from stockade.kernel.signatures import width
from stockade.policy.evaluate import Verdict, evaluate
from stockade.policy.policy import Policy
from stockade.policy.rules import ARGUMENTS


@dataclass(frozen=True, slots=True)
class Call:
    """A call: its name ("syscall_9999" if unknown), number, architecture ("x86_64", "i386" …) and six registers."""

    syscall: str
    number: int
    architecture: str
    args: tuple[int, ...] = (0,) * ARGUMENTS

    @property
    def registers(self) -> list[int]:
        """The six registers as the program passed them, in 64 bits each."""
        return [value & (1 << 64) - 1 for value in (*self.args, *(0,) * ARGUMENTS)][:ARGUMENTS]

    @property
    def arguments(self) -> list[int]:
        """The six registers, each in the width that the kernel reads of it."""
        return [value & ((1 << width(self.syscall, index)) - 1) for index, value in enumerate(self.registers)]


def verdict_of(policy: Policy, call: Call) -> Verdict | None:
    """Give what a policy decides about a call; None when policies do not speak about its architecture."""
    architecture = ARCHITECTURES.get(call.architecture)
    if architecture not in (X86_64, AARCH64):
        return None
    return evaluate(policy.resolve(architecture), call.number, call.registers)
