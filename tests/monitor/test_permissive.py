"""Mode "permissive": violations happen and are recorded, but for calls that are always refused."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stockade import Executor, Layer, Limits, Policy, PolicyBuilder, PolicyError, Status, Verdict, Violation, arg
from stockade._proto import policy_pb2
from stockade.request import MONITORS
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, static_builder

# Says what the kernel answered to each call: 1 for success.
PROGRAM = """
char text[256], where[64];
long back[] = {
    raw(SYS_getppid, 0, 0, 0, 0, 0, 0),
    raw(SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0, 0, 0) >= 0,
    raw(SYS_getcwd, (long)where, sizeof where, 0, 0, 0, 0) > 0,
    raw(SYS_getcwd, (long)where, 1, 0, 0, 0, 0),
};
snprintf(text, sizeof text, "%ld %ld %ld %ld", back[0], back[1], back[2], back[3]);
say(text);
return 7;
"""
HAPPENED = f"1 1 1 {-errno.ERANGE}"


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, PROGRAM)


@pytest.fixture(params=MONITORS)
def monitor(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def found(result: object) -> list[tuple[str, int, bool]]:
    """(call, count, whether it happened) of the violations."""
    return [(each.syscall, each.count, each.allowed) for each in result.violations]  # type: ignore[attr-defined]


def test_what_the_policy_refuses_happens_and_is_recorded(program: Path, monitor: str) -> None:
    result = Executor(static_builder(program).build(), mode="permissive", monitor=monitor).run([program], text=True)
    assert (result.status, result.returncode, result.stdout) == (Status.OK, 7, HAPPENED)
    assert found(result) == [("getppid", 1, True), ("socket", 1, True), ("getcwd", 2, True)]
    for violation in result.violations:
        assert violation.kind == Violation.SYSCALL
        assert violation.patch.builder_call
    assert (result.mode, result.monitor) == ("permissive", monitor)
    seccomp = next(layer for layer in result.layers if layer.name == "seccomp")
    assert seccomp.state == Layer.DEGRADED
    assert "permissive" in seccomp.detail


def test_the_neighbouring_modes_do_not_let_it_happen(program: Path, monitor: str) -> None:
    policy = static_builder(program).build()
    refused = Executor(policy, mode="refuse", monitor=monitor).run([program], text=True)
    assert refused.stdout == f"{-errno.EPERM} 0 0 {-errno.EPERM}"
    assert not any(violation.allowed for violation in refused.violations)
    enforced = Executor(policy, monitor=monitor).run([program])
    assert (enforced.status, enforced.stdout) == (Status.VIOLATION, b"")


def test_one_run_learns_what_the_program_needs(program: Path) -> None:
    builder = static_builder(program)
    for violation in Executor(builder.build(), mode="permissive").run([program]).violations:
        eval(f"builder{violation.patch.builder_call}", {"builder": builder, "arg": arg})
    result = Executor(builder.build()).run([program], text=True)
    assert (result.status, result.stdout) == (Status.OK, HAPPENED)
    assert not Executor(builder.build(), mode="permissive").run([program]).violations


@pytest.mark.parametrize(
    "builder",
    [
        PolicyBuilder().kill_syscall("getppid"),
        PolicyBuilder().danger_default_allow_all().kill_syscall("getppid"),
        PolicyBuilder().allow_syscall("getppid").add_policy_on_syscall("getppid", "ret kill"),
        PolicyBuilder().allow_syscall("getppid").add_policy_on_syscall("getppid", "ret kill_thread"),
    ],
    ids=["rule", "rule before an open default", "raw filter", "raw filter that kills a thread"],
)
def test_rules_and_filters_that_kill_are_let_happen_too(program: Path, builder: PolicyBuilder, monitor: str) -> None:
    builder = builder.allow_static_startup().allow_write().allow_exit().add_file(program)
    result = Executor(builder.build(), mode="permissive", monitor=monitor).run([program], text=True)
    assert (result.status, result.stdout) == (Status.OK, HAPPENED)
    assert found(result)[0] == ("getppid", 1, True)
    assert result.violations[0].patch.refused_because or result.violations[0].patch.builder_call


def test_error_numbers_keep_answering(program: Path, monitor: str) -> None:
    builder = static_builder(program).block_syscall_with_errno("getppid", "EMFILE")
    builder.add_policy_on_syscall("socket", "ret errno EIO")
    result = Executor(builder.build(), mode="permissive", monitor=monitor).run([program], text=True)
    # The default kills the socket, which is stronger than what the filter answers, and so happens.
    assert result.stdout == f"{-errno.EMFILE} 1 1 {-errno.ERANGE}"
    assert found(result) == [("socket", 1, True), ("getcwd", 2, True)]
    allowed = builder.allow_syscall("socket")
    assert Executor(allowed.build(), mode="permissive").run([program], text=True).stdout.split()[1] == "0"


def test_a_trap_stays_a_signal(program: Path, monitor: str) -> None:
    policy = static_builder(program).trap_syscall("socket").build()
    result = Executor(policy, mode="permissive", monitor=monitor).run([program])
    assert (result.status, result.signal) == (Status.SIGNALED, 31)
    assert found(result) == [("getppid", 1, True)]


ALWAYS_REFUSED = """
char text[128];
long back[] = {
    raw(SYS_ptrace, 0, 0, 0, 0, 0, 0), raw(SYS_unshare, 0x10000000, 0, 0, 0, 0, 0),
    raw(SYS_clone, 0x10000011, 0, 0, 0, 0, 0), raw(SYS_mount, 0, (long)"/", 0, MS_BIND, 0, 0),
    raw(SYS_ioctl, 0, 0x5412, 0, 0, 0, 0), raw(SYS_seccomp, 1, 0, 0, 0, 0, 0), raw(60000, 0, 0, 0, 0, 0, 0),
    raw(SYS_clone3, 0, 0, 0, 0, 0, 0),
};
for (int i = 0; i < 8; i++) { snprintf(text, sizeof text, "%ld ", back[i]); say(text); }
"""


@pytest.mark.parametrize("opened", ["nothing", "everything", "killed"])
def test_what_is_always_refused_stays_refused(compile_c: CCompiler, opened: str, monitor: str) -> None:
    program = main_program(compile_c, ALWAYS_REFUSED, before="#include <sys/mount.h>")
    builder = everything_builder(program) if opened == "everything" else static_builder(program)
    if opened == "killed":  # a rule that kills stands before the rows: it may not open what they refuse
        for name in ("ptrace", "unshare", "clone", "mount", "ioctl", "seccomp"):
            builder.kill_syscall(name)
        builder.add_policy_on_syscalls(["ptrace", "mount"], "ret kill")
    result = Executor(builder.build(), mode="permissive", monitor=monitor).run([program], text=True)
    assert result.status is Status.OK
    assert result.stdout.split() == [str(-errno.EPERM)] * 7 + [str(-errno.ENOSYS)]
    refused = ["ptrace", "unshare", "clone", "mount", "ioctl", "seccomp", "syscall_60000"]
    assert found(result) == [(name, 1, False) for name in refused]
    assert all(violation.patch.refused_because for violation in result.violations)
    assert not any(violation.patch.builder_call for violation in result.violations)


def test_neighbours_of_what_is_always_refused_happen(compile_c: CCompiler, monitor: str) -> None:
    body = """
    char text[128];
    long child = raw(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
    if (child == 0) raw(SYS_exit_group, 0, 0, 0, 0, 0, 0);
    snprintf(text, sizeof text, "%d %ld %ld %ld", child > 0, raw(SYS_unshare, CLONE_FS, 0, 0, 0, 0, 0),
        raw(SYS_ioctl, 0, 0x5401, 0, 0, 0, 0), raw(SYS_wait4, child, 0, 0, 0, 0, 0) == child);
    say(text);
    """
    program = main_program(compile_c, body)
    policy = static_builder(program).build()
    result = Executor(policy, mode="permissive", monitor=monitor).run([program], text=True)
    assert result.stdout == f"1 0 {-errno.ENOTTY} 1"
    assert {(name, allowed) for name, _, allowed in found(result)} == {
        ("clone", True), ("unshare", True), ("ioctl", True), ("wait4", True),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("raw(SYS_getppid, 0, 0, 0, 0, 0, 0); return 0;", Status.OK, 0),
        ("raw(SYS_getppid, 0, 0, 0, 0, 0, 0); return 9;", Status.OK, 9),
        ("raw(SYS_getppid, 0, 0, 0, 0, 0, 0); *(volatile int *)8 = 1;", Status.SIGNALED, -11),
        ("raw(SYS_getppid, 0, 0, 0, 0, 0, 0); for (;;) raw(SYS_pause, 0, 0, 0, 0, 0, 0);", Status.TIMEOUT, -9),
    ],
)
def test_the_status_is_how_the_program_ended(
    compile_c: CCompiler, monitor: str, body: str, status: Status, code: int
) -> None:
    program = main_program(compile_c, body)
    executor = Executor(static_builder(program).build(), mode="permissive", monitor=monitor, limits=Limits(wall_time=1))
    result = executor.run([program])
    assert (result.status, result.returncode) == (status, code)
    assert found(result)[0] == ("getppid", 1, True)


def test_hooks_decide_as_they_do_in_other_modes(program: Path, monitor: str) -> None:
    policy = static_builder(program).trace("socket", "ask").build()
    answers = {"allow": Verdict.ALLOW, "deny": Verdict.errno(errno.EACCES), "kill": Verdict.KILL}
    outputs = {}
    for name, verdict in answers.items():
        hooks = {"ask": lambda call, verdict=verdict: verdict}
        result = Executor(policy, mode="permissive", monitor=monitor, hooks=hooks).run([program], text=True)
        outputs[name] = (result.status, result.stdout)
    assert outputs == {
        "allow": (Status.OK, HAPPENED),
        "deny": (Status.OK, f"1 0 1 {-errno.ERANGE}"),
        "kill": (Status.VIOLATION, ""),
    }


def test_a_socket_that_is_let_happen_is_in_a_network_of_its_own(program: Path) -> None:
    policy = static_builder(program).build()
    details = {}
    for mode in ("enforce", "permissive"):
        layers = {layer.name: layer for layer in Executor(policy, mode=mode).run([program]).layers}
        details[mode] = layers["network namespace"].detail
    assert "shared" in details["enforce"]
    assert "shared" not in details["permissive"]


@pytest.mark.parametrize("where", ["{}", "syscalls {{ {} }}", "options {{ {} }}"])
@pytest.mark.parametrize("text", ['mode: "permissive"', "mode: PERMISSIVE", "permissive: true"])
def test_no_policy_file_can_ask_for_it(where: str, text: str) -> None:
    with pytest.raises(PolicyError, match="unknown field"):
        Policy.from_text(f"schema_version: 1 {where.format(text)}")


def test_no_field_of_a_policy_is_about_the_mode_of_a_run() -> None:
    messages = [policy_pb2.Policy.DESCRIPTOR, policy_pb2.SyscallPolicy.DESCRIPTOR, policy_pb2.Options.DESCRIPTOR]
    names = {field.name for message in messages for field in message.fields}
    assert not {name for name in names if "mode" in name or "permissive" in name or "refuse" in name}
    # A ready-made policy of that name is run as any other.
    assert Executor(Policy.profile("permissive")).mode == "enforce"
