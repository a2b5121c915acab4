"""Symbolic constants of the kernel: `O_CLOEXEC`, `TCGETS`, `CLONE_NEWUSER` ..., by family and architecture.

The tables in `constant_tables` are text. `[open_flags flags 0x3]` opens a family: its name, its style, and the masks of
the fields in it (bits that hold one of several values, such as O_RDONLY, O_WRONLY and O_RDWR). Then follow symbols:

    NAME=VALUE          the same value on every architecture
    NAME@aarch64=VALUE  the value on that architecture; without another entry the symbol exists there alone
    NAME                defined in another family and used in this one too

Styles: `enum` (one value), `flags` (bits), `octal` (bits, the unnamed ones shown in octal: file modes), `names` (known
to `parse`, never used for showing a value: masks and second names). A name has one value, whatever its family.

Values are the kernel's. Where the C library hides one (O_LARGEFILE is 0 in glibc) the number that reaches the kernel
counts; SIGRTMIN and SIGRTMAX are what glibc and Python call so.
"""

from __future__ import annotations

import re
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    ALL_SYMBOLS: frozenset[str]

ARCHITECTURES = ("x86_64", "aarch64")

_WORD = 2**64
_NUMBER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0|[1-9][0-9]*)")
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_SYMBOL = 64
# Digits of any number that can be meant: 64 binary ones and more.
_LONGEST_NUMBER = 100


class UnknownSymbolError(LookupError):
    """A symbol that no table has, or not for this architecture.

    `symbol` is what was asked for; `suggestion` the closest known name or None; `architectures` those that do have it.
    """

    def __init__(
        self, symbol: str, architecture: str, *, suggestion: str | None = None, architectures: tuple[str, ...] = ()
    ) -> None:
        self.symbol = symbol
        self.architecture = architecture
        self.suggestion = suggestion
        self.architectures = architectures
        super().__init__(symbol, architecture)

    def __str__(self) -> str:
        if self.architectures:
            return f"{self.symbol} does not exist on {self.architecture}, only on {', '.join(self.architectures)}"
        hint = f" (did you mean {self.suggestion}?)" if self.suggestion else ""
        return f"unknown constant {self.symbol[:_LONGEST_SYMBOL]!r}{hint}"


class _Family:
    """One family: its style, its field masks, and its symbols in the order of the table."""

    __slots__ = ("fields", "name", "names", "style")

    def __init__(self, name: str, style: str, fields: tuple[int, ...]) -> None:
        self.name = name
        self.style = style
        self.fields = fields
        self.names: list[str] = []


class _Tables:
    """All tables, taken apart: the values of each symbol by architecture, and the families."""

    __slots__ = ("families", "values")

    def __init__(self) -> None:
        self.families: dict[str, _Family] = {}
        self.values: dict[str, dict[str, int]] = {}

    def add(self, text: str) -> None:
        family = None
        for line in text.strip().splitlines():
            if line.startswith("["):
                name, style, *fields = line.strip("[]").split()
                family = self.families[name] = _Family(name, style, tuple(int(field, 0) for field in fields))
            elif family is not None:
                for entry in line.split():
                    self._add_symbol(family, entry)

    def _add_symbol(self, family: _Family, entry: str) -> None:
        label, _, number = entry.partition("=")
        name, _, architecture = label.partition("@")
        if name not in family.names[-1:]:
            family.names.append(name)
        if number:
            value = int(number, 0)
            self.values.setdefault(name, {}).update(
                dict.fromkeys([architecture] if architecture else ARCHITECTURES, value)
            )


@cache
def _loaded() -> _Tables:
    from stockade.kernel.constant_tables import files, ioctls, memory, network, processes, structures, system

    tables = _Tables()
    for module in (files, memory, processes, network, system, ioctls, structures):
        tables.add(module.TEXT)
    return tables


def __getattr__(name: str) -> frozenset[str]:
    if name == "ALL_SYMBOLS":
        return frozenset(_loaded().values)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def families() -> tuple[str, ...]:
    """Give the names of all families, in alphabetical order."""
    return tuple(sorted(_loaded().families))


def style(family: str) -> str:
    """Give the style of a family: enum, flags, octal or names. Raises LookupError for a family that is none."""
    known = _loaded().families.get(family)
    if known is None:
        raise LookupError(f"no family of constants is called {family!r}")
    return known.style


def symbols(family: str, architecture: str = "x86_64") -> Mapping[str, int]:
    """Give the symbols of a family with their values on an architecture, in the order of the table; {} if unknown."""
    tables = _loaded()
    known = tables.families.get(family)
    names = known.names if known else []
    return {name: tables.values[name][architecture] for name in names if architecture in tables.values[name]}


def value(symbol: str, architecture: str = "x86_64") -> int:
    """Give the value of a symbol; some are negative (AT_FDCWD). Raises UnknownSymbolError, a LookupError."""
    by_architecture = _loaded().values.get(symbol)
    if by_architecture is None:
        raise UnknownSymbolError(symbol, architecture, suggestion=suggest(symbol))
    if architecture not in by_architecture:
        raise UnknownSymbolError(symbol, architecture, architectures=tuple(sorted(by_architecture)))
    return by_architecture[architecture]


def suggest(symbol: str) -> str | None:
    """Give the known symbol that is closest to a misspelt one, or None when nothing is near."""
    if len(symbol) > _LONGEST_SYMBOL:
        return None
    import difflib  # here, because only a misspelt name pays for it

    near = difflib.get_close_matches(symbol.upper(), sorted(_loaded().values), n=1)
    return near[0] if near else None


