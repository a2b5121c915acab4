"""One task as it stands, looked at from several sides: its registers, memory map, starting points and stack.

Everything is read once and kept, because a violation, its stack and its phase ask for the same. For a task that is
stopped by us, or blocked in a call; what cannot be had is empty.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cached_property

from stockade._proto import report_pb2
from stockade.kernel import ptrace
from stockade.kernel.process import read_small_file
from stockade.monitor.build_id import build_id
from stockade.monitor.decode_memory import read_exactly
from stockade.monitor.maps import UNMAPPED, MemoryMap
from stockade.monitor.memory import TaskMemory
from stockade.monitor.unwind import unwind
from stockade.text import escape

# getauxval(3)
AT_BASE, AT_ENTRY = 7, 9
REGISTERS = tuple(str(name) for name, *_ in ptrace.Registers._fields_)
# Code segment of a task that runs 32-bit code. The kernel's __USER32_CS
CODE_SEGMENT_32 = 0x23


class Picture:
    """A task. `registers` are those that are known by their names; without any, those of the stopped task are read."""

    def __init__(self, tid: int, registers: Mapping[str, int] | None = None) -> None:
        self.tid = tid
        self.memory = TaskMemory(tid)
        self._given = registers

    @cached_property
    def registers(self) -> Mapping[str, int]:
        """Registers by name; empty when the task is not stopped by this thread."""
        if self._given is not None:
            return self._given
        try:
            found = ptrace.get_registers(self.tid)
        except OSError:
            return {}
        return {name: getattr(found, name) for name in REGISTERS}

    @cached_property
    def memory_map(self) -> MemoryMap:
        """What is mapped where."""
        return MemoryMap(self.memory.maps())

    @cached_property
    def status(self) -> Mapping[str, str]:
        """Lines of /proc/<tid>/status."""
        return self.memory.status()

    @property
    def pid(self) -> int:
        """Thread group on the host."""
        return int(self.status.get("Tgid", self.tid))

    @cached_property
    def entry(self) -> int:
        """Address of the program's first instruction, 0 when it cannot be told."""
        return self._auxiliary.get(AT_ENTRY, 0)

    @cached_property
    def loader_entry(self) -> int:
        """Address of the dynamic loader's first instruction, 0 for a static program."""
        base = self._auxiliary.get(AT_BASE, 0)
        if not base:
            return 0
        try:
            header = read_exactly(self.memory, base, 32)
        except OSError:
            return 0
        return base + struct.unpack_from("<Q", header, 24)[0] if header[:5] == b"\x7fELF\x02" else 0

    @cached_property
    def _auxiliary(self) -> Mapping[int, int]:
        try:
            raw = read_small_file(f"/proc/{self.tid}/auxv", size=4096)
        except OSError:
            return {}
        return dict(struct.iter_unpack("<QQ", raw[: len(raw) & ~15]))

    @cached_property
    def frames(self) -> list[report_pb2.Frame]:
        """The stack, innermost frame first; none when the registers are not known."""
        registers = self.registers
        if "rip" not in registers:
            return []
        word = 4 if registers.get("cs") == CODE_SEGMENT_32 else 8
        entries = [entry for entry in (self.entry, self.loader_entry) if entry]
        places = registers["rip"], registers["rsp"], registers.get("rbp")
        return unwind(self.memory, self.memory_map, *places, word=word, entries=entries)

    def mapping(self, address: int) -> report_pb2.Mapping | None:
        """The line of the memory map that holds an address, with the build id of the file."""
        found = self.memory_map.at(address)
        if found is None:
            return None
        first = self.memory_map.start_of_file(found)
        return report_pb2.Mapping(
            start=found.start,
            end=found.end,
            permissions=found.permissions,
            offset=found.offset,
            path=escape(found.name),
            build_id=build_id(self.memory, first.start) if first is not None else "",
        )

    def module(self, address: int) -> tuple[str, int]:
        """Name of the file, or name in brackets, that an address lies in, and the offset there."""
        found = self.memory_map.at(address)
        return (escape(found.name), found.place(address)) if found else (UNMAPPED, 0)

    def thread_stack(self, missing: str = "it ended before it could be looked at") -> report_pb2.ThreadStack:
        """The stack as a message; `missing` says why there is none, if there is none."""
        frames = self.frames
        return report_pb2.ThreadStack(
            pid=self.pid,
            tid=self.tid,
            name=escape(self.memory.name()),
            frames=frames,
            registers=self.registers,
            missing="" if frames else missing,
        )
