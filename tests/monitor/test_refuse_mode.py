"""Mode "refuse": violations are answered with EPERM, so that one run shows all of them."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from stockade import Executor, Layer, PolicyError, Status, Syscall, Verdict, Violation, arg
from stockade.monitor.violations import MAXIMUM_KEPT
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, static_builder

PROGRAM = """
char text[128];
long first = raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
long second = raw(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
long third = raw(SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0, 0, 0);
long fourth = 0;
for (int i = 0; i < 5; i++) fourth += raw(SYS_getcwd, (long)text, 9, 0, 0, 0, 0);
snprintf(text, sizeof text, "%ld %ld %ld %ld", first, second, third, fourth);
say(text);
return 7;
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, PROGRAM)


def test_all_violations_of_one_run(program: Path) -> None:
    result = Executor(static_builder(program).build(), mode="refuse").run([program], text=True)
    assert (result.status, result.returncode) == (Status.OK, 7)
    assert result.stdout == f"{-errno.EPERM} {-errno.EPERM} {-errno.EPERM} {-5 * errno.EPERM}"
    found = [(violation.syscall, violation.raw_arguments[0], violation.count) for violation in result.violations]
    assert [entry[::2] for entry in found] == [("getppid", 1), ("socket", 1), ("socket", 1), ("getcwd", 5)]
    assert [entry[1] for entry in found[1:3]] == [2, 1]
    for violation in result.violations:
        assert violation.kind == Violation.SYSCALL
        assert violation.patch.builder_call
        assert violation.last_at >= violation.first_at
    assert result.mode == "refuse"
    seccomp = next(layer for layer in result.layers if layer.name == "seccomp")
    assert seccomp.state == Layer.DEGRADED
    assert "refuse" in seccomp.detail


def test_the_same_run_enforced_ends_at_the_first(program: Path) -> None:
    result = Executor(static_builder(program).build()).run([program])
    assert (result.status, result.stdout) == (Status.VIOLATION, b"")
    assert [violation.syscall for violation in result.violations] == ["getppid"]
    assert next(layer for layer in result.layers if layer.name == "seccomp").state == Layer.IN_FORCE


def test_all_patches_together_leave_no_violation(program: Path) -> None:
    builder = static_builder(program)
    for violation in Executor(builder.build(), mode="refuse").run([program]).violations:
        eval(f"builder{violation.patch.builder_call}", {"builder": builder, "arg": arg})
    result = Executor(builder.build(), mode="refuse").run([program], text=True)
    assert not result.violations
    assert Executor(builder.build()).run([program]).status is Status.OK


def test_calls_that_rules_decide_go_on_as_they_would(program: Path) -> None:
    policy = static_builder(program).allow_syscall("getppid").block_syscall_with_errno("socket", "EMFILE").build()
    result = Executor(policy, mode="refuse").run([program], text=True)
    assert result.stdout == f"1 {-errno.EMFILE} {-errno.EMFILE} {-5 * errno.EPERM}"
    assert [violation.syscall for violation in result.violations] == ["getcwd"]


def test_what_is_always_refused_stays_refused(compile_c: CCompiler) -> None:
    body = """
    char text[128];
    long back[4] = {
        raw(SYS_ptrace, 0, 0, 0, 0, 0, 0), raw(SYS_unshare, 0x10000000, 0, 0, 0, 0, 0),
        raw(SYS_clone, 0x10000011, 0, 0, 0, 0, 0), raw(SYS_mount, 0, (long)"/", 0, MS_BIND, 0, 0),
    };
    snprintf(text, sizeof text, "%ld %ld %ld %ld", back[0], back[1], back[2], back[3]);
    say(text);
    """
    program = main_program(compile_c, body, before="#include <sys/mount.h>")
    result = Executor(everything_builder(program).build(), mode="refuse").run([program], text=True)
    assert result.status is Status.OK
    assert result.stdout == " ".join([str(-errno.EPERM)] * 4)
    assert [violation.syscall for violation in result.violations] == ["ptrace", "unshare", "clone", "mount"]
    for violation in result.violations:
        assert violation.patch.refused_because
        assert not violation.patch.builder_call


def test_the_number_that_is_kept_is_bounded(compile_c: CCompiler) -> None:
    many = MAXIMUM_KEPT + 50
    body = "for (int i = 0; i < number_of(argv[1]); i++) raw(SYS_ioctl, 1, 0x70000000 + i, 0, 0, 0, 0);"
    program = main_program(compile_c, body)
    policy = static_builder(program).build()
    result = Executor(policy, mode="refuse").run([program, str(many)])
    assert result.status is Status.OK
    assert len(result.violations) == MAXIMUM_KEPT
    assert result.to_proto().violations_dropped == 50
    few = Executor(policy, mode="refuse").run([program, "3"]).to_proto()
    assert (len(few.violations), few.violations_dropped) == (3, 0)


def test_violations_of_children_and_threads_are_listed_too(compile_c: CCompiler) -> None:
    before = "static void *work(void *n) { raw(SYS_getcwd, 0, 0, 0, 0, 0, 0); return 0; }"
    body = """
    pthread_t t;
    pthread_create(&t, 0, work, 0);
    pthread_join(t, 0);
    if (fork() == 0) { raw(SYS_getppid, 0, 0, 0, 0, 0, 0); _exit(0); }
    wait(0);
    """
    program = main_program(compile_c, body, before=before)
    policy = everything_builder(program).kill_syscall("getppid").kill_syscall("getcwd").build()
    result = Executor(policy, mode="refuse").run([program])
    assert (result.status, result.returncode) == (Status.OK, 0)
    first, second = result.violations
    assert (first.syscall, second.syscall) == ("getcwd", "getppid")
    assert first.pid == result.pid != first.tid
    assert second.pid == second.tid != result.pid


def test_hooks_still_end_the_run(program: Path) -> None:
    policy = static_builder(program).trace("socket", "no").build()
    result = Executor(policy, mode="refuse", hooks={"no": lambda call: Verdict.KILL}).run([program])
    assert result.status is Status.VIOLATION
    assert [(violation.syscall, violation.kind) for violation in result.violations] == [
        ("getppid", Violation.SYSCALL),
        ("socket", Violation.HOOK),
    ]


def test_a_hook_that_takes_too_long_ends_it_as_well(program: Path) -> None:
    never = threading.Event()

    def hook(call: Syscall) -> Verdict:
        never.wait()
        return Verdict.ALLOW

    policy = static_builder(program).trace("socket", "wait").build()
    try:
        result = Executor(policy, mode="refuse", hooks={"wait": hook}, hook_timeout=0.01).run([program])
    finally:
        never.set()
    assert result.status is Status.VIOLATION
    assert result.reason.violation == Violation.HOOK_TIMEOUT


@pytest.mark.parametrize("mode", ["Enforce", "", "audit", None])
def test_modes_that_do_not_exist(program: Path, mode: str) -> None:
    with pytest.raises(PolicyError, match=r"mode .* is none of enforce, refuse, permissive"):
        Executor(static_builder(program).build(), mode=mode)


def test_the_mode_for_learning_is_of_a_later_version(program: Path) -> None:
    with pytest.raises(PolicyError, match="'record' is for learning a policy, which this version does not do"):
        Executor(static_builder(program).build(), mode="record")
