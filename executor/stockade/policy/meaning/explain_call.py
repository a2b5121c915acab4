"""What a policy says about one call, why, and what would change it. Arguments may be left open: then by cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stockade._proto import report_pb2
from stockade.errors import PolicyError
from stockade.kernel import constants
from stockade.kernel.architectures import ARCHITECTURES, Architecture
from stockade.kernel.signatures import signature
from stockade.policy.call import Call
from stockade.policy.evaluate import DecidedBy, Verdict, evaluate
from stockade.policy.finding import closest
from stockade.policy.meaning.regions import common_call, regions
from stockade.policy.meaning.space import TooHardError
from stockade.policy.meaning.words import call_words
from stockade.policy.nearest import nearest_rule
from stockade.policy.policy import Policy
from stockade.policy.risk import Risk, risk
from stockade.policy.rules import ARGUMENTS, Op, ResolvedCondition, ResolvedPolicy
from stockade.policy.suggest import patch, wider_patch

# An argument that is left open, beside None.
ANY = "_"


@dataclass(frozen=True, slots=True)
class CallCase:
    """One answer, with a call that gets it.

    `text` is the call with the arguments that matter; `example`: some of them were left open and have values that get
    this answer. `rule` is the text of the deciding rule and `place` where it was
    written; both are empty when none decides. `nearest` is the rule that came nearest to allowing it, `change` the
    smallest change of the policy that allows it, or why none is offered, `wider` a wider one; all three are None for a
    call that is permitted. `risk` says what allowing it gives away.
    """

    call: Call
    text: str
    example: bool
    verdict: Verdict
    rule: str
    place: str
    nearest: report_pb2.NearestRule | None
    change: report_pb2.Patch | None
    wider: report_pb2.Patch | None
    risk: Risk


@dataclass(frozen=True, slots=True)
class CallExplanation:
    """What a policy says about a call.

    `cases` has one entry when all calls of that kind get one answer from one rule; else one for each rule that decides
    some of them, in the order in which they are tried. `notes` are for people.
    """

    syscall: str
    architecture: str
    cases: tuple[CallCase, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, if there is only one; None when it depends on arguments that were left open."""
        return self.cases[0].verdict if len(self.cases) == 1 else None

    def to_text(self, width: int = 80) -> str:
        """Give the explanation for people, in lines of `width` columns; everything in it is safe to print."""
        from stockade.policy.meaning.explain_text import format_call_explanation

        return format_call_explanation(self, width)


def explain_call(
    policy: Policy,
    syscall: str | int,
    args: Sequence[int | str | None] = (),
    architecture: Architecture | str | None = None,
) -> CallExplanation:
    """Say what `policy` decides about a call, by which rule, why, and what would change it.

    `syscall` is a name or a number, `args` are numbers or constants ("TCGETS"). Arguments that are missing, None or "_"
    are left open: if the answer depends on them, there is one case for each rule that can decide.
    Raises PolicyError for a name that the architecture does not have, an unknown constant, or surplus arguments.
    """
    resolved = policy.resolve(architecture)
    chosen = resolved.architecture
    number = _number(syscall, chosen)
    name = chosen.name_of(number)
    given = _given(name, args, chosen)
    witnesses = _witnesses(resolved, number, given)
    calls = [(Call(name, number, chosen.name, registers), shown) for registers, shown in witnesses]
    cases = tuple(_case(policy, resolved, call, shown, frozenset(given)) for call, shown in calls)
    notes = []
    filters = resolved.raw_by_number.get(number, ())
    if filters and len(given) < _count(name, chosen):
        places = ", ".join(raw.origin.place for raw in filters)
        notes.append(
            f"a raw filter is run for {name} as well ({places}); for arguments that are left open it may refuse"
        )
    return CallExplanation(name, chosen.name, cases, tuple(notes))


def _number(syscall: str | int, architecture: Architecture) -> int:
    if isinstance(syscall, int):
        return syscall & 0xFFFFFFFF
    number = architecture.syscalls.get(syscall)
    if number is not None:
        return number
    homes = [each.name for each in ARCHITECTURES.values() if syscall in each.syscalls]
    where = f"; it is a call of {', '.join(homes)}" if homes else ""
    near = None if homes else closest(syscall, architecture.syscalls)
    message = f"{architecture.name} has no system call named {syscall!r}{where}"
    raise PolicyError(message, suggestion=near, syscall=syscall)


def _count(name: str, architecture: Architecture) -> int:
    return len(signature(name, architecture.name)) if name in architecture.syscalls else ARGUMENTS


def _given(name: str, args: Sequence[int | str | None], architecture: Architecture) -> dict[int, int]:
    """Give the registers of the arguments that are not left open, by position."""
    count = _count(name, architecture)
    if len(args) > count:
        names = ", ".join(parameter.name for parameter in signature(name, architecture.name)) or "none"
        raise PolicyError(f"{name} has {count} arguments ({names}), and {len(args)} are given", syscall=name)
    found = {}
    for index, value in enumerate(args):
        if value is None or value == ANY:
            continue
        if isinstance(value, str):
            try:
                value = constants.parse(value, architecture.name)
            except constants.UnknownSymbolError as error:
                raise PolicyError(str(error), syscall=name) from None
            except (LookupError, ValueError) as error:
                raise PolicyError(f"argument {index} of {name}: {error}", syscall=name) from None
        if not -(1 << 63) <= value < 1 << 64:
            raise PolicyError(f"argument {index} of {name}: {value} does not fit 64 bits", syscall=name)
        found[index] = value & (1 << 64) - 1
    return found


def _witnesses(
    resolved: ResolvedPolicy, number: int, given: dict[int, int]
) -> list[tuple[tuple[int, ...], frozenset[int]]]:
    """Give a call for each rule that can decide one with the given arguments, with the arguments worth showing."""
    registers = tuple(given.get(index, 0) for index in range(ARGUMENTS))
    name = resolved.architecture.name_of(number)
    if len(given) >= _count(name, resolved.architecture):
        return [(registers, frozenset(given))]
    fixed = tuple(ResolvedCondition(index, 64, Op.EQUAL, (value,)) for index, value in given.items())
    found = []
    try:
        for part in regions(resolved, number):
            call = common_call(part, fixed=fixed)
            if call is not None:
                found.append((call, part.arguments | frozenset(given)))
    except TooHardError:
        raise PolicyError(f"the rules for {name} are too entangled to list all cases: give all arguments") from None
    return [(found[0][0], frozenset(given))] if len(found) == 1 else found


def _case(
    policy: Policy, resolved: ResolvedPolicy, call: Call, shown: frozenset[int], given: frozenset[int]
) -> CallCase:
    verdict = evaluate(resolved, call.number, call.registers)
    if verdict.decided_by is DecidedBy.DEFAULT and not verdict.permits:
        # A change would name these arguments.
        parameters = enumerate(signature(call.syscall, call.architecture))
        shown |= {index for index, parameter in parameters if parameter.discriminating}
    rule = place = ""
    if verdict.rule is not None:
        place = verdict.rule.origin.place
        rule = "" if verdict.decided_by is DecidedBy.REFUSED else f"rules {{ {verdict.rule.origin.text} }}"
    closed = verdict.permits
    return CallCase(
        call=call,
        text=call_words(call, shown),
        example=bool(shown - given),
        verdict=verdict,
        rule=rule,
        place=place,
        nearest=None if closed else nearest_rule(policy, call),
        change=None if closed else patch(policy, call),
        wider=None if closed else wider_patch(policy, call),
        risk=risk(call.syscall, call.arguments),
    )