def parse(expression: str, architecture: str = "x86_64") -> int:
    """Read symbols and numbers joined by `|`: "O_RDONLY|O_CLOEXEC", "S_IFREG | 0o644", "0x5401", "-1".

    A negative number stands alone. Numbers are those of Python; a bare leading zero ("0755") is refused, because C and
    Python disagree about it. The answer lies between -2**63 and 2**64 - 1.

    Raises UnknownSymbolError (a LookupError with `.suggestion`) for an unknown symbol and ValueError for anything else.
    """
    terms = [term.strip() for term in expression.split("|")]
    numbers = [_parse_term(term, expression, architecture) for term in terms]
    if len(numbers) > 1 and min(numbers) < 0:
        raise ValueError(f"{_shown(expression)}: a negative number cannot be joined with others")
    result = 0
    for number in numbers:
        result |= number
    if not -(2**63) <= result < _WORD:
        raise ValueError(f"{_shown(expression)}: does not fit in 64 bits")
    return result


def _parse_term(term: str, expression: str, architecture: str) -> int:
    if _SYMBOL.fullmatch(term):
        return value(term, architecture)
    if _NUMBER.fullmatch(term):
        if len(term) > _LONGEST_NUMBER:
            raise ValueError(f"{_shown(expression)}: does not fit in 64 bits")
        return int(term, 0)
    if re.fullmatch(r"-?0[0-9]+", term):
        raise ValueError(f"{_shown(expression)}: write an octal number as 0o{term.lstrip('-0') or '0'}")
    if not term:
        raise ValueError(f"{_shown(expression)}: empty, or nothing beside a '|'")
    raise ValueError(f"{_shown(expression)}: {_shown(term)} is neither a symbol nor a number")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SYMBOL else text[:_LONGEST_SYMBOL] + "...")


def format_value(family: str | None, number: int, architecture: str = "x86_64") -> str:
    """Show a value in the way of its family: as one name, as flags, or in hex for no or an unknown family.

    Never raises for an integer; only its low 64 bits count, so a register's content can be passed as it is. The foreign
    ABIs (i386, x32) are shown with the names of x86_64.
    """
    known = _loaded().families.get(family) if family else None
    if known is None or known.style == "names":
        return _number(number)
    if known.style == "enum":
        return format_enum(known.name, number, architecture)
    return format_flags(known.name, number, architecture)


def format_enum(family: str, number: int, architecture: str = "x86_64") -> str:
    """Show a value as the family's name for it ("TCGETS"), else in hex. Never raises; see `format_value`."""
    names = _plan(family, architecture).by_value
    return next((names[form] for form in _forms(number) if form in names), _number(number))


def format_flags(family: str, number: int, architecture: str = "x86_64") -> str:
    """Show a value as flags: "O_WRONLY|O_CLOEXEC|0x40000000"; bits without a name come last, in hex.

    A value of which the family names no bit is a plain number. Never raises; see `format_value`.
    """
    plan = _plan(family, architecture)
    rest = number % _WORD
    found: list[str] = []
    for mask, names in plan.fields:
        if (rest & mask) in names:
            found.append(names[rest & mask])
            rest &= ~mask
    flags = []
    for order, bits, name in plan.flags:
        if bits & rest == bits:
            flags.append((order, name))
            rest &= ~bits
    found += [name for _, name in sorted(flags)]
    if not found and not rest and 0 in plan.by_value:
        return plan.by_value[0]
    if rest or not found:
        found.append(f"0o{rest:o}" if plan.octal and rest else _number(rest))
    return "|".join(found)


def _forms(number: int) -> tuple[int, ...]:
    """Give the readings of a register under which a table may hold it: as it is, or as a negative int or long."""
    word = number % _WORD
    low = word & 0xFFFFFFFF
    is_negative_int = low >= 2**31 and word >> 32 in (0, 0xFFFFFFFF)
    return (word, word - _WORD, *((low, low - 2**32) if is_negative_int else ()))


def _number(number: int) -> str:
    word = number % _WORD
    return hex(word) if word else "0"


class _Plan:
    """A family made ready for showing values on one architecture.

    `fields`: mask and its names by value; `flags`: place in the table, bits, name, those of most bits first.
    """

    __slots__ = ("by_value", "fields", "flags", "octal")

    def __init__(self, family: _Family, values: Mapping[str, int]) -> None:
        self.octal = family.style == "octal"
        self.by_value: dict[int, str] = {}
        self.fields: list[tuple[int, dict[int, str]]] = [(mask, {}) for mask in family.fields]
        self.flags: list[tuple[int, int, str]] = []
        for order, (name, number) in enumerate(values.items()):
            self.by_value.setdefault(number, name)
            field = next((names for mask, names in self.fields if not number & ~mask), None)
            if field is not None:
                field.setdefault(number, name)
            elif number:
                self.flags.append((order, number, name))
        self.flags.sort(key=lambda flag: -flag[1].bit_count())


_NO_FAMILY = _Plan(_Family("", "flags", ()), {})


@cache
def _plan(family: str, architecture: str) -> _Plan:
    if architecture not in ARCHITECTURES:
        architecture = ARCHITECTURES[0]
    known = _loaded().families.get(family)
    return _Plan(known, symbols(family, architecture)) if known else _NO_FAMILY
