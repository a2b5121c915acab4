"""Suggestions: applied word for word they allow the refused call, and not its neighbour; and what gets none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.kernel.architectures import ARCHITECTURES, X86_64
from stockade.kernel.constants import parse
from stockade.kernel.signatures import signature, width
from stockade.policy.builder import PolicyBuilder, arg
from stockade.policy.evaluate import evaluate
from stockade.policy.families import FAMILIES
from stockade.policy.policy import Policy
from stockade.policy.refused import refused_rule
from stockade.policy.risk import LEVELS
from stockade.policy.rules import Kind
from stockade.policy.suggest import Call, nearest_rule, patch, wider_patch
from stockade.policy.symbols import value_expression

BASE = """\
schema_version: 1
syscalls {
  rules { syscall: "chmod" action: KILL }
  rules { syscall: "connect" action: TRACE hook: "ask" }
  rules { syscall: "fchmod" action: ERRNO errno: "EPERM" }
  groups { name: "read" }
  groups { name: "tcgets" }
  groups { name: "mmap_without_exec" }
  groups { name: "get_rlimit" }
}
"""


def base() -> PolicyBuilder:
    """The policy of BASE, by builder calls."""
    return (
        PolicyBuilder()
        .kill_syscall("chmod")
        .trace("connect", "ask")
        .block_syscall_with_errno("fchmod", "EPERM")
        .allow_read()
        .allow_tcgets()
        .allow_mmap_without_exec()
        .allow_get_rlimit()
    )


POLICY = Policy.from_text(BASE, "base.textproto")


def call(name: str, *args: int | str, architecture: str = "x86_64") -> Call:
    """A call with its arguments as numbers or symbols."""
    numbers = [value if isinstance(value, int) else parse(value, architecture) for value in args]
    registers = [*(number % 2**64 for number in numbers), *(0,) * 6][:6]
    return Call(name, ARCHITECTURES[architecture].number(name), architecture, tuple(registers))


def applied(builder_call: str, text_line: str) -> tuple[Policy, Policy]:
    """Apply both forms of a patch, word for word, as a person would."""
    by_builder = eval(f"base(){builder_call}.build()", {"base": base, "arg": arg})
    assert isinstance(by_builder, Policy)
    return by_builder, Policy.from_text(BASE.rstrip().removesuffix("}") + f"  {text_line}\n}}\n")


def permits(policy: Policy, tried: Call) -> bool:
    resolved = policy.resolve(tried.architecture)
    return evaluate(resolved, tried.number, tried.args).action.kind is Kind.ALLOW


# (refused call, neighbour that stays refused, builder call, risk)
REFUSED: list[tuple[Call, Call, str, str]] = [
    (
        call("socket", "AF_INET", "SOCK_STREAM", 0),
        call("socket", "AF_INET6", "SOCK_STREAM", 0),
        '.allow_syscall("socket", arg(0) == "AF_INET", arg(1) == "SOCK_STREAM", arg(2) == 0)',
        "high",
    ),
    (
        call("socket", "AF_UNIX", "SOCK_DGRAM|SOCK_CLOEXEC", 0),
        call("socket", "AF_UNIX", "SOCK_STREAM|SOCK_CLOEXEC", 0),
        '.allow_syscall("socket", arg(0) == "AF_UNIX", arg(1) == "SOCK_DGRAM|SOCK_CLOEXEC", arg(2) == 0)',
        "medium",
    ),
    (call("getcwd", 5, 6), call("chdir"), '.allow_syscall("getcwd")', "low"),
    (
        call("openat", "AT_FDCWD", 7, "O_WRONLY|O_CREAT|O_CLOEXEC", 0o644),
        call("openat", "AT_FDCWD", 7, "O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC", 0o644),
        '.allow_syscall("openat", arg(2) == "O_WRONLY|O_CREAT|O_CLOEXEC")',
        "medium",
    ),
    (
        call("ioctl", 1, "TCSETS", 9),
        call("ioctl", 1, "TCSETSW", 9),
        '.allow_syscall("ioctl", arg(1) == "TCSETS")',
        "medium",
    ),
    (call("ioctl", 1, 0x1234), call("ioctl", 1, 0x1235), '.allow_syscall("ioctl", arg(1) == 0x1234)', "medium"),
    (
        call("mmap", 0, 4096, "PROT_READ|PROT_EXEC", "MAP_PRIVATE|MAP_ANONYMOUS", -1),
        call("mmap", 0, 4096, "PROT_READ|PROT_WRITE|PROT_EXEC", "MAP_PRIVATE|MAP_ANONYMOUS", -1),
        '.allow_syscall("mmap", arg(2) == "PROT_READ|PROT_EXEC", arg(3) == "MAP_PRIVATE|MAP_ANONYMOUS")',
        "high",
    ),
    (
        call("clone", "SIGCHLD"),
        call("clone", "CLONE_VM|SIGCHLD"),
        '.allow_syscall("clone", arg(0) == "SIGCHLD")',
        "medium",
    ),
    (
        call("prlimit64", 0, "RLIMIT_NOFILE", 0x7000, 0),
        call("prlimit64", 0, "RLIMIT_CORE", 0x7000, 0),
        '.allow_syscall("prlimit64", arg(1) == "RLIMIT_NOFILE")',
        "low",
    ),
    (call("kill", 4, "SIGTERM"), call("kill", 4, "SIGKILL"), '.allow_syscall("kill", arg(1) == "SIGTERM")', "medium"),
    (
        call("mknodat", 0, 0, "S_IFIFO|0o644"),
        call("mknodat", 0, 0, "S_IFCHR|0o644"),
        '.allow_syscall("mknodat", arg(2).masked("S_IFMT", "S_IFIFO"))',
        "medium",
    ),
    (
        call("personality", 0xFFFFFFFF),
        call("personality", "READ_IMPLIES_EXEC"),
        '.allow_syscall("personality", arg(0) == 0xffffffff)',
        "low",
    ),
    (
        call("fcntl", 1, "F_SETPIPE_SZ", 4096),
        call("fcntl", 1, "F_SETOWN", 1),
        '.allow_syscall("fcntl", arg(1) == "F_SETPIPE_SZ")',
        "low",
    ),
    (call("execve", 1, 2, 3), call("execveat", 1, 2, 3), '.allow_syscall("execve")', "high"),
    (
        call("openat", "AT_FDCWD", 7, "O_RDONLY|O_DIRECTORY", architecture="aarch64"),
        call("openat", "AT_FDCWD", 7, "O_RDONLY|O_DIRECT", architecture="aarch64"),
        '.allow_syscall("openat", arg(2) == "O_RDONLY|O_DIRECTORY")',
        "low",
    ),
]


@pytest.mark.parametrize(
    ("refused", "neighbour", "builder_call", "level"), REFUSED, ids=[entry[2] for entry in REFUSED]
)
def test_a_patch_allows_the_call_in_both_forms_and_not_its_neighbour(
    refused: Call, neighbour: Call, builder_call: str, level: str
) -> None:
    assert not permits(POLICY, refused)
    found = patch(POLICY, refused)
    assert found.refused_because == ""
    assert (found.builder_call, found.risk) == (builder_call, level)
    assert found.risk_reason.endswith(".")
    by_builder, by_text = applied(found.builder_call, found.text_line)
    assert by_builder == by_text
    assert permits(by_builder, refused)
    assert not permits(by_builder, neighbour)


def test_the_text_line_reads_as_in_a_policy() -> None:
    assert patch(POLICY, REFUSED[0][0]).text_line == (
        'rules { syscall: "socket" when { argument: 0 equal: "AF_INET" } when { argument: 1 equal: "SOCK_STREAM" } '
        'when { argument: 2 equal: "0" } action: ALLOW }'
    )


def test_asking_for_a_limit_is_told_from_setting_it() -> None:
    empty = Policy.from_text("schema_version: 1")
    asks, sets = call("prlimit64", 0, "RLIMIT_CORE", 0, 0x7000), call("prlimit64", 0, "RLIMIT_CORE", 0x7000, 0)
    found = patch(empty, asks)
    assert found.builder_call == '.allow_syscall("prlimit64", arg(1) == "RLIMIT_CORE", arg(2) == 0)'
    changed = Policy.from_text(f"schema_version: 1 syscalls {{ {found.text_line} }}")
    assert permits(changed, asks)
    assert not permits(changed, sets)
    assert patch(empty, sets).builder_call == '.allow_syscall("prlimit64", arg(1) == "RLIMIT_CORE")'


WIDER = [
    (call("write", 1), ".allow_write()", 'groups { name: "write" }'),
    (call("getcwd"), ".allow_working_directory()", 'groups { name: "working_directory" }'),
    (call("openat", -100, 0, "O_RDONLY"), ".allow_open_for_reading()", 'groups { name: "open_for_reading" }'),
    (call("openat", -100, 0, "O_RDWR"), ".allow_open()", 'groups { name: "open" }'),
    (call("clone", "SIGCHLD"), ".allow_fork()", 'groups { name: "fork" }'),
    (call("madvise", 0, 0, "MADV_WIPEONFORK"), ".allow_wipe_on_fork()", 'groups { name: "wipe_on_fork" }'),
    (call("ioctl", 1, "TCSETS"), '.allow_syscall("ioctl")', 'rules { syscall: "ioctl" action: ALLOW }'),
]


@pytest.mark.parametrize(("refused", "builder_call", "text_line"), WIDER, ids=[entry[1] for entry in WIDER])
def test_a_wider_patch_is_the_smallest_group_that_has_the_call(
    refused: Call, builder_call: str, text_line: str
) -> None:
    found = wider_patch(POLICY, refused)
    assert found is not None
    assert (found.builder_call, found.text_line) == (builder_call, text_line)
    by_builder, by_text = applied(found.builder_call, found.text_line)
    assert by_builder == by_text
    assert permits(by_builder, refused)


def test_nothing_wider_is_offered_where_the_risk_would_be_high() -> None:
    for refused in (REFUSED[0][0], REFUSED[6][0], call("execve"), call("personality", 0xFFFFFFFF), call("ptrace")):
        assert wider_patch(POLICY, refused) is None


NEVER: list[tuple[Call, str]] = [
    (call("ptrace", 16), "ptrace is always refused"),
    (call("ioctl", 1, "TIOCSTI"), "always refused: TIOCSTI"),
    (call("clone", "CLONE_NEWUSER|SIGCHLD"), "namespace"),
    (call("unshare", "CLONE_NEWNS"), "namespace"),
    (call("prctl", "PR_SET_SECCOMP"), "filter"),
    (call("open", architecture="i386"), "calls of i386 are refused in every policy"),
    (Call("read", 0x40000000, "x32"), "calls of x32 are refused in every policy"),
    (Call("syscall_9999", 9999, "x86_64"), "number 9999 is not known"),
    (call("chmod"), "base.textproto:3 refuses it on purpose"),
    (call("fchmod"), "base.textproto:5 answers it with an error number on purpose"),
    (call("connect"), "the hook 'ask' decides it (base.textproto:4)"),
    (call("read"), "base.textproto:6 allows read already"),
]


@pytest.mark.parametrize(("refused", "reason"), NEVER, ids=[entry[1] for entry in NEVER])
def test_where_no_change_is_offered_the_reason_is_given(refused: Call, reason: str) -> None:
    found = patch(POLICY, refused)
    assert reason in found.refused_because
    assert (found.builder_call, found.text_line, found.risk) == ("", "", "")
    assert wider_patch(POLICY, refused) is None


def test_what_is_said_about_always_refused_calls_can_be_done() -> None:
    said = patch(POLICY, call("ptrace")).refused_because
    advice = said[said.index(".block_syscall") :].partition(" answers")[0]
    policy = eval(f"base(){advice}.build()", {"base": base})
    assert policy.evaluate("ptrace").action.kind is Kind.ERRNO


def test_with_another_default_the_patch_still_allows() -> None:
    quiet = Policy.from_text('schema_version: 1 syscalls { default_action { action: ERRNO errno: "EPERM" } }')
    assert patch(quiet, call("getcwd")).builder_call == '.allow_syscall("getcwd")'
    traced = Policy.from_text('schema_version: 1 syscalls { default_action { action: TRACE hook: "ask" } }')
    assert "the hook 'ask' decides it" in patch(traced, call("getcwd")).refused_because


_X86_64_CALLS = sorted(set(X86_64.syscalls))


@given(st.sampled_from(_X86_64_CALLS), st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 64), min_size=6, max_size=6))
def test_every_patch_allows_exactly_its_call_or_says_why_not(name: str, args: list[int]) -> None:
    policy = Policy.from_text("schema_version: 1")
    tried = Call(name, X86_64.number(name), "x86_64", tuple(args))
    found = patch(policy, tried)
    if found.refused_because:
        assert refused_rule(name, args, X86_64) is not None
        return
    assert found.risk in LEVELS
    by_text = Policy.from_text(f"schema_version: 1 syscalls {{ {found.text_line} }}")
    by_builder = eval(f"PolicyBuilder(){found.builder_call}.build()", {"PolicyBuilder": PolicyBuilder, "arg": arg})
    assert by_text == by_builder
    assert permits(by_text, tried)
    for index, parameter in enumerate(signature(name)):
        bit = 1 << (width(name, index) - 1)
        other = Call(
            name, tried.number, "x86_64", tuple(v ^ bit if i == index else v for i, v in enumerate(tried.args))
        )
        if parameter.discriminating:
            assert not permits(by_text, other)
    for number in (tried.number + 1, tried.number - 1):
        if number in X86_64.names:
            assert not permits(by_text, Call(X86_64.names[number], number, "x86_64", tried.args))


@given(
    st.sampled_from(_X86_64_CALLS), st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), min_size=6, max_size=6)
)
def test_expressions_mean_the_value_that_they_were_made_from(name: str, args: list[int]) -> None:
    tried = Call(name, X86_64.number(name), "x86_64", tuple(args))
    for index in range(len(signature(name))):
        bits = (1 << width(name, index)) - 1
        assert parse(value_expression(name, index, tried.arguments, "x86_64")) & bits == args[index] & bits


def test_only_the_bits_that_the_kernel_reads_are_shown() -> None:
    assert value_expression("ioctl", 1, [0, 0x5401 | 1 << 40, 0, 0, 0, 0], "x86_64") == "TCGETS"
    assert value_expression("ioctl", 1, [0] * 6, "x86_64", 0x5401 | 1 << 63) == "TCGETS"


def test_a_group_with_conditions_is_judged_by_the_call_and_one_without_by_all_it_allows() -> None:
    empty = Policy.from_text("schema_version: 1")
    mapped = wider_patch(empty, call("mmap", 0, 1, "PROT_READ", "MAP_SHARED"))
    assert mapped is not None
    assert (mapped.builder_call, mapped.risk) == (".allow_mmap_without_exec()", "low")
    thread = wider_patch(empty, call("clone", "CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD"))
    assert thread is not None
    assert (thread.builder_call, thread.risk) == (".allow_fork()", "medium")


# --- the nearest rule ---

NEAREST = [
    (
        call("ioctl", 1, "TCSETS"),
        "base.textproto:7",
        "argument 1 (request) is TCSETS, the rule wants TCGETS or TCGETS2",
    ),
    (
        call("mmap", 0, 0, "PROT_READ|PROT_EXEC", "MAP_PRIVATE"),
        "base.textproto:8",
        "argument 2 (prot) is PROT_READ|PROT_EXEC, the rule wants none of PROT_EXEC",
    ),
    (call("prlimit64", 0, 3, 0x7000), "base.textproto:9", "argument 2 (new_limit) is 0x7000, the rule wants 0"),
    (call("chmod"), "base.textproto:3", "it decides: kill"),
    (call("fchmodat"), "", ""),
    (
        call("ptrace"),
        "always refused",
        "ptrace is always refused: it controls other processes, and only the monitor may",
    ),
    (call("open", architecture="i386"), "", "policies do not speak about calls of i386"),
    (Call("syscall_9999", 9999, "x86_64"), "", ""),
]


@pytest.mark.parametrize(("refused", "place", "difference"), NEAREST, ids=[entry[0].syscall for entry in NEAREST])
def test_the_nearest_rule_and_what_it_wants(refused: Call, place: str, difference: str) -> None:
    found = nearest_rule(POLICY, refused)
    assert (found.place, found.difference) == (place, difference)
    assert found.rule == "" or Policy.from_text(f"schema_version: 1 syscalls {{ {found.rule} }}")


def test_a_sibling_is_near() -> None:
    policy = PolicyBuilder().allow_syscall("openat").build()
    found = nearest_rule(policy, call("openat2"))
    assert found.place == 'allow_syscall("openat")'
    assert found.difference == "the rule is for openat, not for openat2"
    assert found.rule == 'rules { syscall: "openat" action: ALLOW }'
    assert "openat2" in FAMILIES["open"]


@pytest.mark.parametrize(
    ("condition", "wants"),
    [
        (arg(1) != "TCGETS", "anything but TCGETS"),
        (arg(1) < 5, "< 5"),
        (arg(1).only_bits("0xff"), "no bits but 255"),
        (arg(1).masked("0xff00", "0x5300"), "0x5300 in the bits 0xff00"),
        (arg(1).masked("0x8000", "0x8000"), "all of 0x8000"),
        (arg(1).one_of("TCSETS", "TCSETSW", "TCSETSF"), "TCSETS, TCSETSW or TCSETSF"),
        (arg(1).masked("0xffffff00", "0x5300"), "0x5300, whatever 0xff is"),
    ],
)
def test_what_a_condition_wants_is_said_in_words(condition: object, wants: str) -> None:
    policy = PolicyBuilder().allow_syscall("ioctl", condition).build()  # type: ignore[arg-type]
    assert nearest_rule(policy, call("ioctl", 1, "TCGETS")).difference == (
        f"argument 1 (request) is TCGETS, the rule wants {wants}"
    )


def test_of_several_rules_the_one_with_the_fewest_failing_conditions_is_nearest() -> None:
    policy = (
        PolicyBuilder()
        .allow_syscall("socket", arg(0) == "AF_UNIX", arg(1) == "SOCK_STREAM")
        .allow_syscall("socket", arg(0) == "AF_INET", arg(1) == "SOCK_DGRAM")
        .build()
    )
    found = nearest_rule(policy, call("socket", "AF_INET", "SOCK_STREAM", 0))
    assert found.difference == "argument 0 (domain) is AF_INET, the rule wants AF_UNIX"
    found = nearest_rule(policy, call("socket", "AF_NETLINK", "SOCK_DGRAM", 0))
    assert found.difference == "argument 0 (domain) is AF_NETLINK, the rule wants AF_INET"


def test_nothing_is_offered_for_calls_of_x32() -> None:
    number = 0x40000000 | X86_64.number("read")
    found = patch(Policy.from_text("schema_version: 1"), Call(f"syscall_{number}", number, "x86_64"))
    assert "x32" in found.refused_because and "enosys" not in found.refused_because


def test_an_answer_that_the_c_library_needs_is_not_to_be_replaced() -> None:
    """With another error number than ENOSYS for clone3, the C library would not fall back to clone."""
    refused = patch(POLICY, call("clone3")).refused_because
    assert "ENOSYS" in refused and "EPERM" not in refused
    assert "EPERM" in patch(POLICY, call("ptrace")).refused_because
