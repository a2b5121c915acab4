"""A program can ask whether it is sandboxed: under every policy, in every mode, and it is no violation."""

from __future__ import annotations

import errno
import platform
from pathlib import Path

import pytest

from stockade import Executor, Policy, PolicyBuilder, Status
from stockade.client.detect import is_sandboxed
from stockade.kernel.architectures import AARCH64, ARCHITECTURES, X32_BIT, X86_64, Architecture
from stockade.kernel.seccomp_constants import DETECTION_CALL, DETECTION_ERRNO, SECCOMP_RET_ERRNO
from stockade.policy import profiles
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.evaluate import DecidedBy, evaluate
from stockade.policy.rules import MODES
from stockade.policy.second_opinion import compare, to_pfc
from support.attacks import unsandboxed
from support.compiler import CCompiler
from support.library import ENVIRONMENT, client_policy, python
from support.runs import main_program, static_builder

DETECT = f"return raw({DETECTION_CALL}, 1, 2, 3, 4, 5, 6) == -{DETECTION_ERRNO} ? 7 : 8;"
ALLOW_ALL = bytes((0x06, 0, 0, 0, 0, 0, 0xFF, 0x7F))
NEIGHBOUR = f"return raw({DETECTION_CALL} + number_of(argv[1]), 1, 2, 3, 4, 5, 6) == -{errno.ENOSYS} ? 7 : 8;"
POLICIES = {
    "nothing but the start": lambda program: static_builder(program),
    "everything": lambda program: PolicyBuilder().danger_default_allow_all().add_file(program),
    "a raw filter": lambda program: static_builder(program).add_policy_on_syscall(
        "getpid", ALLOW_ALL, architecture="x86_64"
    ),
}


@pytest.mark.parametrize("monitor", ["ptrace", "unotify"])
@pytest.mark.parametrize("mode", ["enforce", "refuse", "permissive"])
@pytest.mark.parametrize("name", POLICIES)
def test_inside_the_call_is_answered_and_is_no_violation(
    compile_c: CCompiler, name: str, mode: str, monitor: str
) -> None:
    program = main_program(compile_c, DETECT)
    assert unsandboxed(program).returncode == 8
    result = Executor(POLICIES[name](program).build(), mode=mode, monitor=monitor).run([program])
    assert (result.status, result.returncode, list(result.violations)) == (Status.OK, 7, [])


@pytest.mark.parametrize("distance", [-1, 1])
def test_its_neighbours_are_refused_as_ever(compile_c: CCompiler, distance: int) -> None:
    program = main_program(compile_c, NEIGHBOUR)
    assert unsandboxed(program, str(distance)).returncode == 7
    policy = static_builder(program).build()
    result = Executor(policy).run([program, str(distance)])
    assert result.status is Status.VIOLATION
    assert result.violations[0].number == DETECTION_CALL + distance
    result = Executor(policy, mode="refuse").run([program, str(distance)])
    assert (result.status, result.returncode, len(result.violations)) == (Status.OK, 8, 1)


def test_the_client_says_it() -> None:
    assert is_sandboxed() is False
    script = "from stockade.client.detect import is_sandboxed; print(is_sandboxed())"
    result = Executor(client_policy()).run(python(script), env=ENVIRONMENT)
    assert (result.stdout, list(result.violations)) == (b"True\n", []), result.stderr


@pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda each: each.name)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["default", "minimal", "unrestricted", "python3"])
def test_every_filter_has_the_row(name: str, mode: str, architecture: Architecture) -> None:
    policy = Policy.profile(name)
    resolved = policy.resolve(architecture, mode)
    program = Interpreter(policy.compile(architecture, mode))
    verdict = evaluate(resolved, DETECTION_CALL, (1, 2, 3))
    assert (verdict.decided_by, verdict.permits) == (DecidedBy.DETECTION, False)
    assert program.run_number(DETECTION_CALL, architecture.audit_token) == SECCOMP_RET_ERRNO | DETECTION_ERRNO
    for token in {each.audit_token for each in ARCHITECTURES.values()} - {architecture.audit_token}:
        data = SeccompData(DETECTION_CALL, token, (0,) * 6)
        assert program.run(data) != SECCOMP_RET_ERRNO | DETECTION_ERRNO
    assert program.run_number(DETECTION_CALL | X32_BIT, architecture.audit_token) != SECCOMP_RET_ERRNO | DETECTION_ERRNO


def test_no_kernel_has_the_call_or_the_error() -> None:
    assert DETECTION_CALL < X32_BIT
    assert all(max(each.names) & ~X32_BIT < DETECTION_CALL // 1000 for each in ARCHITECTURES.values())
    assert max(errno.errorcode) < DETECTION_ERRNO <= 4095


def test_policies_say_nothing_of_it() -> None:
    """It belongs to no policy: two of them differ and explain themselves as if it were not there."""
    first, second = Policy.profile("minimal"), Policy.profile("moderate")
    assert "4051" not in str(first.diff(second))
    assert "4051" not in first.to_text()
    assert DETECTION_CALL not in first.resolve().by_number
    (case,) = first.explain(DETECTION_CALL).cases
    assert "sandboxed" in case.verdict.reason


def test_libseccomp_has_the_same_row_where_it_can() -> None:
    policy = Policy.load(profiles.find("minimal"))
    assert compare(policy).agrees
    assert (f"({DETECTION_CALL})" in to_pfc(policy)) == (platform.machine() == "x86_64")
    assert compare(policy, "aarch64" if platform.machine() == "x86_64" else "x86_64").agrees


def test_a_filter_without_the_row_is_found(tmp_path: Path) -> None:
    from stockade.errors import MonitorError
    from stockade.policy.bpf.instructions import RET_K, decode
    from stockade.policy.bpf.instructions import encode as encode_program
    from stockade.policy.selfcheck import check_program

    policy = Policy.profile("minimal")
    instructions = decode(policy.compile())
    changed = [
        each._replace(k=0x80000000) if each.code == RET_K and each.k == SECCOMP_RET_ERRNO | DETECTION_ERRNO else each
        for each in instructions
    ]
    assert changed != list(instructions)
    with pytest.raises(MonitorError, match=str(DETECTION_CALL)):
        check_program(policy.resolve(), encode_program(changed))
