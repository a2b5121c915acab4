"""System calls written as text, for tables of what a policy permits and refuses.

"openat 0 0 O_RDWR|O_CREAT; openat2" are two calls: a name, then arguments; those that are left out are 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from stockade.kernel import constants
from stockade.kernel.architectures import ARCHITECTURES
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.expected import expected_value
from stockade.policy.policy import Policy

BOTH = ("x86_64", "aarch64")
ABOVE_32_BITS = 0xDEADBEEF << 32


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it stands in a table. `high` fills the upper halves of all arguments."""

    name: str
    arguments: tuple[str, ...] = ()
    high: bool = False

    def __str__(self) -> str:
        return " ".join((self.name, *self.arguments, *(["with high bits"] if self.high else [])))

    def exists_on(self, architecture: str) -> bool:
        """Whether the architecture has the call and all of its constants."""
        if self.name not in ARCHITECTURES[architecture].syscalls:
            return False
        try:
            self.registers(architecture)
        except LookupError:
            return False
        return True

    def registers(self, architecture: str) -> tuple[int, ...]:
        """The six registers of the call."""
        values = [constants.parse(text, architecture) & (1 << 64) - 1 for text in self.arguments]
        values += [0] * (6 - len(values))
        return tuple(value | ABOVE_32_BITS for value in values) if self.high else tuple(values)


def calls(text: str) -> Iterator[Call]:
    """Read a list of calls, separated by semicolons."""
    for entry in text.split(";"):
        if entry.strip():
            name, *arguments = entry.split()
            yield Call(name, tuple(arguments))


def permits(policy: Policy, call: Call, architecture: str) -> bool:
    """Whether the policy lets a call through: what it means and what its compiled program does must agree."""
    registers = call.registers(architecture)
    machine = ARCHITECTURES[architecture]
    verdict = policy.evaluate(call.name, registers, machine)
    program = _interpreter(policy.compile(machine))
    found = program.run(SeccompData(machine.number(call.name), machine.audit_token, registers))
    assert found == expected_value(policy.resolve(machine), verdict), (architecture, str(call))
    return verdict.permits


@lru_cache(maxsize=4)
def _interpreter(program: bytes) -> Interpreter:
    return Interpreter(program)


def mistakes(policy: Policy, allowed: str, refused: str) -> list[str]:
    """The calls of both lists about which the policy decides otherwise, on each architecture that has them.

    What is refused must stay so with anything in the upper halves of the registers.
    """
    found = []
    for wanted, text in ((True, allowed), (False, refused)):
        listed = list(calls(text))
        if not wanted:
            listed += [Call(call.name, call.arguments, high=True) for call in listed]
        unknown = [str(call) for call in listed if not any(call.exists_on(each) for each in BOTH)]
        assert not unknown, f"no architecture has {unknown}"
        for architecture in BOTH:
            for call in listed:
                if call.exists_on(architecture) and permits(policy, call, architecture) is not wanted:
                    found.append(f"{architecture}: {call} is {'refused' if wanted else 'permitted'}")
    return found
