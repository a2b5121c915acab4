"""The same program with and without the sandbox: what it says and how it ends have to be the same."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from stockade import Executor, PolicyBuilder, Result, Status
from support.runs import everything_builder


def run_plain(
    argv: Sequence[str | Path], *, input: bytes = b"", pass_fds: Sequence[int] = (), cwd: str = "/"
) -> tuple[int, bytes, bytes]:
    """Run a program as the sandbox would, without it: empty environment, session of its own. Code and both streams."""
    done = subprocess.run(
        [os.fspath(part) for part in argv],
        input=input,
        capture_output=True,
        env={},
        cwd=cwd,
        start_new_session=True,
        pass_fds=pass_fds,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def same_as_plain(
    program: Path,
    *arguments: str,
    build: Callable[[PolicyBuilder], PolicyBuilder] = lambda builder: builder,
    input: bytes = b"",
    pass_fds: Sequence[int] = (),
) -> Result:
    """Run a compiled program both ways, and compare. Raises AssertionError with both outputs when they differ."""
    argv: list[str | Path] = [program, *arguments]
    code, stdout, stderr = run_plain(argv, input=input, pass_fds=pass_fds)
    executor = Executor(build(everything_builder(program)).build())
    result = executor.run(argv, input=input, pass_fds=pass_fds)
    assert result.status in (Status.OK, Status.SIGNALED), result.report()
    inside, plain = (result.returncode, result.stdout, result.stderr), (code, stdout, stderr)
    assert inside == plain, f"inside: {inside}\nplain: {plain}"
    assert not result.violations
    return result
