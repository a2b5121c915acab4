"""The always-refused rows: complete, exact, and before everything that would let such a call run."""

from __future__ import annotations

import pytest

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import AARCH64, ARCHITECTURES, X86_64, Architecture
from stockade.policy.bpf.compile import compile
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.evaluate import DecidedBy, evaluate
from stockade.policy.expected import trace_data
from stockade.policy.policy import Policy
from stockade.policy.refused import REFUSED, refused_rule, rules_for
from stockade.policy.resolve import resolve
from stockade.policy.rules import MODES, Kind
from stockade.policy.selfcheck import check_program

BOTH = pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda each: each.name)

# Written down a second time on purpose: a row that gets lost fails here.
NAMES = """
    ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp bpf io_uring_setup io_uring_enter io_uring_register
    userfaultfd perf_event_open lookup_dcookie keyctl add_key request_key
    mount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick mount_setattr
    setns clone3 init_module finit_module delete_module kexec_load kexec_file_load open_by_handle_at fanotify_init
    swapon swapoff quotactl quotactl_fd nfsservctl acct reboot vhangup sethostname setdomainname syslog
    settimeofday clock_settime clock_adjtime adjtimex
"""
UNCONDITIONAL = set(NAMES.split())
X86_ONLY = {"create_module", "query_module", "get_kernel_syms", "iopl", "ioperm", "modify_ldt", "uselib"}

CLONE_FLAGS = {
    "CLONE_NEWNS": 0x00020000,
    "CLONE_NEWCGROUP": 0x02000000,
    "CLONE_NEWUTS": 0x04000000,
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}
CLONE_NEWTIME, CLONE_UNTRACED = 0x80, 0x00800000
# What glibc asks for: fork() and pthread_create().
FORK, THREAD = 0x01200011, 0x003D0F00
HIGH = 0xDEADBEEF << 32

# (call, arguments) that are refused, and neighbours that are not.
REFUSED_CALLS = [
    *(("clone", (FORK | flag,)) for flag in CLONE_FLAGS.values()),
    *(("clone", (HIGH | THREAD | flag,)) for flag in CLONE_FLAGS.values()),
    ("clone", (FORK | CLONE_UNTRACED,)),
    *(("unshare", (flag,)) for flag in (*CLONE_FLAGS.values(), CLONE_NEWTIME)),
    ("unshare", (0x200 | CLONE_FLAGS["CLONE_NEWUSER"],)),
    ("unshare", (1 << 37,)),
    ("ioctl", (0, 0x5412)),
    ("ioctl", (0, 0x5412 | 1 << 32)),
    ("ioctl", (0, 0x541C)),
    ("ioctl", (0, 0x5423)),
    ("ioctl", (0, 0x4B47)),
    ("ioctl", (0, 0x4B49)),
    ("seccomp", (0,)),
    ("seccomp", (1, 8)),
    ("seccomp", (1 | HIGH,)),
    ("seccomp", (4,)),
    ("prctl", (22, 2)),
    ("prctl", (22 | HIGH,)),
    ("prctl", (35,)),
    ("prctl", (59,)),
    ("prctl", (0x59616D61,)),
]
NEIGHBOURS = [
    ("clone", (FORK,)),
    ("clone", (THREAD,)),
    ("clone", (HIGH | THREAD,)),
    ("clone", (CLONE_NEWTIME | 0x11,)),
    ("clone", (0x01000000 | 0x00400000,)),
    ("unshare", (0,)),
    ("unshare", (0x200 | 0x400 | 0x40000,)),
    ("ioctl", (0x5412, 0x5413)),
    ("ioctl", (0, 0x5401)),
    ("seccomp", (2,)),
    ("seccomp", (3 | HIGH,)),
    ("prctl", (15, 22)),
    ("prctl", (4, 1)),
    ("prctl", (38, 1)),
]


def registers(arguments: tuple[int, ...]) -> tuple[int, ...]:
    return (*arguments, *(0,) * 6)[:6]


def expected_names(architecture: Architecture) -> set[str]:
    return UNCONDITIONAL | X86_ONLY if architecture is X86_64 else UNCONDITIONAL


def everything_allowed() -> policy_pb2.Policy:
    message = policy_pb2.Policy(schema_version=1)
    message.syscalls.default_action.action = policy_pb2.Rule.ALLOW
    message.syscalls.default_action.danger_allow_all = True
    return message


@BOTH
def test_the_rows_name_these_calls_and_no_others(architecture: Architecture) -> None:
    whole = {name for name, rules in rules_for(architecture).items() if any(not rule.conditions for rule in rules)}
    assert whole == expected_names(architecture)
    assert set(rules_for(architecture)) - whole == {"clone", "unshare", "ioctl", "seccomp", "prctl"}


