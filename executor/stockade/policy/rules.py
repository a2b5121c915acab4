"""The normalised form of the system-call part of a policy: ordered rules for one architecture.

`resolve` makes these from a policy message; the compiler, the evaluator, the monitor and reports read them. Everything
here is immutable. Numbers are unsigned; an argument is the 64-bit register that the program passed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stockade.kernel.architectures import Architecture

if TYPE_CHECKING:
    from stockade.policy.raw_filters import RawFilter

ARGUMENTS = 6
WIDTHS = (16, 32, 64)

# How a run treats violations. "enforce" ends the run; the others continue and need the monitor for every violation.
MODES = ("enforce", "refuse", "permissive", "record")
# In these the monitor lets violations happen, but not calls that are always refused.
LENIENT_MODES = ("permissive", "record")


class Kind(enum.Enum):
    """What happens to a call."""

    ALLOW = "allow"
    ERRNO = "errno"
    LOG = "log"
    TRAP = "trap"
    TRACE = "trace"
    KILL = "kill"

    @property
    def permits(self) -> bool:
        """Whether the kernel may run the call: at once, recorded, or if a hook says so."""
        return self in (Kind.ALLOW, Kind.LOG, Kind.TRACE)


# From the one that lets most through to the one that lets least through, as the kernel ranks what filters return.
_BY_STRENGTH = (Kind.ALLOW, Kind.LOG, Kind.TRACE, Kind.ERRNO, Kind.TRAP, Kind.KILL)


@dataclass(frozen=True, slots=True)
class Action:
    """A kind, with `errno` (0 to 4095) for ERRNO and `hook` (its name) for TRACE."""

    kind: Kind
    errno: int = 0
    hook: str = ""

    @property
    def strength(self) -> int:
        """How much goes before it when several filters decide: 0 for ALLOW to 5 for KILL."""
        return _BY_STRENGTH.index(self.kind)

    def __str__(self) -> str:
        if self.kind is Kind.ERRNO:
            return f"errno {self.errno}"
        return f"trace {self.hook}" if self.kind is Kind.TRACE else self.kind.value


KILL = Action(Kind.KILL)


class Op(enum.Enum):
    """A test of one argument. Comparisons are unsigned. NOT_MASKED is used by built-in rules only."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    ONE_OF = "one of"
    MASKED = "masked"
    NOT_MASKED = "not masked"


@dataclass(frozen=True, slots=True)
class ResolvedCondition:
    """One test of one argument in the width that the kernel uses; bits of the register above it do not count.

    `values` holds one number, or at least one for ONE_OF, each within `width` bits. `mask` is for MASKED
    (argument & mask == value) and NOT_MASKED (argument & mask != value) and 0 otherwise; the value lies within it.
    """

    argument: int
    width: int
    op: Op
    values: tuple[int, ...]
    mask: int = 0

    def __post_init__(self) -> None:
        masked = self.op in (Op.MASKED, Op.NOT_MASKED)
        fits = all(0 <= value < 1 << self.width for value in (*self.values, self.mask))
        if not 0 <= self.argument < ARGUMENTS or self.width not in WIDTHS or not fits:
            raise ValueError(f"condition out of range: {self!r}")
        if not self.values or (len(self.values) > 1 and self.op is not Op.ONE_OF):
            raise ValueError(f"wrong number of values: {self!r}")
        if (masked and self.values[0] & ~self.mask) or (self.mask and not masked):
            raise ValueError(f"value and mask do not fit: {self!r}")

    def holds(self, arguments: Sequence[int]) -> bool:
        """Say what the condition means for the six registers `arguments`: this is the definition."""
        return self.admits(arguments[self.argument])

    def admits(self, register: int) -> bool:
        """Like `holds`, for the one register that the condition is about."""
        actual, wanted = register & ((1 << self.width) - 1), self.values[0]
        match self.op:
            case Op.EQUAL:
                return actual == wanted
            case Op.NOT_EQUAL:
                return actual != wanted
            case Op.LESS:
                return actual < wanted
            case Op.LESS_OR_EQUAL:
                return actual <= wanted
            case Op.GREATER:
                return actual > wanted
            case Op.GREATER_OR_EQUAL:
                return actual >= wanted
            case Op.ONE_OF:
                return actual in self.values
            case Op.MASKED:
                return actual & self.mask == wanted
            case Op.NOT_MASKED:
                return actual & self.mask != wanted

    def __str__(self) -> str:
        name = f"argument {self.argument}"
        if self.op in (Op.MASKED, Op.NOT_MASKED):
            return f"{name} & {self.mask:#x} {'==' if self.op is Op.MASKED else '!='} {self.values[0]:#x}"
        if self.op is Op.ONE_OF:
            return f"{name} in {{{', '.join(hex(value) for value in self.values)}}}"
        return f"{name} {self.op.value} {self.values[0]:#x}"


