"""Errors of a run: which, when, what they carry, and that they can be sent to another process."""

from __future__ import annotations

import pickle
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stockade import (
    Executor,
    LimitError,
    Limits,
    PolicyBuilder,
    PolicyError,
    SandboxError,
    SetupError,
    Status,
    UnsupportedError,
    ViolationError,
)
from support.compiler import CCompiler
from support.runs import main_program, static_builder

BODY = """
say("partial ");
write(2, "trouble", 7);
if (argc < 2) return 0;
if (!strcmp(argv[1], "exit")) return 3;
if (!strcmp(argv[1], "violate")) raw(SYS_getcwd, 0, 0, 0, 0, 0, 0);
if (!strcmp(argv[1], "signal")) raise(SIGTERM);
if (!strcmp(argv[1], "wait")) pause();
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY)


@pytest.fixture(scope="module")
def builder(program: Path) -> PolicyBuilder:
    return static_builder(program).allow_wait_for_signals().allow_kill().allow_get_pids().allow_handle_signals()


def test_time_out_carries_partial_output_and_result(program: Path, builder: PolicyBuilder) -> None:
    """As subprocess: the program is killed, what it wrote until then is in the error."""
    executor = Executor(builder.build())
    with executor.start([program, "wait"], stdout=-1, stderr=-1) as process:
        # When the output is there the program waits for ever: the time-out decides nothing but when we stop to wait.
        assert process.stdout is not None
        assert process.stdout.read(8) == b"partial "
        with pytest.raises(subprocess.TimeoutExpired) as patience:
            process.communicate(timeout=0.01)
        assert patience.value.stderr in (b"", b"trouble")
        assert process.poll() is None
        process.kill()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        executor.run([program, "wait"], timeout=0.3)
    error = caught.value
    assert error.timeout == 0.3
    assert error.cmd == [program, "wait"]
    assert error.output in (None, b"", b"partial ")
    result = error.result  # type: ignore[attr-defined]
    assert result.status is Status.EXTERNAL_KILL
    assert result.returncode == -signal.SIGKILL
    assert result.stdout == (error.output or b"")
    assert result.reason.killed_by


def test_a_time_out_of_nothing(program: Path, builder: PolicyBuilder) -> None:
    for timeout in (0, -1):
        with pytest.raises(subprocess.TimeoutExpired):
            Executor(builder.build()).run([program, "wait"], timeout=timeout)


def test_wall_time_is_a_limit_and_no_exception(program: Path, builder: PolicyBuilder) -> None:
    executor = Executor(builder.build(), limits=Limits(wall_time="50ms"))
    result = executor.run([program, "wait"])
    assert (result.status, result.limit, result.returncode) == (Status.TIMEOUT, "wall_time", -signal.SIGKILL)
    report = result.to_proto()
    assert report.limit.allowed == 0.05
    assert report.limit.measured >= 0.05
    with pytest.raises(LimitError, match="wall_time") as caught:
        executor.run([program, "wait"], check=True)
    assert isinstance(caught.value, subprocess.CalledProcessError)
    assert caught.value.result is not None
    assert caught.value.result.status is Status.TIMEOUT
    generous = Executor(builder.build(), limits=Limits(wall_time=3600)).run([program])
    assert (generous.status, generous.limit) == (Status.OK, None)


def test_check_after_an_exit_code(program: Path, builder: PolicyBuilder) -> None:
    executor = Executor(builder.build())
    with pytest.raises(subprocess.CalledProcessError) as caught:
        executor.run([program, "exit"], check=True)
    error = caught.value
    assert not isinstance(error, SandboxError)
    assert (error.returncode, error.output, error.stderr) == (3, b"partial ", b"trouble")
    assert error.cmd == [program, "exit"]
    assert error.result.status is Status.OK  # type: ignore[attr-defined]
    assert executor.run([program], check=True).returncode == 0


def test_check_after_a_signal(program: Path, builder: PolicyBuilder) -> None:
    with pytest.raises(subprocess.CalledProcessError, match="SIGTERM") as caught:
        Executor(builder.build()).run([program, "signal"], check=True)
    assert caught.value.returncode == -signal.SIGTERM
    assert caught.value.result.status is Status.SIGNALED  # type: ignore[attr-defined]


def test_check_after_a_violation(program: Path, builder: PolicyBuilder) -> None:
    with pytest.raises(ViolationError, match="getcwd") as caught:
        Executor(builder.build()).run([program, "violate"], check=True)
    error = caught.value
    assert isinstance(error, subprocess.CalledProcessError)
    assert isinstance(error, SandboxError)
    assert error.returncode == -signal.SIGSYS
    assert (error.output, error.stderr) == (b"partial ", b"trouble")
    assert error.result is not None
    assert error.result.violations[0].syscall == "getcwd"


def collect(program: Path, builder: PolicyBuilder) -> dict[str, Exception]:
    """One real error of each kind."""
    executor = Executor(builder.build())
    limited = Executor(builder.build(), limits=Limits(output=1))
    errors: dict[str, Exception] = {}
    calls: dict[str, Callable[[], object]] = {
        "violation": lambda: executor.run([program, "violate"], check=True),
        "limit": lambda: limited.run([program], check=True),
        "exit": lambda: executor.run([program, "exit"], check=True),
        "signal": lambda: executor.run([program, "signal"], check=True),
        "time-out": lambda: executor.run([program, "wait"], timeout=0.05),
        "set-up": lambda: executor.run(["/nowhere"]),
        "source": lambda: Executor(PolicyBuilder().add_file("/nowhere").build()).run(["/x"]),
        "policy": lambda: PolicyBuilder().allow_syscall("getcwdd"),
        "unsupported": lambda: Executor(builder.build(), limits=Limits(memory="1M")),
    }
    for name, call in calls.items():
        with pytest.raises(Exception) as caught:
            call()
        errors[name] = caught.value
    return errors


def test_every_error_can_be_pickled_with_its_result(program: Path, builder: PolicyBuilder) -> None:
    error: Any
    for name, error in collect(program, builder).items():
        copy: Any = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        result = getattr(error, "result", None)
        if name in ("policy", "unsupported", "source"):
            assert result is None
            continue
        assert result is not None, name
        assert copy.result.status is result.status
        assert copy.result.returncode == result.returncode
        assert copy.result.stdout == result.stdout
        assert copy.result.to_proto() == result.to_proto()
        assert copy.result.report() == result.report()


def test_errors_say_what_they_carry(program: Path, builder: PolicyBuilder) -> None:
    errors = collect(program, builder)
    setup, policy, unsupported = errors["set-up"], errors["policy"], errors["unsupported"]
    assert isinstance(setup, SetupError)
    assert isinstance(setup, OSError)
    assert (setup.path, setup.pid is None or setup.pid > 0) == ("/nowhere", True)
    assert setup.result is not None
    assert setup.result.status is Status.SETUP_ERROR
    assert setup.result.returncode != 0
    assert isinstance(policy, PolicyError)
    assert isinstance(policy, ValueError)
    assert policy.suggestion == "getcwd"
    assert isinstance(unsupported, UnsupportedError)
    assert "memory" in unsupported.layer
    assert unsupported.remedy


def test_a_result_can_be_pickled(program: Path, builder: PolicyBuilder) -> None:
    result = Executor(builder.build()).run([program, "violate"])
    copy = pickle.loads(pickle.dumps(result))
    assert copy.to_proto() == result.to_proto()
    assert (copy.stdout, copy.stderr) == (result.stdout, result.stderr)


def test_an_executor_wants_a_policy(builder: PolicyBuilder) -> None:
    with pytest.raises(TypeError, match=r"build\(\)"):
        Executor(builder)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"args": []}, ValueError),
        ({"args": ""}, ValueError),
        ({"args": [""]}, ValueError),
        ({"args": ["a\0b"]}, ValueError),
        ({"args": ["x", "a\0b"]}, ValueError),
        ({"args": ["x", 5]}, TypeError),
        ({"args": ["x", None]}, TypeError),
        ({"args": ["x"], "env": {"A=B": "1"}}, ValueError),
        ({"args": ["x"], "env": {"": "1"}}, ValueError),
        ({"args": ["x"], "env": {"A": "1\0"}}, ValueError),
        ({"args": ["x"], "env": {"A\0": "1"}}, ValueError),
        ({"args": ["x"], "env": {"A": 1}}, TypeError),
        ({"args": ["x"], "cwd": "a\0"}, ValueError),
    ],
    ids=str,
)
def test_what_no_exec_can_carry(builder: PolicyBuilder, options: dict[str, Any], expected: type[Exception]) -> None:
    executor = Executor(builder.build())
    with pytest.raises(expected):
        executor.run(**options)
    with pytest.raises(expected):
        executor.start(**options)
