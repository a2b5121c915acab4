"""A second opinion on our programs: libseccomp's, for the calls that it compiles right.

Several rules of one call with ordered comparisons, or with different answers, come out of libseccomp weaker than asked
for or not at all, which is why the compiler is ours. What it was never seen to get wrong, in tens of thousands of
random policies, are calls with one answer beside the default, given without conditions or under == and masked ==. Those
are compared here; each other call is left out, with the reason.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from stockade.errors import UnsupportedError
from stockade.kernel.architectures import X32_BIT, X86_64, Architecture
from stockade.kernel.seccomp_constants import DETECTION_CALL, FREE_EXEC_COOKIE
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.rules import ARGUMENTS, KILL, LENIENT_MODES, Kind, Op, ResolvedCondition, ResolvedPolicy
from stockade.policy.selfcheck import cases
from stockade.policy.verdicts import (
    DETECTION_VALUE,
    FOREIGN_VALUE,
    FREE_EXEC_ARGUMENT,
    FREE_EXEC_CALL,
    FREE_EXEC_VALUE,
    filter_value,
)

if TYPE_CHECKING:
    from stockade.policy.policy import Policy

# Rules of libseccomp that one rule with sets of values may become.
MAX_ALTERNATIVES = 256
MAX_DIFFERENCES = 20
_EXACT = (Op.EQUAL, Op.ONE_OF, Op.MASKED)
_ANY = (0,) * ARGUMENTS
_REGISTER = (1 << 64) - 1
# What a call's rules come down to: conditions that all must hold, and the filter value that is returned then.
_Line: TypeAlias = tuple[tuple[ResolvedCondition, ...], int]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A call that was not compared, and why."""

    syscall: str
    reason: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A call that our program and libseccomp's decide differently: its number, audit token and registers.

    `ours` and `theirs` are the values that the programs return.
    """

    syscall: str
    number: int
    audit_token: int
    registers: tuple[int, ...]
    ours: int
    theirs: int

    def __str__(self) -> str:
        shown = ", ".join(hex(value) for value in self.registers)
        return f"{self.syscall}({shown}): ours returns {self.ours:#010x}, libseccomp's {self.theirs:#010x}"


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """What the comparison gave. `compared` are the calls with rules that were compared, by name.

    `by_default` is how many further calls, which no rule decides, were compared; `cases` how often the programs were
    run. `differences` are the first ones found, at most 20.
    """

    architecture: str
    compared: tuple[str, ...]
    by_default: int
    left_out: tuple[LeftOut, ...]
    differences: tuple[Difference, ...]
    cases: int

    @property
    def agrees(self) -> bool:
        """Whether no difference was found."""
        return not self.differences


def compare(policy: Policy, architecture: Architecture | str | None = None, mode: str = "enforce") -> SecondOpinion:
    """Compare the program of a policy with the one that libseccomp makes of the same rules.

    Both are run by our interpreter, for every number and on the boundary values of all conditions. Raises
    UnsupportedError when pyseccomp or libseccomp is missing, and what `Policy.compile` raises.
    """
    resolved = policy.resolve(architecture, mode)
    subset = Subset(resolved)
    ours, theirs = Interpreter(policy.compile(architecture, mode)), Interpreter(subset.bpf())
    left_out = {resolved.architecture.syscalls[each.syscall] for each in subset.left_out}
    differences: dict[tuple[str, int], Difference] = {}
    count = 0
    detection = ((DETECTION_CALL, resolved.architecture.audit_token, _ANY),) if subset.has_detection else ()
    for number, token, registers in (*detection, *_cases(resolved, left_out)):
        data = SeccompData(number, token, registers)
        expected, actual = ours.run(data), theirs.run(data)
        count += 1
        if expected != actual and len(differences) < MAX_DIFFERENCES:
            name = resolved.architecture.name_of(number)
            differences.setdefault((name, token), Difference(name, number, token, registers, expected, actual))
    return SecondOpinion(
        resolved.architecture.name,
        tuple(resolved.architecture.names[number] for number in subset.lines),
        len(resolved.architecture.names) - len(subset.lines) - len(left_out),
        tuple(subset.left_out),
        tuple(differences.values()),
        count,
    )


def to_pfc(policy: Policy, architecture: Architecture | str | None = None, mode: str = "enforce") -> str:
    """Give libseccomp's description of the filter (pseudo filter code), for the calls that it compiles right.

    Lines with # at the beginning name the calls that are left out. Raises as `compare` does.
    """
    subset = Subset(policy.resolve(architecture, mode))
    head = [f"# left out: {each.syscall}: {each.reason}\n" for each in subset.left_out]
    return "".join(head) + subset.pfc()


class Subset:
    """The rules of a policy that libseccomp compiles right, in its terms.

    `lines` holds them by number of the call; `left_out` are the calls with other rules.
    """

    def __init__(self, resolved: ResolvedPolicy) -> None:
        """Raise UnsupportedError when pyseccomp or libseccomp is missing."""
        self._library = _pyseccomp()
        self._resolved = resolved
        self._token = resolved.architecture.audit_token  # libseccomp names architectures by the kernel's tokens
        self._default = filter_value(resolved.default, resolved.mode, resolved.hooks)
        self.lines: dict[int, list[_Line]] = {}
        self.left_out: list[LeftOut] = []
        numbers = {*resolved.by_number, *resolved.raw_by_number, resolved.architecture.number(FREE_EXEC_CALL)}
        for number in sorted(numbers):
            name = resolved.architecture.names[number]
            lines = _reachable(self._all_lines(number), self._default)
            reason = self._unknown(name, number) or _unfit(lines)
            if number in resolved.raw_by_number:
                reason = "it has a raw filter"
            if reason:
                self.left_out.append(LeftOut(name, reason))
            else:
                self.lines[number] = lines

    @property
    def has_detection(self) -> bool:
        """Whether the detection call is among the rules: it has no name, and libseccomp takes such calls for its own
        architecture only, and no rule that says what the default says.
        """
        native: int = self._library.system_arch()
        return native == self._token and self._default != DETECTION_VALUE

    def bpf(self) -> bytes:
        """Give libseccomp's program."""
        return self._export(lambda compiled, file: compiled.export_bpf(file))

    def pfc(self) -> str:
        """Give libseccomp's description of its program."""
        return self._export(lambda compiled, file: compiled.export_pfc(file)).decode()

    def filter(self) -> Any:
        """Give the `pyseccomp.SyscallFilter` with these rules. It kills calls of other architectures."""
        library = self._library
        compiled = library.SyscallFilter(self._default)
        compiled.set_attr(library.Attr.ACT_BADARCH, FOREIGN_VALUE)
        # Names are those of this machine's architecture, also in the filter of another one.
        if library.system_arch() != self._token:
            compiled.remove_arch(library.Arch.NATIVE)
            compiled.add_arch(self._token)
        if self.has_detection:
            compiled.add_rule(DETECTION_VALUE, DETECTION_CALL)
        for number, lines in self.lines.items():
            name = self._resolved.architecture.names[number]
            for conditions, value in lines:
                for alternative in _alternatives(conditions):
                    compiled.add_rule(value, name, *(self._argument(*each) for each in alternative))
        return compiled

    def _all_lines(self, number: int) -> Iterator[_Line]:
        resolved = self._resolved
        if resolved.architecture.names[number] == FREE_EXEC_CALL:
            cookie = ResolvedCondition(FREE_EXEC_ARGUMENT, 64, Op.EQUAL, (FREE_EXEC_COOKIE,))
            yield (cookie,), FREE_EXEC_VALUE
        rules = resolved.by_number.get(number, ())
        for rule in rules:
            refused = bool(rule.danger)
            if resolved.mode in LENIENT_MODES and rule.action.kind is Kind.KILL and not refused:
                answer = filter_value(KILL, resolved.mode, resolved.hooks, refused=True)
                yield from (((*rule.conditions, *each.conditions), answer) for each in rules if each.danger)
            yield rule.conditions, filter_value(rule.action, resolved.mode, resolved.hooks, refused=refused)

    def _unknown(self, name: str, number: int) -> str:
        theirs = self._library.resolve_syscall(self._token, name)
        if theirs == number:
            return ""
        return "the installed libseccomp does not know it" if theirs < 0 else f"libseccomp has it as number {theirs}"

    def _argument(self, argument: int, mask: int, value: int) -> object:
        if mask == _REGISTER:
            return self._library.Arg(argument, self._library.EQ, value)
        return self._library.Arg(argument, self._library.MASKED_EQ, mask, value)

    def _export(self, export: Callable[[Any, IO[bytes]], None]) -> bytes:
        with os.fdopen(os.memfd_create("filter", os.MFD_CLOEXEC), "w+b") as file:
            export(self.filter(), file)
            file.seek(0)
            return file.read()


