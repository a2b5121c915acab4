"""The report of a run as text."""

from __future__ import annotations

import errno
import os
import signal

from stockade._proto import report_pb2
from stockade.report.flight import flight_block
from stockade.report.stacks import stack_blocks
from stockade.report.trace_summary import trace_summary_blocks
from stockade.report.violations import format_violation
from stockade.units import format_size
from stockade.wrap import SMALLEST_WIDTH, labelled, paragraph

_CLOCKS = frozenset(("wall_time", "cpu_time", "idle_time"))
# Violations that are shown; the message has more.
MAXIMUM_SHOWN = 100
_COUNTS = frozenset(("open_files", "processes", "nice", "cpu_percent", "cpus"))


def format_report(report: report_pb2.Report, width: int = 80, *, prefix: str = "") -> str:
    """Return a report for people: how the run ended, each violation with what would allow it, what went before the end,
    and what was amiss.

    Lines have at most `width` columns (40 at least), except that a suggested change of policy is never broken within a
    word. Everything in it is safe to print; there is no colour. Starts with `prefix`, ends with a line break.
    """
    width = max(width, SMALLEST_WIDTH)
    blocks = [paragraph(prefix + ending(report), width)]
    refused_only = report.mode not in ("", "enforce")
    total = len(report.violations) + report.violations_dropped
    for number, violation in enumerate(report.violations[:MAXIMUM_SHOWN], 1):
        title = "Violation" if total == 1 else f"Violation {number} of {total}"
        blocks.append(format_violation(violation, title, width, refused_only=refused_only))
    if len(report.violations) > MAXIMUM_SHOWN:
        left = len(report.violations) - MAXIMUM_SHOWN
        blocks.append(paragraph(f"{left} further violation{'s' if left > 1 else ''} in the result.", width))
    if report.violations_dropped:
        blocks.append(paragraph(f"{report.violations_dropped} further violations were counted but not kept.", width))
    if report.HasField("setup_failure"):
        blocks.append(_setup_failure(report.setup_failure, width))
    if report.HasField("limit"):
        blocks.append(_limit(report.limit, width))
    blocks += stack_blocks(report.stacks, width)
    if report.flight_recorder:
        blocks.append(flight_block(report.flight_recorder, report.flight_recorder_dropped, width))
    blocks += _notes(report, width)
    if report.HasField("trace_summary"):
        first, *rest = trace_summary_blocks(report.trace_summary, width)
        blocks += [[first[0][:1].upper() + first[0][1:], *first[1:]], *rest]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def ending(report: report_pb2.Report) -> str:
    """Return how the run ended, as one sentence without a full stop."""
    name = report.argv[0] if report.argv else "the program"
    reason = report.reason
    match report.status:
        case report_pb2.STATUS_OK:
            end = f"{name} ended with exit code {report.returncode}"
            return f"{end}; {_refusals(report)}" if report.violations else end
        case report_pb2.STATUS_VIOLATION:
            policy = f'the policy "{report.policy_name}"' if report.policy_name else "its policy"
            return f"{name} was killed: it breached {policy}"
        case report_pb2.STATUS_SIGNALED:
            return f"{name} died of {signal_name(reason.signal)}{_fault(reason)}"
        case report_pb2.STATUS_TIMEOUT:
            return f"{name} was killed: its time was up (limit {reason.limit})"
        case report_pb2.STATUS_LIMIT:
            return f"{name} was killed: it reached the limit {reason.limit}"
        case report_pb2.STATUS_EXTERNAL_KILL:
            if report.user_verdict:
                return f"{name} was ended by a callback, which said: {report.user_verdict}"
            return f"{name} was killed from outside ({reason.killed_by or 'kill'})"
        case report_pb2.STATUS_SETUP_ERROR:
            return f"{name} was not started: the step {reason.step or 'set-up'} failed"
        case report_pb2.STATUS_INTERNAL_ERROR:
            return f"{name} was killed, because stockade itself failed: {reason.internal or 'unknown reason'}"
        case _:
            return f"{name} has not ended"


def signal_name(number: int) -> str:
    """Return "SIGSEGV" for 11, "signal 40" for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _fault(reason: report_pb2.Reason) -> str:
    faults = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
    # A positive si_code: the kernel raised it for what the program did, and the address means something.
    return f" at address {reason.fault_address:#x}" if reason.signal in faults and reason.si_code > 0 else ""


def _refusals(report: report_pb2.Report) -> str:
    """Return what became of the violations of a run that went on."""
    allowed = sum(violation.count or 1 for violation in report.violations if violation.allowed)
    refused = sum(violation.count or 1 for violation in report.violations if not violation.allowed)
    if report.mode == "permissive":
        words = [f"{_calls(allowed)} would be refused, and happened"] if allowed else []
        words += [f"{_calls(refused)} {_were(refused)} refused all the same"] if refused else []
        return "; ".join(words)
    refused += report.violations_dropped
    return f"{_calls(refused)} {_were(refused)} refused on the way"


def _calls(count: int) -> str:
    return "one call" if count == 1 else f"{count} calls"


def _threads(count: int) -> str:
    return "One thread of the caller's process is" if count == 1 else f"{count} threads of the caller's process are"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _setup_failure(failure: report_pb2.SetupFailureReport, width: int) -> list[str]:
    lines = ["Set-up failure"]
    lines += labelled("step", failure.step, width)
    if failure.path:
        lines += labelled("object", failure.path, width)
    if failure.errno:
        name = errno.errorcode.get(failure.errno, str(failure.errno))
        lines += labelled("error", f"{os.strerror(failure.errno)} ({name})", width)
    if failure.hint:
        lines += labelled("remedy", failure.hint, width)
    return lines


def _limit(limit: report_pb2.LimitReached, width: int) -> list[str]:
    amounts = f"allowed {_amount(limit.name, limit.allowed)}, measured {_amount(limit.name, limit.measured)}"
    return paragraph(f"Limit {limit.name}: {amounts}", width)


def _amount(name: str, value: float) -> str:
    if name in _CLOCKS:
        return f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"
    return f"{value:g}" if name in _COUNTS else f"{format_size(int(value))} bytes"


def _notes(report: report_pb2.Report, width: int) -> list[list[str]]:
    """Return what a reader of the verdict has to know: recorded calls, hooks that can be raced, lost layers."""
    notes = []
    if report.logged:
        calls = [f"{call.syscall} {call.count} times (for example {call.example})" for call in report.logged]
        notes.append(paragraph(f"Recorded and allowed: {'; '.join(calls)}", width))
    if report.advisory_hooks:
        names = ", ".join(report.advisory_hooks)
        text = f"Advisory hooks: {names}. They decided by memory that the program could change afterwards"
        notes.append(paragraph(text, width))
    if report.abandoned_threads:
        words = _threads(report.abandoned_threads)
        notes.append(paragraph(f"{words} left behind in hooks that did not return", width))
    if report.monitor not in ("", "ptrace"):
        notes.append(paragraph(f"Monitor: {report.monitor}", width))
    weak = [layer for layer in report.layers if layer.state in (report_pb2.Layer.DEGRADED, report_pb2.Layer.LOST)]
    if weak:
        notes.append(paragraph(f"Degraded layers: {'; '.join(f'{each.name} ({each.detail})' for each in weak)}", width))
    return notes
