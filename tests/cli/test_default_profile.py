"""The profile `default` fits ordinary tools, and nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command_line import CommandLine
from support.compiler import CCompiler
from support.runs import main_program

LINES = "beta\nalpha\nbeta\n"


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["sort", "-u"], "alpha\nbeta\n"),
        (["grep", "-c", "beta"], "2\n"),
        (["sed", "s/a$/A/"], "betA\nalphA\nbetA\n"),
        (["awk", "/alpha/ { print NR }"], "2\n"),
        (["tr", "a-z", "A-Z"], LINES.upper()),
        (["wc", "-l"], "3\n"),
        (["tee", "/dev/null"], LINES),
        (["dd", "bs=4", "count=1", "status=none"], "beta"),
        (["find", "/dev", "-name", "null"], "/dev/null\n"),
        (["bash", "-c", "read x; (echo $x | read y); kill -0 $$ && echo $x"], "beta\n"),
        (["dash", "-c", "trap 'echo $x' EXIT; read x; ulimit -n 10"], "beta\n"),
    ],
)
def test_ordinary_tools(stockade: CommandLine, command: list[str], output: str) -> None:
    done = stockade.run(*command, input=LINES)
    assert (done.returncode, done.stderr) == (0, "")

    assert done.stdout == output


def test_tools_that_write(stockade: CommandLine, writable: Path) -> None:
    (writable / "file").write_text(LINES)
    (writable / "file").chmod(0o666)
    tar = stockade.run("--rw", writable, "tar", "-cf", f"{writable}/archive.tar", "-C", str(writable), "file")
    assert (tar.returncode, tar.stderr) == (0, "")
    listed = stockade.run("--ro", writable, "tar", "-tf", f"{writable}/archive.tar")
    assert listed.stdout == "file\n"
    copied = stockade.run("--rw", writable, "cp", "-p", f"{writable}/file", f"{writable}/copy")
    assert copied.returncode == 0, copied.stderr
    assert (writable / "copy").read_text() == LINES


@pytest.mark.parametrize(
    ("body", "called"),
    [
        ("raw(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0);", "socket(AF_INET"),
        ("raw(SYS_socket, 16, SOCK_RAW, 0, 0, 0, 0);", "socket(AF_NETLINK"),
        ("raw(SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0, 0);", "unshare(CLONE_NEWUSER)"),
        ("raw(SYS_ptrace, 0, 0, 0, 0, 0, 0);", "ptrace("),
        ("raw(SYS_mmap, 0, 4096, 7, 0x22, -1, 0);", "mmap("),
        ("raw(SYS_mprotect, 0, 4096, PROT_READ | PROT_EXEC, 0, 0, 0);", "mprotect("),
    ],
)
def test_what_is_refused(stockade: CommandLine, compile_c: CCompiler, body: str, called: str) -> None:
    done = stockade.run(main_program(compile_c, f'{body} say("went on");'))
    assert (done.returncode, done.stdout) == (159, "")
    assert f"Violation: {called}" in done.stderr


@pytest.mark.parametrize(
    ("body", "errno"),
    [
        ("result = raw(SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0, 0, 0);", "EACCES"),
        ('result = raw(SYS_mknod, (long)"/x", 0020666, 0, 0, 0, 0);', "EPERM"),
        ("result = raw(SYS_setuid, 0, 0, 0, 0, 0, 0);", "EPERM"),
        ("result = raw(SYS_ioctl, 0, 0x40049409, 0, 0, 0, 0);", "ENOTTY"),
        ("result = raw(SYS_io_uring_setup, 1, 0, 0, 0, 0, 0);", "ENOSYS"),
    ],
)
def test_what_is_answered(stockade: CommandLine, compile_c: CCompiler, body: str, errno: str) -> None:
    done = stockade.run(main_program(compile_c, f"long result; {body} return result == -{errno} ? 0 : 1;"))
    assert (done.returncode, done.stderr) == (0, "")