def test_every_name_is_a_system_call_and_stands_once() -> None:
    known = {name for architecture in ARCHITECTURES.values() for name in architecture.syscalls}
    unconditional = [name for row in REFUSED if not row.conditions for name in row.syscalls]
    assert {name for row in REFUSED for name in row.syscalls} <= known
    assert len(unconditional) == len(set(unconditional))
    assert all(row.danger and row.reason and not row.reason.endswith(".") for row in REFUSED)


@BOTH
@pytest.mark.parametrize("mode", MODES)
def test_they_are_refused_even_when_everything_is_allowed(architecture: Architecture, mode: str) -> None:
    resolved = resolve(everything_allowed(), architecture, mode)
    program = compile(resolved)
    check_program(resolved, program)
    interpreter = Interpreter(program)
    refused_value = {"enforce": 0x80000000, "refuse": 0x7FF00002}.get(mode, 0x7FF00004)

    def value(name: str, arguments: tuple[int, ...]) -> int:
        return interpreter.run(SeccompData(architecture.number(name), architecture.audit_token, arguments))

    assert value("getpid", ()) == 0x7FFF0000
    for name in expected_names(architecture) - {"clone3"}:
        assert value(name, ()) == refused_value, name
    assert value("clone3", ()) == 0x00050000 | 38
    for name, arguments in REFUSED_CALLS:
        assert value(name, arguments) == refused_value, (name, arguments)
    for name, arguments in NEIGHBOURS:
        assert value(name, arguments) == 0x7FFF0000, (name, arguments)


@BOTH
def test_the_rows_are_found_with_their_reason(architecture: Architecture) -> None:
    for name, arguments in REFUSED_CALLS:
        rule = refused_rule(name, registers(arguments), architecture)
        assert rule is not None, (name, arguments)
        assert rule.origin.place == "always refused"
        assert rule.origin.text.startswith(f"{name} with such arguments is always refused: ")
    for name, arguments in (*NEIGHBOURS, ("read", ())):
        assert refused_rule(name, registers(arguments), architecture) is None, (name, arguments)


def test_calls_of_the_other_architectures_are_listed_where_they_exist() -> None:
    assert "umount" in rules_for(ARCHITECTURES["i386"])
    assert "umount" not in rules_for(X86_64)
    assert "iopl" not in rules_for(AARCH64)


LENIENT = [
    # (call, arguments, what the policy says before its always-refused row): explicit kills, default and raw filters.
    ("ptrace", (), 'rules { syscall: "ptrace" action: KILL }'),
    ("ptrace", (), 'rules { syscall: "ptrace" action: KILL when { argument: 0 equal: "0" } }'),
    ("ptrace", (), ""),
    ("ptrace", (), "default_action { action: LOG danger_allow_all: true }"),
    ("clone", (FORK | CLONE_UNTRACED,), 'rules { syscall: "clone" action: KILL }'),
    ("clone", (HIGH | FORK | CLONE_FLAGS["CLONE_NEWUSER"],), 'rules { syscall: "clone" action: KILL }'),
    ("clone3", (), 'rules { syscall: "clone3" action: KILL }'),
    ("ptrace", (), 'raw_filters { syscall: "ptrace" assembly: "ret kill" }'),
    ("clone3", (), 'raw_filters { syscall: "clone3" assembly: "ret kill" }'),
    ("ioctl", (0, 0x5412), 'raw_filters { syscall: "ioctl" assembly: "ret kill" } groups { name: "tcgets" }'),
    (
        "ioctl",
        (0, 0x5412),
        'rules { syscall: "ioctl" action: ERRNO errno: "EIO" } raw_filters { syscall: "ioctl" assembly: "ret kill" }',
    ),
]


@pytest.mark.parametrize(("name", "arguments", "text"), LENIENT)
def test_permissive_mode_lets_none_of_them_happen(name: str, arguments: tuple[int, ...], text: str) -> None:
    """Whatever comes before the row: a kill that permissive mode lets happen must not reach such a call."""
    policy = Policy.from_text(f"schema_version: 1 syscalls {{ {text} }}")
    program = Interpreter(policy.compile(X86_64, "permissive"))
    number, token = X86_64.number(name), X86_64.audit_token
    assert program.run(SeccompData(number, token, registers(arguments))) == 0x7FF00004
    assert trace_data(policy.resolve(X86_64, "permissive"), number, registers(arguments)) == 4
    neighbour = {"clone": (FORK,), "ioctl": (0, 0x5401)}.get(name)
    if neighbour is not None and "ERRNO" not in text:
        beside = SeccompData(number, token, registers(neighbour))
        assert program.run(beside) == 0x7FF00002, "what is no always-refused call is let happen"


