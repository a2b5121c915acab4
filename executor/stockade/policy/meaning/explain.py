"""What a policy allows, in words: grouped, with what is dangerous about it first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stockade._proto import policy_pb2
from stockade.kernel.architectures import Architecture
from stockade.policy.families import family_of
from stockade.policy.groups import GROUPS
from stockade.policy.meaning.explain_box import dangers, files, limits, network, options
from stockade.policy.meaning.explain_call import CallCase, CallExplanation, explain_call
from stockade.policy.meaning.regions import Region, common_call, regions
from stockade.policy.meaning.space import TooHardError
from stockade.policy.meaning.words import action_words, conditions_words, errno_name
from stockade.policy.policy import Policy
from stockade.policy.refused import REFUSED, rules_for
from stockade.policy.resolve_rule import resolve_rule
from stockade.policy.risk import HIGH, risk
from stockade.policy.rules import Action, Kind, ResolvedPolicy, ResolvedRule
from stockade.text import escape

__all__ = ["CallCase", "CallExplanation", "Explanation", "Section", "explain", "explain_call"]


@dataclass(frozen=True, slots=True)
class Section:
    """A title and lines, each a sentence or a list that can be wrapped. All of it is safe to print."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a policy allows on one architecture, section by section. Sections without content are left out."""

    name: str
    description: str
    architecture: str
    sections: tuple[Section, ...]

    def section(self, title: str) -> Section | None:
        """Give a section by its title; None when the policy has nothing to say there."""
        return next((section for section in self.sections if section.title == title), None)

    def to_text(self, width: int = 80) -> str:
        """Give the explanation for people, in lines of `width` columns."""
        from stockade.policy.meaning.explain_text import format_explanation

        return format_explanation(self, width)


def explain(policy: Policy, architecture: Architecture | str | None = None) -> Explanation:
    """Say in words what `policy` allows on `architecture` (this machine's unless given).

    Raises PolicyError when it cannot be resolved there.
    """
    resolved = policy.resolve(architecture)
    message = policy.message
    answers = list(_answers(resolved))
    sections = [
        ("Dangers", list(dangers(message))),
        ("What nothing decides", list(_default(resolved))),
        ("Groups", list(_groups(message))),
        ("Allowed by rules of its own", list(_allowed(policy, resolved.architecture))),
        ("Answered with an error number", list(_errors(answers, resolved.architecture.name))),
        *((title, list(_of_kind(answers, kind, resolved.architecture.name))) for title, kind in _OTHER_KINDS),
        ("Raw filters", list(_raw(resolved))),
        ("High risk", list(_high(answers))),
        ("Always refused", list(_refused(resolved, message))),
        ("Files", list(files(message))),
        ("Network", list(network(message))),
        ("Limits", list(limits(message))),
        ("Box", list(options(message))),
    ]
    kept = tuple(Section(title, tuple(lines)) for title, lines in sections if lines)
    return Explanation(policy.name, message.description, resolved.architecture.name, kept)


_OTHER_KINDS = (
    ("Decided by hooks", Kind.TRACE),
    ("Allowed and recorded", Kind.LOG),
    ("Answered with SIGSYS", Kind.TRAP),
    ("Violations on purpose", Kind.KILL),
)


def _answers(resolved: ResolvedPolicy) -> Iterator[tuple[ResolvedRule, Region]]:
    """Give the rules that decide some call, but for the always-refused ones."""
    for number in resolved.by_number:
        for part in regions(resolved, number):
            if part.rule is not None and not part.rule.danger and _decides(part):
                yield part.rule, part


def _decides(part: Region) -> bool:
    try:
        return common_call(part) is not None
    except TooHardError:
        return True


def _default(resolved: ResolvedPolicy) -> Iterator[str]:
    yield f"A call that nothing below decides is {escape(action_words(resolved.default))}."
    if resolved.unknown != resolved.default:
        unknown = escape(action_words(resolved.unknown))
        yield f"A call newer than this version of stockade (number above {resolved.highest}) is {unknown}."


