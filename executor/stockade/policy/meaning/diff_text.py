"""The differences between two policies, for people. What one line can say of many calls is said in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stockade.policy.meaning.diff import Change, PolicyDiff
from stockade.policy.meaning.words import action_words, verdict_words
from stockade.policy.rules import Action
from stockade.text import escape, quote
from stockade.wrap import INDENT, SMALLEST_WIDTH, paragraph

_TITLES = {
    "allowed": "Becomes allowed",
    "refused": "Becomes refused",
    "changed": "Is decided in another way",
}


def format_diff(diff: PolicyDiff, width: int = 80) -> str:
    """Return a comparison in lines of at most `width` columns (40 at least). Safe to print, ends with a line break."""
    width = max(width, SMALLEST_WIDTH)
    if diff.empty:
        return "\n".join(paragraph(f"{_names(diff)}: the policies mean the same on {diff.architecture}.", width)) + "\n"
    blocks = [paragraph(f"{_names(diff)}, on {diff.architecture}: {_summary(diff)}", width)]
    for kind, title in _TITLES.items():
        lines = list(_calls([change for change in diff.changes if change.kind == kind], width))
        for field in diff.fields:
            if field.kind == kind:
                lines += paragraph(field.text, width, indent=INDENT)
        if lines:
            blocks.append([f"{title}:", *lines])
    if diff.undecided:
        text = f"Not compared, because their rules are too entangled: {', '.join(diff.undecided)}."
        blocks.append(paragraph(text, width))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _names(diff: PolicyDiff) -> str:
    return " → ".join(quote(name) if name else "a policy without a name" for name in (diff.old_name, diff.new_name))


def _summary(diff: PolicyDiff) -> str:
    counts = {kind: len({change.call.number for change in diff.changes if change.kind == kind}) for kind in _TITLES}
    calls = ", ".join(f"{count} {_counted(kind)}" for kind, count in counts.items() if count)
    others = f"{len(diff.fields)} difference{'s' if len(diff.fields) != 1 else ''} beyond calls" if diff.fields else ""
    return "; ".join(text for text in (f"calls: {calls}" if calls else "", others) if text) or "not fully compared"


def _counted(kind: str) -> str:
    return {"allowed": "become allowed", "refused": "become refused", "changed": "decided in another way"}[kind]


def _calls(changes: Iterable[Change], width: int) -> Iterator[str]:
    """Write changes of calls: those of whole calls together, by what happens to them; then the others one by one."""
    whole: dict[tuple[Action, Action, bool], list[str]] = {}
    single = []
    for change in changes:
        if change.any_arguments:
            unnamed = change.old.rule is None and change.new.rule is None
            whole.setdefault((change.old.action, change.new.action, unnamed), []).append(change.syscall)
        else:
            single.append(change)
    for (old, new, unnamed), names in whole.items():
        listed = f"all calls that neither policy names ({len(names)})" if unnamed else ", ".join(names)
        text = f"{listed}: {_was(old, new, len(names) > 1)}"
        yield from paragraph(text, width, indent=INDENT)
    for change in single:
        yield from paragraph(f"for example {change.text}", width, indent=INDENT, code=True)
        for label, verdict in (("before", change.old), ("now", change.new)):
            yield from paragraph(
                f"{label}: {verdict_words(verdict, change.call.architecture)}", width, indent=INDENT * 2
            )


def _was(old: Action, new: Action, several: bool) -> str:
    return f"{'were' if several else 'was'} {escape(action_words(old))}, now {escape(action_words(new))}"
