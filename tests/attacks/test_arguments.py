"""Class A, arguments: high halves, signs, multiplexers, prctl, and answers that a policy makes up."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stockade import Executor, Policy, PolicyBuilder, PolicyError, Status, Violation, arg
from stockade._proto import policy_pb2
from stockade.kernel import signatures
from stockade.kernel.architectures import X86_64
from stockade.policy.bpf.interpreter import SeccompData, run
from stockade.policy.conditions import Condition
from stockade.policy.evaluate import evaluate
from stockade.policy.rules import Action, Kind
from support.attacks import (
    REFUSED,
    Attempt,
    assert_allowed,
    assert_killed,
    assert_refused,
    attack_program,
    open_wide,
    small,
    succeeds,
    unsandboxed,
)

HIGH = [1 << 32, 0xFFFFFFFF << 32, 1 << 63]
ERRNO = 0x00050000


@pytest.fixture
def arguments(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "arguments")


# --- A3: the high half of an argument of 32 bits ---

# What the program does, the call, the condition that holds for it, and one that does not.
NARROW: dict[str, tuple[str, Condition, Condition]] = {
    "ioctl": ("ioctl", arg(1) == "FIONREAD", arg(1) == "TCGETS"),
    "prctl": ("prctl", arg(0) == "PR_GET_DUMPABLE", arg(0) == "PR_SET_NAME"),
    "socket": ("socket", arg(0) == "AF_UNIX", arg(0) == "AF_INET"),
    "type": ("socket", arg(1) == "SOCK_STREAM", arg(1) == "SOCK_DGRAM"),
    "clone": ("clone", arg(0) == "SIGCHLD", arg(0) == "CLONE_VM|SIGCHLD"),
    "fcntl": ("fcntl", arg(1) == "F_GETFD", arg(1) == "F_SETFD"),
    "open-flags": ("openat", arg(2) == "O_DIRECTORY", arg(2) == "O_PATH"),
    "madvise": ("madvise", arg(2) == "MADV_DONTNEED", arg(2) == "MADV_FREE"),
}


def values(what: str, high: int) -> list[str]:
    return [what, str(high), {"prctl": "3"}.get(what, "0")]


@pytest.mark.attack("A3")
@pytest.mark.parametrize("high", HIGH, ids=hex)
@pytest.mark.parametrize("what", NARROW)
def test_a_refusal_holds_whatever_the_high_half_says(attack: Attempt, arguments: Path, what: str, high: int) -> None:
    attack.control(succeeds(arguments, *values(what, high)), "the kernel looks at the high half")
    name, this, other = NARROW[what]
    refusing = open_wide(arguments).block_syscall_with_errno(name, "EACCES", this).build()
    assert_refused(Executor(refusing).run([arguments, *values(what, high)]), errno.EACCES)
    # The neighbour: a rule about another value says nothing about this one.
    assert_allowed(
        Executor(open_wide(arguments).block_syscall_with_errno(name, "EACCES", other).build()).run(
            [arguments, *values(what, high)]
        )
    )


@pytest.mark.attack("A3")
@pytest.mark.parametrize("what", NARROW)
def test_an_allow_list_means_what_the_kernel_does(attack: Attempt, arguments: Path, what: str) -> None:
    """The same answer for both spellings of one call, allowed or not."""
    attack.control(succeeds(arguments, *values(what, HIGH[0])), "the kernel looks at the high half")
    name, this, other = NARROW[what]
    for condition, passes in ((this, True), (other, False)):
        builder = open_wide(arguments).allow_syscall(name, condition).block_syscall_with_errno(name, "EACCES")
        executor = Executor(builder.build())
        for high in (0, HIGH[0]):
            result = executor.run([arguments, *values(what, high)])
            assert_allowed(result) if passes else assert_refused(result, errno.EACCES)


@pytest.mark.attack("A3")
@pytest.mark.parametrize("high", [0, *HIGH], ids=hex)
def test_typing_into_a_terminal_is_refused_in_every_spelling(attack: Attempt, arguments: Path, high: int) -> None:
    done = unsandboxed(arguments, "terminal", str(high), str(0x5412))
    # Kernels may refuse it to those without a capability (legacy_tiocsti=0): then with EIO, as the command TIOCSTI.
    attack.control(done.returncode == 0 or done.stdout.endswith(b"errno 5\n"), "the kernel looks at the high half")
    for policy in (open_wide(arguments), small(arguments).allow_syscalls("ioctl", "openat", "setsid")):
        found = assert_killed(
            Executor(policy.build()).run([arguments, "terminal", str(high), str(0x5412)]),
            "ioctl",
        )
        assert "TIOCSTI" in found.patch.refused_because


def test_other_commands_for_terminals_stay_allowed(arguments: Path) -> None:
    result = Executor(open_wide(arguments).build()).run([arguments, "terminal", str(HIGH[0]), str(0x5401)])
    assert (result.status, result.returncode) == (Status.OK, REFUSED), result.stdout  # ENOTTY: it reached the kernel


@pytest.mark.attack("A3")
@pytest.mark.parametrize("high", [0, *HIGH], ids=hex)
def test_a_namespace_is_refused_in_every_spelling(attack: Attempt, arguments: Path, high: int) -> None:
    new_user = str(0x10000000)
    attack.control(succeeds(arguments, "clone", str(high), new_user), "user namespaces cannot be made")
    found = assert_killed(
        Executor(open_wide(arguments).build()).run([arguments, "clone", str(high), new_user]), "clone"
    )
    assert "namespace" in found.patch.refused_because


def narrow_arguments() -> list[tuple[str, int, int]]:
    """(call, index, width) of every argument of which the kernel reads less than 64 bits."""
    return [
        (name, index, parameter.kind.width)
        for name in signatures.known_calls()
        if name in X86_64.syscalls
        for index, parameter in enumerate(signatures.signature(name))
        if parameter.kind.width < 64
    ]


def judge(table: list[tuple[str, int]], value: int, forms: dict[int, bool]) -> None:
    """Check for each (call, argument) that a rule about `value` matches just the right ones of `forms`.

    By the policy's meaning and by the compiled program, a hundred rules at a time.
    """
    for start in range(0, len(table), 100):
        part = table[start : start + 100]
        builder = PolicyBuilder().danger_default_allow_all()
        for name, index in part:
            builder.block_syscall_with_errno(name, "EXDEV", arg(index) == value)
        policy = builder.build()
        resolved, program = policy.resolve(X86_64), policy.compile(X86_64)
        for name, index in part:
            for form, expected in forms.items():
                registers = tuple(form if number == index else 0 for number in range(6))
                number = X86_64.syscalls[name]
                matched = evaluate(resolved, number, registers).action == Action(Kind.ERRNO, errno=errno.EXDEV)
                compiled = run(program, SeccompData(number, X86_64.audit_token, registers))
                assert (matched, compiled == ERRNO | errno.EXDEV) == (expected, expected), (name, index, hex(form))


@pytest.mark.attack("A3")
def test_every_narrow_argument_of_every_call_is_compared_in_its_width(attack: Attempt) -> None:
    table = narrow_arguments()
    attack.control(len(table) > 400, "the table of calls is not complete")
    for narrow in (16, 32):
        forms = dict.fromkeys((0x1234, 0x1234 | 1 << narrow, 0x1234 | 1 << 63, 0x1234 | -1 << narrow & 2**64 - 1), True)
        judge([(name, index) for name, index, width in table if width == narrow], 0x1234, {**forms, 0x1235: False})


# --- A4: signs ---


@pytest.mark.attack("A4")
@pytest.mark.parametrize("form", ["0xffffff9c", "0xffffffffffffff9c", "0x7fffffffffffff9c"])
@pytest.mark.parametrize(("what", "name"), [("at", "openat"), ("stat-at", "newfstatat")])
def test_the_current_directory_in_both_forms(attack: Attempt, arguments: Path, what: str, name: str, form: str) -> None:
    attack.control(succeeds(arguments, what, form), "the kernel knows one form only")
    for value in ("AT_FDCWD", -100, 0xFFFFFF9C):
        refusing = open_wide(arguments).block_syscall_with_errno(name, "EACCES", arg(0) == value).build()
        assert_refused(Executor(refusing).run([arguments, what, form]), errno.EACCES)
        allowing = open_wide(arguments).allow_syscall(name, arg(0) == value).block_syscall_with_errno(name, "EACCES")
        assert_allowed(Executor(allowing.build()).run([arguments, what, form]))


@pytest.mark.attack("A4")
@pytest.mark.parametrize("form", ["0xffffffff", "0xffffffffffffffff"])
def test_minus_one_in_both_forms(attack: Attempt, arguments: Path, form: str) -> None:
    attack.control(succeeds(arguments, "wait", form), "the kernel knows one form only")
    refusing = open_wide(arguments).block_syscall_with_errno("wait4", "EACCES", arg(0) == -1).build()
    assert_refused(Executor(refusing).run([arguments, "wait", form]), errno.EACCES)
    # The neighbours: another number, and an order in which -1 is the largest number.
    other = open_wide(arguments).block_syscall_with_errno("wait4", "EACCES", arg(0) == -2).build()
    assert_allowed(Executor(other).run([arguments, "wait", form]))
    below = open_wide(arguments).block_syscall_with_errno("wait4", "EACCES", arg(0) < 5).build()
    assert_allowed(Executor(below).run([arguments, "wait", form]))


@pytest.mark.attack("A4")
def test_every_narrow_argument_knows_minus_one_in_both_forms(attack: Attempt) -> None:
    table = [(name, index) for name, index, width in narrow_arguments() if width == 32]
    attack.control(len(table) > 400, "the table of calls is not complete")
    judge(table, -1, {0xFFFFFFFF: True, 0xFFFFFFFFFFFFFFFF: True, 0x7FFFFFFF: False, 0xFFFFFFFE: False})


@pytest.mark.attack("A4")
def test_a_wide_argument_is_minus_one_only_when_all_of_it_is(attack: Attempt) -> None:
    """lseek's offset: the program may not be refused for what the kernel takes to be 4 GiB."""
    attack.control(signatures.width("lseek", 1) == 64, "the table says otherwise")
    judge([("lseek", 1)], -1, {0xFFFFFFFFFFFFFFFF: True, 0xFFFFFFFF: False})


