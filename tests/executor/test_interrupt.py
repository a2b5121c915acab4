"""Ctrl-C: the box is killed first, then the interrupt goes on its way."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.compiler import CCompiler
from support.runs import main_program, python_environment

# argv: program, "run" or "start". The sandboxee and its child hold a descriptor of which the test has the other end.
SCRIPT = """
import os, sys
from pathlib import Path
from stockade import Executor, INHERIT
from support.runs import everything_builder
program, how, descriptor, end = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
executor = Executor(everything_builder(program).build())
try:
    if how == "run":
        executor.run([program], pass_fds=[descriptor], stderr=INHERIT)
    elif how == "communicate":
        executor.start([program], pass_fds=[descriptor], stderr=INHERIT).communicate()
    else:
        with executor.start([program], pass_fds=[descriptor], stderr=INHERIT) as process:
            process.wait()
except KeyboardInterrupt as error:
    print("interrupted", flush=True)
    if how == "communicate":
        os._exit(7)
    os.close(descriptor)
    assert os.read(end, 1) == b""  # nobody of the box holds the other end any more, and the script goes on
    print(executor.run([program, "short"]).stdout.decode(), flush=True)
    sys.exit(7)
"""
BODY = """
if (argc > 1) { say("again"); return 0; }
if (fork() == 0) pause();
signal(SIGINT, SIG_IGN);
write(2, "running", 7);
for (;;) pause();
"""


@pytest.mark.parametrize("how", ["run", "start"])
@pytest.mark.parametrize("to_group", [False, True], ids=["to the script", "to its process group"])
def test_an_interrupt_ends_the_run_and_comes_through(compile_c: CCompiler, how: str, to_group: bool) -> None:
    program = main_program(compile_c, BODY)
    end, other_end = os.pipe()
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(program), how, str(other_end), str(end)],
        env=python_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[end, other_end],
        start_new_session=True,
    )
    os.close(other_end)
    try:
        assert script.stderr is not None
        assert script.stderr.read(7) == b"running"
        assert not select.select([end], [], [], 0)[0]
        if to_group:
            os.killpg(script.pid, signal.SIGINT)
        else:
            script.send_signal(signal.SIGINT)
        output, errors = script.communicate()
        assert (script.returncode, output, errors) == (7, b"interrupted\nagain\n", b"")
    finally:
        script.kill()
        script.wait()
        os.close(end)


@pytest.mark.parametrize("how", ["run", "start", "communicate"])
@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_the_user_s_process_ends_its_runs(compile_c: CCompiler, how: str, signo: int) -> None:
    program = main_program(compile_c, BODY)
    end, other_end = os.pipe()
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(program), how, str(other_end), str(end)],
        env=python_environment(),
        stderr=subprocess.PIPE,
        pass_fds=[end, other_end],
    )
    os.close(other_end)
    try:
        assert script.stderr is not None
        assert script.stderr.read(7) == b"running"
        script.send_signal(signo)
        assert os.read(end, 1) == b""
        assert script.wait() == -signo
    finally:
        script.kill()
        script.communicate()
        os.close(end)


def test_an_exception_inside_the_context_kills(compile_c: CCompiler, tmp_path: Path) -> None:
    from stockade import Executor, Status
    from support.runs import everything_builder

    program = main_program(compile_c, BODY)
    with pytest.raises(ZeroDivisionError), Executor(everything_builder(program).build()).start([program]) as process:
        raise ZeroDivisionError
    assert process.result.status is Status.EXTERNAL_KILL
