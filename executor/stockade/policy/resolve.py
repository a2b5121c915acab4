"""Turns the system-call part of a policy message into ordered rules for one architecture.

Rules of one call are tried in this order: explicit rules, then those of groups, then the overridable ones of both, each
as written; the always-refused rows of a call stand directly before the first of these that would let it run. What this
version cannot enforce is an error, never ignored.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from stockade._proto import policy_pb2
from stockade.errors import PolicyError, UnsupportedError
from stockade.kernel.architectures import AARCH64, X86_64, Architecture
from stockade.policy import groups, refused
from stockade.policy.finding import closest
from stockade.policy.meaning.space import unreachable
from stockade.policy.places import Places
from stockade.policy.raw_filters import RawFilter, check_count, check_hooks, resolve_raw
from stockade.policy.resolve_rule import Line, action_of, located, resolve_rule, split_place
from stockade.policy.rules import KILL, MODES, Action, Kind, ResolvedPolicy, ResolvedRule, covers
from stockade.policy.verdicts import MAX_HOOKS

SCHEMA_VERSION = 1
# Places that an error about a rule which is never reached names at most.
MAX_PLACES = 6


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
    reopened = _reopened(message.syscalls, places)
    explicit = list(_explicit(message.syscalls, architecture, places))
    _check_shadowed(explicit)
    _check_refused(explicit, architecture, reopened)
    lines = [*explicit, *_of_groups(message.syscalls, architecture, places)]
    ordered = [line for line in lines if not line.overridable] + [line for line in lines if line.overridable]
    default = _default(message.syscalls, places)
    rules = tuple(_with_refused(ordered, refused.rules_for(architecture, reopened)))
    raw = tuple(_raw(message.syscalls, architecture, places))
    check_count(raw, architecture)
    check_hooks(raw, rules, default)
    actions = [rule.action for rule in rules] + [default] + [action for each in raw for action in each.actions]
    return ResolvedPolicy(
        architecture,
        mode,
        rules,
        default,
        _unknown(message.options, default),
        max(architecture.names),
        _hooks(actions),
        raw,
        reopened.union(*(line.reopens for line in lines)),
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
        raise PolicyError(f"include of {message.include[0]!r} was not expanded: only reading a text policy does that")
    if message.syscalls.phases:
        reason = "this version does not enforce syscalls.phases, so the policy cannot be used"
        raise UnsupportedError("seccomp", reason, "remove it")


def _reopened(syscalls: policy_pb2.SyscallPolicy, places: Places) -> frozenset[str]:
    """Give the dangers that the policy reopens, each checked to be one."""
    found: set[str] = set()
    for index, name in enumerate(syscalls.danger_reopened):
        problem = "" if name in refused.DANGERS else f"unknown danger {name!r} in danger_reopened"
        problem = problem or (f"danger_reopened names {name} twice" if name in found else "")
        if problem:
            near = closest(name, sorted(refused.DANGERS)) if name not in refused.DANGERS else None
            raise located(PolicyError(problem, suggestion=near), places.reopening(index))
        found.add(name)
    return frozenset(found)


def _raw(syscalls: policy_pb2.SyscallPolicy, architecture: Architecture, places: Places) -> Iterator[RawFilter]:
    for index, message in enumerate(syscalls.raw_filters):
        raw = resolve_raw(message, architecture, places.raw_filter(index))
        if raw is not None:
            yield raw


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
        reopens = frozenset(groups.GROUPS[group.name].reopens)
        for rule in rules:
            for line in resolve_rule(rule, architecture, place):
                yield replace(line, reopens=reopens) if reopens else line


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
    """Refuse an explicit rule that earlier ones of the same source leave nothing to decide.

    A rule of another source (an included policy) may be shadowed: that is how it is overridden.
    """
    together: dict[tuple[int, bool, str], list[ResolvedRule]] = {}
    for line in lines:
        place = line.rule.origin.place
        source = split_place(place)[0] if ":" in place else ""
        together.setdefault((line.rule.number, line.overridable, source), []).append(line.rule)
    for rules in together.values():
        for found in unreachable(rules) if len(rules) > 1 or rules[0].conditions else ():
            rule, covering = rules[found.index], [rules[index] for index in found.covered_by]
            raise located(PolicyError(_shadowed_text(covering, rule)), rule.origin.place, rule.syscall)


def _shadowed_text(earlier: Sequence[ResolvedRule], rule: ResolvedRule) -> str:
    if not earlier:
        return f"this rule for {rule.syscall} is never reached: its conditions never hold together"
    places = [f"{each.origin.place} ({each.action})" for each in earlier]
    if len(earlier) > 1:
        shown = "; ".join(places[:MAX_PLACES]) + ("; …" if len(places) > MAX_PLACES else "")
        return f"this rule for {rule.syscall} is never reached: earlier ones together decide all such calls: {shown}"
    (first,) = earlier
    if first.action == rule.action and first.conditions == rule.conditions:
        return f"{rule.syscall} has this rule already, at {first.origin.place}"
    if not first.conditions and not rule.conditions:
        return f"{rule.syscall} is {rule.action} here and {first.action} at {first.origin.place}"
    return f"this rule for {rule.syscall} is never reached: the one at {places[0]} decides all such calls"


def _check_refused(lines: Sequence[Line], architecture: Architecture, reopened: frozenset[str]) -> None:
    """Refuse an explicit rule that would let an always-refused call run."""
    rows, permanent = refused.rules_for(architecture, reopened), refused.rules_for(architecture, refused.DANGERS)
    for rule in (line.rule for line in lines):
        for row in rows.get(rule.syscall, ()) if rule.action.kind.permits else ():
            if covers(row.conditions, rule.conditions):
                message = (
                    f"{row.origin.text}. A rule may answer it with an error number, but not {rule.action.kind.value} it"
                )
                if row not in permanent.get(rule.syscall, ()):
                    message += (
                        f', unless the policy reopens {row.danger!r}: by `danger_reopened: "{row.danger}"`, '
                        f"in Python by danger_reopen_{row.danger}() before it"
                    )
                raise located(PolicyError(message), rule.origin.place, rule.syscall)


def _with_refused(lines: Iterable[Line], rows: Mapping[str, Sequence[ResolvedRule]]) -> Iterator[ResolvedRule]:
    """Put the always-refused rows of each call before the first rule that permits it, else after all of its rules.

    A line that reopens a danger stands before the rows of that danger: it permits what its conditions say, and no more.
    """
    waiting = {syscall: list(found) for syscall, found in rows.items()}
    for line in lines:
        if line.rule.action.kind.permits:
            due = waiting.get(line.rule.syscall, [])
            waiting[line.rule.syscall] = [row for row in due if row.danger in line.reopens]
            yield from (row for row in due if row.danger not in line.reopens)
        yield line.rule
    for left in waiting.values():
        yield from left


def _hooks(actions: Iterable[Action]) -> tuple[str, ...]:
    hooks = tuple(dict.fromkeys(action.hook for action in actions if action.kind is Kind.TRACE))
    if len(hooks) > MAX_HOOKS:
        raise PolicyError(f"the policy has {len(hooks)} hooks and a filter can tell {MAX_HOOKS} apart")
    return hooks