# --- A10: calls that are many calls ---


@pytest.mark.attack("A10")
@pytest.mark.parametrize("make", [small, open_wide])
@pytest.mark.parametrize("mode", ["enforce", "refuse"])
@pytest.mark.parametrize("what", ["socketcall", "ipc"])
def test_multiplexers_of_the_32_bit_entry(
    attack: Attempt, arguments: Path, make: Callable[[Path], PolicyBuilder], what: str, mode: str
) -> None:
    attack.control(succeeds(arguments, what), "the kernel has no 32-bit entry")
    policy = make(arguments).allow_syscalls("socket", "shmget", "mmap").build()
    result = Executor(policy, mode=mode).run([arguments, what])
    assert_killed(result, what, kind=Violation.ARCHITECTURE, architecture="i386")


def test_the_calls_themselves_stay_allowed(arguments: Path) -> None:
    assert_allowed(Executor(small(arguments).allow_syscall("socket").build()).run([arguments, "plain-socket"]))


# --- A25: prctl ---


@pytest.mark.attack("A25")
@pytest.mark.parametrize("what", ["mm", "dispatch", "ptracer", "strict"])
def test_relaxations_are_refused_in_every_policy(attack: Attempt, arguments: Path, what: str) -> None:
    # Without the sandbox the call comes to the kernel, which may lack the feature or want a capability.
    attack.control(unsandboxed(arguments, what).returncode in (0, REFUSED, -9), "the program ends otherwise")
    for policy in (open_wide(arguments), small(arguments).allow_syscall("prctl"), small(arguments)):
        assert_killed(Executor(policy.build()).run([arguments, what]), "prctl")
    found = assert_killed(Executor(open_wide(arguments).build()).run([arguments, what]), "prctl")
    assert found.patch.refused_because


