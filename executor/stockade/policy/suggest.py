"""The smallest change of a policy that would allow a refused call, as a builder call and as a line of a text policy.

The change is one explicit rule for that call. Its conditions pin the arguments that select what the call does (flags,
a command, a signal), in symbols, and leave open what it does it to (descriptors, pointers, sizes). Nothing is offered
that would not help: always-refused calls, and calls that a rule of the policy refuses on purpose, say so instead.
"""

from __future__ import annotations

from functools import cache, lru_cache

from stockade._proto import policy_pb2, report_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import ARCHITECTURES, Architecture
from stockade.kernel.signatures import signature
from stockade.policy.building.syscalls import method_name
from stockade.policy.call import Call, verdict_of
from stockade.policy.conditions import condition_text, quoted
from stockade.policy.evaluate import DecidedBy, Verdict, evaluate
from stockade.policy.groups import GROUPS, expand
from stockade.policy.nearest import nearest_rule
from stockade.policy.policy import Policy
from stockade.policy.refused import refused_rule
from stockade.policy.resolve import resolve
from stockade.policy.risk import HIGH, Risk, risk
from stockade.policy.rules import Kind, ResolvedPolicy
from stockade.policy.symbols import value_expression
from stockade.policy.text.format import format_inline

__all__ = ["Call", "nearest_rule", "patch", "wider_patch"]

_Rule = policy_pb2.Rule

# Arguments that are pointers and still select what the call does: with a null pointer it only asks.
_ASKS_WHEN_NULL = {"prlimit64": 2}
# Arguments of which a part selects what the call does: the type of the file that is made.
_FILE_TYPE = {"mknod": 1, "mknodat": 2}


def patch(policy: Policy, call: Call) -> report_pb2.Patch:
    """Give the smallest change of `policy` that allows `call`, with its risk; or why none is offered."""
    refusal = _refusal(policy, call)
    if refusal:
        return report_pb2.Patch(refused_because=refusal)
    rule = _Rule(syscall=[call.syscall], when=_conditions(call), action=_Rule.ALLOW)
    if not _helps(policy, call, rule):
        return report_pb2.Patch(refused_because=f"no single rule for {call.syscall} would allow this call")
    return _rule_patch(rule, risk(call.syscall, call.arguments))


def wider_patch(policy: Policy, call: Call) -> report_pb2.Patch | None:
    """Give a wider change that allows `call` and its like: the smallest group that has it, else the call with any
    arguments. None when there is none, when `patch` offers none either, and where the risk would be high.
    """
    if _refusal(policy, call):
        return None
    architecture = ARCHITECTURES[call.architecture]
    for name in _groups_with(call.syscall):
        found = _group_risk(name, call)
        if found.level != HIGH and _group_permits(name, call, architecture):
            return report_pb2.Patch(
                builder_call=f".{method_name(name)}()",
                text_line=f"groups {{ name: {quoted(name)} }}",
                risk=found.level,
                risk_reason=found.reason,
            )
    rule, found = _Rule(syscall=[call.syscall], action=_Rule.ALLOW), risk(call.syscall)
    if not _conditions(call) or found.level == HIGH or not _helps(policy, call, rule):
        return None
    return _rule_patch(rule, found)


def _refusal(policy: Policy, call: Call) -> str:
    """Say why no change is offered; empty when one can be."""
    verdict = verdict_of(policy, call)
    if verdict is None:
        return (
            f"calls of {call.architecture} are refused in every policy, because a program could use them to pass the "
            "rules; run a 64-bit build of the program"
        )
    if verdict.decided_by is DecidedBy.X32:
        return "calls of x32 are refused in every policy, because a program could use them to pass the rules"
    architecture = ARCHITECTURES[call.architecture]
    if architecture.syscalls.get(call.syscall) != call.number:
        return (
            f"number {call.number} is not known to this version of stockade; enosys_for_unknown_syscalls() answers "
            "such calls with ENOSYS"
        )
    refused = refused_rule(call.syscall, call.registers, architecture, policy.message.syscalls.danger_reopened)
    if refused is not None and verdict.action.kind is Kind.ERRNO:
        return refused.origin.text
    if refused is not None:
        return f'{refused.origin.text}; .block_syscall_with_errno({quoted(call.syscall)}, "EPERM") answers it instead'
    return _decided(verdict, call.syscall)


