"""How far a program had come when it made a call: an estimate, from its stack and from what it has done so far.

"before main": a frame of its own `main` is not on the stack, and the stack goes back to where the program, or its
dynamic loader, was entered. What libraries and constructors do before `main` counts as this. "start-up": `main` runs,
and the process has had no thread and no child, as far as is known, and has used little CPU time. "steady": all else. It
is the process that made the call which is judged, since it began to run its present program.
"""

from __future__ import annotations

import os

from stockade._proto import report_pb2
from stockade.kernel.process import read_small_file
from stockade.monitor.picture import Picture
from stockade.monitor.unwind import ENTRY_SIZE

BEFORE_MAIN, START_UP, STEADY = "before main", "start-up", "steady"
# Seconds of CPU time after which a process without threads and children is past its start.
START_UP_CPU = 0.1
# The C library's start code loads the address of main into the first argument's register soon after the entry:
# lea main(%rip),%rdi; mov main@GOTPCREL(%rip),%rdi; mov $main,%rdi
START_CODE = 128
LOADS_OF_MAIN = (b"\x48\x8d\x3d", b"\x48\x8b\x3d", b"\x48\xc7\xc7")
# What follows its call of main: mov %eax,%edi; call exit. That call is among the outermost frames.
AFTER_MAIN = b"\x89\xc7\xe8"
MOST_START_FRAMES = 6


def phase(picture: Picture, *, has_company: bool = False) -> str:
    """Estimate the phase of the stopped task's process. `has_company`: it is known to have had a child or a thread."""
    pid = picture.pid
    if picture.tid == pid and _is_before_main(picture):
        return BEFORE_MAIN
    if int(picture.status.get("Threads", "1")) > 1 or picture.tid != pid:
        return STEADY
    return STEADY if has_company or _has_worked(pid) else START_UP


def _is_before_main(picture: Picture) -> bool:
    frames = picture.frames
    if not frames:
        return False
    outermost = frames[-1].address
    if picture.loader_entry and 0 <= outermost - picture.loader_entry < ENTRY_SIZE:
        return True
    entry = picture.entry
    if not entry or not 0 <= outermost - entry < ENTRY_SIZE:
        return False  # it cannot be seen where the stack begins
    if len(frames) == 1:
        return True
    if _loads_main(picture, entry):
        return not any(_is_call_of_main(picture, frame) for frame in frames[-MOST_START_FRAMES:])
    return not any(frame.module == frames[-1].module for frame in frames[:-1])


def _is_call_of_main(picture: Picture, frame: report_pb2.Frame) -> bool:
    try:
        return picture.memory.read_memory(frame.address, len(AFTER_MAIN)) == AFTER_MAIN
    except OSError:
        return False


def _loads_main(picture: Picture, entry: int) -> bool:
    """Whether the code at the entry is the start code of a C library."""
    try:
        code = picture.memory.read_memory(entry, START_CODE)
    except OSError:
        return False
    return any(instruction in code for instruction in LOADS_OF_MAIN)


def _has_worked(pid: int) -> bool:
    """Whether the process has waited for children, or has used some CPU time. proc_pid_stat(5)"""
    try:
        fields = read_small_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return False
    faults_of_children, own, of_children = int(fields[8]) + int(fields[10]), fields[11:13], fields[13:15]
    if faults_of_children or any(int(ticks) for ticks in of_children):
        return True
    return sum(int(ticks) for ticks in own) >= START_UP_CPU * os.sysconf("SC_CLK_TCK")
