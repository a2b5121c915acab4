"""What can be said against a policy message: unknown names, missing and contradictory fields.

Nothing raises here: each problem is a `Finding` with its path in the message, so that a text policy can be blamed by
line and column and a builder by its call. Rules are judged by the same functions that resolve them; what concerns
several rules together is found by `resolve`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel import constants
from stockade.kernel.architectures import AARCH64, ARCHITECTURES, X86_64, Architecture
from stockade.policy.conditions import values_of
from stockade.policy.finding import FieldPath, Finding, beneath, closest
from stockade.policy.groups import check_group, expand
from stockade.policy.raw_filters import resolve_raw
from stockade.policy.refused import DANGERS
from stockade.policy.resolve import resolve
from stockade.policy.resolve_condition import resolve_condition
from stockade.policy.resolve_rule import action_of
from stockade.policy.validate_files import filesystem_findings, network_findings, options_findings
from stockade.policy.validate_sizes import size_findings

SCHEMA_VERSION = 1
MAX_NAME = 100
_Rule = policy_pb2.Rule


def findings(message: policy_pb2.Policy) -> Iterator[Finding]:
    """Give the problems of a whole policy, in the order of its fields."""
    if message.schema_version != SCHEMA_VERSION:
        written = f"is {message.schema_version}" if message.schema_version else "is missing"
        yield Finding(
            ("schema_version", 0),
            f"schema_version {written}: this version of stockade reads `schema_version: {SCHEMA_VERSION}`",
        )
    for field in ("include", "variables"):
        if len(getattr(message, field)):
            reason = "it is for text policies only: Policy.load and Policy.from_text put its content in place of it"
            yield Finding((field, 0), reason)
    if len(message.name) > MAX_NAME or not message.name.isprintable():
        yield Finding(("name", 0), f"the name must be printable and at most {MAX_NAME} characters long")
    sizes = list(size_findings(message))
    yield from sizes
    if sizes:
        return
    yield from beneath(("syscalls", 0), reopened_findings(message.syscalls.danger_reopened))
    for index, rule in enumerate(message.syscalls.rules):
        found = rule_findings(rule, message.syscalls.danger_reopened)
        yield from beneath(("syscalls", 0, "rules", index), found)
    for index, group in enumerate(message.syscalls.groups):
        yield from beneath(("syscalls", 0, "groups", index), group_findings(group))
    for index, raw in enumerate(message.syscalls.raw_filters):
        yield from beneath(("syscalls", 0, "raw_filters", index), raw_findings(raw))
    if message.syscalls.HasField("default_action"):
        yield from beneath(("syscalls", 0, "default_action", 0), default_findings(message.syscalls.default_action))
    yield from beneath(("filesystem", 0), filesystem_findings(message.filesystem))
    yield from beneath(("network", 0), network_findings(message.network))
    yield from beneath(("options", 0), options_findings(message.options))


def reopened_findings(names: Sequence[str]) -> Iterator[Finding]:
    """Give the problems of the list of dangers that a policy reopens."""
    for index, name in enumerate(names):
        if name not in DANGERS:
            yield Finding(("danger_reopened", index), f"unknown danger {name!r}", closest(name, DANGERS))
        elif name in names[:index]:
            yield Finding(("danger_reopened", index), f"the danger {name!r} is reopened twice")


def raw_findings(raw: policy_pb2.RawFilter) -> Iterator[Finding]:
    """Give the first problem of one raw filter."""
    try:
        for architecture in (X86_64, AARCH64):
            resolve_raw(raw, architecture, "")
    except PolicyError as error:
        yield Finding(_raw_field(raw, error), error.message, error.suggestion, error.syscall)


def _raw_field(raw: policy_pb2.RawFilter, error: PolicyError) -> FieldPath:
    """Give the field of a raw filter that an error is about; none when it is about the filter as a whole."""
    if error.syscall is not None and error.syscall in raw.syscall:
        return ("syscall", list(raw.syscall).index(error.syscall))
    if raw.architecture and raw.architecture not in (X86_64.name, AARCH64.name):
        return ("architecture", 0)
    return ("assembly", 0) if raw.assembly and not raw.program else ()


def rule_findings(rule: policy_pb2.Rule, reopened: Sequence[str] = ()) -> Iterator[Finding]:
    """Give the problems of one rule: first those of single fields, then what only the rule as a whole shows.

    `reopened` are the dangers that the policy of the rule reopens.
    """
    before = 0
    for finding in _field_findings(rule):
        before += 1
        yield finding
    if before:
        return
    known = [name for name in reopened if name in DANGERS]
    syscalls = policy_pb2.SyscallPolicy(rules=[rule], danger_reopened=dict.fromkeys(known))
    alone = policy_pb2.Policy(schema_version=SCHEMA_VERSION, syscalls=syscalls)
    try:
        for architecture in architectures_of(alone) or (X86_64, AARCH64):
            resolve(alone, architecture)
    except PolicyError as error:
        yield Finding((), error.message, error.suggestion, error.syscall)


def architectures_of(message: policy_pb2.Policy) -> list[Architecture]:
    """Give the architectures that have every constant of the explicit rules; the policy can be resolved for these only.

    A constant such as MAP_32BIT ties a policy to one architecture, unless its call does not exist on the other.
    """
    return [
        architecture
        for architecture in (X86_64, AARCH64)
        if all(_has_constants(rule, architecture) for rule in message.syscalls.rules)
    ]


def _has_constants(rule: policy_pb2.Rule, architecture: Architecture) -> bool:
    if not any(name in architecture.syscalls for name in rule.syscall):
        return True
    try:
        for condition in rule.when:
            for _, value in _values(condition):
                constants.parse(value, architecture.name)
    except LookupError:
        return False
    return True


def _field_findings(rule: policy_pb2.Rule) -> Iterator[Finding]:
    if not rule.syscall:
        yield Finding((), "the rule names no system call")
    for index, name in enumerate(rule.syscall):
        if home(name) is None:
            yield unknown_syscall(name, ("syscall", index))
    for index, condition in enumerate(rule.when):
        yield from beneath(("when", index), _condition_findings(condition, list(rule.syscall)))
    yield from _action_findings(rule)


def home(syscall: str) -> Architecture | None:
    """Give an architecture that has the call and can carry a policy, or None."""
    return next((each for each in (X86_64, AARCH64) if syscall in each.syscalls), None)


def unknown_syscall(name: str, path: FieldPath = ()) -> Finding:
    """Make the finding for a call that neither architecture has."""
    for foreign in ARCHITECTURES.values():
        if name in foreign.syscalls:
            reason = (
                f"{name} is a call of {foreign.name}; policies are for x86_64 and aarch64, and refuse {foreign.name}"
            )
            return Finding(path, reason, syscall=name)
    near = closest(name, {**X86_64.syscalls, **AARCH64.syscalls})
    return Finding(path, f"unknown system call {name!r}", near, syscall=name)


def _condition_findings(condition: policy_pb2.Condition, syscalls: list[str]) -> Iterator[Finding]:
    """Give the problems of one condition: first unknown constants, each at its place, then anything else."""
    unknown = [finding for path, value in _values(condition) for finding in beneath(path, value_findings(value))]
    yield from unknown
    for syscall in () if unknown else syscalls:
        architecture = home(syscall)
        if architecture is None:
            continue
        try:
            resolve_condition(condition, syscall, architecture)
        except PolicyError as error:
            yield Finding((), error.message, error.suggestion, syscall)
            return


def _values(condition: policy_pb2.Condition) -> Iterator[tuple[FieldPath, str]]:
    """Walk the value expressions of a condition, with their paths."""
    test = condition.WhichOneof("test")
    if test == "one_of":
        for index, value in enumerate(condition.one_of.value):
            yield ("one_of", 0, "value", index), value
    elif test == "masked":
        yield ("masked", 0, "mask", 0), condition.masked.mask
        yield ("masked", 0, "value", 0), condition.masked.value
    elif test is not None:
        yield (test, 0), getattr(condition, test)


def value_findings(value: str) -> Iterator[Finding]:
    """Give the problems of one value expression: an unknown constant, or no value at all."""
    try:
        values_of(value)
    except PolicyError as error:
        yield Finding((), error.message, error.suggestion)


def group_findings(group: policy_pb2.Group) -> Iterator[Finding]:
    """Give the problems of one group entry."""
    try:
        check_group(group.name, group.argument)
    except PolicyError as error:
        yield Finding(("name", 0), error.message, error.suggestion)
        return
    unknown = [
        finding
        for index, argument in enumerate(group.argument)
        for finding in beneath(("argument", index), value_findings(argument))
    ]
    yield from unknown
    # The rows of the table are proven by tests; only those made from arguments can be wrong.
    for rule in expand(group.name, group.argument) if group.argument and not unknown else ():
        for finding in rule_findings(rule):
            yield Finding(("name", 0), f"group {group.name!r}: {finding.message}", finding.suggestion)


def default_findings(default: policy_pb2.DefaultAction) -> Iterator[Finding]:
    """Give the problems of the default action."""
    yield from _action_findings(default)
    permits = default.action in (_Rule.ALLOW, _Rule.LOG)
    if permits and not default.danger_allow_all:
        yield Finding(("action", 0), "allowing every call by default needs `danger_allow_all: true` as well")
    elif default.danger_allow_all and not permits:
        yield Finding(("danger_allow_all", 0), "danger_allow_all goes with `action: ALLOW` or `action: LOG` only")


def _action_findings(rule: policy_pb2.Rule | policy_pb2.DefaultAction) -> Iterator[Finding]:
    """Give the problem of action, errno and hook, at the field that is wrong."""
    try:
        action_of(rule.action, rule.errno, rule.hook)
    except PolicyError as error:
        field = "errno" if rule.errno else "hook" if rule.hook else "action"
        yield Finding((field, 0), error.message, error.suggestion)
