"""Explanations of policies and calls as text for terminals."""

from __future__ import annotations

from collections.abc import Iterator

from stockade._proto import report_pb2
from stockade.policy.evaluate import DecidedBy
from stockade.policy.meaning.explain import Explanation
from stockade.policy.meaning.explain_call import CallCase, CallExplanation
from stockade.policy.meaning.words import verdict_words
from stockade.text import escape, quote
from stockade.wrap import INDENT, SMALLEST_WIDTH, labelled, paragraph


def format_explanation(explanation: Explanation, width: int = 80) -> str:
    """Return what a policy allows in lines of at most `width` columns (40 at least). Ends with a line break."""
    width = max(width, SMALLEST_WIDTH)
    name = f"The policy {quote(explanation.name)}" if explanation.name else "A policy without a name"
    about = f": {escape(explanation.description)}" if explanation.description else ""
    blocks = [paragraph(f"{name} on {explanation.architecture}{about}", width)]
    for section in explanation.sections:
        lines = [f"{section.title}:"]
        for line in section.lines:
            lines += paragraph(line, width, indent=INDENT)
        blocks.append(lines)
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def format_call_explanation(explanation: CallExplanation, width: int = 80) -> str:
    """Return what a policy says about a call in lines of at most `width` columns; changes of policy are never cut."""
    width = max(width, SMALLEST_WIDTH)
    blocks = []
    if len(explanation.cases) > 1:
        text = f"{explanation.syscall}: it depends on the arguments; {len(explanation.cases)} rules can decide."
        blocks.append(paragraph(text, width))
    for case in explanation.cases:
        title = f"for example {case.text}" if case.example else case.text
        blocks.append([*paragraph(title, width, code=True), *_case(case, explanation.architecture, width)])
    blocks += [paragraph(f"Note: {escape(note)}", width) for note in explanation.notes]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _case(case: CallCase, architecture: str, width: int) -> Iterator[str]:
    yield from labelled("verdict", verdict_words(case.verdict, architecture), width)
    if case.rule:
        yield from _code("rule", case.rule, width)
    if case.nearest is not None and case.verdict.decided_by in (DecidedBy.DEFAULT, DecidedBy.UNKNOWN_NUMBER):
        near = case.nearest
        if near.rule:
            yield from _code("nearest", near.rule, width)
            yield from labelled("", f"{near.difference}, at {near.place}" if near.difference else near.place, width)
    if case.change is not None and case.change.refused_because:
        yield from labelled("change", case.change.refused_because, width)
    elif case.change is not None:
        yield from _patch("change", case.change, width)
        if case.wider is not None:
            yield from _patch("or wider", case.wider, width)
    yield from labelled("risk", f"{case.risk.level}: {case.risk.reason}", width)


def _patch(label: str, patch: report_pb2.Patch, width: int) -> Iterator[str]:
    yield from _code(label, patch.builder_call, width)
    yield from _code("", patch.text_line, width)
    if label != "change":
        yield from labelled("", f"{patch.risk}: {patch.risk_reason}", width)


def _code(label: str, text: str, width: int) -> Iterator[str]:
    """Write something to copy behind a label; it is not broken within a word."""
    first, *rest = paragraph(text, width - 12, code=True)
    yield f"{INDENT}{label:<10}{first}".rstrip()
    yield from (f"{INDENT}{'':<10}{line}" for line in rest)
