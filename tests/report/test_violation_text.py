"""What the report says of where a violation came from, and stacks as text."""

from __future__ import annotations

import pytest

from stockade._proto import report_pb2
from stockade.report.stacks import format_stacks
from stockade.report.violations import format_violation
from stockade.wrap import cells

HOSTILE = "\x1b]0;owned\x07\r\n\u202edrawkcab"


def violation() -> report_pb2.Violation:
    made = report_pb2.Violation(
        kind=report_pb2.Violation.SYSCALL,
        syscall="socket",
        program="/usr/bin/tool",
        pid=7,
        command_line=["tool", "--net"],
        module="/lib/libc.so.6",
        module_offset=0x1234,
        phase="start-up",
    )
    made.mapping.build_id = "ab" * 20
    made.parents.add(pid=6, command_line=["sh", "-c", "tool --net"])
    made.parents.add(pid=5, program="/usr/bin/make")
    made.stack.add(address=1, module="/lib/libc.so.6", offset=0x1234, found_by="pc")
    made.stack.add(address=2, module="/usr/bin/tool", offset=0x99, found_by="scan")
    made.stack.add(address=3, module="/usr/bin/tool", offset=0x77, found_by="signal frame")
    return made


def test_where_it_came_from() -> None:
    assert format_violation(violation(), "Violation", 120, refused_only=False) == [
        "Violation: socket()",
        "  why       system call (number 0 on ): the policy does not allow it",
        "  program   /usr/bin/tool, pid 7",
        "  command   tool --net",
        "  parents   6: sh -c tool --net",
        "            5: /usr/bin/make",
        f"  at        /lib/libc.so.6+0x1234 (build id {'ab' * 20})",
        "  phase     start-up (an estimate)",
        "  rule      no rule is near",
        "  stack, innermost call first; perhaps: a word of the stack that looks like a return address:",
        "    #0 /lib/libc.so.6+0x1234",
        "    #1 /usr/bin/tool+0x99 (perhaps)",
        "    #2 /usr/bin/tool+0x77 (interrupted by a signal)",
    ]


def test_long_commands_and_stacks_are_cut() -> None:
    made = violation()
    made.command_line.append("x" * 5000)
    for number in range(40):
        made.stack.add(address=number, module="/m", offset=number)
    text = "\n".join(format_violation(made, "Violation", 100, refused_only=False))
    assert "x" * 300 not in text.replace("\n            ", "")
    assert "and 27 more" in text
    assert "#16" not in text


@pytest.mark.parametrize("width", [40, 60, 100])
def test_hostile_text_stays_within_the_lines(width: int) -> None:
    made = violation()
    made.command_line[:] = [HOSTILE * 9, HOSTILE]
    made.parents[0].command_line[:] = [HOSTILE]
    made.mapping.build_id = HOSTILE
    made.stack[1].module = HOSTILE
    lines = format_violation(made, "Violation", width, refused_only=False)
    assert all(line.isprintable() and cells(line) <= width for line in lines)


def test_stacks_as_text() -> None:
    stack = report_pb2.ThreadStack(pid=7, tid=8, name="worker")
    stack.frames.add(address=5, module="/m", offset=5, found_by="pc")
    text = format_stacks([stack, report_pb2.ThreadStack(pid=7, tid=9, missing="it ended")])
    assert (
        text == 'Stack of thread 8 "worker" of process 7:\n  #0 /m+0x5\n\nStack of thread 9 of process 7:\n  it ended\n'
    )
    assert format_stacks([]) == "No stacks: the program does not run.\n"
    hostile = report_pb2.ThreadStack(name=HOSTILE, missing=HOSTILE)
    assert all(line.isprintable() for line in format_stacks([hostile], 40).splitlines())
