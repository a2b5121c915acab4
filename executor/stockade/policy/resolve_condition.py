"""Checks one condition of a policy and brings it into the normalised form. Errors are PolicyErrors without a place."""

from __future__ import annotations

from collections.abc import Sequence

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel import constants
from stockade.kernel.architectures import Architecture
from stockade.kernel.signatures import known_calls, signature, width
from stockade.policy.rules import ARGUMENTS, Op, ResolvedCondition

_OPS = {
    "equal": Op.EQUAL,
    "not_equal": Op.NOT_EQUAL,
    "less": Op.LESS,
    "less_or_equal": Op.LESS_OR_EQUAL,
    "greater": Op.GREATER,
    "greater_or_equal": Op.GREATER_OR_EQUAL,
}
_ORDERED = (Op.LESS, Op.LESS_OR_EQUAL, Op.GREATER, Op.GREATER_OR_EQUAL)


def resolve_condition(message: policy_pb2.Condition, syscall: str, architecture: Architecture) -> ResolvedCondition:
    """Give the normalised form of a condition on `syscall`, in the width that the kernel uses for that argument.

    Raises PolicyError for an argument that the call does not have, a test that is missing, a value that is unknown or
    does not fit, and for a condition that always or never holds.
    """
    _check_argument(message.argument, syscall, architecture)
    bits = width(syscall, message.argument)
    name = f"argument {message.argument} of {syscall}"
    test = message.WhichOneof("test")

    def number(expression: str) -> int:
        return _reduce(_parse(expression, architecture), bits, expression, name)

    if test is None:
        raise PolicyError(f"the condition on {name} has no test")
    if test == "one_of":
        if not message.one_of.value:
            raise PolicyError(f"one_of on {name} has no value")
        values = tuple(dict.fromkeys(number(value) for value in message.one_of.value))
        return ResolvedCondition(message.argument, bits, Op.ONE_OF, values)
    if test == "masked":
        return _masked(message, number(message.masked.mask), number(message.masked.value), bits, name)
    if test == "no_bits_outside":
        outside = ~number(message.no_bits_outside) & (1 << bits) - 1
        if not outside:
            raise PolicyError(f"no_bits_outside on {name} names all of its {bits} bits, so that it always holds")
        return ResolvedCondition(message.argument, bits, Op.MASKED, (0,), outside)
    expression: str = getattr(message, test)
    if _OPS[test] in _ORDERED:
        _check_ordered(_OPS[test], _parse(expression, architecture), bits, expression, name)
    return ResolvedCondition(message.argument, bits, _OPS[test], (number(expression),))


def check_together(conditions: Sequence[ResolvedCondition], syscall: str) -> None:
    """Raise PolicyError when the conditions of one rule can be seen never to hold together."""
    for pinned in conditions:
        if pinned.op not in (Op.EQUAL, Op.ONE_OF):
            continue
        others = [other for other in conditions if other.argument == pinned.argument]
        if not any(all(other.admits(value) for other in others) for value in pinned.values):
            raise PolicyError(f"the conditions on argument {pinned.argument} of {syscall} never hold together")


def _check_argument(argument: int, syscall: str, architecture: Architecture) -> None:
    parameters = signature(syscall, architecture.name)
    known = bool(parameters) or syscall in known_calls()
    count = len(parameters) if known else ARGUMENTS
    if argument < count:
        return
    if not known or argument >= ARGUMENTS:
        raise PolicyError(f"argument {argument}: a system call has the arguments 0 to {ARGUMENTS - 1}")
    names = ", ".join(f"{index} {parameter.name}" for index, parameter in enumerate(parameters)) or "none"
    raise PolicyError(f"{syscall} has no argument {argument}; its arguments are: {names}")


def _parse(expression: str, architecture: Architecture) -> int:
    """Give the number that an expression stands for on `architecture`."""
    try:
        return constants.parse(expression, architecture.name)
    except constants.UnknownSymbolError as error:
        message = str(error) if error.architectures else f"unknown constant {error.symbol!r}"
        raise PolicyError(message, suggestion=error.suggestion) from None
    except ValueError as error:
        raise PolicyError(f"not a value: {error}") from None


def _reduce(value: int, bits: int, expression: str, name: str) -> int:
    """Give `value` in `bits` bits, negative numbers in two's complement."""
    if not -(1 << bits - 1) <= value < 1 << bits:
        raise PolicyError(f"{expression!r} does not fit {name}, of which the kernel reads {bits} bits")
    return value & (1 << bits) - 1


def _masked(message: policy_pb2.Condition, mask: int, value: int, bits: int, name: str) -> ResolvedCondition:
    if not mask:
        raise PolicyError(f"the mask on {name} is 0, so that the condition says nothing")
    if value & ~mask:
        raise PolicyError(
            f"masked on {name} never holds: the value {message.masked.value!r} has bits outside the mask "
            f"{message.masked.mask!r}"
        )
    return ResolvedCondition(message.argument, bits, Op.MASKED, (value,), mask)


def _check_ordered(op: Op, value: int, bits: int, expression: str, name: str) -> None:
    """Refuse comparisons by size that cannot be meant: with a negative number, or with the same answer for all."""
    top = (1 << bits) - 1
    if value < 0:
        raise PolicyError(
            f"{op.value} {expression} on {name}: comparisons by size are unsigned; write the number that the register "
            f"holds, {value & top:#x}"
        )
    if (op, value) in ((Op.LESS, 0), (Op.GREATER, top)):
        raise PolicyError(f"{op.value} {expression} on {name} never holds: comparisons by size are unsigned")
    if (op, value) in ((Op.GREATER_OR_EQUAL, 0), (Op.LESS_OR_EQUAL, top)):
        raise PolicyError(f"{op.value} {expression} on {name} always holds: comparisons by size are unsigned")
