"""Reading of ELF files, compared with pyelftools, and with hostile ones."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment
from hypothesis import given
from hypothesis import strategies as st

from stockade.errors import PolicyError, SetupError
from stockade.kernel.binfmt import BinfmtError, open_regular, read_elf_header, read_script_line
from stockade.policy.box.elf import Elf, read_elf
from stockade.policy.box.libraries import libraries_for_binary
from support.compiler import CCompiler
from support.elf import make_elf, program_header

INTERESTING = ["gzip", "bash", "python3", "env", "perl", "git", "gcc", "ld", "tar"]


def system_files() -> list[Path]:
    programs = [Path("/usr/bin") / name for name in INTERESTING]
    libraries = sorted(Path("/usr/lib/x86_64-linux-gnu").glob("lib[a-d]*.so.[0-9]"))[:30]
    return [path for path in [*programs, *libraries] if path.is_file()]


def by_pyelftools(path: Path) -> tuple[object, ...]:
    with open(path, "rb") as stream:
        elf = ELFFile(stream)
        segments = list(elf.iter_segments())
        interpreter = next((s.get_interp_name() for s in segments if isinstance(s, InterpSegment)), None)
        tags = [tag for s in segments if isinstance(s, DynamicSegment) for tag in s.iter_tags()]
        # Values that pyelftools sets by name, which type checkers do not see.
        found = {tag.entry.d_tag: getattr(tag, tag.entry.d_tag[3:].lower(), None) for tag in tags}
        needed = tuple(getattr(tag, "needed") for tag in tags if tag.entry.d_tag == "DT_NEEDED")  # noqa: B009
        soname, rpath, runpath = found.get("DT_SONAME"), found.get("DT_RPATH") or "", found.get("DT_RUNPATH") or ""
        paths = [tuple(dict.fromkeys(part for part in text.split(":") if part)) for text in (rpath, runpath)]
        return elf.elfclass, interpreter, needed, soname, *paths


def test_it_agrees_with_pyelftools_on_the_files_of_this_system() -> None:
    files = system_files()
    assert len(files) > 10
    for path in files:
        elf = read_elf(str(path))
        assert elf is not None, path
        ours = elf.bits, elf.interpreter, elf.needed, elf.soname, elf.rpath, elf.runpath
        assert ours == by_pyelftools(path), path


@pytest.mark.parametrize("kind", ["rpath", "runpath"])
def test_search_paths(compile_c: CCompiler, kind: str) -> None:
    tags = "--disable-new-dtags" if kind == "rpath" else "--enable-new-dtags"
    option = f"-Wl,-rpath,/opt/one:$ORIGIN/two::/opt/one,{tags}"
    program = compile_c("int main(void) { return 0; }", static=False, options=(option,))
    elf = read_elf(str(program))
    assert elf is not None
    found = {"rpath": elf.rpath, "runpath": elf.runpath}
    assert found.pop(kind) == ("/opt/one", "$ORIGIN/two")
    assert list(found.values()) == [()]


def test_a_static_program_needs_nothing(compile_c: CCompiler) -> None:
    elf = read_elf(str(compile_c("int main(void) { return 0; }")))
    assert elf is not None
    assert (elf.interpreter, elf.needed) == (None, ())


def test_nodeflib(compile_c: CCompiler) -> None:
    program = compile_c("int main(void) { return 0; }", static=False, options=("-Wl,-z,nodefaultlib",))
    elf = read_elf(str(program))
    assert elf is not None
    assert elf.no_default


def test_what_is_not_elf(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_text("")
    assert read_elf(str(tmp_path / "text")) is None
    assert read_elf(str(tmp_path / "empty")) is None


@pytest.mark.parametrize("kind", ["directory", "fifo", "device", "missing"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)  # opening it for reading would block for ever
    elif kind == "device":
        path = Path("/dev/null")
    with pytest.raises(OSError, match=r"regular|directory|No such"):
        read_elf(str(path))


def read_bytes(directory: Path, content: bytes) -> Elf | None:
    path = directory / "made"
    path.write_bytes(content)
    return read_elf(str(path))


def test_the_made_file_is_a_good_one(tmp_path: Path) -> None:
    """The positive control of the hostile ones below."""
    content = make_elf(interpreter=b"/lib/ld.so\0", dynamic=[(1, 1), (14, 6)], strings=b"\0a.so\0b.so\0")
    elf = read_bytes(tmp_path, content)
    assert elf is not None
    assert (elf.interpreter, elf.needed, elf.soname) == ("/lib/ld.so", ("a.so",), "b.so")


HOSTILE = {
    "ends in its header": (make_elf()[:40], "ends within"),
    "unknown class": (make_elf()[:4] + b"\x07" + make_elf()[5:], "unknown ELF class"),
    "program headers beyond the end": (make_elf(count=900), "ends before offset"),
    "65535 program headers": (make_elf(count=65535), "which the kernel refuses"),
    "endless loader": (make_elf(segments=[program_header(3, 0, 0, 1 << 40)]), "which the kernel refuses"),
    "loader beyond the end": (make_elf(segments=[program_header(3, 1 << 40, 0, 100)]), "ends before"),
    "loader at 2**64 - 1": (make_elf(segments=[program_header(3, (1 << 64) - 1, 0, 100)]), "no file has"),
    "unterminated loader": (make_elf(interpreter=b"/lib/ld.so"), "without a terminating NUL"),
    "endless dynamic section": (make_elf(segments=[program_header(2, 0, 0, 1 << 50)]), "dynamic section of"),
    "strings at no address": (make_elf(dynamic=[(1, 1)], string_address=1 << 60), "does not load"),
    "strings at offset 2**63": (
        make_elf(
            dynamic=[(1, 1)],
            strings=b"\0a.so\0",
            segments=[program_header(1, 1 << 63, 0, 1 << 20), program_header(2, 0x1000, 0, 64)],
        ),
        "no file has",
    ),
    "string outside of its table": (make_elf(dynamic=[(1, 5000)]), "outside of its string table"),
    "string without an end": (make_elf(dynamic=[(1, 0)], strings=b"x" * 1000), "without an end"),
    "nameless library": (make_elf(dynamic=[(1, 0)]), "without a name"),
    "ten thousand libraries": (make_elf(dynamic=[(1, 1)] * 10_000, strings=b"\0a\0"), "needs 10000 libraries"),
    "not UTF-8": (make_elf(dynamic=[(1, 1)], strings=b"\0\xff\xfe\0"), "not UTF-8"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    content, said = HOSTILE[name]
    with pytest.raises(BinfmtError, match=said):
        read_bytes(tmp_path, content)


@given(st.data())
def test_damaged_files_never_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = make_elf(interpreter=b"/lib/ld.so\0", dynamic=[(1, 1), (29, 1)], strings=b"\0a.so\0b.so\0")
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, 300) | st.integers(0x1000, len(whole) - 1))
        content[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    del content[data.draw(st.integers(0, len(whole))) :]
    try:
        read_bytes(tmp_path_factory.getbasetemp(), bytes(content))
    except BinfmtError as error:
        assert str(error)


REAL = [Path("/usr/bin/gzip"), Path("/lib64/ld-linux-x86-64.so.2"), Path("/bin/bash")]
NUMBERS = [0, 1, 7, 0x1000, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


@functools.cache
def places_of_interest(path: Path) -> tuple[bytes, tuple[int, ...]]:
    """The content of a real file, and the offsets of every number in its headers and in its dynamic section."""
    content = path.read_bytes()
    with open(path, "rb") as stream:
        elf = ELFFile(stream)
        table = elf["e_phoff"], elf["e_phnum"] * elf["e_phentsize"]
        dynamic = [(s["p_offset"], s["p_filesz"]) for s in elf.iter_segments() if isinstance(s, DynamicSegment)]
    ranges = [(0, 64), table, *dynamic]
    return content, tuple(offset for start, size in ranges for offset in range(start, start + size, 8))


@given(st.data())
def test_real_files_with_lying_numbers_end_in_an_error_or_a_bounded_answer(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Headers and dynamic sections of real programs, changed number by number, cut, and read to the end."""
    original, places = places_of_interest(data.draw(st.sampled_from(REAL)))
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.sampled_from(places)) + data.draw(st.sampled_from([0, 0, 0, 2, 4]))
        width = data.draw(st.sampled_from([2, 4, 8]))
        number = data.draw(st.sampled_from(NUMBERS) | st.integers(0, len(content)))
        content[at : at + width] = (number & (1 << 8 * width) - 1).to_bytes(width, "little")
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.getbasetemp() / "lying"
    path.write_bytes(content)
    path.chmod(0o755)
    try:
        elf = read_elf(str(path))
        assert elf is None or len(elf.needed) <= 512
        found = libraries_for_binary(str(path))
        assert len(found.files) <= 513
    except (PolicyError, SetupError, BinfmtError) as error:
        assert str(error)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"#!/bin/sh\n", (b"/bin/sh", b"")),
        (b"#! \t/bin/sh  -e  -u \nrest", (b"/bin/sh", b"-e  -u")),
        (b"#!/bin/sh", (b"/bin/sh", b"")),
        (b"#!/bin/sh\tx\n", (b"/bin/sh", b"x")),
        (b"#!/bin/sh " + b"x" * 400, (b"/bin/sh", b"x" * 245)),
        (b" #!/bin/sh\n", None),
        (b"", None),
    ],
)
def test_script_lines(tmp_path: Path, line: bytes, parts: tuple[bytes, bytes] | None) -> None:
    assert script_line(tmp_path, line) == parts