def _decided(verdict: Verdict, syscall: str) -> str:
    """Say which rule decides a call on purpose; empty when only the default action does."""
    if verdict.raw is not None and not verdict.permits:
        return f"the {verdict.raw.origin.text} ({verdict.raw.origin.place}) refuses it on purpose; change or remove it"
    if verdict.decided_by is not DecidedBy.RULE or verdict.rule is None:
        return "" if not verdict.permits else _permitted(verdict, "the default action", syscall)
    place, kind = verdict.rule.origin.place, verdict.action.kind
    if verdict.permits:
        return _permitted(verdict, place, syscall)
    what = {Kind.KILL: "refuses it", Kind.TRAP: "answers it with SIGSYS", Kind.ERRNO: "answers it with an error number"}
    return f"{place} {what[kind]} on purpose; change or remove that rule"


def _permitted(verdict: Verdict, place: str, syscall: str) -> str:
    if verdict.action.kind is Kind.TRACE:
        return f"the hook {verdict.action.hook!r} decides it ({place}); change the hook, or put a rule before it"
    return f"{place} allows {syscall} already"


def _conditions(call: Call) -> list[policy_pb2.Condition]:
    """Pin the arguments that select what the call does to the values that it had."""
    conditions = []
    registers = call.arguments
    for index, parameter in enumerate(signature(call.syscall, call.architecture)):
        if parameter.discriminating:
            expression = value_expression(call.syscall, index, registers, call.architecture)
            conditions.append(policy_pb2.Condition(argument=index, equal=expression))
        elif index == _ASKS_WHEN_NULL.get(call.syscall) and not registers[index]:
            conditions.append(policy_pb2.Condition(argument=index, equal="0"))
        elif index == _FILE_TYPE.get(call.syscall):
            kind = value_expression(call.syscall, index, registers, call.architecture, registers[index] & 0o170000)
            conditions.append(policy_pb2.Condition(argument=index, masked=policy_pb2.Masked(mask="S_IFMT", value=kind)))
    return conditions


def _helps(policy: Policy, call: Call, rule: policy_pb2.Rule) -> bool:
    """Try a rule at the end of the explicit ones: the policy stays valid and allows the call."""
    message = policy.message
    message.syscalls.rules.append(rule)
    architecture = ARCHITECTURES[call.architecture]
    try:
        return evaluate(resolve(message, architecture), call.number, call.registers).action.kind is Kind.ALLOW
    except PolicyError:
        return False


def _rule_patch(rule: policy_pb2.Rule, found: Risk) -> report_pb2.Patch:
    conditions = "".join(f", {condition_text(condition)}" for condition in rule.when)
    return report_pb2.Patch(
        builder_call=f".allow_syscall({quoted(rule.syscall[0])}{conditions})",
        text_line=f"rules {{ {format_inline(rule)} }}",
        risk=found.level,
        risk_reason=found.reason,
    )


@lru_cache(maxsize=1024)
def _groups_with(syscall: str) -> tuple[str, ...]:
    """Give the groups with a rule for a call that a suggestion may name, those with the fewest rules first."""
    names = [name for name, group in GROUPS.items() if not name.startswith("danger_") and group.parameter is None]
    having = [name for name in names if any(syscall in rule.syscall for rule in expand(name))]
    return tuple(sorted(having, key=lambda name: sum(len(rule.syscall) for rule in expand(name))))


def _group_risk(name: str, call: Call) -> Risk:
    """Judge a group by the call alone where conditions narrow it, else by everything that the call can do."""
    narrowed = all(rule.when for rule in expand(name) if call.syscall in rule.syscall)
    return risk(call.syscall, call.arguments if narrowed else None)


def _group_permits(name: str, call: Call, architecture: Architecture) -> bool:
    return evaluate(_resolved_group(name, architecture), call.number, call.registers).action.kind is Kind.ALLOW


@cache
def _resolved_group(name: str, architecture: Architecture) -> ResolvedPolicy:
    """Give the rules of a policy of one group."""
    syscalls = policy_pb2.SyscallPolicy(groups=[policy_pb2.Group(name=name)])
    return resolve(policy_pb2.Policy(schema_version=1, syscalls=syscalls), architecture)
