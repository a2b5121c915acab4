"""Running third-party programs through the API and through the command line, and without a sandbox for comparison."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stockade import Executor, Policy, Status
from stockade._proto import policy_pb2

ROOT = Path(__file__).resolve().parent.parent.parent
POLICIES = ROOT / "policies"
VIOLATION_EXIT = 159

# A static program that tries what its argument says; its exit status is the error number, 0 for success.
PROBE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int result = -1;
    if (argc < 2)
        return 125;
    if (!strcmp(argv[1], "socket"))
        result = socket(AF_INET, SOCK_STREAM, 0);
    else if (!strcmp(argv[1], "shell"))
        result = execl("/bin/sh", "sh", "-c", "echo a shell", (char *)0);
    else if (!strcmp(argv[1], "open"))
        result = open(argv[2], O_RDONLY);
    else if (!strcmp(argv[1], "ptrace"))
        result = ptrace(PTRACE_TRACEME, 0, 0, 0);
    else if (!strcmp(argv[1], "unshare"))
        result = unshare(CLONE_NEWUSER);
    return result < 0 ? errno : 0;
}
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended: its exit status (negative: -signal), its output, and the call that the policy refused."""

    status: int
    stdout: bytes
    stderr: bytes
    refused: str = ""


Runner = Callable[..., Done]


def outside(
    argv: Sequence[str],
    *,
    input: bytes = b"",
    directory: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Done:
    """Run a program of /usr/bin without a sandbox, with no environment but `env`."""
    done = subprocess.run(
        argv,
        executable=_host_path(argv[0]),
        input=input,
        cwd=directory or "/",
        env=dict(env or {}),
        capture_output=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def through_api(
    profile: str,
    argv: Sequence[str],
    *,
    input: bytes = b"",
    directory: Path | None = None,
    show: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Done:
    """Run a program with `Executor.run` under policies/PROFILE.textproto.

    `directory` is mounted writable and is the working directory; `show` is a file that is mounted read-only.
    """
    executor = _executor(profile, directory, show)
    result = executor.run(argv, input=input, cwd=directory or "/", env=env)
    refused = result.violations[0].syscall if result.status is Status.VIOLATION else ""
    return Done(result.returncode, result.stdout, result.stderr, refused)


def through_cli(
    profile: str,
    argv: Sequence[str],
    *,
    input: bytes = b"",
    directory: Path | None = None,
    show: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Done:
    """As `through_api`, with `stockade run`."""
    options = ["--policy", str(POLICIES / f"{profile}.textproto")]
    if directory is not None:
        options += ["--rw", str(directory), "--cwd", str(directory)]
    if show is not None:
        options += ["--ro", str(show)]
    for name, value in (env or {}).items():
        options += ["--env", f"{name}={value}"]
    command = [sys.executable, "-m", "stockade", "run", *options, "--", *argv]
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run(command, input=input, env=environment, cwd="/", capture_output=True, check=False)
    status = done.returncode
    if status == VIOLATION_EXIT:
        title = re.search(r"^Violation: (\w+)\(", done.stderr.decode(), re.MULTILINE)
        return Done(-31, done.stdout, done.stderr, title[1] if title else "")
    return Done(status, done.stdout, done.stderr)


def _executor(profile: str, directory: Path | None, show: Path | None) -> Executor:
    return _executor_of(profile, str(directory or ""), str(show or ""))


@functools.lru_cache(maxsize=8)
def _executor_of(profile: str, directory: str, show: str) -> Executor:
    message = Policy.load(POLICIES / f"{profile}.textproto").message
    bind = policy_pb2.Bind
    if directory:
        source = bind(source=directory, kind=bind.DIRECTORY, writable=True)
        message.filesystem.mounts.add(target=directory, bind=source)
    if show:
        message.filesystem.mounts.add(target=show, bind=bind(source=show, kind=bind.FILE))
    return Executor(Policy.from_message(message))


def _host_path(name: str) -> str:
    return name if "/" in name else f"/usr/bin/{name}"
