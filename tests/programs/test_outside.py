"""What a program tries beyond its policy ends the run; the host's files are not there. All works without a sandbox."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from support.programs import PROBE, Done, Runner, outside, through_api

TEXT_PROGRAMS = ("gzip", "jq")
PYTHON = {
    "socket": "import socket; socket.socket(); print('a socket')",
    "unix socket": "import socket; socket.socket(socket.AF_UNIX); print('a socket')",
    "netlink socket": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW); print('a socket')",
    "shell": "import os; os.system('echo a shell')",
    "subprocess": "import subprocess; subprocess.run(['/bin/echo', 'a shell'])",
    "exec": "import os; os.execv('/bin/sh', ['sh', '-c', 'echo a shell'])",
    "fork": "import os; os.fork() or os._exit(0); print('a child')",
    "namespace": "import ctypes; ctypes.CDLL(None).unshare(0x10000000); print('a namespace')",
}
REFUSED = {
    "socket": {"socket"},
    "unix socket": {"socket"},
    "netlink socket": {"socket"},
    "shell": {"clone", "vfork"},
    "subprocess": {"clone", "vfork", "fork"},
    "exec": {"execve"},
    "fork": {"clone", "fork"},
    "namespace": {"unshare"},
}


@pytest.fixture
def probe(compile_c: Callable[..., Path]) -> Path:
    """A static program that tries what its argument says."""
    return compile_c(PROBE, name="probe")


@pytest.mark.parametrize("profile", TEXT_PROGRAMS)
@pytest.mark.parametrize(("attempt", "call"), [("socket", "socket"), ("shell", "execve")])
def test_a_program_under_the_rules_of_gzip_and_jq_is_killed(
    run: Runner, probe: Path, profile: str, attempt: str, call: str
) -> None:
    unsandboxed = outside([str(probe), attempt])
    assert (unsandboxed.status, unsandboxed.stderr) == (0, b"")
    found = run(profile, [str(probe), attempt], show=probe)
    assert (found.status, found.stdout, found.refused) == (-31, b"", call)


@pytest.mark.parametrize("profile", TEXT_PROGRAMS)
def test_gzip_and_jq_do_not_see_the_host_s_files(run: Runner, probe: Path, profile: str) -> None:
    assert outside([str(probe), "open", "/etc/passwd"]).status == 0
    assert run(profile, [str(probe), "open", "/etc/passwd"], show=probe) == Done(errno.ENOENT, b"", b"")
    assert run(profile, [str(probe), "open", str(probe)], show=probe) == Done(0, b"", b"")


@pytest.mark.parametrize(("profile", "options"), [("gzip", ["-c"]), ("jq", ["-R", "."])])
def test_gzip_and_jq_themselves_cannot_read_the_host_s_files(run: Runner, profile: str, options: list[str]) -> None:
    argv = [profile, *options, "/etc/passwd"]
    assert outside(argv).status == 0
    found = run(profile, argv)
    assert found.status in (1, 2)
    assert found.stdout == b""
    assert b"No such file or directory" in found.stderr


@pytest.mark.parametrize("attempt", PYTHON)
def test_a_python_script_is_killed(run: Runner, attempt: str) -> None:
    argv = ["python3", "-c", PYTHON[attempt]]
    assert outside(argv).stdout.startswith(b"a ")
    found = run("python3", argv)
    assert (found.status, found.stdout) == (-31, b"")
    assert found.refused in REFUSED[attempt]


def test_a_python_script_does_not_see_the_host_s_files(run: Runner) -> None:
    argv = ["python3", "-c", "import os; print(os.path.exists('/etc/passwd'), os.path.exists('/usr/bin/python3'))"]
    assert outside(argv).stdout == b"True True\n"
    assert run("python3", argv) == Done(0, b"False True\n", b"")


def test_a_look_up_of_the_user_is_answered_and_not_a_violation() -> None:
    script = "import os; print(os.path.expanduser('~'))"
    assert through_api("python3", ["python3", "-c", script]) == Done(0, b"~\n", b"")
