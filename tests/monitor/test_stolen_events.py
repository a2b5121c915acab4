"""A user's thread that waits for any child takes events of the monitor; the run must end all the same, and say why."""

from __future__ import annotations

import os
import threading

from stockade import Executor, Limits, MonitorError, PolicyBuilder, Status


def test_a_run_whose_events_are_taken_ends(compile_c) -> None:  # type: ignore[no-untyped-def]
    program = compile_c("int main(void) { return 0; }", static=True, name="stolen-true")
    policy = PolicyBuilder().allow_static_startup().allow_exit().add_file(program).build()
    executor = Executor(policy, limits=Limits(wall_time=0.5))
    assert executor.run([program]).status is Status.OK
    done = threading.Event()

    def wait_for_any_child() -> None:
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
        assert error.result is not None
        assert error.result.status is Status.INTERNAL_ERROR
    else:
        # Little or nothing was taken: then the verdict is the program's, or that of the clock.
        assert result.status in (Status.OK, Status.TIMEOUT)
    finally:
        done.set()
        thief.join()
    assert executor.run([program]).status is Status.OK