def _pyseccomp() -> Any:
    try:
        import pyseccomp
    except ImportError as error:
        raise UnsupportedError("second opinion", f"pyseccomp is missing ({error})", "pip install pyseccomp") from None
    except (RuntimeError, OSError, AttributeError) as error:
        remedy = "install it (libseccomp2 on Debian and Ubuntu, libseccomp elsewhere)"
        raise UnsupportedError("second opinion", f"libseccomp is missing or too old ({error})", remedy) from None
    return pyseccomp


def _reachable(lines: Iterator[_Line], default: int) -> list[_Line]:
    """Give the lines of a call up to the first without conditions, less those that say nothing of their own.

    Those are lines that say what the default says, and take nothing from a later one: libseccomp refuses such rules.
    """
    found: list[_Line] = []
    for conditions, value in lines:
        if not any(set(earlier) <= set(conditions) for earlier, _ in found):
            found.append((conditions, value))
        if not conditions:
            break
    for index in range(len(found) - 1, -1, -1):
        conditions, value = found[index]
        others = [later for later, answer in found[index + 1 :] if answer != default]
        if value == default and all(_excludes(conditions, later) for later in others):
            del found[index]
    # Rules before one without conditions that say the same say nothing.
    while len(found) > 1 and not found[-1][0] and found[-2][1] == found[-1][1]:
        del found[-2]
    return found


