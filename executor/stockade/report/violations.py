"""One violation as text: the call, why it was refused, where it came from, and what would allow it."""

from __future__ import annotations

from collections.abc import Sequence

from stockade._proto import report_pb2
from stockade.report.stacks import MEANING, frame_lines
from stockade.text import CUT_MARK
from stockade.wrap import INDENT, labelled, paragraph, wrap

_Violation = report_pb2.Violation
_BOTH_FORMS = "to allow it (PolicyBuilder, or text policy, block syscalls):"
_ONE_FORM = "to allow it:"
# Characters of a command line, and frames of a stack, that are shown; the message has more.
_LONGEST_COMMAND, _MOST_FRAMES = 200, 16


def format_violation(violation: report_pb2.Violation, title: str, width: int, *, refused_only: bool) -> list[str]:
    """Return the lines about one violation. `refused_only`: it was answered with EPERM and the program went on."""
    lines = paragraph(f"{title}: {_subject(violation)}", width)
    lines += labelled("why", _why(violation, refused_only=refused_only), width)
    lines += labelled("program", _program(violation), width)
    lines += _command(violation, width)
    if violation.module:
        lines += labelled("at", _place(violation), width)
    if violation.phase:
        lines += labelled("phase", f"{violation.phase} (an estimate)", width)
    lines += _nearest(violation.nearest_rule, width)
    if violation.count > 1:
        lines += labelled("repeated", f"{violation.count} times in all", width)
    lines += _patch(violation.patch, _BOTH_FORMS, _ONE_FORM, width)
    lines += _patch(violation.wider_patch, "a wider change, in both forms:", "a wider change:", width)
    return lines + _stack(violation.stack, width)


def _subject(violation: report_pb2.Violation) -> str:
    if violation.kind in (_Violation.NETWORK, _Violation.PATH) and violation.object:
        return violation.object
    if not violation.syscall:
        return violation.summary or "something that the policy does not allow"
    return f"{violation.syscall}({', '.join(argument.text for argument in violation.arguments)})"


def _why(violation: report_pb2.Violation, *, refused_only: bool) -> str:
    end = "; answered with EPERM" if refused_only else ""
    if violation.allowed:
        end = "; it would be refused, and happened"
    hook = f'the hook "{violation.hook}"'
    match violation.kind:
        case _Violation.ARCHITECTURE:
            return f"the call came through the foreign ABI {violation.architecture}, which is never allowed"
        case _Violation.HOOK:
            said = f": {violation.hook_message}" if violation.hook_message else ""
            return f"{hook} refused the call{said}"
        case _Violation.HOOK_TIMEOUT:
            return f"{hook} did not decide about the call in time"
        case _Violation.NETWORK:
            return f"the policy does not allow this destination{end}"
        case _Violation.PATH:
            return f"the policy does not allow this path{end}"
        case _Violation.SYSCALL:
            number = f" (number {violation.number} on {violation.architecture})"
            if violation.nearest_rule.place == "always refused":
                return f"system call{number}: refused in every policy{end}"
            return f"system call{number}: the policy does not allow it{end}"
        case _:
            return violation.summary or "the policy does not allow it"


def _program(violation: report_pb2.Violation) -> str:
    text = f"{violation.program or 'unknown'}, pid {violation.pid}"
    if violation.inner_pid:
        text += f" ({violation.inner_pid} in the box)"
    return text + (f", thread {violation.tid}" if violation.tid not in (0, violation.pid) else "")


def _command(violation: report_pb2.Violation, width: int) -> list[str]:
    """Return how the process was started, and by which others, as far as that says more than its name."""
    lines = []
    if len(violation.command_line) > 1:
        lines += labelled("command", _shortened(" ".join(violation.command_line)), width)
    for parent in violation.parents:
        command = _shortened(" ".join(parent.command_line) or parent.program)
        lines += labelled("" if parent is not violation.parents[0] else "parents", f"{parent.pid}: {command}", width)
    return lines


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_COMMAND else text[:_LONGEST_COMMAND] + CUT_MARK


def _place(violation: report_pb2.Violation) -> str:
    place = f"{violation.module}+{violation.module_offset:#x}"
    build_id = violation.mapping.build_id
    return f"{place} (build id {build_id})" if build_id else place


def _stack(frames: Sequence[report_pb2.Frame], width: int) -> list[str]:
    if len(frames) < 2:
        return []
    doubtful = any(frame.found_by == "scan" for frame in frames)
    lines = paragraph(f"stack, innermost call first{MEANING if doubtful else ''}:", width, indent=INDENT)
    lines += frame_lines(frames[:_MOST_FRAMES], width, INDENT * 2)
    if len(frames) > _MOST_FRAMES:
        lines += paragraph(f"and {len(frames) - _MOST_FRAMES} more", width, indent=INDENT * 2)
    return lines


def _nearest(nearest: report_pb2.NearestRule, width: int) -> list[str]:
    if not (nearest.rule or nearest.difference or nearest.place):
        return labelled("rule", "no rule is near", width)
    parts = [part for part in (nearest.place, nearest.rule) if part]
    lines = labelled("rule", ": ".join(parts), width) if nearest.rule else []
    difference = nearest.difference
    if difference and not nearest.rule and nearest.place:
        difference = f"{nearest.place}: {difference}"
    return lines + (labelled("" if lines else "rule", difference, width) if difference else [])


def _patch(patch: report_pb2.Patch, both: str, one: str, width: int) -> list[str]:
    if patch.refused_because:
        return labelled("no change", patch.refused_because, width)
    forms = [form for form in (patch.builder_call, patch.text_line) if form]
    if not forms:
        return []
    lines = [INDENT + line for line in wrap(both if len(forms) > 1 else one, width - len(INDENT))]
    for form in forms:
        lines += paragraph(form, width, indent=INDENT * 2, code=True)
    if patch.risk:
        lines += labelled("risk", f"{patch.risk}: {patch.risk_reason}" if patch.risk_reason else patch.risk, width)
    return lines
