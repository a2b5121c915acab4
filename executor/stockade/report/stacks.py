"""Stacks as text: one line for each frame."""

from __future__ import annotations

from collections.abc import Sequence

from stockade._proto import report_pb2
from stockade.wrap import INDENT, SMALLEST_WIDTH, paragraph

# What is said of a frame that is not certain.
_DOUBTS = {"scan": "perhaps", "signal frame": "interrupted by a signal"}
MEANING = "; perhaps: a word of the stack that looks like a return address"
# Threads whose stacks are shown; the message has them all.
MAXIMUM_STACKS = 16


def frame_lines(frames: Sequence[report_pb2.Frame], width: int, indent: str) -> list[str]:
    """Return the frames, innermost first: `#0 /lib/libc.so.6+0x10f5a2 (write)`."""
    digits = len(str(max(len(frames) - 1, 0)))
    lines = []
    for number, frame in enumerate(frames):
        place = f"{frame.module}+{frame.offset:#x}" if frame.module else f"{frame.address:#x}"
        notes = [note for note in (frame.symbol, _DOUBTS.get(frame.found_by, "")) if note]
        text = f"#{number:<{digits}} {place}{_in_brackets(notes)}"
        lines += paragraph(text, width, indent=indent)
    return lines


def stack_blocks(stacks: Sequence[report_pb2.ThreadStack], width: int) -> list[list[str]]:
    """Return a block of lines for each thread, and one that says how many further ones there are."""
    blocks = [_stack(stack, width) for stack in stacks[:MAXIMUM_STACKS]]
    if len(stacks) > MAXIMUM_STACKS:
        left = len(stacks) - MAXIMUM_STACKS
        blocks.append(paragraph(f"{left} further thread{'' if left == 1 else 's'} with stacks in the result.", width))
    return blocks


def format_stacks(stacks: Sequence[report_pb2.ThreadStack], width: int = 100) -> str:
    """Return stacks, such as those of `Process.dump_stack_trace`, as text that is safe to print, with a line break.

    Says so when there are none.
    """
    blocks = stack_blocks(stacks, max(width, SMALLEST_WIDTH)) or [["No stacks: the program does not run."]]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _stack(stack: report_pb2.ThreadStack, width: int) -> list[str]:
    name = f' "{stack.name}"' if stack.name else ""
    of = f" of process {stack.pid}" if stack.pid != stack.tid else ""
    doubtful = MEANING if any(frame.found_by == "scan" for frame in stack.frames) else ""
    lines = paragraph(f"Stack of thread {stack.tid}{name}{of}{doubtful}:", width)
    if not stack.frames:
        return lines + paragraph(stack.missing or "no frame was found", width, indent=INDENT)
    return lines + frame_lines(stack.frames, width, INDENT)


def _in_brackets(notes: Sequence[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""
