"""Values of arguments in the kernel's own symbols, in a form that a policy takes back."""

from __future__ import annotations

from collections.abc import Sequence

from stockade.kernel import constants
from stockade.kernel.signatures import signature, symbols, width
from stockade.policy.conditions import is_number, number_text

# Families in which the name of 0 would say more than is meant.
_ZERO_MEANS_NONE = ("socket_protocol",)


def value_expression(
    syscall: str, index: int, registers: Sequence[int], architecture: str, value: int | None = None
) -> str:
    """Write an argument of a call as an expression that a condition takes: "O_RDONLY|O_CLOEXEC", "0x5401".

    `registers` are the call's six, which may decide what the argument means; `value` is written in the place of the
    argument's own when given. The expression means the same number in the width that the kernel reads.
    """
    bits = (1 << width(syscall, index)) - 1
    number = (registers[index] if value is None else value) & bits
    family = symbols(syscall, index, registers, architecture)
    # All bits mean "none of the values" wherever they are used (personality, madvise), not every flag at once.
    plain = number == bits or (number == 0 and family in _ZERO_MEANS_NONE)
    text = "" if plain else constants.format_value(family, number, architecture)
    if text and not is_number(text) and _means(text, architecture) & bits == number:
        return text
    return number_text(number)


def argument_name(syscall: str, index: int, architecture: str) -> str:
    """Name an argument for people: `argument 1 (request)`."""
    parameters = signature(syscall, architecture)
    return f"argument {index} ({parameters[index].name})" if index < len(parameters) else f"argument {index}"


def _means(text: str, architecture: str) -> int:
    """Give the number that an expression means, or -1 for a text that is only for people."""
    try:
        return constants.parse(text, architecture)
    except (LookupError, ValueError):
        return -1