@pytest.mark.attack("A25")
def test_a_program_that_hides_itself_is_judged_all_the_same(attack: Attempt, arguments: Path) -> None:
    """PR_SET_DUMPABLE is allowed where everything is, and changes nothing for the monitor."""
    attack.control(succeeds(arguments, "hide"), "the program cannot hide itself")
    assert_killed(Executor(small(arguments).build()).run([arguments, "hide"]), "prctl")
    hidden = small(arguments).allow_syscall("prctl").build()
    assert_killed(Executor(hidden).run([arguments, "hide"]), "getppid")
    result = Executor(hidden, mode="refuse").run([arguments, "hide"])
    assert_refused(result, errno.EPERM)
    assert [found.syscall for found in result.violations] == ["getppid"]


def test_naming_a_thread_stays_allowed(arguments: Path) -> None:
    named = small(arguments).allow_prctl_set_name().build()
    assert_allowed(Executor(named).run([arguments, "name"]))
    assert_allowed(Executor(open_wide(arguments).build()).run([arguments, "name"]))
    assert_killed(Executor(named).run([arguments, "prctl", "0", "3"]), "prctl")


# --- A27: error numbers ---


def answering(program: Path, number: int) -> Iterator[Policy]:
    """The same policy by the builder, as text and as a message."""
    builder = small(program).block_syscall_with_errno("getppid", number)
    yield builder.build()
    yield Policy.from_text(builder.build().to_text(), "a.textproto")
    message = small(program).build().message
    message.syscalls.rules.insert(
        0, policy_pb2.Rule(syscall=["getppid"], action=policy_pb2.Rule.ERRNO, errno=str(number))
    )
    yield Policy.from_message(message)


