"""The user's process can always end, whatever its runs are doing at that moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.compiler import CCompiler
from support.runs import main_program, python_environment

SCRIPT = """
import sys, threading
from pathlib import Path
from stockade import Executor, Verdict
from support.runs import static_builder

program, how, descriptor = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
never, inside = threading.Event(), threading.Event()

def stuck(call):
    inside.set()
    never.wait()
    return Verdict.ALLOW

policy = static_builder(program).trace("getppid", "decide").allow_wait_for_signals().build()
timeout = 0.01 if how == "overdue hook" else 600
executor = Executor(policy, hooks={"decide": stuck}, hook_timeout=timeout)
if how == "thread in run":
    threading.Thread(target=executor.run, args=[[program]], kwargs={"pass_fds": [descriptor]}, daemon=True).start()
    inside.wait()
elif how == "running":
    process = executor.start([program, "rest"], pass_fds=[descriptor])
else:
    process = executor.start([program], pass_fds=[descriptor])
    inside.wait()
    if how == "overdue hook":
        assert process.wait() == -31
print("leaving", flush=True)
"""


@pytest.mark.parametrize("how", ["running", "overdue hook", "busy hook", "thread in run"])
def test_a_process_ends_beside(compile_c: CCompiler, how: str) -> None:
    body = "if (argc > 1) for (;;) pause(); raw(SYS_getppid, 0, 0, 0, 0, 0, 0);"
    program: Path = main_program(compile_c, body)
    end, other_end = os.pipe()
    try:
        command = [sys.executable, "-c", SCRIPT, str(program), how, str(other_end)]
        script = subprocess.Popen(
            command, env=python_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[other_end]
        )
        os.close(other_end)
        output, errors = script.communicate()
        assert (script.returncode, output, errors) == (0, b"leaving\n", b"")
        assert os.read(end, 1) == b""  # nothing of the box is left
    finally:
        os.close(end)
