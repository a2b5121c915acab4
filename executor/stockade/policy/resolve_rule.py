"""Checks one rule of a policy and brings it into the normalised form, one line for each call that it names."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import ARCHITECTURES, Architecture
from stockade.kernel.seccomp_constants import MAX_ERRNO
from stockade.policy.finding import closest
from stockade.policy.resolve_condition import check_together, resolve_condition
from stockade.policy.rule_text import rule_text
from stockade.policy.rules import Action, Kind, Origin, ResolvedRule

_KINDS = {
    policy_pb2.Rule.ALLOW: Kind.ALLOW,
    policy_pb2.Rule.ERRNO: Kind.ERRNO,
    policy_pb2.Rule.LOG: Kind.LOG,
    policy_pb2.Rule.TRAP: Kind.TRAP,
    policy_pb2.Rule.TRACE: Kind.TRACE,
    policy_pb2.Rule.KILL: Kind.KILL,
}
_ERRNO_NAMES = {name: getattr(errno, name) for name in dir(errno) if name.startswith("E")}
_PLACE_WITH_LINE = re.compile(r"(.*):(\d+)")


@dataclass(frozen=True, slots=True)
class Line:
    """A resolved rule, whether it decides only what no other rule decides, and the dangers that its group reopens."""

    rule: ResolvedRule
    overridable: bool
    reopens: frozenset[str] = frozenset()


def resolve_rule(rule: policy_pb2.Rule, architecture: Architecture, place: str) -> Iterator[Line]:
    """Give one line for each call of the rule that `architecture` has; check the rule for the other calls as well."""
    syscall = None
    try:
        action = action_of(rule.action, rule.errno, rule.hook)
        origin = Origin(place, rule_text(rule))
        if not rule.syscall:
            raise PolicyError("the rule names no system call")
        named: set[str] = set()
        for syscall in rule.syscall:
            if syscall in named:
                raise PolicyError(f"the rule names {syscall} twice")
            named.add(syscall)
            home = _home(syscall, architecture)
            conditions = tuple(resolve_condition(condition, syscall, home) for condition in rule.when)
            check_together(conditions, syscall)
            if home is architecture:
                resolved = ResolvedRule(syscall, architecture.number(syscall), conditions, action, origin)
                yield Line(resolved, rule.overridable)
    except PolicyError as error:
        raise located(error, place, syscall) from None


def _home(syscall: str, architecture: Architecture) -> Architecture:
    """Give `architecture` when it has the call, else one that has it. Raises PolicyError when none does."""
    for candidate in (architecture, *ARCHITECTURES.values()):
        if syscall in candidate.syscalls:
            return candidate
    names = {name for each in ARCHITECTURES.values() for name in each.syscalls}
    raise PolicyError(f"unknown system call {syscall!r}", suggestion=closest(syscall, sorted(names)))


def action_of(number: policy_pb2.Rule.Action, error_number: str, hook: str) -> Action:
    """Check an action with what belongs to it: the error number of ERRNO, the hook of TRACE.

    Raises PolicyError, without place, for an action that is missing or does not fit what is given.
    """
    if number == policy_pb2.Rule.ACTION_UNSPECIFIED:
        raise PolicyError("the action is missing")
    kind = _KINDS.get(number)
    if kind is None:
        raise PolicyError(f"unknown action {number}")
    if kind is not Kind.ERRNO and error_number:
        raise PolicyError(f"errno {error_number!r} belongs to the action ERRNO, and the action is {kind.name}")
    if kind is not Kind.TRACE and hook:
        raise PolicyError(f"hook {hook!r} belongs to the action TRACE, and the action is {kind.name}")
    if kind is Kind.ERRNO:
        return Action(kind, errno=_error_number(error_number))
    if kind is Kind.TRACE and not (hook.isprintable() and hook.split() == [hook]):
        raise PolicyError(f"the action TRACE needs the name of a hook, without blanks; {hook!r} is none")
    return Action(kind, hook=hook)


def _error_number(text: str) -> int:
    """Give the error number of a name ("ENOENT") or of a number from 0 to 4095."""
    if not text:
        raise PolicyError("the action ERRNO needs an error number, for example errno: 'EPERM'")
    if text.isascii() and text.isdecimal():
        if len(text) > len(str(MAX_ERRNO)) or int(text) > MAX_ERRNO:
            raise PolicyError(f"errno {text} is out of range: error numbers go from 0 to {MAX_ERRNO}")
        return int(text)
    if text not in _ERRNO_NAMES:
        close = closest(text.upper(), sorted(_ERRNO_NAMES))
        raise PolicyError(
            f"unknown error number {text!r}: write a name or a number from 0 to {MAX_ERRNO}", suggestion=close
        )
    return int(_ERRNO_NAMES[text])


def split_place(place: str) -> tuple[str, int | None]:
    """Take the line off a place: "gzip.textproto:12" is ("gzip.textproto", 12)."""
    match = _PLACE_WITH_LINE.fullmatch(place)
    return (match[1], int(match[2])) if match else (place, None)


def located(error: PolicyError, place: str, syscall: str | None = None) -> PolicyError:
    """Give the same error with its place."""
    source, line = split_place(place)
    return PolicyError(error.message, source=source, line=line, suggestion=error.suggestion, syscall=syscall)
