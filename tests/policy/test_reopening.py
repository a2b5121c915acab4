"""Reopening what is always refused: each danger by its own name, nothing else with it, and nothing allowed by it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stockade import Executor, Policy, PolicyBuilder, PolicyError, Status, Syscall, Verdict
from stockade.kernel.architectures import AARCH64, X86_64, Architecture
from stockade.policy.evaluate import DecidedBy, evaluate
from stockade.policy.groups import GROUPS
from stockade.policy.refused import DANGERS, REFUSED, RefusedRow
from stockade.policy.rules import Op
from stockade.policy.selfcheck import check_program
from support.compiler import CCompiler
from support.runs import main_program, static_builder

ROWS = [(row, name) for row in REFUSED for name in row.syscalls if name in {**X86_64.syscalls, **AARCH64.syscalls}]


def reopened(builder: PolicyBuilder, danger: str) -> PolicyBuilder:
    method = getattr(builder, f"danger_reopen_{danger}")
    builder_again: PolicyBuilder = method()
    assert builder_again is builder
    return builder


def matching(row: RefusedRow) -> list[int]:
    """Registers for which the row holds."""
    registers = [0] * 6
    for condition in row.conditions:
        value = condition.values[0]
        if condition.op is Op.NOT_MASKED:
            value = condition.mask & -condition.mask
        registers[condition.argument] = value + 1 if condition.op is Op.GREATER else value
    assert all(condition.holds(registers) for condition in row.conditions)
    return registers


def test_every_row_has_a_danger_and_every_danger_a_row() -> None:
    assert {row.danger for row in REFUSED} == set(DANGERS)
    # A danger of which every row is permanent could not be reopened.
    assert {row.danger for row in REFUSED if not row.permanent} == set(DANGERS)


@pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda each: each.name)
@pytest.mark.parametrize("danger", DANGERS)
def test_a_danger_is_reopened_alone(danger: str, architecture: Architecture) -> None:
    policy = reopened(PolicyBuilder().danger_default_allow_all(), danger).build()
    resolved = policy.resolve(architecture)
    check_program(resolved, policy.compile(architecture))
    for row, name in ROWS:
        if name not in architecture.syscalls:
            continue
        verdict = evaluate(resolved, architecture.number(name), matching(row))
        opened = row.danger == danger and not row.permanent
        if opened and verdict.decided_by is DecidedBy.REFUSED:
            # Another row refuses the same registers for a reason of its own.
            assert verdict.rule is not None
            assert verdict.rule.danger != danger or any(each.permanent for each, call in ROWS if call == name)
        else:
            assert verdict.permits is opened, (name, danger)


@pytest.mark.parametrize("danger", DANGERS)
def test_reopening_allows_nothing_by_itself(danger: str) -> None:
    policy = reopened(PolicyBuilder(), danger).build()
    for row, name in ROWS:
        if name in X86_64.syscalls:
            assert not policy.evaluate(name, matching(row)).permits


@pytest.mark.parametrize("danger", DANGERS)
def test_a_rule_needs_the_reopening_before_it(danger: str) -> None:
    names = [name for row, name in ROWS if row.danger == danger and not row.permanent and not row.conditions]
    for name in names:
        with pytest.raises(PolicyError, match=rf"always refused.*danger_reopen_{danger}\(\)"):
            PolicyBuilder().allow_syscall(name)
        policy = reopened(PolicyBuilder(), danger).allow_syscall(name).build()
        architecture = X86_64 if name in X86_64.syscalls else AARCH64
        assert policy.evaluate(name, architecture=architecture).permits
        again = Policy.from_text(policy.to_text())
        assert again == policy
        assert list(again.message.syscalls.danger_reopened) == [danger]


def test_permanent_rows_cannot_be_reopened() -> None:
    builder = PolicyBuilder().danger_default_allow_all()
    for danger in DANGERS:
        reopened(builder, danger)
    policy = builder.build()
    for row, name in ROWS:
        if name in X86_64.syscalls:
            assert policy.evaluate(name, matching(row)).permits is not row.permanent
    # SECCOMP_SET_MODE_FILTER with and without SECCOMP_FILTER_FLAG_NEW_LISTENER.
    assert policy.evaluate("seccomp", [1, 0]).permits
    assert not policy.evaluate("seccomp", [1, 8]).permits
    assert not policy.evaluate("seccomp", [1, 8 | 1 << 40]).permits


def test_unknown_and_repeated_names_are_errors() -> None:
    text = 'schema_version: 1\nsyscalls {{\n  danger_reopened: "bpf"\n  danger_reopened: "{}"\n}}\n'
    for name, message in (("bfp", "did you mean 'bpf'"), ("bpf", "twice"), ("", "unknown danger")):
        with pytest.raises(PolicyError, match=message) as caught:
            Policy.from_text(text.format(name), "p.textproto")
        assert (caught.value.source, caught.value.line) == ("p.textproto", 4)


def test_only_loud_groups_reopen_and_none_reopens_filters() -> None:
    for group in GROUPS.values():
        assert set(group.reopens) <= set(DANGERS) - {"filters", "untraced"}
        assert not group.reopens or group.name.startswith("danger_")


# On the kernel.

CALLER = """
    char text[32];
    long a[7] = {0};
    for (int i = 1; i < argc && i < 8; i++) a[i - 1] = number_of(argv[i]);
    long result = raw(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    int length = snprintf(text, sizeof text, "%ld\\n", result);
    return write(1, text, length) != length;
"""
MINUS_ONE = (1 << 64) - 1
# A call of each danger that does no harm when it is let through to the kernel without any capability.
HARMLESS: dict[str, tuple[str, Sequence[int]]] = {
    "ptrace": ("kcmp", (1, 1, 0)),
    "bpf": ("bpf", (0, 0, 0)),
    "io_uring": ("io_uring_setup", (1, 0)),
    "userfaultfd": ("userfaultfd", (1,)),
    "perf": ("perf_event_open", (0, 0, 0, MINUS_ONE)),
    "keyrings": ("keyctl", (0, MINUS_ONE - 2, 0)),
    "mount": ("umount2", (0, 0)),
    "namespaces": ("setns", (MINUS_ONE, 0)),
    "untraced": ("clone", (0x00800000 | 0x80000000 | 17,)),
    "clone3": ("clone3", (0, 0)),
    "kernel_code": ("delete_module", (0, 0)),
    "file_handles": ("open_by_handle_at", (MINUS_ONE, 0, 0)),
    "fanotify": ("fanotify_init", (0xFFFF, 0)),
    "administration": ("sethostname", (0, 0)),
    "clock": ("clock_settime", (99, 0)),
    "hardware": ("iopl", (4,)),
    "segments": ("modify_ldt", (0, 0, 0)),
    "uselib": ("uselib", (0,)),
    "terminal": ("ioctl", (1, 0x5412, 0)),
    "filters": ("prctl", (22, 2, 0)),
    "process_image": ("prctl", (35, 99, 0)),
    "syscall_dispatch": ("prctl", (59, 99, 0)),
}


def test_there_is_a_call_for_each_danger() -> None:
    assert set(HARMLESS) == set(DANGERS)


def test_reopened_calls_reach_the_kernel(compile_c: CCompiler) -> None:
    program = main_program(compile_c, CALLER)
    refusing = Executor(PolicyBuilder().danger_default_allow_all().add_file(program).build())
    for danger, (name, arguments) in HARMLESS.items():
        argv = [str(program), str(X86_64.number(name)), *(f"{value:#x}" for value in arguments)]
        control = refusing.run(argv)
        if danger == "clone3":
            assert (control.status, control.stdout) == (Status.OK, b"-38\n")
        else:
            assert control.status is Status.VIOLATION, danger
            assert control.violations[0].syscall == name
        builder = reopened(PolicyBuilder().danger_default_allow_all().add_file(program), danger)
        result = Executor(builder.build()).run(argv)
        assert result.status is Status.OK, (danger, result)
        assert result.stdout.count(b"\n") >= 1, danger
        (layer,) = [layer for layer in result.layers if layer.name == "seccomp"]
        assert danger in layer.detail
        if danger == "clone3":
            assert result.stdout != b"-38\n"


FORGER = """
    struct sock_filter code[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_getpgid},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRACE | (unsigned)number_of(argv[1])},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
    struct sock_fprog filter = {4, code};
    if (raw(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)&filter, 0, 0, 0)) return 9;
    long result = raw(SYS_getpgid, 0, 0, 0, 0, 0, 0);
    return result == -EPERM ? 1 : result == -ENOSYS ? 2 : result < 0 ? 3 : 0;
