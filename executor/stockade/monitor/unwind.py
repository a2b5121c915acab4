"""The stack of a stopped task: return addresses with the file and the offset that they lie in. x86_64, i386.

Where code keeps frame pointers, their chain is followed, each link checked. Where it does not, the stack is searched
for words that point just behind a call instruction; old words that nobody has overwritten look the same, so such a
frame is a guess, and says so (`found_by`). The stack belongs to a program that may be hostile: everything is bounded,
the walk only goes up, and what cannot be read ends it.
"""

from __future__ import annotations

from collections.abc import Collection

from stockade._proto import report_pb2
from stockade.monitor.code import Code, PageReader
from stockade.monitor.decode_memory import Reader, read_exactly
from stockade.monitor.maps import UNMAPPED, Mapping, MemoryMap
from stockade.text import escape

MAXIMUM_FRAMES = 64
# Bytes of the stack that are searched without coming upon a frame pointer.
SEARCHED = 65536
# Return addresses this close behind the entry of a program are in its first function, which nothing has called.
ENTRY_SIZE = 64
# In the frame that the kernel makes for a signal handler, from the address that the handler returns to: the registers
# that the signal found. sigreturn(2); struct rt_sigframe, struct sigcontext_64
SIGNAL_RBP, SIGNAL_RSP, SIGNAL_RIP = 128, 168, 176

PC, FRAME_POINTER, SCAN, SIGNAL_FRAME = "pc", "frame pointer", "scan", "signal frame"


def unwind(
    reader: Reader,
    memory_map: MemoryMap,
    pc: int,
    sp: int,
    fp: int | None,
    *,
    word: int = 8,
    entries: Collection[int] = (),
) -> list[report_pb2.Frame]:
    """Return the frames of a task, innermost first, at most 64. Never raises for what its memory holds.

    `pc`, `sp`, `fp` are its registers (no `fp`: not known), `word` is the size of a pointer in bytes, `entries` are
    addresses at which stacks begin: the walk ends there.
    """
    walk = _Walk(reader, memory_map, word, entries)
    walk.go(pc, sp, fp)
    return walk.frames


class _EndOfWalk(Exception):  # noqa: N818  (no error)
    """The walk is over."""


class _Resumed(Exception):  # noqa: N818  (no error: the walk goes on)
    """The walk goes on in the code that a signal has interrupted."""

    def __init__(self, pc: int, sp: int, fp: int) -> None:
        super().__init__()
        self.pc, self.sp, self.fp = pc, sp, fp


class _Walk:
    """One walk."""

    def __init__(self, reader: Reader, memory_map: MemoryMap, word: int, entries: Collection[int]) -> None:
        self.frames: list[report_pb2.Frame] = []
        self._reader = PageReader(reader)
        self._map = memory_map
        self._code = Code(self._reader, memory_map)
        self._word = word
        self._entries = entries

    def go(self, pc: int, sp: int, fp: int | None) -> None:
        found_by = PC
        while True:
            try:
                self._add(pc, found_by)
                self._walk_stack(pc, sp, fp)
                return
            except _Resumed as there:
                pc, sp, fp, found_by = there.pc, there.sp, there.fp, SIGNAL_FRAME
            except (_EndOfWalk, OSError):
                return

    def _add(self, address: int, found_by: str) -> None:
        if len(self.frames) >= MAXIMUM_FRAMES:
            raise _EndOfWalk
        mapping = self._map.at(address)
        name, offset = (mapping.name, mapping.place(address)) if mapping else (UNMAPPED, 0)
        self.frames.append(report_pb2.Frame(address=address, module=escape(name), offset=offset, found_by=found_by))
        if any(0 <= address - entry < ENTRY_SIZE for entry in self._entries):
            raise _EndOfWalk

    def _walk_stack(self, pc: int, sp: int, fp: int | None) -> None:
        stack = self._map.at(sp)
        if stack is None:
            return
        slot = sp + -sp % self._word
        chain = fp if fp is not None and self._is_frame(fp, slot, stack) else None
        if chain is not None and self._code.is_within_function_called(pc, self._value(chain + self._word)):
            slot = chain
        end = min(stack.end, slot + SEARCHED)
        while slot < end:
            if chain is not None and slot >= chain:
                slot, chain = self._follow(chain, stack), None
                end = min(stack.end, slot + SEARCHED)
                continue
            value = self._value(slot)
            if self._code.is_return_address(value):
                self._returns_to(value, slot, SCAN)
                if chain is None:
                    chain, slot = self._chain_above(value, slot, stack)
            slot += self._word

    def _chain_above(self, address: int, slot: int, stack: Mapping) -> tuple[int | None, int]:
        """Look for a saved frame pointer below the return address at `slot`: (chain, where to go on)."""
        saved = self._value(slot - self._word) if slot > stack.start else 0
        if not self._is_frame(saved, slot, stack):
            return None, slot
        if self._code.is_within_function_called(address, self._value(saved + self._word)):
            return saved, saved - self._word
        return saved, slot

    def _follow(self, fp: int, stack: Mapping) -> int:
        """Follow a chain of frame pointers to its end; return the address of the first word above."""
        while True:
            above = fp + 2 * self._word
            self._returns_to(self._value(fp + self._word), fp + self._word, FRAME_POINTER)
            following = self._value(fp)
            if not self._is_frame(following, above, stack):
                return above
            fp = following

    def _is_frame(self, fp: int, lowest: int, stack: Mapping) -> bool:
        """Whether `fp` may be a frame pointer: in the stack, above what has been seen, below a return address."""
        if fp % self._word or not lowest <= fp <= stack.end - 2 * self._word:
            return False
        try:
            return self._code.is_return_address(self._value(fp + self._word))
        except OSError:
            return False

    def _returns_to(self, address: int, slot: int, found_by: str) -> None:
        if self._word == 8 and self._code.is_signal_return(address):
            rbp, rsp, rip = (self._value(slot + place) for place in (SIGNAL_RBP, SIGNAL_RSP, SIGNAL_RIP))
            if self._may_have_run(rip, rsp):
                raise _Resumed(rip, rsp, rbp)
            return  # the same address in a struct sigaction, or what an earlier handler has left
        self._add(address, found_by)

    def _may_have_run(self, rip: int, rsp: int) -> bool:
        """Whether code can have been interrupted there, with its stack there."""
        stack = self._map.at(rsp)
        return self._map.code_at(rip) is not None and stack is not None and "w" in stack.permissions

    def _value(self, address: int) -> int:
        return int.from_bytes(read_exactly(self._reader, address, self._word), "little")
