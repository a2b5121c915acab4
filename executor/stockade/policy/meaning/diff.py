"""What differs between two policies in meaning: which calls become allowed, refused or answered in another way.

Each difference comes with a witness: one call that shows it, checked with the evaluator on both sides. Order, names,
groups against single rules, and other ways of writing the same do not show up; neither do reasons and descriptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from stockade.errors import MonitorError
from stockade.kernel.architectures import Architecture
from stockade.policy.call import Call
from stockade.policy.evaluate import Verdict, evaluate
from stockade.policy.meaning.diff_fields import FieldChange, field_changes
from stockade.policy.meaning.regions import Region, common_call, numbers_to_compare, regions, same_meaning
from stockade.policy.meaning.space import TOTAL_STEPS, Budget, Registers, TooHardError
from stockade.policy.meaning.words import call_words
from stockade.policy.policy import Policy
from stockade.policy.rules import Action, ResolvedPolicy

__all__ = ["Change", "FieldChange", "PolicyDiff", "diff"]


@dataclass(frozen=True, slots=True)
class Change:
    """Calls that the new policy decides in another way, with one of them as witness.

    `kind` is "allowed" (was not permitted, now is), "refused" (the other way round) or "changed". `call` is the
    witness, `text` the same for people, with "…" for arguments that do not matter. `old` and `new` are the verdicts
    about it, with the deciding rules and their places. `any_arguments`: it is so for every call of this number.
    """

    kind: str
    call: Call
    text: str
    old: Verdict
    new: Verdict
    any_arguments: bool

    @property
    def syscall(self) -> str:
        """Name of the call."""
        return self.call.syscall


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """What differs between two policies on one architecture.

    `changes` are about system calls, `fields` about everything else and about the policy as a whole. `undecided` are
    the calls whose rules are too entangled to be compared: they may be equal or not.
    """

    old_name: str
    new_name: str
    architecture: str
    changes: tuple[Change, ...]
    fields: tuple[FieldChange, ...]
    undecided: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether the two policies mean the same: nothing differs, and everything could be compared."""
        return not (self.changes or self.fields or self.undecided)

    def of_kind(self, kind: str) -> tuple[Change | FieldChange, ...]:
        """Give the changes of one kind: "allowed", "refused" or "changed"."""
        every: tuple[Change | FieldChange, ...] = (*self.changes, *self.fields)
        return tuple(each for each in every if each.kind == kind)

    def to_text(self, width: int = 80) -> str:
        """Give the differences for people, in lines of `width` columns; everything in it is safe to print."""
        from stockade.policy.meaning.diff_text import format_diff

        return format_diff(self, width)


def diff(old: Policy, new: Policy, architecture: Architecture | str | None = None) -> PolicyDiff:
    """Compare two policies in meaning, on `architecture` (this machine's unless given).

    Raises PolicyError when one of them cannot be resolved there, and MonitorError when a witness is not confirmed by
    the evaluator, which would be a mistake of ours.
    """
    before, after = old.resolve(architecture), new.resolve(architecture)
    chosen = before.architecture
    changes: list[Change] = []
    undecided: list[str] = []
    total = Budget(TOTAL_STEPS)
    plain = _without_raw(before), _without_raw(after)
    for number in numbers_to_compare(chosen):
        try:
            changes += _changes_of_call(*plain, number, total)
        except TooHardError:
            undecided.append(chosen.name_of(number))
    fields = (*_raw_changes(before, after), *field_changes(old.message, new.message))
    return PolicyDiff(old.name, new.name, chosen.name, tuple(changes), fields, tuple(undecided))


def change_kind(old: Action, new: Action) -> str:
    """Say what it means for a call when the second action takes the place of the first."""
    if old.kind.permits == new.kind.permits:
        return "changed"
    return "allowed" if new.kind.permits else "refused"


def _without_raw(resolved: ResolvedPolicy) -> ResolvedPolicy:
    """Leave the raw filters out: they are programs, which are compared as such and not by what they mean."""
    return replace(resolved, raw=()) if resolved.raw else resolved


def _changes_of_call(old: ResolvedPolicy, new: ResolvedPolicy, number: int, total: Budget) -> Iterator[Change]:
    before, after = regions(old, number), regions(new, number)
    if same_meaning(before, after):
        return
    whole = len(before) == len(after) == 1 and not before[0].arguments | after[0].arguments
    for first in before:
        for second in after:
            if first.action == second.action:
                continue
            found = common_call(first, second, total=total)
            if found is not None:
                yield _change(old, new, number, (first, second), found, whole=whole)


def _change(
    old: ResolvedPolicy,
    new: ResolvedPolicy,
    number: int,
    parts: tuple[Region, Region],
    registers: Registers,
    *,
    whole: bool,
) -> Change:
    name = old.architecture.name_of(number)
    call = Call(name, number, old.architecture.name, registers)
    verdicts = [evaluate(resolved, number, registers) for resolved in (old, new)]
    for part, verdict in zip(parts, verdicts, strict=True):
        if verdict.action != part.action or verdict.rule is not part.rule:
            raise MonitorError(
                f"the comparison of policies found the call {call} and expected {part.action}, but the evaluator says "
                f"{verdict.action} ({verdict.reason}). Please report this with both policies"
            )
    shown = parts[0].arguments | parts[1].arguments
    kind = change_kind(parts[0].action, parts[1].action)
    return Change(kind, call, call_words(call, shown), verdicts[0], verdicts[1], whole)


def _raw_changes(old: ResolvedPolicy, new: ResolvedPolicy) -> Iterator[FieldChange]:
    """Compare the raw filters of each call as programs: those of one policy only, and those that differ."""
    for number in sorted({*old.raw_by_number, *new.raw_by_number}):
        before, after = _raw_programs(old, number), _raw_programs(new, number)
        if before != after:
            what = "changed" if before and after else "added" if after else "removed"
            name = old.architecture.name_of(number)
            text = f"raw filter for {name} {what}; what it refuses is not compared"
            yield FieldChange("changed", f"syscalls.raw_filters ({name})", text)


def _raw_programs(resolved: ResolvedPolicy, number: int) -> Sequence[object]:
    return [(raw.instructions, raw.actions) for raw in resolved.raw_by_number.get(number, ())]
