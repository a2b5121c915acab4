"""Putting this process under its policy, from within: every thread at once, and confirmed by the monitor.

What fails here ends the process: it must not go on, and catch an error, as if it were sandboxed.
"""

from __future__ import annotations

import os

from stockade._proto.lean import CompiledProgram, Launch
from stockade._proto.wire import decode
from stockade.client.connection import Connection
from stockade.comms.channel import MAXIMUM_PAYLOAD
from stockade.kernel import process, seccomp
from stockade.kernel.seccomp_constants import FREE_EXEC_COOKIE, SECCOMP_FILTER_FLAG_SPEC_ALLOW
from stockade.sandboxee.launch import check_program
from stockade.sandboxee.steps import Step, StepError, report

EBUSY, EFBIG = 16, 27
STEP = "client"


def check_in(connection: Connection) -> None:
    """Receive the policy that belongs to this run, install its filter on every thread, and have it confirmed.

    Returns under the filter. When anything fails the executor is told and the process ends.
    """
    try:
        launch = _read_launch(connection.second)
        install(check_program(launch), danger_speculation=launch.danger_speculation)
    except BaseException as error:
        report(connection.channel, error, STEP)
        os._exit(1)
    connection.channel.close()


def install(program: CompiledProgram, *, danger_speculation: bool) -> None:
    """Install the filter on every thread, then ask the monitor to verify it. Raises StepError; the caller must leave.

    The question is the one execveat that no filter of ours decides: it stops at the monitor, which reads back what is
    in force and answers in the kernel's place. Without a monitor it fails, and executes nothing in any case.
    """
    flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW if danger_speculation else 0
    install_filter = seccomp.prepare_filter_for_all_threads(program.instructions, flags)
    ask = process.prepare_execveat(process.AT_FDCWD, b"", [], [], 0, FREE_EXEC_COOKIE)
    error, thread = install_filter()
    if error:
        raise StepError("seccomp", error, "", "the kernel refused the filter")
    if thread:
        detail = "this thread has a filter of its own, and cannot take over that of the policy"
        raise StepError(STEP, EBUSY, f"thread {thread}", detail)
    if error := ask():
        raise StepError(STEP, error, "", "the monitor did not confirm the filter")


def _read_launch(descriptor: int) -> Launch:
    with Step(STEP, "the launch"):
        size = os.fstat(descriptor).st_size
        if size > MAXIMUM_PAYLOAD:
            raise OSError(EFBIG, f"a launch of {size} bytes")
        content = b""
        while len(content) < size and (part := os.pread(descriptor, size - len(content), len(content))):
            content += part
        os.close(descriptor)
    return decode(Launch, content)