def _excludes(first: Sequence[ResolvedCondition], second: Sequence[ResolvedCondition]) -> bool:
    """Say whether two lines can never hold together, as far as equal widths and == show it."""
    return any(
        one.op in (Op.EQUAL, Op.ONE_OF) and not any(other.admits(value) for value in one.values)
        for here, there in ((first, second), (second, first))
        for one in here
        for other in there
        if one.argument == other.argument and one.width == other.width
    )


def _unfit(lines: Sequence[_Line]) -> str:
    """Say why libseccomp cannot be asked about a call with these lines; empty if it can."""
    if len({value for _, value in lines}) > 1:
        return "its rules give different answers, and libseccomp has no order of rules"
    conditions = [condition for each, _ in lines for condition in each]
    other = next((condition for condition in conditions if condition.op not in _EXACT), None)
    if other is not None:
        return f"libseccomp's {other.op.value} is not relied on"
    for each, _ in lines:
        arguments = [condition.argument for condition in each]
        if len(set(arguments)) < len(arguments):
            return "a rule has two conditions on one argument"
        if sum(1 for _ in itertools.islice(_alternatives(each), MAX_ALTERNATIVES + 1)) > MAX_ALTERNATIVES:
            return f"a rule has more than {MAX_ALTERNATIVES} combinations of values"
    return ""


def _alternatives(conditions: Sequence[ResolvedCondition]) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """Give conjunctions of (argument, mask, value) of which one holds exactly when all of `conditions` do.

    libseccomp compares 64 bits; a mask makes it leave out those that the kernel does not look at.
    """
    choices = []
    for condition in conditions:
        mask = condition.mask if condition.op is Op.MASKED else (1 << condition.width) - 1
        choices.append([(condition.argument, mask, value) for value in dict.fromkeys(condition.values)])
    return itertools.product(*choices)


def _cases(resolved: ResolvedPolicy, left_out: set[int]) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Give the calls to compare: every number, other interfaces, and the boundary values of all conditions."""
    token = resolved.architecture.audit_token
    known = [number for number in resolved.architecture.names if number not in left_out]
    for number in known:
        yield number, token, _ANY
        yield number, token, (_REGISTER,) * ARGUMENTS
    if resolved.architecture is X86_64:
        yield from ((X32_BIT | number, token, _ANY) for number in (0, 1, 59, 512))
    for number, other, registers in cases(resolved):
        if other != token or (number in resolved.architecture.names and number not in left_out):
            yield number, other, registers
