"""`stockade run`: run a program under a policy, as if it had been called itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from stockade.cli.interrupts import Interrupted, held_back, interruptible
from stockade.cli.output import fill_standard_streams, say, width
from stockade.cli.run_options import DEFAULT_PROFILE, RunOptions, parse
from stockade.cli.run_words import COMMAND

if TYPE_CHECKING:
    from stockade.cli.json_result import JsonResult
    from stockade.executor import Executor
    from stockade.process import Process
    from stockade.result import Result


def main(arguments: Sequence[str]) -> int:
    """Run the command with the words after its name; the exit code. Raises UsageError."""
    fill_standard_streams()
    options = parse(arguments)
    return 0 if options is None else _guarded(options)


def _guarded(options: RunOptions) -> int:
    """Run, and write the result of everything that can go wrong; the exit code."""
    from stockade.cli import exit_codes
    from stockade.cli.json_result import JsonResult
    from stockade.errors import SandboxError

    sink = JsonResult(COMMAND, options.json)
    try:
        with interruptible():
            code = _run(options, sink)
    except Interrupted as interrupt:
        return interrupt.exit_code
    except SandboxError as error:
        say(f"stockade: {error}")
        sink.write_error(error, options.command, options.mode)
        code = exit_codes.of_error(error)
    except Exception as error:
        if options.debug:
            import traceback

            say(traceback.format_exc())
        say(f"stockade: internal error: {type(error).__name__}: {error}; --debug shows where. Please report it.")
        code = exit_codes.OWN_ERROR
    return exit_codes.OWN_ERROR if sink.failed else code


def _run(options: RunOptions, sink: JsonResult) -> int:
    from stockade.cli import exit_codes
    from stockade.cli.run_policy import inner_directory, make_policy
    from stockade.executor import DEFAULT_RECORDER_SIZE, Executor

    policy, program = make_policy(options)
    executor = Executor(
        policy,
        limits=options.limits,
        mode=options.mode,
        monitor=options.monitor,
        flight_recorder=DEFAULT_RECORDER_SIZE if options.flight_recorder is None else options.flight_recorder,
        trace_summary=options.trace_summary,
    )
    cwd = options.cwd or inner_directory(policy.message)
    if options.policy is None and options.profile is None and not options.quiet:
        say(_notice(options))
    if options.debug:
        say(_plan_text(executor, program or options.command[0], cwd))
    result = _execute(executor, options, program, cwd, sink)
    sink.write_result(result)
    _explain(result, options)
    return exit_codes.of_result(result, fail_on_violation=options.fail_on_violation)


def _explain(result: Result, options: RunOptions) -> None:
    """Say on standard error how the run ended, where that needs saying, and what its calls took if that was asked."""
    if options.debug or (options.report and _needs_explanation(result)):
        from stockade.report.text import format_report

        say(format_report(result.to_proto(), width(), prefix="stockade: "))
    elif result.trace_summary is not None:
        from stockade.report.trace_summary import trace_summary_blocks

        blocks = trace_summary_blocks(result.trace_summary, width(), prefix="stockade: ")
        say("\n\n".join("\n".join(block) for block in blocks))


def _execute(executor: Executor, options: RunOptions, program: str | None, cwd: str, sink: JsonResult) -> Result:
    """Run the program to its end with our own standard streams. When we are told to end, nothing of it is left."""
    from stockade.monitor.outcome import Cause

    process = None
    try:
        # A program that is to have time to end is not killed because it has only just begun.
        with nullcontext() if options.terminate_grace is None else held_back():
            process = _start(executor, options, program, cwd)
        process.communicate()
        result = process.result
    except Interrupted:
        if process is None:
            sink.write_interrupted(options.command, options.mode)
            raise
        if options.terminate_grace is not None:  # a second signal ends us, and with us everything in the box
            process.terminate(options.terminate_grace)
            process.wait()
        process.abandon(Cause.INTERRUPT)
        _write_interrupted(process, options, sink)
        raise
    except BaseException:
        if process is not None:
            process.abandon(Cause.INTERRUPT)
        raise
    process.close()
    return result


def _start(executor: Executor, options: RunOptions, program: str | None, cwd: str) -> Process:
    from stockade.streams import INHERIT, STDOUT

    return executor.start(
        options.command,
        stdin=None if options.empty_stdin else INHERIT,
        stdout=INHERIT,
        # Through one pipe, so that what is written to both stays in order.
        stderr=STDOUT if _same_terminal(1, 2) else INHERIT,
        env=options.env,
        cwd=cwd,
        executable=program,
    )


def _write_interrupted(process: Process, options: RunOptions, sink: JsonResult) -> None:
    from stockade.errors import SandboxError

    try:
        sink.write_result(process.result)
    except SandboxError as error:
        sink.write_error(error, options.command, options.mode)


def _same_terminal(first: int, second: int) -> bool:
    return os.isatty(first) and os.isatty(second) and os.path.sameopenfile(first, second)


def _notice(options: RunOptions) -> str:
    from stockade.policy import profiles

    shown = "and what --ro and --rw show" if options.mounts else "nothing writable"
    name = os.path.basename(options.command[0])
    own = name in profiles.names() and name != DEFAULT_PROFILE
    choose = f"--profile {name} is made for it" if own else "--policy or --profile choose another"
    return (
        f'stockade: profile "{DEFAULT_PROFILE}": the program and its libraries, {shown}, no network '
        f"({choose}, --quiet hides this line)"
    )


def _plan_text(executor: Executor, program: str, cwd: str) -> str:
    policy = executor.policy
    lines = [f'policy "{policy.name}", digest {policy.digest.hex()}', f"program {program}, working directory {cwd}"]
    return "\n".join(f"stockade: {line}" for line in [*lines, *executor.describe()])


def _needs_explanation(result: Result) -> bool:
    """Whether there is more to say than the exit code: not for programs that ended as programs do."""
    from stockade.result import Status

    if result.mode != "enforce" and result.violations:
        return True
    if result.status is Status.SIGNALED:
        return result.signal not in (signal.SIGPIPE, signal.SIGINT)
    return result.status is not Status.OK
