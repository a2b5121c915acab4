"""Which file, and which place in it, an address of a process belongs to. Source: proc_pid_maps(5)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

ANONYMOUS = "[anonymous]"
UNMAPPED = "[unmapped]"
# A file is mapped in a few parts, one after the other.
MOST_PARTS = 16


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line of /proc/<pid>/maps: addresses from `start` up to, but not including, `end`."""

    start: int
    end: int
    # As the kernel writes them: "r-xp"
    permissions: str
    # Of `start` in the file; 0 when there is no file
    offset: int
    # Path of the file, a name in brackets such as "[vdso]", or "[anonymous]"
    name: str

    @property
    def is_executable(self) -> bool:
        """Whether code in it may run."""
        return "x" in self.permissions

    def place(self, address: int) -> int:
        """Offset in the file of an address within the mapping."""
        return self.offset + address - self.start


def parse(text: str) -> Iterator[Mapping]:
    """Give the mappings of a maps file in order. Lines that are not whole are passed over (the text may be cut).

    The program chooses the names of its files: they are as they are, a line break included; escape them to print them.
    """
    for line in text.split("\n"):  # no splitlines: a name may hold form feeds and the like
        fields = line.split(" ", 5)
        if len(fields) < 5:
            continue
        start, _, end = fields[0].partition("-")
        try:
            first, last, offset = int(start, 16), int(end, 16), int(fields[2], 16)
        except ValueError:
            continue
        # The kernel pads before a name, and writes a line break in it, but nothing else, in octal.
        name = fields[5].lstrip(" ").replace("\\012", "\n") if len(fields) == 6 else ""
        yield Mapping(first, last, fields[1], offset, name or ANONYMOUS)


def find(text: str, address: int) -> tuple[str, int]:
    """Return (name, offset) for an address: the file that is mapped there and the address's offset in that file.

    For memory that is no file the name is in brackets ("[anonymous]", "[stack]", "[vdso]") and the offset counts from
    the start of the mapping; where nothing is mapped it is ("[unmapped]", 0). `text` is that of /proc/<pid>/maps.
    """
    for mapping in parse(text):
        if mapping.start <= address < mapping.end:
            return mapping.name, mapping.place(address)
    return UNMAPPED, 0


class MemoryMap:
    """The mappings of a process, made to be asked often. `text` is that of /proc/<pid>/maps."""

    def __init__(self, text: str) -> None:
        self._mappings = sorted(parse(text), key=lambda mapping: mapping.start)
        self._starts = [mapping.start for mapping in self._mappings]
        code = [mapping for mapping in self._mappings if mapping.is_executable]
        self._first_code = code[0].start if code else 0
        self._end_of_code = max((mapping.end for mapping in code), default=0)

    def at(self, address: int) -> Mapping | None:
        """The mapping that holds an address."""
        index = bisect_right(self._starts, address) - 1
        if index < 0 or address >= self._mappings[index].end:
            return None
        return self._mappings[index]

    def code_at(self, address: int) -> Mapping | None:
        """The executable mapping that holds an address. Cheap for addresses far from any code."""
        if not self._first_code <= address < self._end_of_code:
            return None
        mapping = self.at(address)
        return mapping if mapping is not None and mapping.is_executable else None

    def start_of_file(self, mapping: Mapping) -> Mapping | None:
        """The mapping of the first bytes of the file that `mapping` is a part of: where its ELF header is."""
        index = bisect_right(self._starts, mapping.start) - 1
        for candidate in reversed(self._mappings[max(0, index - MOST_PARTS) : index + 1]):
            if candidate.name == mapping.name and candidate.offset == 0:
                return candidate
        return None
