"""--json: the result as report.proto has it, for every way in which a run can end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from google.protobuf import json_format

from stockade._proto import report_pb2
from support.command_line import CommandLine
from support.compiler import CCompiler
from support.runs import main_program

SHELL = "/bin/sh"


def _parse(text: str) -> report_pb2.Report:
    return json_format.Parse(text, report_pb2.Report())


@pytest.mark.parametrize(
    ("arguments", "status", "code", "returncode"),
    [
        ([SHELL, "-c", "exit 7"], report_pb2.STATUS_OK, 7, 7),
        ([SHELL, "-c", "kill -SEGV $$"], report_pb2.STATUS_SIGNALED, 139, -11),
        (["no-such-program"], report_pb2.STATUS_SETUP_ERROR, 127, -9),
        (["--ro", "/no/such", "true"], report_pb2.STATUS_SETUP_ERROR, 125, -9),
        (["--profile", "none", "true"], report_pb2.STATUS_SETUP_ERROR, 125, -9),
        (["--cwd", "/no/such", "true"], report_pb2.STATUS_SETUP_ERROR, 125, -9),
        (["--profile", "gzip", "sort"], report_pb2.STATUS_SETUP_ERROR, 127, -9),
    ],
)
def test_every_end_is_a_report(
    stockade: CommandLine, public_tmp: Path, arguments: list[str], status: int, code: int, returncode: int
) -> None:
    done = stockade.run("--json", "result.json", *arguments)
    report = _parse((public_tmp / "result.json").read_text())
    assert done.returncode == code
    assert (report.status, report.returncode, report.schema_version) == (status, returncode, 1)
    assert report.version and report.mode == "enforce"
    assert report.HasField("setup_failure") == (status == report_pb2.STATUS_SETUP_ERROR)


def test_violation(stockade: CommandLine, public_tmp: Path, compile_c: CCompiler) -> None:
    program = main_program(compile_c, "raw(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0);")
    stockade.run("--json", "result.json", program, "an argument")
    report = _parse((public_tmp / "result.json").read_text())
    assert report.status == report_pb2.STATUS_VIOLATION
    assert list(report.argv) == [str(program), "an argument"]
    assert [violation.syscall for violation in report.violations] == ["socket"]
    assert report.violations[0].patch.builder_call.startswith('.allow_syscall("socket"')


def test_open_descriptor(stockade: CommandLine) -> None:
    reader, writer = os.pipe()
    try:
        # The program cannot reach the descriptor.
        done = stockade.run("--json", f"fd:{writer}", SHELL, "-c", f"echo x; echo y >&{writer}", pass_fds=(writer,))
    finally:
        os.close(writer)
    with os.fdopen(reader) as file:
        report = _parse(file.read())
    assert done.stdout == "x\n"
    assert report.reason.exit_code == done.returncode == 2


def test_the_program_cannot_redirect_the_result(stockade: CommandLine, writable: Path) -> None:
    victim = writable.parent / "victim"
    victim.write_text("untouched")
    target = writable / "result.json"
    swap = f"rm -f {target}; ln -s {victim} {target}"
    done = stockade.run(
        *("--json", target, "--rw", writable, "--ro", "/usr", "--ro", "/lib/x86_64-linux-gnu"), SHELL, "-c", swap
    )
    assert done.returncode == 0, done.stderr
    assert target.is_symlink()
    assert victim.read_text() == "untouched"


def test_result_that_cannot_be_written(stockade: CommandLine) -> None:
    done = stockade.run("--json", "/dev/full", "echo", "x")
    assert (done.returncode, done.stdout) == (125, "x\n")
    assert done.stderr == "stockade: --json /dev/full: cannot write the result: No space left on device\n"


def test_hostile_names_are_escaped(stockade: CommandLine, public_tmp: Path) -> None:
    done = stockade.run("--json", "result.json", "./\x1b[2J\udcff")
    assert done.returncode == 127
    report = _parse((public_tmp / "result.json").read_text())
    assert list(report.argv) == ["./\\x1b[2J\\xff"]
    assert "\x1b" not in done.stderr
