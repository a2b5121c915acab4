"""Resolved rules for people, in the order in which they are tried, beneath the places that they come from."""

from __future__ import annotations

from stockade.policy.meaning.words import action_words, conditions_words
from stockade.policy.policy import Policy
from stockade.policy.rules import ResolvedPolicy, ResolvedRule
from stockade.wrap import INDENT, paragraph, wrap

_LENIENT = "a violation happens and is recorded, but not a call that is always refused, nor one with an unknown number"
# What becomes of violations, for the modes that do not end the run.
_MODES = {"refuse": "a violation is answered with EPERM and recorded", "permissive": _LENIENT, "record": _LENIENT}


def rules_text(policy: Policy, resolved: ResolvedPolicy, width: int) -> str:
    """Return the rules of a policy beneath the places that they come from, then its default.

    `resolved` is `policy`, resolved. Lines have at most `width` columns.
    """
    name = resolved.architecture.name
    heading = f"{name}, mode {resolved.mode}: the first rule of a call whose conditions hold decides"
    lines = [f"# {line}" for text in (heading, _MODES.get(resolved.mode, "")) if text for line in wrap(text, width - 2)]
    for raw in resolved.raw:
        text = f"{raw.origin.place}: {raw.origin.text}, which can tighten the rules"
        lines += paragraph(text, width)
    groups = dict(zip(policy.places.groups, (group.name for group in policy.message.syscalls.groups), strict=False))
    place = None
    for rule in resolved.rules:
        if rule.origin.place != place:
            place = rule.origin.place
            group = f" (group {groups[place]})" if place in groups else ""
            lines += paragraph(f"{place}{group}", width)
        lines += paragraph(rule_text(rule, name), width, indent=INDENT)
    lines += paragraph(f"any other call is {action_words(resolved.default)}", width)
    if resolved.unknown != resolved.default:
        unknown = action_words(resolved.unknown)
        lines += paragraph(f"any number above {resolved.highest}, that of the newest known call, is {unknown}", width)
    return "".join(f"{line}\n" for line in lines)


def rule_text(rule: ResolvedRule, architecture: str) -> str:
    """Return a rule without its place: `ioctl, when request is TCGETS: allowed`."""
    when = conditions_words(rule.conditions, rule.syscall, architecture)
    return f"{rule.syscall}{', when ' if when else ''}{when}: {action_words(rule.action)}"
