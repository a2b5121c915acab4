"""Class A: tricks with the system-call interface."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import stockade.executor
from policy.bpf_kernel import run_under
from stockade import Executor, PolicyBuilder, PolicyError, SetupError, Status, Syscall, Verdict, Violation
from stockade.kernel.architectures import X32_BIT, X86_64, native
from stockade.kernel.seccomp_constants import FREE_EXEC_COOKIE
from stockade.policy.bpf.instructions import RET_K, Instruction, encode
from stockade.policy.bpf.interpreter import SeccompData, run
from stockade.policy.evaluate import DecidedBy, evaluate
from support.attacks import (
    Adopter,
    Attempt,
    assert_allowed,
    assert_killed,
    assert_refused,
    attack_program,
    descendants,
    open_wide,
    pidfds_of,
    small,
    succeeds,
    unsandboxed,
    wait_for_end,
    without_rules,
)
from support.monitors import assert_counts

CLONE_NEWUSER, CLONE_UNTRACED = 0x10000000, 0x00800000
GETPID_OF_I386 = "20"  # on x86_64 that number is writev
GETPID = native().number("getpid")
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000


@pytest.fixture
def abi(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "abi", options=("-pthread",))


# --- A1: the 32-bit entry ---


@pytest.mark.attack("A1")
@pytest.mark.parametrize("make", [small, open_wide])
@pytest.mark.parametrize("mode", ["enforce", "refuse"])
def test_int_0x80_is_a_violation_of_its_own_kind(
    attack: Attempt, abi: Path, make: Callable[[Path], PolicyBuilder], mode: str
) -> None:
    attack.control(succeeds(abi, "int80", GETPID_OF_I386), "the kernel has no 32-bit entry")
    policy = make(abi).build()
    assert policy.evaluate("writev").permits
    result = Executor(policy, mode=mode).run([abi, "int80", GETPID_OF_I386])
    found = assert_killed(result, "getpid", kind=Violation.ARCHITECTURE, architecture="i386")
    assert found.patch.refused_because and not found.patch.builder_call


def test_the_64_bit_entry_with_the_same_call_stays_open(abi: Path) -> None:
    policy = small(abi).allow_get_pids().build()
    assert_allowed(Executor(policy).run([abi, "number", str(GETPID)]))


# --- A2: x32 numbers ---


@pytest.mark.attack("A2")
@pytest.mark.parametrize("make", [small, open_wide])
@pytest.mark.parametrize("mode", ["enforce", "refuse"])
def test_an_x32_number_is_killed_by_the_filter(
    attack: Attempt, abi: Path, make: Callable[[Path], PolicyBuilder], mode: str
) -> None:
    # Whether or not the kernel serves x32: it asks the filter first, and the program survives the call without ours.
    number = str(X32_BIT + GETPID)
    done = unsandboxed(abi, "number", number)
    attack.control(done.returncode >= 0, "the kernel kills for x32 numbers by itself")
    policy = make(abi).allow_syscall("getpid").build()
    result = Executor(policy, mode=mode).run([abi, "number", number])
    assert_killed(result, "getpid", kind=Violation.ARCHITECTURE, architecture="x32")


@pytest.mark.attack("A2")
def test_an_x32_number_that_the_kernel_serves(attack: Attempt, abi: Path) -> None:
    attack.control(succeeds(abi, "number", str(X32_BIT + GETPID)), "the kernel is built without x32")
    result = Executor(open_wide(abi).build()).run([abi, "number", str(X32_BIT + GETPID)])
    assert_killed(result, "getpid", kind=Violation.ARCHITECTURE, architecture="x32")


@pytest.mark.attack("A2")
@pytest.mark.parametrize("mode", ["enforce", "refuse"])
def test_no_x32_number_passes_the_evaluator_or_the_compiled_program(attack: Attempt, mode: str) -> None:
    policy = PolicyBuilder().danger_default_allow_all().build()
    resolved, program = policy.resolve(X86_64, mode), policy.compile(X86_64, mode)
    plain = run(program, SeccompData(GETPID, X86_64.audit_token))
    attack.control(plain == ALLOW, "the policy does not even allow the plain number")
    for number in [*X86_64.syscalls.values(), 0, 511, 512, 547, 0x3FFFFFFF]:
        verdict = evaluate(resolved, number | X32_BIT)
        assert (verdict.decided_by, verdict.permits) == (DecidedBy.X32, False)
        assert run(program, SeccompData(number | X32_BIT, X86_64.audit_token)) == KILL_PROCESS


# --- A5: clone3 ---


@pytest.mark.attack("A5")
@pytest.mark.parametrize("flags", [CLONE_NEWUSER, CLONE_UNTRACED, 0])
def test_clone3_does_not_exist_inside(attack: Attempt, abi: Path, flags: int) -> None:
    attack.control(succeeds(abi, "clone3", str(flags)), "clone3 is refused here anyway")
    forks = small(abi).allow_fork().allow_threads().allow_wait().build()
    for policy in (forks, open_wide(abi).build()):
        assert_refused(Executor(policy).run([abi, "clone3", str(flags)]), errno.ENOSYS)


def test_threads_and_children_work_although_clone3_is_refused(abi: Path) -> None:
    policy = small(abi).allow_fork().allow_threads().allow_wait().allow_system_malloc().build()
    assert_allowed(Executor(policy).run([abi, "threads"]))


def test_clone3_cannot_be_allowed(abi: Path) -> None:
    with pytest.raises(PolicyError, match="clone3 is always refused"):
        small(abi).allow_syscall("clone3").build()


# --- A6: children that nobody sees ---


@pytest.mark.attack("A6")
@pytest.mark.parametrize("make", [lambda path: small(path).allow_fork().allow_wait(), open_wide])
def test_a_child_with_clone_untraced_is_refused(
    attack: Attempt, abi: Path, make: Callable[[Path], PolicyBuilder]
) -> None:
    flags = str(CLONE_UNTRACED | signal.SIGCHLD)
    attack.control(succeeds(abi, "clone", flags), "clone with CLONE_UNTRACED fails")
    result = Executor(make(abi).build()).run([abi, "clone", flags])
    found = assert_killed(result, "clone")
    assert "CLONE_UNTRACED" in found.arguments[0].text
    assert found.patch.refused_because


@pytest.mark.attack("A6")
@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.KILL])
def test_a_child_without_an_exit_signal_is_seen_and_judged(attack: Attempt, abi: Path, verdict: Verdict) -> None:
    attack.control(succeeds(abi, "clone", "0"), "clone without an exit signal fails")
    seen: list[Syscall] = []

    def hook(call: Syscall) -> Verdict:
        seen.append(call)
        return verdict

    executor = Executor(open_wide(abi).trace("getppid", "seen").build(), hooks={"seen": hook})
    result = executor.run([abi, "clone", "0"])
    assert [call.name for call in seen] == ["getppid"]
    assert seen[0].tid != result.pid
    if verdict is Verdict.ALLOW:
        assert_allowed(result)
        assert_counts(result, processes=2, threads=2)
    else:
        assert_killed(result, "getppid", kind=Violation.HOOK)


@pytest.mark.attack("A6")
def test_a_child_without_an_exit_signal_is_killed_for_its_violation(attack: Attempt, abi: Path) -> None:
    attack.control(succeeds(abi, "clone", "0"), "clone without an exit signal fails")
    policy = small(abi).allow_syscall("clone").allow_wait().build()
    result = Executor(policy).run([abi, "clone", "0"])
    found = assert_killed(result, "getppid")
    assert found.pid != result.pid


# --- A8: filters of the program's own ---


@pytest.mark.attack("A8")
@pytest.mark.parametrize(
    ("what", "syscall"), [("listener", "seccomp"), ("filter", "seccomp"), ("prctl-filter", "prctl")]
)
def test_the_program_cannot_add_a_filter(attack: Attempt, abi: Path, what: str, syscall: str) -> None:
    attack.control(succeeds(abi, what), "the kernel has no such filters")
    assert_killed(Executor(open_wide(abi).build()).run([abi, what]), syscall)
    allowed = small(abi).allow_syscalls("prctl", "seccomp").build()
    assert_killed(Executor(allowed).run([abi, what]), syscall)


def test_asking_which_filters_exist_stays_allowed(abi: Path) -> None:
    assert_allowed(Executor(open_wide(abi).build()).run([abi, "action-available"]))


# --- A9: io_uring ---


@pytest.mark.attack("A9")
def test_no_ring_can_be_set_up(attack: Attempt, abi: Path) -> None:
    attack.control(succeeds(abi, "io_uring"), "io_uring makes no sockets here")
    for policy in (small(abi).build(), open_wide(abi).build()):
        found = assert_killed(Executor(policy).run([abi, "io_uring"]), "io_uring_setup")
        assert found.patch.refused_because
    for name in ("io_uring_setup", "io_uring_enter", "io_uring_register"):
        with pytest.raises(PolicyError, match=f"{name} is always refused"):
            small(abi).allow_syscall(name).build()


@pytest.mark.attack("A9")
def test_in_refuse_mode_the_ring_is_refused_and_the_rest_goes_on(attack: Attempt, abi: Path) -> None:
    attack.control(succeeds(abi, "io_uring"), "io_uring makes no sockets here")
    result = Executor(open_wide(abi).build(), mode="refuse").run([abi, "io_uring"])
    assert_refused(result, errno.EPERM)
    assert [found.syscall for found in result.violations] == ["io_uring_setup"]


def test_a_socket_without_a_ring_stays_allowed(abi: Path) -> None:
    assert_allowed(Executor(open_wide(abi).build()).run([abi, "socket"]))


# --- A22: a second exec ---


@pytest.mark.attack("A22")
@pytest.mark.parametrize("cookie", [0, FREE_EXEC_COOKIE])
@pytest.mark.parametrize("what", ["execveat", "child-execveat"])
def test_the_free_exec_works_once(attack: Attempt, abi: Path, what: str, cookie: int) -> None:
    attack.control(succeeds(abi, what, str(cookie)), "execveat is refused anyway")
    policy = small(abi).allow_fork().allow_wait().build()
    assert_killed(Executor(policy).run([abi, what, str(cookie)]), "execveat")


@pytest.mark.attack("A22")
@pytest.mark.parametrize("what", ["execveat", "child-execveat"])
@pytest.mark.parametrize("mode", ["enforce", "refuse"])
def test_the_cookie_is_refused_even_where_everything_is_allowed(
    attack: Attempt, abi: Path, what: str, mode: str
) -> None:
    attack.control(succeeds(abi, what, str(FREE_EXEC_COOKIE)), "execveat is refused anyway")
    result = Executor(open_wide(abi).build(), mode=mode).run([abi, what, str(FREE_EXEC_COOKIE)])
    assert_killed(result, "execveat")


@pytest.mark.attack("A22")
def test_execve_is_judged_by_the_policy(attack: Attempt, abi: Path) -> None:
    attack.control(succeeds(abi, "execve"), "execve is refused anyway")
    assert_killed(Executor(small(abi).build()).run([abi, "execve"]), "execve")
    assert_refused(
        Executor(small(abi).block_syscall_with_errno("execve", "EACCES").build()).run([abi, "execve"]), errno.EACCES
    )


def test_a_second_exec_that_the_policy_allows_works(abi: Path) -> None:
    assert_allowed(Executor(small(abi).allow_syscall("execve").build()).run([abi, "execve"]))
    assert_allowed(Executor(small(abi).allow_syscall("execveat").build()).run([abi, "execveat", "0"]))


# --- A23: the filter is missing although configured ---


def _seccomp_lines(status: str) -> dict[str, str]:
    wanted = ("Seccomp", "Seccomp_filters", "NoNewPrivs")
    pairs = (line.split(":") for line in status.splitlines() if ":" in line)
    return {name: value.strip() for name, value, *_ in pairs if name in wanted}


@pytest.mark.attack("A23")
@pytest.mark.parametrize("mode", ["enforce", "refuse"])
def test_the_program_finds_itself_under_exactly_one_filter_more(attack: Attempt, mode: str) -> None:
    own = _seccomp_lines(Path("/proc/self/status").read_text())
    attack.control("Seccomp_filters" in own, "the kernel does not say how many filters there are")
    policy = PolicyBuilder().danger_default_allow_all().add_libraries_for_binary("/bin/cat").add_proc().build()
    result = Executor(policy, mode=mode).run(["/bin/cat", "/proc/self/status"], text=True)
    filters = str(int(own["Seccomp_filters"]) + 1)
    assert _seccomp_lines(result.stdout) == {"Seccomp": "2", "Seccomp_filters": filters, "NoNewPrivs": "1"}
    (layer,) = [layer for layer in result.layers if layer.name == "seccomp"]
    if mode == "enforce":
        assert layer.detail == f"{filters} filter; the policy gives up: default deny"


@pytest.mark.attack("A23")
def test_a_wrong_number_of_filters_refuses_to_start(
    attack: Attempt, abi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = Executor(small(abi).build())
    attack.control(executor.run([abi, "say"]).returncode == 0, "nothing runs at all")
    monkeypatch.setattr(stockade.executor, "FILTERS", 2)
    with pytest.raises(SetupError, match="number of seccomp filters") as caught:
        executor.run([abi, "say"])
    assert caught.value.step == "read_back"
    result = caught.value.result
    assert result is not None
    assert (result.status, result.stdout) == (Status.SETUP_ERROR, b"")


@pytest.mark.attack("A23")
@pytest.mark.parametrize("method", ["run", "start"])
def test_a_program_that_starts_past_the_filter_never_runs(attack: Attempt, abi: Path, method: str) -> None:
    """A filter that does not hand the first exec to the monitor is not the policy's."""
    policy = open_wide(abi).build()
    attack.control(without_rules(policy).run([abi, "say"]).returncode == 0, "nothing runs at all")
    reader, writer = os.pipe()
    executor = without_rules(policy, encode([Instruction(RET_K, k=ALLOW)]))
    with pytest.raises(SetupError, match="filter") as caught:
        getattr(executor, method)([abi, "say"], stdout=writer)
    os.close(writer)
    assert caught.value.step == "read_back"
    assert os.read(reader, 100) == b"", "the program ran"
    os.close(reader)


