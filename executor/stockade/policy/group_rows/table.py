"""The shape of the group table: a group is a name, a meaning and rows; a row is calls, conditions and an answer.

The rows themselves are in the modules beside this one, one per subject. Rows are data: nothing is checked here, and a
test resolves every row for every architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stockade._proto import policy_pb2


@dataclass(frozen=True, slots=True)
class Row:
    """One rule of a group: these calls, when all conditions hold, are allowed, or answered with `errno`.

    `overridable` rows decide only what no other rule of the policy decides.
    """

    syscalls: tuple[str, ...]
    when: tuple[policy_pb2.Condition, ...] = ()
    errno: str = ""
    overridable: bool = False

    def rule(self) -> policy_pb2.Rule:
        """Give the row as a rule of a policy."""
        action = policy_pb2.Rule.ERRNO if self.errno else policy_pb2.Rule.ALLOW
        return policy_pb2.Rule(
            syscall=self.syscalls, when=self.when, action=action, errno=self.errno, overridable=self.overridable
        )


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a group takes: one row is made for each argument by `row`; `name` and `example` are for messages."""

    name: str
    example: str
    row: Callable[[str], Row]


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of rules. The rules of `includes` come first, then the rows, in order.

    `reopens` names families of always-refused calls (`RefusedRow.danger`) of which the group's own rows allow some.
    These rows are tried before the refused rows of the family, which go on to refuse everything else. Only a group with
    a name that begins with `danger_` may have it.
    """

    name: str
    meaning: str
    rows: tuple[Row, ...] = ()
    includes: tuple[str, ...] = ()
    parameter: Parameter | None = None
    reopens: tuple[str, ...] = ()


def allow(syscalls: str, *when: policy_pb2.Condition) -> Row:
    """Allow these calls (names separated by blanks) when all conditions hold."""
    return Row(tuple(syscalls.split()), when)


def answer(syscalls: str, errno: str, *when: policy_pb2.Condition) -> Row:
    """Answer these calls with an error number, unless another rule of the policy decides them."""
    return Row(tuple(syscalls.split()), when, errno, overridable=True)


def equal(argument: int, value: str) -> policy_pb2.Condition:
    """Make the condition `argument == value`."""
    return policy_pb2.Condition(argument=argument, equal=value)


def one_of(argument: int, *values: str) -> policy_pb2.Condition:
    """Make the condition that the argument is one of the values."""
    return policy_pb2.Condition(argument=argument, one_of=policy_pb2.ValueSet(value=values))


def masked(argument: int, mask: str, value: str) -> policy_pb2.Condition:
    """Make the condition `argument & mask == value`."""
    return policy_pb2.Condition(argument=argument, masked=policy_pb2.Masked(mask=mask, value=value))


def has(argument: int, bits: str) -> policy_pb2.Condition:
    """Make the condition that all these bits are set."""
    return masked(argument, bits, bits)


def lacks(argument: int, bits: str) -> policy_pb2.Condition:
    """Make the condition that none of these bits is set."""
    return masked(argument, bits, "0")


def only(argument: int, bits: str) -> policy_pb2.Condition:
    """Make the condition that no bit outside these is set."""
    return policy_pb2.Condition(argument=argument, no_bits_outside=bits)
