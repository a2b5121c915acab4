"""Every exit code of `stockade run`, with its neighbour."""

from __future__ import annotations

import errno
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from stockade.cli import exit_codes
from stockade.errors import MonitorError, PolicyError, SandboxError, SetupError, UnsupportedError
from stockade.result import Result, Status
from support.command_line import CommandLine
from support.compiler import CCompiler
from support.runs import main_program

SHELL = "/bin/sh"


@pytest.mark.parametrize("code", [0, 1, 7, 124, 125, 126, 127, 130, 159, 255])
def test_the_programs_own_code(stockade: CommandLine, code: int) -> None:
    done = stockade.run(SHELL, "-c", f"exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize(("name", "number"), [("SEGV", 11), ("KILL", 9), ("TERM", 15), ("SYS", 31)])
def test_a_signal(stockade: CommandLine, name: str, number: int) -> None:
    done = stockade.run(SHELL, "-c", f"kill -{name} $$")
    assert done.returncode == 128 + number
    assert done.stderr.startswith(f"stockade: /bin/sh died of SIG{name}\n")


def test_124_time_limit(stockade: CommandLine) -> None:
    command = stockade.command("run", "--quiet", "--timeout", "100ms", "cat")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=stockade.environment()
    ) as process:
        assert process.stderr is not None
        assert process.wait() == 124
        assert b"its time was up (limit wall_time)" in process.stderr.read()
    assert stockade.run("--timeout", "1h", "cat").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ro", "/no/such/file", "true"], "open_source: /no/such/file: No such file or directory"),
        (["--policy", "/no/such/policy", "true"], "/no/such/policy: cannot read the policy: No such file or directory"),
        (["--profile", "gzpi", "true"], "there is no ready-made policy named \"gzpi\" (did you mean 'gzip'?)"),
    ],
)
def test_125_set_up(stockade: CommandLine, arguments: list[str], message: str) -> None:
    done = stockade.run(*arguments)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith(f"stockade: {message}")
    assert done.stderr.count("\n") == 1


def _file(directory: Path, content: bytes, mode: int) -> Path:
    path = directory / "program"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "mode", "code", "said"),
    [
        (b"#!/bin/sh\nexit 5\n", 0o755, 5, ""),
        (b"#!/bin/sh\nexit 5\n", 0o644, 126, "Permission denied"),
        (b"echo\n", 0o755, 126, "neither an ELF file nor a script"),
        (b"", 0o755, 126, "neither an ELF file nor a script"),
        (b"\x7fELF\x02\x01\x01", 0o755, 126, "Exec format error"),
        (b"#!/no/such/interpreter\n", 0o755, 127, "/no/such/interpreter"),
    ],
)
def test_126_and_127(stockade: CommandLine, public_tmp: Path, content: bytes, mode: int, code: int, said: str) -> None:
    done = stockade.run(_file(public_tmp, content, mode))
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr


def test_126_another_architecture(stockade: CommandLine, public_tmp: Path) -> None:
    header = bytearray(Path("/bin/true").read_bytes())
    header[18:20] = (183).to_bytes(2, "little")  # EM_AARCH64
    done = stockade.run(_file(public_tmp, bytes(header), 0o755))
    assert done.returncode == 126
    assert "it is made for aarch64, this machine is x86_64" in done.stderr


@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program", "./no-such-program", "/etc/passwd/program"])
def test_127_no_program(stockade: CommandLine, name: str) -> None:
    done = stockade.run(name)
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr.startswith("stockade: find_program: ")


def test_126_a_directory(stockade: CommandLine) -> None:
    assert stockade.run("/usr").returncode == 126


def test_126_and_127_under_a_policy(stockade: CommandLine) -> None:
    assert stockade.run("--profile", "gzip", "gzip", "--version").returncode == 0
    done = stockade.run("--profile", "gzip", "sort")
    assert done.returncode == 127
    assert 'the host has "/usr/bin/sort"' in done.stderr
    assert stockade.run("--profile", "gzip", "/usr/bin").returncode == 126


def test_159_violation(stockade: CommandLine, compile_c: CCompiler) -> None:
    program = main_program(compile_c, "raw(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0); return 3;")
    assert stockade.run(program).returncode == 159
    assert stockade.run("--mode", "refuse", program).returncode == 3
    assert stockade.run("--mode", "refuse", "--fail-on-violation", program).returncode == 159
    assert stockade.run("--mode", "refuse", "--fail-on-violation", "true").returncode == 0


@dataclass(frozen=True)
class Ended:
    """What of a result decides about the exit code."""

    status: Status
    exit_code: int | None = None
    signal: int | None = None
    violations: tuple[object, ...] = ()


@pytest.mark.parametrize(
    ("ended", "code", "failing_code"),
    [
        (Ended(Status.OK, exit_code=4), 4, 4),
        (Ended(Status.OK, exit_code=0, violations=("x",)), 0, 159),
        (Ended(Status.SIGNALED, signal=6), 134, 134),
        (Ended(Status.VIOLATION, violations=("x",)), 159, 159),
        (Ended(Status.TIMEOUT), 124, 124),
        (Ended(Status.LIMIT), 137, 137),
        (Ended(Status.EXTERNAL_KILL), 137, 137),
    ],
)
def test_table_of_results(ended: Ended, code: int, failing_code: int) -> None:
    result = cast(Result, ended)
    assert exit_codes.of_result(result, fail_on_violation=False) == code
    assert exit_codes.of_result(result, fail_on_violation=True) == failing_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SetupError("exec", errno.EACCES), 126),
        (SetupError("exec", errno.ENOEXEC), 126),
        (SetupError("find_program", errno.ENOENT), 127),
        (SetupError("find_libraries", errno.ENOENT), 127),
        (SetupError("open_source", errno.ENOENT), 125),
        (SetupError("cwd", errno.EACCES), 125),
        (PolicyError("x"), 125),
        (UnsupportedError("x", "y"), 125),
        (MonitorError("x"), 125),
    ],
)
def test_table_of_errors(error: SandboxError, code: int) -> None:
    assert exit_codes.of_error(error) == code
