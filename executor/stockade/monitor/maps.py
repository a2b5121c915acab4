"""Which file, and which place in it, an address of a process belongs to. Source: proc_pid_maps(5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ANONYMOUS = "[anonymous]"
UNMAPPED = "[unmapped]"


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
            return mapping.name, mapping.offset + address - mapping.start
    return UNMAPPED, 0
