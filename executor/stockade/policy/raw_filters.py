"""Raw filters: classic BPF programs that a policy runs for some calls before its rules, and that can only tighten it.

Where a raw filter allows a call, the rules decide it as they would without the filter. Where it answers anything else,
the stronger of its answer and that of the rules holds: kill before trap before errno before a hook before log. It runs
inside the one compiled program of the policy, so that its instructions count among the 4096 that the kernel takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import AARCH64, X86_64, Architecture
from stockade.kernel.seccomp_constants import (
    SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_DATA,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_TRAP,
)
from stockade.policy.bpf.assemble import assemble
from stockade.policy.bpf.instructions import IP_WORD, LOAD_WORD, RET_A, RET_K, Instruction, decode, encode
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.bpf.validate import validate
from stockade.policy.finding import closest
from stockade.policy.resolve_rule import action_of, located
from stockade.policy.rules import KILL, Action, Kind, Origin, ResolvedRule
from stockade.text import quote

ALLOW = Action(Kind.ALLOW)
_WORDS = {"allow": Kind.ALLOW, "kill": Kind.KILL, "kill_process": Kind.KILL, "kill_thread": Kind.KILL}
_WORDS |= {"trap": Kind.TRAP, "log": Kind.LOG}
_ACTIONS = {
    SECCOMP_RET_ALLOW: Kind.ALLOW,
    SECCOMP_RET_KILL_PROCESS: Kind.KILL,
    SECCOMP_RET_KILL_THREAD: Kind.KILL,
    SECCOMP_RET_TRAP: Kind.TRAP,
}
_Rule = policy_pb2.Rule
# Each is copied for every answer that those before it can give, and compared with all of them before it is used.
MAX_FOR_ONE_CALL = 16


@dataclass(frozen=True, slots=True)
class RawFilter:
    """One raw filter for one architecture.

    Every return of `instructions` gives an index into `actions`. `numbers` are the calls that it is run for.
    """

    numbers: frozenset[int]
    instructions: tuple[Instruction, ...]
    actions: tuple[Action, ...]
    origin: Origin
    _interpreter: Interpreter = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_interpreter", Interpreter(encode(self.instructions)))

    def decide(self, number: int, registers: Sequence[int], token: int) -> Action:
        """Give the action for a call: ALLOW means that the rules decide."""
        return self.actions[self._interpreter.run(SeccompData(number, token, tuple(registers)))]


def resolve_raw(message: policy_pb2.RawFilter, architecture: Architecture, place: str) -> RawFilter | None:
    """Check a raw filter and give its form for `architecture`; None when that has none of its calls.

    A filter that was written for another architecture becomes one that refuses its calls. Raises PolicyError with
    `place` for unknown calls, programs that the kernel would not take, and returns that a raw filter may not give.
    """
    try:
        numbers = frozenset(_numbers(message, architecture))
        names = ", ".join(message.syscall)
        written_for = _written_for(message, architecture)
        program = _program(message, written_for)
    except PolicyError as error:
        raise located(error, place, error.syscall) from None
    if not numbers:
        return None
    if written_for is not architecture:
        text = f"the raw filter for {names} is written for {written_for.name} only"
        return RawFilter(numbers, (Instruction(RET_K),), (KILL,), Origin(place, text))
    return RawFilter(numbers, *program, Origin(place, f"raw filter for {names}"))


def tightened(rule: Action, raw: Action) -> Action:
    """Give what holds when the rules say `rule` and a raw filter says `raw`: the stronger; the raw one if equal."""
    return raw if raw.strength >= rule.strength else rule


def check_count(filters: Sequence[RawFilter], architecture: Architecture) -> None:
    """Refuse more than MAX_FOR_ONE_CALL raw filters for one call."""
    counts: dict[int, int] = {}
    for raw in filters:
        for number in raw.numbers:
            counts[number] = counts.get(number, 0) + 1
            if counts[number] > MAX_FOR_ONE_CALL:
                name = architecture.name_of(number)
                message = f"{name} has more than {MAX_FOR_ONE_CALL} raw filters: put them together"
                raise located(PolicyError(message, syscall=name), raw.origin.place)


def check_hooks(filters: Iterable[RawFilter], rules: Sequence[ResolvedRule], default: Action) -> None:
    """Refuse a raw filter that asks a hook about a call that the rules, or another raw filter, give to another hook.

    Only one can be asked, and each could allow what the other would refuse.
    """
    asked: dict[int, dict[str, str]] = {}
    for rule in rules:
        if rule.action.kind is Kind.TRACE:
            asked.setdefault(rule.number, {})[rule.action.hook] = rule.origin.place
    for raw in filters:
        for action in (action for action in raw.actions if action.kind is Kind.TRACE):
            for number in sorted(raw.numbers):
                known = asked.setdefault(number, {default.hook: "the default action"} if default.hook else {})
                other = next((hook for hook in known if hook != action.hook), None)
                if other is not None:
                    message = (
                        f"the raw filter asks the hook {action.hook!r} about a call for which {known[other]} asks the "
                        f"hook {other!r}"
                    )
                    raise located(PolicyError(message), raw.origin.place)
                known[action.hook] = raw.origin.place


def _numbers(message: policy_pb2.RawFilter, architecture: Architecture) -> Iterator[int]:
    if not message.syscall:
        raise PolicyError("the raw filter names no system call")
    known = {**X86_64.syscalls, **AARCH64.syscalls}
    for index, name in enumerate(message.syscall):
        if name not in known:
            raise PolicyError(f"unknown system call {quote(name)}", suggestion=closest(name, known), syscall=name)
        if name in message.syscall[:index]:
            raise PolicyError(f"the raw filter names {name} twice", syscall=name)
        if name in architecture.syscalls:
            yield architecture.syscalls[name]


def _written_for(message: policy_pb2.RawFilter, architecture: Architecture) -> Architecture:
    """Give the architecture that the program is for; with assembly for all of them, `architecture`."""
    known = {each.name: each for each in (X86_64, AARCH64)}
    if not message.architecture:
        if message.program:
            raise PolicyError("a raw filter given as bytes needs the architecture that it was written for")
        return architecture
    if message.architecture not in known:
        message_text = f"unknown architecture {quote(message.architecture)}: policies are for {' and '.join(known)}"
        raise PolicyError(message_text, suggestion=closest(message.architecture, known))
    return known[message.architecture]


def _program(
    message: policy_pb2.RawFilter, architecture: Architecture
) -> tuple[tuple[Instruction, ...], tuple[Action, ...]]:
    if bool(message.program) == bool(message.assembly):
        both = "both `program` and `assembly`" if message.program else "no program"
        raise PolicyError(f"the raw filter has {both}: give one of `assembly` (text) and `program` (bytes)")
    if message.assembly:
        assembled = assemble(message.assembly, architecture)
        instructions = assembled.instructions
        actions = tuple(_action_of_text(text) for text in assembled.returns)
    else:
        decoded = decode(message.program)
        validate(decoded)
        values = list(dict.fromkeys(each.k for each in decoded if each.code == RET_K))
        actions = tuple(_action_of_value(value) for value in values)
        instructions = tuple(each._replace(k=values.index(each.k)) if each.code == RET_K else each for each in decoded)
    validate(instructions)
    _check_decidable(instructions)
    return instructions, actions


def _check_decidable(instructions: Sequence[Instruction]) -> None:
    for index, instruction in enumerate(instructions):
        if instruction.code == RET_A:
            raise PolicyError(f"BPF instruction {index}: `ret a` returns what was calculated, which cannot be checked")
        if instruction.code == LOAD_WORD and instruction.k // 4 in (IP_WORD, IP_WORD + 1):
            raise PolicyError(
                f"BPF instruction {index}: a decision by the instruction pointer protects nothing: a program can jump "
                "to any call instruction that it has"
            )


def _action_of_text(text: str) -> Action:
    """Give the action of the operands of a `ret`: "allow", "errno EACCES", "trace HOOK" …"""
    word, _, operand = text.partition(" ")
    if word == "errno":
        return action_of(_Rule.ERRNO, operand, "")
    if word == "trace":
        return action_of(_Rule.TRACE, "", operand)
    if word not in _WORDS or operand:
        wanted = "allow, kill, trap, log, errno NUMBER or trace HOOK"
        raise PolicyError(f"`ret {text}` is no return of a filter: write {wanted}", suggestion=closest(word, _WORDS))
    return Action(_WORDS[word])


def _action_of_value(value: int) -> Action:
    action, data = value & SECCOMP_RET_ACTION_FULL, value & SECCOMP_RET_DATA
    if action == SECCOMP_RET_ERRNO:
        return action_of(_Rule.ERRNO, str(data), "")
    if action not in _ACTIONS:
        raise PolicyError(
            f"the raw filter returns {value:#010x}: as bytes it may allow, kill, trap or answer an error number; hooks "
            "and log need `assembly`"
        )
    return Action(_ACTIONS[action])