# --- A24: no tracer ---

KILLED_MONITOR = """
import sys
from stockade import Executor, Policy, Verdict

policy = Policy.load(sys.argv[2])
executor = Executor(policy, hooks={"decide": lambda call: Verdict.errno(1)})
process = executor.start([sys.argv[1], "traced-forever"], stdout=sys.stdout.buffer)
process.wait()
"""


@pytest.mark.attack("A24")
def test_without_its_monitor_a_traced_call_is_never_let_through(attack: Attempt, abi: Path, public_tmp: Path) -> None:
    policy = small(abi).trace("getppid", "decide").build()
    program = policy.compile()
    calls = [(native().number("getppid"), ()), (native().number("exit_group"), (0,))]
    # What the kernel does with such a call when nobody traces: it fails. And without a filter it works.
    assert run_under([], calls[:1]).results[0] > 0
    outcome = run_under([program], calls)
    attack.control(outcome.results[:1] == (-errno.ENOSYS,), "the kernel answers something else without a tracer")
    text = public_tmp / "policy.textproto"
    text.write_text(policy.to_text())
    with Adopter() as adopter:
        monitor = subprocess.Popen(
            [sys.executable, "-c", KILLED_MONITOR, abi, text],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        )
        assert monitor.stdout is not None
        assert monitor.stdout.readline() == b"running\n"
        below = descendants(monitor.pid)
        tree = pidfds_of(below)
        assert len(tree) >= 4  # forkserver, template, init, program
        adopter.expect(*below)
        monitor.send_signal(signal.SIGKILL)
        assert monitor.stdout.read() == b"", "a call was let through"
        monitor.wait()
        monitor.stdout.close()
        wait_for_end(*tree)