def implies(stronger: ResolvedCondition, weaker: ResolvedCondition) -> bool:
    """Say whether `weaker` holds whenever `stronger` does. True is certain; False may only mean that it is not seen."""
    if stronger.argument != weaker.argument or stronger.width < weaker.width:
        return False
    if stronger.op in (Op.EQUAL, Op.ONE_OF):
        return all(weaker.admits(value) for value in stronger.values)
    if stronger.op is not Op.MASKED:
        return stronger == weaker
    known, bits = stronger.mask, stronger.values[0]
    if weaker.op is Op.MASKED:
        return weaker.mask & ~known == 0 and bits & weaker.mask == weaker.values[0]
    if weaker.op is Op.NOT_MASKED:
        # One bit that is known to differ is enough.
        return (bits ^ weaker.values[0]) & known & weaker.mask != 0
    return False


def covers(earlier: Sequence[ResolvedCondition], later: Sequence[ResolvedCondition]) -> bool:
    """Say whether a rule with the conditions `earlier` decides every call that one with `later` could decide."""
    return all(any(implies(strong, weak) for strong in later) for weak in earlier)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a rule comes from: its `place` ("gzip.textproto:12", "allow_read()") and its text form or reason."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class ResolvedRule:
    """One call of one rule. `danger` names the family of an always-refused call, and is empty for all other rules."""

    syscall: str
    number: int
    conditions: tuple[ResolvedCondition, ...]
    action: Action
    origin: Origin
    danger: str = ""

    def matches(self, arguments: Sequence[int]) -> bool:
        """Say whether all conditions hold for the six registers `arguments`."""
        # Not all(): every policy is checked on many cases when it is compiled, and this is twice as fast.
        for condition in self.conditions:  # noqa: SIM110
            if not condition.holds(arguments):
                return False
        return True


@dataclass(frozen=True, slots=True)
class ResolvedPolicy:
    """What a policy says about the calls of one architecture, in one mode.

    `rules` are in the order in which they are tried. A call that none decides gets `default`; with a number above
    `highest` (the newest one known) it gets `unknown`. `hooks` are the names that TRACE actions use. `raw` are the raw
    filters, which tighten what the rules say. `reopened` are the dangers of which a rule may permit something.
    """

    architecture: Architecture
    mode: str
    rules: tuple[ResolvedRule, ...]
    default: Action
    unknown: Action
    highest: int
    hooks: tuple[str, ...]
    raw: tuple[RawFilter, ...] = ()
    reopened: frozenset[str] = frozenset()
    by_number: Mapping[int, tuple[ResolvedRule, ...]] = field(init=False, repr=False, compare=False)
    raw_by_number: Mapping[int, tuple[RawFilter, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[int, list[ResolvedRule]] = {}
        for rule in self.rules:
            if not 0 <= rule.number <= self.highest:
                raise ValueError(f"{rule.syscall} has the number {rule.number}, above the highest one {self.highest}")
            found.setdefault(rule.number, []).append(rule)
        object.__setattr__(self, "by_number", {number: tuple(rules) for number, rules in sorted(found.items())})
        numbers = sorted({number for raw in self.raw for number in raw.numbers})
        filtered = {number: tuple(raw for raw in self.raw if number in raw.numbers) for number in numbers}
        object.__setattr__(self, "raw_by_number", filtered)