@pytest.mark.attack("A27")
@pytest.mark.parametrize(("number", "seen"), [(0, b"0 0\n0\n"), (1, b"-1 1\n-1\n"), (4095, b"-1 4095\n-4095\n")])
def test_the_program_sees_the_error_number_that_the_policy_says(
    attack: Attempt, arguments: Path, number: int, seen: bytes
) -> None:
    attack.control(unsandboxed(arguments, "answer").stdout == b"1 0\n1\n", "getppid fails by itself")
    for policy in answering(arguments, number):
        result = Executor(policy).run([arguments, "answer"])
        assert (result.status, result.stdout) == (Status.OK, seen)


@pytest.mark.attack("A27")
@pytest.mark.parametrize("number", [4096, 5000, 65536, 1 << 32, -1, -4095])
def test_numbers_that_are_no_error_numbers_are_refused(attack: Attempt, arguments: Path, number: int) -> None:
    attack.control(list(answering(arguments, 4095)), "no error number at all can be given")
    with pytest.raises(PolicyError, match=r"errno|error number"):
        small(arguments).block_syscall_with_errno("getppid", number)
    with pytest.raises(PolicyError, match=r"errno|error number"):
        small(arguments).default_errno(number)
    text = 'schema_version: 1\nsyscalls {\n  rules { syscall: "getppid" action: ERRNO errno: "%d" }\n}'
    with pytest.raises(PolicyError, match=r"errno|error number") as caught:
        Policy.from_text(text % number, "a.textproto")
    assert (caught.value.source, caught.value.line) == ("a.textproto", 3)
    message = small(arguments).build().message
    message.syscalls.rules.add(syscall=["getppid"], action=policy_pb2.Rule.ERRNO, errno=str(number))
    with pytest.raises(PolicyError, match=r"errno|error number"):
        Policy.from_message(message)


@pytest.mark.attack("A27")
def test_success_is_pretended_only_when_it_is_asked_for(attack: Attempt, arguments: Path) -> None:
    attack.control(list(answering(arguments, 0)), "it cannot be asked for")
    for text in ("action: ERRNO", 'action: ERRNO errno: ""'):
        with pytest.raises(PolicyError, match="needs an error number"):
            Policy.from_text(f'schema_version: 1 syscalls {{ rules {{ syscall: "getppid" {text} }} }}', "a.textproto")
    # In the mode in which what is refused goes on, the answer is an error.
    result = Executor(small(arguments).build(), mode="refuse").run([arguments, "answer"])
    assert result.stdout == b"-1 1\n-1\n"