def _groups(message: policy_pb2.Policy) -> Iterator[str]:
    for group in message.syscalls.groups:
        arguments = f" ({', '.join(escape(each) for each in group.argument)})" if group.argument else ""
        yield f"{escape(group.name)}{arguments}: {GROUPS[group.name].meaning}"


def _allowed(policy: Policy, architecture: Architecture) -> Iterator[str]:
    """List explicit ALLOW rules: calls with any arguments by family, then those under conditions one by one."""
    whole: dict[str, list[str]] = {}
    narrow: list[str] = []
    for index, rule in enumerate(policy.message.syscalls.rules):
        if rule.action != policy_pb2.Rule.ALLOW:
            continue
        place = policy.places.rule(index)
        for line in resolve_rule(rule, architecture, place):
            name = line.rule.syscall
            if line.rule.conditions:
                words = conditions_words(line.rule.conditions, name, architecture.name)
                narrow.append(f"{name} when {words}{_because(rule)} ({escape(place)})")
            else:
                whole.setdefault(family_of(name) or name, []).append(name)
    for family, names in whole.items():
        listed = ", ".join(dict.fromkeys(names))
        yield listed if family in names and len(names) == 1 else f"{family}: {listed}"
    yield from narrow


def _because(rule: policy_pb2.Rule) -> str:
    return f", because: {escape(rule.reason)}" if rule.reason else ""


def _errors(answers: Sequence[tuple[ResolvedRule, Region]], architecture: str) -> Iterator[str]:
    by_errno: dict[int, list[str]] = {}
    for rule, _ in answers:
        if rule.action.kind is Kind.ERRNO:
            by_errno.setdefault(rule.action.errno, []).append(_call(rule, architecture))
    for number, calls in by_errno.items():
        label = errno_name(number) if number else "pretended success"
        yield f"{label}: {'; '.join(dict.fromkeys(calls))}"


def _of_kind(answers: Sequence[tuple[ResolvedRule, Region]], kind: Kind, architecture: str) -> Iterator[str]:
    by_action: dict[Action, list[str]] = {}
    for rule, _ in answers:
        if rule.action.kind is kind:
            by_action.setdefault(rule.action, []).append(_call(rule, architecture))
    for action, calls in by_action.items():
        label = f"{escape(action.hook)}: " if action.hook else ""
        yield label + "; ".join(dict.fromkeys(calls))


def _call(rule: ResolvedRule, architecture: str) -> str:
    when = conditions_words(rule.conditions, rule.syscall, architecture)
    return f"{rule.syscall} when {when}" if when else rule.syscall


def _raw(resolved: ResolvedPolicy) -> Iterator[str]:
    for raw in resolved.raw:
        yield f"{escape(raw.origin.text)} ({escape(raw.origin.place)}): it can refuse what the rules allow."


def _high(answers: Sequence[tuple[ResolvedRule, Region]]) -> Iterator[str]:
    """List calls of high risk that run with any arguments, by what they give away."""
    by_reason: dict[str, list[str]] = {}
    for rule, part in answers:
        found = risk(rule.syscall)
        if rule.action.kind in (Kind.ALLOW, Kind.LOG) and not part.conditions and found.level == HIGH:
            by_reason.setdefault(found.reason, []).append(rule.syscall)
    for reason, names in by_reason.items():
        yield f"{', '.join(dict.fromkeys(names))}: {reason}"


def _refused(resolved: ResolvedPolicy, message: policy_pb2.Policy) -> Iterator[str]:
    rows = rules_for(resolved.architecture, message.syscalls.danger_reopened)
    held = {row.danger for rules in rows.values() for row in rules}
    families = dict.fromkeys(row.danger for row in REFUSED if row.danger in held)
    yield f"Whatever else is said here: {', '.join(families)}."