def test_errors_stay_errors_in_permissive_mode() -> None:
    policy = Policy.from_text('schema_version: 1 syscalls { rules { syscall: "ptrace" action: ERRNO errno: "EIO" } }')
    program = Interpreter(policy.compile(X86_64, "permissive"))
    for name, value in (("ptrace", 0x00050005), ("clone3", 0x00050000 | 38)):
        assert program.run(SeccompData(X86_64.number(name), X86_64.audit_token, registers(()))) == value


def allowing(*rules: policy_pb2.Rule) -> policy_pb2.Policy:
    return policy_pb2.Policy(schema_version=1, syscalls=policy_pb2.SyscallPolicy(rules=rules))


PERMITTING = [
    policy_pb2.Rule(action=policy_pb2.Rule.ALLOW),
    policy_pb2.Rule(action=policy_pb2.Rule.LOG),
    policy_pb2.Rule(action=policy_pb2.Rule.TRACE, hook="ask"),
]


@pytest.mark.parametrize("name", ["ptrace", "clone3", "mount", "bpf"])
@pytest.mark.parametrize("rule", PERMITTING, ids=lambda rule: policy_pb2.Rule.Action.Name(rule.action))
def test_an_explicit_rule_that_lets_one_run_is_an_error(name: str, rule: policy_pb2.Rule) -> None:
    message = allowing(rule)
    message.syscalls.rules[0].syscall.append(name)
    with pytest.raises(PolicyError, match=rf"syscalls\.rules\[0\]: {name} is always refused: .*error number, but not "):
        resolve(message, X86_64)


def test_so_is_one_whose_arguments_are_all_refused() -> None:
    rule = policy_pb2.Rule(syscall=["ioctl"], action=policy_pb2.Rule.ALLOW)
    rule.when.add(argument=1, equal="0x5412")
    with pytest.raises(PolicyError, match="ioctl with such arguments is always refused: TIOCSTI"):
        resolve(allowing(rule), X86_64)
    rule.when[0].equal = "0x5413"
    resolve(allowing(rule), X86_64)


def test_a_rule_for_all_of_clone_leaves_the_flags_refused() -> None:
    resolved = resolve(allowing(policy_pb2.Rule(syscall=["clone"], action=policy_pb2.Rule.ALLOW)), X86_64)
    number = X86_64.number("clone")
    assert evaluate(resolved, number, (THREAD,)).permits
    refused = evaluate(resolved, number, (FORK | CLONE_FLAGS["CLONE_NEWUSER"],))
    assert (refused.decided_by, refused.permits) == (DecidedBy.REFUSED, False)
    untraced = evaluate(resolved, number, (FORK | CLONE_UNTRACED,))
    assert "CLONE_UNTRACED" in untraced.reason


@pytest.mark.parametrize("overridable", [False, True])
def test_an_error_number_may_be_answered_instead(overridable: bool) -> None:
    answered = policy_pb2.Rule(
        syscall=["ptrace", "unshare", "clone3"], action=policy_pb2.Rule.ERRNO, errno="EPERM", overridable=overridable
    )
    resolved = resolve(allowing(answered), X86_64)
    for name in answered.syscall:
        verdict = evaluate(resolved, X86_64.number(name), (1 << 28,))
        assert (verdict.action.kind, verdict.action.errno) == (Kind.ERRNO, 1)
        assert not verdict.permits
    assert evaluate(resolved, X86_64.number("setns")).decided_by is DecidedBy.REFUSED


def test_an_error_number_before_a_rule_that_allows_is_kept() -> None:
    answered = policy_pb2.Rule(syscall=["clone"], action=policy_pb2.Rule.ERRNO, errno="EPERM")
    answered.when.add(argument=0).masked.CopyFrom(policy_pb2.Masked(mask="0x10000000", value="0x10000000"))
    allowed = policy_pb2.Rule(syscall=["clone"], action=policy_pb2.Rule.ALLOW)
    resolved = resolve(allowing(answered, allowed), X86_64)
    number = X86_64.number("clone")
    assert evaluate(resolved, number, (1 << 28,)).action.errno == 1
    assert evaluate(resolved, number, (1 << 29,)).decided_by is DecidedBy.REFUSED
    assert evaluate(resolved, number, (FORK,)).permits


def test_a_rule_after_one_that_allows_does_not_change_the_refusal() -> None:
    allowed = policy_pb2.Rule(syscall=["clone"], action=policy_pb2.Rule.ALLOW)
    allowed.when.add(argument=0, equal="0x11")
    answered = policy_pb2.Rule(syscall=["clone"], action=policy_pb2.Rule.ERRNO, errno="EPERM")
    resolved = resolve(allowing(allowed, answered), X86_64)
    number = X86_64.number("clone")
    assert evaluate(resolved, number, (0x11,)).permits
    assert evaluate(resolved, number, (0x12,)).action.errno == 1
    assert not evaluate(resolved, number, (1 << 28,)).permits
