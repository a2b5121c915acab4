"""Turns the system-call part of a policy message into ordered rules for one architecture.

Rules of one call are tried in this order: explicit rules, then those of groups, then the overridable ones of both, each
as written; the always-refused rows of a call stand directly before the first of these that would let it run. What this
version cannot enforce is an error, never ignored.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence

from stockade._proto import policy_pb2
from stockade.errors import PolicyError, UnsupportedError
from stockade.kernel.architectures import AARCH64, X86_64, Architecture
from stockade.policy import groups, refused
from stockade.policy.places import Places
from stockade.policy.resolve_rule import Line, action_of, closest, located, resolve_rule, split_place
from stockade.policy.rules import KILL, MODES, Action, Kind, ResolvedPolicy, ResolvedRule, covers
from stockade.policy.verdicts import MAX_HOOKS

SCHEMA_VERSION = 1


def resolve(
    message: policy_pb2.Policy, architecture: Architecture, mode: str = "enforce", places: Places | None = None
) -> ResolvedPolicy:
    """Give the rules of a policy for `architecture` (X86_64 or AARCH64), checked in every field.

    `mode` is one of `rules.MODES`. `places` says where the lines of the message were written, for errors and reports.
    Raises PolicyError, with the place and the closest known name, for what is wrong; UnsupportedError for what this
    version cannot enforce. A call that only another architecture has gets no rule.
    """
    places = places or Places()
    _check_frame(message, architecture, mode)
    explicit = list(_explicit(message.syscalls, architecture, places))
    _check_shadowed(explicit)
    _check_refused(explicit, architecture)
    lines = [*explicit, *_of_groups(message.syscalls, architecture, places)]
    ordered = [line.rule for line in lines if not line.overridable] + [line.rule for line in lines if line.overridable]
    default = _default(message.syscalls, places)
    return ResolvedPolicy(
        architecture,
        mode,
        tuple(_with_refused(ordered, architecture)),
        default,
        _unknown(message.options, default),
        max(architecture.names),
        _hooks([rule.action for rule in ordered] + [default]),
    )


def _check_frame(message: policy_pb2.Policy, architecture: Architecture, mode: str) -> None:
    """Refuse what is wrong about the policy as a whole, and what is not enforced."""
    if architecture not in (X86_64, AARCH64):
        raise PolicyError(f"a policy is for x86_64 or aarch64, not for {architecture.name}")
    if mode not in MODES:
        raise PolicyError(f"unknown mode {mode!r}; modes are {', '.join(MODES)}", suggestion=closest(mode, MODES))
    if message.schema_version != SCHEMA_VERSION:
        raise PolicyError(f"schema_version is {message.schema_version} and must be {SCHEMA_VERSION}")
    known = policy_pb2.Policy()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if known.ByteSize() != message.ByteSize():
        raise PolicyError("the policy has fields that this version does not know: it was made by a newer one")
    if message.include:
        raise PolicyError(
            f"include of {message.include[0]!r} was not expanded: this version does not load other policies; "
            "write their rules and groups here"
        )
    for field in ("raw_filters", "phases", "danger_reopened"):
        if getattr(message.syscalls, field):
            reason = f"this version does not enforce syscalls.{field}, so the policy cannot be used"
            raise UnsupportedError("seccomp", reason, "remove it")


def _explicit(syscalls: policy_pb2.SyscallPolicy, architecture: Architecture, places: Places) -> Iterator[Line]:
    for index, rule in enumerate(syscalls.rules):
        yield from resolve_rule(rule, architecture, places.rule(index))


def _of_groups(syscalls: policy_pb2.SyscallPolicy, architecture: Architecture, places: Places) -> Iterator[Line]:
    for index, group in enumerate(syscalls.groups):
        place = places.group(index)
        if place.startswith("syscalls.groups"):
            place += f" ({group.name})"
        try:
            rules = groups.expand(group.name, tuple(group.argument))
        except PolicyError as error:
            raise located(error, place) from None
        for rule in rules:
            yield from resolve_rule(rule, architecture, place)


def _default(syscalls: policy_pb2.SyscallPolicy, places: Places) -> Action:
    """Give the default action: kill unless the policy says otherwise."""
    if not syscalls.HasField("default_action"):
        return KILL
    message, place = syscalls.default_action, places.default or "syscalls.default_action"
    try:
        action = action_of(message.action, message.errno, message.hook)
        if action.kind in (Kind.ALLOW, Kind.LOG) and not message.danger_allow_all:
            raise PolicyError(
                f"the default action {action.kind.name} allows every call that no rule names; set danger_allow_all "
                "(danger_default_allow_all() in Python) if that is meant"
            )
        if message.danger_allow_all and action.kind not in (Kind.ALLOW, Kind.LOG):
            raise PolicyError(f"danger_allow_all is set, but the default action is {action.kind.name}")
    except PolicyError as error:
        raise located(error, place) from None
    return action


def _unknown(options: policy_pb2.Options, default: Action) -> Action:
    """Give the action for numbers above the table. No default allows them: nobody could refuse what is not known."""
    if options.unknown_syscalls_enosys:
        return Action(Kind.ERRNO, errno.ENOSYS)
    return KILL if default.kind in (Kind.ALLOW, Kind.LOG) else default


def _check_shadowed(lines: Sequence[Line]) -> None:
    """Refuse an explicit rule that an earlier one of the same source leaves nothing to decide.

    A rule of another source (an included policy) may be shadowed: that is how it is overridden.
    """
    earlier: dict[tuple[int, bool, str], list[ResolvedRule]] = {}
    for line in lines:
        rule, place = line.rule, line.rule.origin.place
        tried = earlier.setdefault((rule.number, line.overridable, split_place(place)[0] if ":" in place else ""), [])
        for other in tried:
            if covers(other.conditions, rule.conditions):
                raise located(PolicyError(_shadowed_text(other, rule)), place, rule.syscall)
        tried.append(rule)


def _shadowed_text(earlier: ResolvedRule, rule: ResolvedRule) -> str:
    where = earlier.origin.place
    if earlier.action == rule.action and earlier.conditions == rule.conditions:
        return f"{rule.syscall} has this rule already, at {where}"
    if not earlier.conditions and not rule.conditions:
        return f"{rule.syscall} is {rule.action} here and {earlier.action} at {where}"
    return (
        f"this rule for {rule.syscall} is never reached: the one at {where} ({earlier.action}) decides all such calls"
    )


def _check_refused(lines: Sequence[Line], architecture: Architecture) -> None:
    """Refuse an explicit rule that would let an always-refused call run."""
    rows = refused.rules_for(architecture)
    for rule in (line.rule for line in lines):
        for row in rows.get(rule.syscall, ()) if rule.action.kind.permits else ():
            if covers(row.conditions, rule.conditions):
                message = (
                    f"{row.origin.text}. A rule may answer it with an error number, but not {rule.action.kind.value} it"
                )
                raise located(PolicyError(message), rule.origin.place, rule.syscall)


def _with_refused(rules: Iterable[ResolvedRule], architecture: Architecture) -> Iterator[ResolvedRule]:
    """Put the always-refused rows of each call before the first rule that permits it, else after all of its rules."""
    waiting = dict(refused.rules_for(architecture))
    for rule in rules:
        if rule.action.kind.permits:
            yield from waiting.pop(rule.syscall, ())
        yield rule
    for rows in waiting.values():
        yield from rows


def _hooks(actions: Iterable[Action]) -> tuple[str, ...]:
    hooks = tuple(dict.fromkeys(action.hook for action in actions if action.kind is Kind.TRACE))
    if len(hooks) > MAX_HOOKS:
        raise PolicyError(f"the policy has {len(hooks)} hooks and a filter can tell {MAX_HOOKS} apart")
    return hooks
