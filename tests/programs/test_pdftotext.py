"""pdftotext and pdfinfo under policies/pdftotext.textproto: the same output as without a sandbox."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from support.pdf import make_pdf
from support.programs import PROBE, Done, Runner, outside, through_api

PAGES = [["first page", "with two lines"], ["second page"], ["third page", "left   and   right", "end"]]
PLAIN = make_pdf(PAGES, title="A title")
LOCKED = make_pdf(PAGES, title="A title", password="open")


@pytest.fixture
def directory(public_tmp: Path) -> Path:
    """Documents: a plain one, an encrypted one, one that was cut off, and one that is none."""
    (public_tmp / "plain.pdf").write_bytes(PLAIN)
    (public_tmp / "locked.pdf").write_bytes(LOCKED)
    (public_tmp / "cut.pdf").write_bytes(PLAIN[:700])
    (public_tmp / "noise.pdf").write_bytes(bytes(range(256)) * 40)
    return public_tmp


@pytest.mark.parametrize(
    "arguments",
    [
        ["plain.pdf", "-"],
        ["-layout", "plain.pdf", "-"],
        ["-raw", "-nopgbrk", "plain.pdf", "-"],
        ["-bbox", "plain.pdf", "-"],
        ["-bbox-layout", "plain.pdf", "-"],
        ["-htmlmeta", "plain.pdf", "-"],
        ["-tsv", "plain.pdf", "-"],
        ["-f", "2", "-l", "2", "plain.pdf", "-"],
        ["-f", "9", "plain.pdf", "-"],
        ["-x", "0", "-y", "0", "-W", "150", "-H", "200", "plain.pdf", "-"],
        ["-enc", "UTF-16", "-eol", "dos", "plain.pdf", "-"],
        ["-enc", "No-Such", "plain.pdf", "-"],
        ["-listenc"],
        ["locked.pdf", "-"],
        ["-upw", "open", "locked.pdf", "-"],
        ["-opw", "wrong", "locked.pdf", "-"],
        ["cut.pdf", "-"],
        ["noise.pdf", "-"],
        ["missing.pdf", "-"],
        ["-v"],
        ["-no-such-option"],
    ],
    ids=" ".join,
)
def test_text_of_documents(directory: Path, arguments: list[str]) -> None:
    argv = ["pdftotext", *arguments]
    assert through_api("pdftotext", argv, directory=directory) == outside(argv, directory=directory)


def test_the_documents_are_what_they_are_meant_to_be(directory: Path) -> None:
    def text(*arguments: str) -> Done:
        return through_api("pdftotext", ["pdftotext", *arguments, "-"], directory=directory)

    assert text("-nopgbrk", "plain.pdf").stdout.split() == b" ".join(b" ".join(_bytes(page)) for page in PAGES).split()
    assert text("-upw", "open", "locked.pdf").stdout == text("plain.pdf").stdout
    assert (text("locked.pdf").status, text("noise.pdf").status) == (1, 1)
    assert b"Incorrect password" in text("locked.pdf").stderr


def _bytes(lines: list[str]) -> list[bytes]:
    return [line.encode() for line in lines]


@pytest.mark.parametrize(
    "arguments",
    [
        ["plain.pdf"],
        ["-box", "-f", "1", "-l", "3", "plain.pdf"],
        ["-meta", "plain.pdf"],
        ["-js", "plain.pdf"],
        ["-upw", "open", "locked.pdf"],
        ["locked.pdf"],
        ["noise.pdf"],
    ],
    ids=" ".join,
)
def test_facts_about_documents(directory: Path, arguments: list[str]) -> None:
    argv = ["pdfinfo", *arguments]
    assert through_api("pdftotext", argv, directory=directory) == outside(argv, directory=directory)


@pytest.mark.parametrize("data", [PLAIN, LOCKED, b"", b"this is no document"], ids=["plain", "locked", "empty", "text"])
def test_standard_input_to_standard_output(run: Runner, data: bytes) -> None:
    argv = ["pdftotext", "-", "-"]
    assert run("pdftotext", argv, input=data) == outside(argv, input=data)


@pytest.mark.parametrize("options", [[], ["-htmlmeta"], ["-bbox"], ["-tsv"]], ids=" ".join)
def test_text_is_written_to_a_directory_that_is_mounted_for_it(directory: Path, options: list[str]) -> None:
    argv = ["pdftotext", *options, "plain.pdf", "result"]
    assert outside(argv, directory=directory) == Done(0, b"", b"")
    expected = (directory / "result").read_bytes()
    (directory / "result").unlink()
    assert through_api("pdftotext", argv, directory=directory) == Done(0, b"", b"")
    assert (directory / "result").read_bytes() == expected


def test_it_writes_nowhere_else(run: Runner, directory: Path, session_directory: Path) -> None:
    elsewhere = session_directory / "text-elsewhere"
    argv = ["pdftotext", "plain.pdf", str(elsewhere)]
    assert outside(argv, directory=directory) == Done(0, b"", b"")
    elsewhere.unlink()
    found = run("pdftotext", argv, directory=directory)
    assert found == Done(2, b"", b"I/O Error: Couldn't open text file '%s'\n" % str(elsewhere).encode())
    assert not elsewhere.exists()


def test_it_reads_nowhere_else(run: Runner, directory: Path, session_directory: Path) -> None:
    elsewhere = session_directory / "elsewhere.pdf"
    elsewhere.write_bytes(PLAIN)
    argv = ["pdftotext", str(elsewhere), "-"]
    assert outside(argv, directory=directory).status == 0
    found = run("pdftotext", argv, directory=directory)
    assert (found.status, found.stdout) == (1, b"")
    assert b"No such file or directory" in found.stderr


@pytest.mark.parametrize(("attempt", "call"), [("socket", "socket"), ("shell", "execve")])
def test_a_program_under_its_rules_is_killed(compile_c: Callable[..., Path], attempt: str, call: str) -> None:
    probe = compile_c(PROBE, name="probe")
    assert outside([str(probe), attempt]).status == 0
    assert through_api("pdftotext", [str(probe), attempt], show=probe) == Done(-31, b"", b"", call)
    assert through_api("pdftotext", [str(probe), "open", "/etc/passwd"], show=probe) == Done(errno.ENOENT, b"", b"")
