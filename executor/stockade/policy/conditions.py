"""Conditions on the arguments of a system call: `arg(1) == "TCGETS"`.

A condition names one argument by its position (0 to 5) and a test. Values are numbers or the kernel's own symbols,
joined by "|": 5, "0x5401", "O_RDONLY|O_CLOEXEC". All conditions of one rule must hold; alternatives are several rules.

The width of a comparison is the kernel's own for that argument (32 bits for an `int`), whatever is written here.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn, TypeAlias

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel import constants

Value: TypeAlias = int | str

ARGUMENTS = 6
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)")
# Numbers at least this large are written in hexadecimal: they are bit sets, requests or addresses.
_HEXADECIMAL_FROM = 4096


class Condition:
    """One finished condition. `message` is its protobuf form; treat it as read-only."""

    __slots__ = ("message",)

    def __init__(self, message: policy_pb2.Condition) -> None:
        self.message = message

    def __bool__(self) -> NoReturn:
        # `arg(0) == 1 and arg(1) == 2`, and `1 < arg(0) < 5`, would silently drop their first half.
        raise TypeError(
            "a condition has no truth value: pass several conditions as several arguments instead of joining them "
            "with and/or/not or in a chain of comparisons"
        )

    def __repr__(self) -> str:
        return condition_text(self.message)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and self.message == other.message

    def __hash__(self) -> int:
        return hash(self.message.SerializeToString(deterministic=True))


class Argument:
    """One argument of a call, by position. Comparing it makes a `Condition`; made by `arg`."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __eq__(self, value: Value) -> Condition:  # type: ignore[override]
        return Condition(policy_pb2.Condition(argument=self.index, equal=value_text(value)))

    def __ne__(self, value: Value) -> Condition:  # type: ignore[override]
        return Condition(policy_pb2.Condition(argument=self.index, not_equal=value_text(value)))

    def __lt__(self, value: Value) -> Condition:
        return Condition(policy_pb2.Condition(argument=self.index, less=value_text(value)))

    def __le__(self, value: Value) -> Condition:
        return Condition(policy_pb2.Condition(argument=self.index, less_or_equal=value_text(value)))

    def __gt__(self, value: Value) -> Condition:
        return Condition(policy_pb2.Condition(argument=self.index, greater=value_text(value)))

    def __ge__(self, value: Value) -> Condition:
        return Condition(policy_pb2.Condition(argument=self.index, greater_or_equal=value_text(value)))

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> NoReturn:
        raise TypeError(f"arg({self.index}) alone is no condition: compare it, for example arg({self.index}) == 0")

    def one_of(self, *values: Value) -> Condition:
        """Hold when the argument equals one of `values`. Raises PolicyError when there is none."""
        if not values:
            raise PolicyError(f"arg({self.index}).one_of() needs at least one value")
        chosen = policy_pb2.ValueSet(value=[value_text(value) for value in values])
        return Condition(policy_pb2.Condition(argument=self.index, one_of=chosen))

    def masked(self, mask: Value, value: Value) -> Condition:
        """Hold when `argument & mask == value`. Raises PolicyError when `value` has bits outside `mask`."""
        test = policy_pb2.Masked(mask=value_text(mask), value=value_text(value))
        if not fits_mask(test.mask, test.value):
            raise PolicyError(
                f"arg({self.index}).masked({mask!r}, {value!r}) can never hold: the value has bits outside the mask"
            )
        return Condition(policy_pb2.Condition(argument=self.index, masked=test))

    def only_bits(self, bits: Value) -> Condition:
        """Hold when no bit outside `bits` is set: `arg(2).only_bits("PROT_READ|PROT_WRITE")`."""
        return Condition(policy_pb2.Condition(argument=self.index, no_bits_outside=value_text(bits)))

    def __repr__(self) -> str:
        return f"arg({self.index})"


def arg(index: int) -> Argument:
    """Name the argument at position `index`, counted from 0. Raises PolicyError unless it is a number from 0 to 5."""
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < ARGUMENTS:
        raise PolicyError(f"arg({index!r}): a system call has the arguments 0 to {ARGUMENTS - 1}")
    return Argument(index)


def value_text(value: Value) -> str:
    """Give the text form of a value, checked: a number that fits 64 bits, or symbols and numbers joined by "|".

    Raises PolicyError, with the closest known symbol, for anything else.
    """
    if isinstance(value, str):
        values_of(value)
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise PolicyError(f"{value!r} cannot be compared with an argument: give a number or the name of a constant")
    if not -(2**63) <= value < 2**64:
        raise PolicyError(f"{value} does not fit the 64 bits of an argument")
    return number_text(value)


def number_text(number: int) -> str:
    """Write a number as policies have it: small ones in decimal, large ones (bit sets, requests) in hexadecimal."""
    return str(number) if abs(number) < _HEXADECIMAL_FROM else hex(number)


def is_number(expression: str) -> bool:
    """Say whether an expression is one plain number, decimal or hexadecimal."""
    return _PLAIN_NUMBER.fullmatch(expression) is not None


def values_of(expression: str) -> tuple[int, ...]:
    """Give the value of an expression on each architecture that knows its symbols (x86_64, aarch64).

    Raises PolicyError, with the closest known symbol, when no architecture does.
    """
    found: list[int] = []
    problem: Exception | None = None
    for architecture in constants.ARCHITECTURES:
        try:
            found.append(constants.parse(expression, architecture))
        except (LookupError, ValueError) as error:
            problem = problem or error
    if isinstance(problem, constants.UnknownSymbolError) and not found:
        raise PolicyError(f"unknown constant {problem.symbol!r}", suggestion=problem.suggestion) from None
    if problem is not None and not found:
        raise PolicyError(str(problem)) from None
    return tuple(found)


def fits_mask(mask: str, value: str) -> bool:
    """Say whether `value` has no bit outside `mask` on some architecture; negative numbers count in 32 bits."""
    for mask_bits, value_bits in zip(values_of(mask), values_of(value), strict=False):
        width = 64 if mask_bits >= 0 and value_bits >= 0 else 32
        if value_bits & ~mask_bits & (2**width - 1) == 0:
            return True
    return False


_SYMBOLS = {
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_or_equal": "<=",
    "greater": ">",
    "greater_or_equal": ">=",
}


def condition_text(message: policy_pb2.Condition) -> str:
    """Write a condition the way a builder call writes it: `arg(1) == "TCGETS"`."""
    name, test = f"arg({message.argument})", message.WhichOneof("test")
    if test == "one_of":
        return f"{name}.one_of({', '.join(literal(value) for value in message.one_of.value)})"
    if test == "masked":
        return f"{name}.masked({literal(message.masked.mask)}, {literal(message.masked.value)})"
    if test == "no_bits_outside":
        return f"{name}.only_bits({literal(message.no_bits_outside)})"
    if test is None:
        return f"{name} without a test"
    return f"{name} {_SYMBOLS[test]} {literal(getattr(message, test))}"


def literal(expression: str) -> str:
    """Write a value as Python source: a plain number as it is, anything else as a string in double quotes."""
    return expression if is_number(expression) else quoted(expression)


def quoted(text: str) -> str:
    """Write text as a Python string in double quotes that is safe to show on a terminal."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return json.dumps(text)