@pytest.mark.parametrize(
    "line",
    [
        b"#!/bin/echo\n",
        b"#! \t/bin/echo  -a  -b \nrest",
        b"#!/bin/echo\tx\ty\t\n",
        b"#!/bin/echo " + b"x" * 400 + b"\n",
    ],
)
def test_script_lines_are_split_as_the_kernel_splits_them(public_tmp: Path, line: bytes) -> None:
    script = public_tmp / "script"
    script.write_bytes(line)
    script.chmod(0o755)
    said = subprocess.run([script], capture_output=True, check=True).stdout
    parts = script_line(public_tmp, line)
    assert parts is not None
    assert said == b" ".join([*([parts[1]] if parts[1] else []), bytes(script)]) + b"\n"


@pytest.mark.parametrize("line", [b"#!\n", b"#!  \t\n", b"#!/" + b"x" * 300 + b"\n"])
def test_script_lines_that_the_kernel_refuses(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(BinfmtError):
        script_line(tmp_path, line)


def script_line(directory: Path, content: bytes) -> tuple[bytes, bytes] | None:
    path = directory / "script"
    path.write_bytes(content)
    descriptor = open_regular(str(path))
    try:
        assert read_elf_header(descriptor) is None
        return read_script_line(descriptor)
    finally:
        os.close(descriptor)