"""
HEADERS = "#include <linux/filter.h>\n#include <linux/seccomp.h>\n#include <sys/prctl.h>"
LOG, FIRST_HOOK, SECOND_HOOK = "3", "0x100", "0x101"


def test_a_filter_of_the_program_cannot_forge_what_the_monitor_is_told(compile_c: CCompiler) -> None:
    program = main_program(compile_c, FORGER, before=HEADERS)
    builder = static_builder(program).danger_reopen_filters().allow_syscall("prctl")
    # The call is refused by the policy; the program's filter says that it is only to be recorded.
    result = Executor(builder.build(), mode="refuse").run([program, LOG])
    assert (result.returncode, [violation.syscall for violation in result.violations]) == (1, ["getpgid"])
    # The call is decided by a strict hook; the program's filter names a lenient one.
    policy = builder.trace("getppid", "lenient").trace("getpgid", "strict").build()
    assert policy.resolve().hooks == ("lenient", "strict")
    asked = []

    def strict(event: Syscall) -> Verdict:
        asked.append(event.name)
        return Verdict.errno(1)

    executor = Executor(policy, hooks={"lenient": lambda event: Verdict.ALLOW, "strict": strict})
    for forged in (FIRST_HOOK, SECOND_HOOK, LOG, "1"):
        assert executor.run([program, forged]).returncode == 1
    assert asked == ["getpgid"] * 4


def test_a_filter_of_the_program_that_asks_for_a_tracer_finds_none(compile_c: CCompiler) -> None:
    """As seccomp(2) says of RET_TRACE without a tracer; the policy itself allows the call."""
    program = main_program(compile_c, FORGER, before=HEADERS)
    builder = static_builder(program).danger_reopen_filters().allow_syscalls("prctl", "getpgid")
    result = Executor(builder.build()).run([program, FIRST_HOOK])
    assert (result.status, result.returncode) == (Status.OK, 2)
