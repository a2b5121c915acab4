"""Descriptors that a program finds by name: how the environment variable that announces them is written and read."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Names and numbers, as "config=5,socket=6". Set only for a run that is given such descriptors.
VARIABLE = "STOCKADE_FDS"
# Names that begin so are ours.
RESERVED = "stockade."
COMMS, LOGS = RESERVED + "comms", RESERVED + "logs"

LONGEST_NAME = 64
MAXIMUM_NAMES = 200
_LARGEST_NUMBER = (1 << 31) - 1
_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_DIGITS = frozenset("0123456789")
_REST = _FIRST | _DIGITS | frozenset(".-")


def check_name(name: str) -> None:
    """Raise ValueError unless `name` may be given to a descriptor; TypeError when it is no text."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a descriptor is a str, not {type(name).__name__}")
    if not _is_name(name):
        raise ValueError(
            f"{name[: LONGEST_NAME + 1]!r} is no name for a descriptor: a letter or _, then letters, digits, _, . and "
            f"-, at most {LONGEST_NAME} in all"
        )
    if name.startswith(RESERVED):
        raise ValueError(f"{name!r} is no name for a descriptor: names with {RESERVED!r} at their beginning are ours")


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and name[0] in _FIRST and _REST.issuperset(name)


def announce(numbers: Mapping[str, int]) -> str:
    """The value of the variable for descriptor numbers by name."""
    return ",".join(f"{name}={number}" for name, number in numbers.items())


def announced(text: str) -> dict[str, int]:
    """Read the value of the variable. ValueError for anything that `announce` does not write."""
    found: dict[str, int] = {}
    for part in text.split(",") if text else ():
        name, mark, digits = part.partition("=")
        valid = mark and _is_name(name) and 0 < len(digits) <= 10 and _DIGITS.issuperset(digits)
        if not valid or name in found or len(found) >= MAXIMUM_NAMES or not 3 <= int(digits) <= _LARGEST_NUMBER:
            raise ValueError(f"{VARIABLE} is not as stockade writes it: {part[:100]!r}")
        found[name] = int(digits)
    return found
