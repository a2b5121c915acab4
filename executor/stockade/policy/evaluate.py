"""Says what a resolved policy means for one call, by walking over the rules. Independent of the compiler."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from stockade.kernel.architectures import X32_BIT, X86_64
from stockade.kernel.seccomp_constants import DETECTION_CALL, DETECTION_ERRNO, FREE_EXEC_COOKIE
from stockade.policy.raw_filters import RawFilter, tightened
from stockade.policy.rules import ARGUMENTS, KILL, LENIENT_MODES, Action, Kind, ResolvedPolicy, ResolvedRule
from stockade.policy.verdicts import FREE_EXEC_ARGUMENT, FREE_EXEC_CALL

_REGISTER = (1 << 64) - 1


class DecidedBy(enum.Enum):
    """What decided a call."""

    # The call is of another architecture than the policy (audit token); killed in every mode.
    FOREIGN_ARCHITECTURE = "foreign architecture"
    # Bit 30 of the number is set on x86_64; killed in every mode.
    X32 = "x32"
    # execveat with the cookie: the monitor lets it through once.
    FREE_EXEC = "free exec"
    # The call that no kernel has, by which a program learns that it is sandboxed; answered in every mode.
    DETECTION = "detection"
    # An always-refused call.
    REFUSED = "always refused"
    # A rule of the policy.
    RULE = "rule"
    # A raw filter, which is stronger than what the rules say.
    RAW_FILTER = "raw filter"
    # The default action.
    DEFAULT = "default"
    # A number above the newest one known.
    UNKNOWN_NUMBER = "unknown number"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: the action, the rule or raw filter that decided if one did, and one sentence why."""

    action: Action
    rule: ResolvedRule | None
    reason: str
    decided_by: DecidedBy
    raw: RawFilter | None = None

    @property
    def permits(self) -> bool:
        """Whether the kernel may run the call: at once, recorded, or if a hook says so."""
        return self.action.kind.permits


def evaluate(
    resolved: ResolvedPolicy, syscall_number: int, args: Sequence[int] = (), audit_token: int | None = None
) -> Verdict:
    """Say what happens to a call.

    `syscall_number` is taken in 32 bits; `args` are up to six registers of 64 bits, negative ones in two's complement,
    missing ones 0; `audit_token` (AUDIT_ARCH_*) is that of the policy's architecture unless given.
    """
    number = syscall_number & 0xFFFFFFFF
    if audit_token is not None and audit_token != resolved.architecture.audit_token:
        reason = f"the call does not come through the {resolved.architecture.name} entry of the kernel"
        return Verdict(KILL, None, reason, DecidedBy.FOREIGN_ARCHITECTURE)
    if resolved.architecture is X86_64 and number & X32_BIT:
        return Verdict(KILL, None, "the number is one of the x32 interface", DecidedBy.X32)
    if number == DETECTION_CALL:
        reason = "it tells a program that it is sandboxed, and does nothing"
        return Verdict(Action(Kind.ERRNO, DETECTION_ERRNO), None, reason, DecidedBy.DETECTION)
    registers = [value & _REGISTER for value in (*args, *(0,) * ARGUMENTS)][:ARGUMENTS]
    if resolved.architecture.names.get(number) == FREE_EXEC_CALL and registers[FREE_EXEC_ARGUMENT] == FREE_EXEC_COOKIE:
        reason = "the one execution that starts the program"
        return Verdict(Action(Kind.TRACE), None, reason, DecidedBy.FREE_EXEC)
    verdict = _by_rules(resolved, number, registers)
    for raw in resolved.raw_by_number.get(number, ()):
        action = raw.decide(number, registers, resolved.architecture.audit_token)
        if action.kind is not Kind.ALLOW and tightened(verdict.action, action) is action:
            reason = f"decided by the {raw.origin.text} ({raw.origin.place})"
            verdict = Verdict(action, None, reason, DecidedBy.RAW_FILTER, raw)
    if resolved.mode in LENIENT_MODES and verdict.action.kind is Kind.KILL:
        return _still_refused(resolved, number, registers) or verdict
    return verdict


def _still_refused(resolved: ResolvedPolicy, number: int, registers: Sequence[int]) -> Verdict | None:
    """Give the verdict of an always-refused row about a call that is killed, whatever came before that row: a mode that
    lets violations happen does not let this one happen.
    """
    for rule in resolved.by_number.get(number, ()):
        if rule.danger and rule.matches(registers):
            return Verdict(KILL, rule, rule.origin.text, DecidedBy.REFUSED)
    return None


def _by_rules(resolved: ResolvedPolicy, number: int, registers: Sequence[int]) -> Verdict:
    """Say what the rules, or else the default, say about a call of the policy's own architecture."""
    for rule in resolved.by_number.get(number, ()):
        if rule.matches(registers):
            if rule.danger:
                return Verdict(rule.action, rule, rule.origin.text, DecidedBy.REFUSED)
            return Verdict(rule.action, rule, f"decided by {rule.origin.place}", DecidedBy.RULE)
    if number > resolved.highest:
        reason = f"the number is above {resolved.highest}, the highest one known"
        return Verdict(resolved.unknown, None, reason, DecidedBy.UNKNOWN_NUMBER)
    return Verdict(resolved.default, None, "no rule decides it", DecidedBy.DEFAULT)
