"""What the traced calls cost, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from stockade._proto import report_pb2
from stockade.wrap import INDENT, cells, paragraph, printable

# Calls that are shown; the message has them all.
MAXIMUM_ROWS = 40
_NAME_WIDTH = 16
_TABLE_INDENT = 2
# (heading, width)
_COLUMNS = (("count", 8), ("errors", 8), ("total", 10), ("longest", 10), ("deciding", 10))
# Which columns stay when there is less room, the dearest first.
_DEAREST = ("count", "total", "errors", "longest", "deciding")


def trace_summary_blocks(summary: report_pb2.TraceSummary, width: int, *, prefix: str = "") -> list[list[str]]:
    """Return the blocks about the traced calls: the table by name, and the slowest single calls.

    The first line begins with `prefix`.
    """
    if not summary.calls:
        return [[f"{prefix}traced calls: none"]]
    blocks = [[*paragraph(prefix + _heading(summary), width), *_table(summary.calls, width)]]
    if summary.slowest:
        lines = ["Slowest:"]
        for call in summary.slowest:
            text = f"{format_time(call.time)} {call.text}, thread {call.tid}, after {format_time(call.at / 1e9)}"
            lines += paragraph(text, width, indent=INDENT)
        blocks.append(lines)
    return blocks


def format_time(seconds: float) -> str:
    """Return a short time with three digits and its unit: "1.50 s", "12.3 ms", "456 us"; "0" for none."""
    if not seconds:
        return "0"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        value = seconds * factor
        if value >= 1 or unit == "us":
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError("the last unit fits always")


def _heading(summary: report_pb2.TraceSummary) -> str:
    count = sum(call.count for call in summary.calls)
    total = sum(call.total_time for call in summary.calls)
    deciding = sum(call.decision_time for call in summary.calls)
    plural = "" if count == 1 else "s"
    return (
        f"traced calls: {count} call{plural}, {format_time(deciding)} until they were decided, "
        f"{format_time(total)} from then to their return"
    )


def _table(calls: Sequence[report_pb2.TracedCall], width: int) -> list[str]:
    names = [_cut(printable(call.syscall), max(_NAME_WIDTH, width // 3)) for call in calls[:MAXIMUM_ROWS]]
    column = max(_NAME_WIDTH, *(cells(name) for name in names))
    shown = _columns(width - _TABLE_INDENT - column)
    lines = [_row("call", column, [(heading, size) for heading, size in _COLUMNS if heading in shown])]
    for name, call in zip(names, calls, strict=False):
        values = {
            "count": str(call.count),
            "errors": str(call.errors) if call.errors else "",
            "total": format_time(call.total_time),
            "longest": format_time(call.longest_time),
            "deciding": format_time(call.decision_time),
        }
        lines.append(_row(name, column, [(values[heading], size) for heading, size in _COLUMNS if heading in shown]))
    if len(calls) > MAXIMUM_ROWS:
        lines.append(f"{INDENT}and {len(calls) - MAXIMUM_ROWS} more")
    return lines


def _columns(room: int) -> set[str]:
    """Return the headings of the columns that fit into `room`."""
    sizes, shown = dict(_COLUMNS), set()
    for heading in _DEAREST:
        room -= sizes[heading]
        if room < 0:
            break
        shown.add(heading)
    return shown


def _row(name: str, column: int, values: Sequence[tuple[str, int]]) -> str:
    padding = " " * (column - cells(name))
    return f"{INDENT}{name}{padding}{''.join(f' {value:>{size - 1}}' for value, size in values)}".rstrip()


def _cut(name: str, most: int) -> str:
    return name if cells(name) <= most else name[: most - 1] + "…"
