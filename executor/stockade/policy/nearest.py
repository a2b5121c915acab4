"""The rule that decided a call, or the one that came nearest to allowing it, and what it would have wanted instead."""

from __future__ import annotations

from stockade._proto import report_pb2
from stockade.kernel.architectures import ARCHITECTURES, Architecture
from stockade.policy.call import Call, verdict_of
from stockade.policy.evaluate import DecidedBy
from stockade.policy.families import siblings
from stockade.policy.meaning.words import wanted
from stockade.policy.policy import Policy
from stockade.policy.rules import ResolvedCondition, ResolvedPolicy, ResolvedRule
from stockade.policy.symbols import argument_name, value_expression


def nearest_rule(policy: Policy, call: Call) -> report_pb2.NearestRule:
    """Give the rule that decides a call; if only the default does, the one with the fewest conditions that do not hold,
    else a rule for a sibling of the call. Empty when nothing is near.
    """
    verdict = verdict_of(policy, call)
    if verdict is None:
        return report_pb2.NearestRule(difference=f"policies do not speak about calls of {call.architecture}")
    if verdict.rule is not None:
        what = verdict.rule.origin.text if verdict.decided_by is DecidedBy.REFUSED else f"it decides: {verdict.action}"
        rule = "" if verdict.decided_by is DecidedBy.REFUSED else _text(verdict.rule)
        return report_pb2.NearestRule(rule=rule, place=verdict.rule.origin.place, difference=what)
    if verdict.raw is not None:
        origin, difference = verdict.raw.origin, f"it decides: {verdict.action}"
        return report_pb2.NearestRule(rule=origin.text, place=origin.place, difference=difference)
    resolved = policy.resolve(ARCHITECTURES[call.architecture])
    return _closest(resolved, call) or _sibling(resolved, call) or report_pb2.NearestRule()


def _closest(resolved: ResolvedPolicy, call: Call) -> report_pb2.NearestRule | None:
    """Find the permitting rule for the same call of which the fewest conditions fail; the first of several."""
    best: tuple[int, ResolvedRule, list[ResolvedCondition]] | None = None
    for rule in resolved.by_number.get(call.number, ()):
        if rule.danger or not rule.action.kind.permits:
            continue
        failing = [condition for condition in rule.conditions if not condition.holds(call.registers)]
        if best is None or len(failing) < best[0]:
            best = (len(failing), rule, failing)
    if best is None:
        return None
    difference = "; ".join(_difference(condition, call) for condition in best[2])
    return report_pb2.NearestRule(rule=_text(best[1]), place=best[1].origin.place, difference=difference)


def _sibling(resolved: ResolvedPolicy, call: Call) -> report_pb2.NearestRule | None:
    """Find a permitting rule for a call of the same family."""
    for name in siblings(call.syscall):
        rule = _permitting(resolved, name, resolved.architecture)
        if rule is not None:
            difference = f"the rule is for {name}, not for {call.syscall}"
            return report_pb2.NearestRule(rule=_text(rule), place=rule.origin.place, difference=difference)
    return None


def _permitting(resolved: ResolvedPolicy, name: str, architecture: Architecture) -> ResolvedRule | None:
    number = architecture.syscalls.get(name)
    rules = resolved.by_number.get(number, ()) if number is not None else ()
    return next((rule for rule in rules if rule.action.kind.permits), None)


def _text(rule: ResolvedRule) -> str:
    return f"rules {{ {rule.origin.text} }}"


def _difference(condition: ResolvedCondition, call: Call) -> str:
    """Say what an argument is and what a condition that does not hold wants: in symbols where there are some."""
    name = argument_name(call.syscall, condition.argument, call.architecture)
    actual = value_expression(call.syscall, condition.argument, call.arguments, call.architecture)
    wish = wanted(condition, call.syscall, call.architecture, call.arguments)
    return f"{name} is {actual}, the rule wants {wish}"
