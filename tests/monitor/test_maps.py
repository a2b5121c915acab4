"""/proc/<pid>/maps: which file an address belongs to, with this process's own maps."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.monitor.maps import MemoryMap, find, parse


def own_maps() -> str:
    return os.fsdecode(Path("/proc/self/maps").read_bytes())


def test_a_function_of_the_c_library() -> None:
    """The offset is that in the file: the bytes there are the bytes in memory."""
    address = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value
    assert address is not None
    name, offset = find(own_maps(), address)
    assert name.startswith("/")
    with open(name, "rb") as file:
        file.seek(offset)
        assert file.read(16) == ctypes.string_at(address, 16)


def test_all_lines_of_this_process_are_understood() -> None:
    text = own_maps()
    found = list(parse(text))
    assert len(found) == len(text.splitlines())
    assert any(mapping.permissions.startswith("r-x") for mapping in found)
    assert {"[stack]"} <= {mapping.name for mapping in found}


def test_anonymous_memory() -> None:
    memory = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    name, offset = find(own_maps(), address)
    assert name in ("[anonymous]", "/dev/zero (deleted)")
    assert offset >= 0


@pytest.mark.parametrize("name", ["with space", "line\nbreak", "form\ffeed", "ends in blank ", "\x1b[31m", "é"])
def test_names_of_files_are_as_they_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(8192))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8192) as memory:
        view = ctypes.c_char.from_buffer(memory)
        address = ctypes.addressof(view)
        assert find(own_maps(), address + 4100) == (str(path), 4100)
        del view


def test_a_deleted_file_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "gone"
    path.write_bytes(bytes(4096))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as memory:
        path.unlink()
        view = ctypes.c_char.from_buffer(memory)
        address = ctypes.addressof(view)
        assert find(own_maps(), address) == (f"{path} (deleted)", 0)
        del view


LINES = """\
555555554000-555555556000 r--p 00001000 fe:01 123                        /usr/bin/x
7ffff7fc1000-7ffff7fc5000 r--p 00000000 00:00 0                          [vvar]
7ffff7fc5000-7ffff7fc7000 r-xp 00000000 00:00 0                          [vdso]
7ffff7fd0000-7ffff7fd1000 rw-p 00000000 00:00 0 
7ffff7fd1000-7ffff7fd2000 rw-p 00000000 00:00 0                          [anon:it]
"""  # noqa: W291


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (0x555555554000, ("/usr/bin/x", 0x1000)),
        (0x555555555FFF, ("/usr/bin/x", 0x2FFF)),
        (0x555555556000, ("[unmapped]", 0)),
        (0x7FFFF7FC5010, ("[vdso]", 0x10)),
        (0x7FFFF7FD0020, ("[anonymous]", 0x20)),
        (0x7FFFF7FD1000, ("[anon:it]", 0)),
        (0, ("[unmapped]", 0)),
        (2**64 - 1, ("[unmapped]", 0)),
    ],
)
def test_places(address: int, place: tuple[str, int]) -> None:
    assert find(LINES, address) == place


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    assert isinstance(list(parse(text)), list)


@given(st.integers(0, len(LINES)))
def test_a_cut_text_gives_the_whole_lines(end: int) -> None:
    whole = [(mapping.start, mapping.end) for mapping in parse(LINES)]
    assert [(m.start, m.end) for m in parse(LINES[:end])] == whole[: len(list(parse(LINES[:end])))]


def test_a_map_that_is_asked_often() -> None:
    memory_map = MemoryMap(LINES)
    code = memory_map.at(0x7FFFF7FC5010)
    assert code is not None
    assert (code.name, code.is_executable, code.place(0x7FFFF7FC5010)) == ("[vdso]", True, 0x10)
    assert memory_map.code_at(0x7FFFF7FC5010) is code
    assert memory_map.code_at(0x555555554000) is None
    assert [memory_map.at(address) for address in (0, 0x555555553FFF, 0x555555556000, 2**64)] == [None] * 4
    assert MemoryMap("").at(5) is None
    assert MemoryMap("").code_at(5) is None


def test_where_a_file_begins() -> None:
    text = "1000-2000 r--p 00000000 0:0 1 /a\n2000-3000 r-xp 00001000 0:0 1 /a\n3000-4000 r-xp 00000000 0:0 2 /b\n"
    memory_map = MemoryMap(text + "5000-6000 r-xp 00001000 0:0 3 /c\n")
    starts = {}
    for address in (0x2000, 0x3000, 0x5000):
        mapping = memory_map.at(address)
        assert mapping is not None
        start = memory_map.start_of_file(mapping)
        starts[address] = start.start if start else None
    assert starts == {0x2000: 0x1000, 0x3000: 0x3000, 0x5000: None}


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.integers(0, 2**64 - 1))
def test_the_map_agrees_with_a_plain_search(edges: list[int], address: int) -> None:
    pairs = list(zip(sorted(set(edges))[::2], sorted(set(edges))[1::2], strict=False))
    text = "".join(f"{start:x}-{end:x} r-xp 00000000 0:0 1 /f{start}\n" for start, end in pairs)
    for asked in (address, *edges):
        found = MemoryMap(text).at(asked)
        assert find(text, asked)[0] == (found.name if found else "[unmapped]")
