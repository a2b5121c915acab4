"""A user's thread that waits for any child takes events of the monitor; the run must end all the same, and say why."""

from __future__ import annotations

from support.compiler import CCompiler
from support.runs import main_program, run_python

# A task whose stop was taken stays stopped until the process ends: so this is done in one of its own.
SCRIPT = """
import os, sys, threading
from pathlib import Path
from stockade import Executor, Limits, MonitorError, Status
from support.runs import static_builder

program = Path(sys.argv[1])
executor = Executor(static_builder(program).build(), limits=Limits(wall_time=0.5))
assert executor.run([program]).status is Status.OK
done = threading.Event()

def wait_for_any_child():
    while not done.is_set():
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            continue

thief = threading.Thread(target=wait_for_any_child)
thief.start()
try:
    result = executor.run([program])
except MonitorError as error:
    assert error.result.status is Status.INTERNAL_ERROR
else:
    # Little or nothing was taken: then the verdict is the program's, or that of the clock.
    assert result.status in (Status.OK, Status.TIMEOUT)
finally:
    done.set()
    thief.join()
assert executor.run([program]).status is Status.OK
print("fine")
"""


def test_a_run_whose_events_are_taken_ends(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "")
    assert run_python(SCRIPT, str(program)).stdout == "fine\n"
