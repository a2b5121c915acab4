"""Hooks: Python callables that decide single calls, and what happens when they misbehave."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stockade import Executor, PolicyBuilder, PolicyError, Result, Status, Syscall, Verdict, Violation, arg
from support.compiler import CCompiler
from support.runs import main_program, static_builder

# Says what getppid gives, then what a traced write of each argument does.
PROGRAM = r"""
char text[128];
snprintf(text, sizeof text, "%ld;", raw(SYS_getppid, 11, 22, 33, 44, 55, 66));
say(text);
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, PROGRAM)


def decide(program: Path, hook: Callable[[Syscall], Any], **options: Any) -> Result:
    """Run the program with `hook` deciding about getppid."""
    policy = static_builder(program).trace("getppid", "decide").build()
    return Executor(policy, hooks={"decide": hook}, **options).run([program], text=True)


def test_allow(program: Path) -> None:
    result = decide(program, lambda call: Verdict.ALLOW)
    assert (result.status, result.stdout) == (Status.OK, "1;")  # the parent is init
    assert not result.violations
    assert not result.to_proto().advisory_hooks


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOENT, errno.EINTR, errno.ENOSYS, 4095])
def test_errno(program: Path, error: int) -> None:
    result = decide(program, lambda call: Verdict.errno(error))
    assert (result.status, result.stdout) == (Status.OK, f"-{error};")
    assert not result.violations


@pytest.mark.parametrize("error", [0, -1, 4096, "EPERM", None, 1.5])
def test_an_errno_that_is_none(error: Any) -> None:
    with pytest.raises(ValueError, match="4095"):
        Verdict.errno(error)


def test_kill(program: Path) -> None:
    result = decide(program, lambda call: Verdict.KILL)
    assert (result.status, result.stdout) == (Status.VIOLATION, "")
    (violation,) = result.violations
    assert violation.kind == result.reason.violation == Violation.HOOK
    assert (violation.syscall, violation.layer, violation.hook) == ("getppid", "hook", "decide")
    assert violation.hook_message == ""
    assert "decide" in violation.patch.refused_because


def test_what_a_hook_is_given(program: Path) -> None:
    calls: list[Syscall] = []
    seen: list[tuple[int, str, str]] = []
    stack_pointers: list[int] = []

    def hook(call: Syscall) -> Verdict:
        calls.append(call)
        seen.append((call.pid, call.program, repr(call)))
        stack_pointers.append(call.stack_pointer)
        return Verdict.ALLOW

    result = decide(program, hook)
    (call,), ((pid, path, text),) = calls, seen
    assert (call.name, call.number, call.architecture) == ("getppid", 110, "x86_64")
    assert call.args == (11, 22, 33, 44, 55, 66)
    assert pid == call.tid == result.pid
    assert path == str(program)
    assert "getppid" in text
    assert call.instruction_pointer > 0
    assert stack_pointers[0] > 0


class RaisesInRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no text for this")


class RaisesInStrError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for this")


@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), KeyError(1), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), RaisesInStrError()],
    ids=repr,
)
def test_a_hook_that_raises_denies(program: Path, error: BaseException) -> None:
    def hook(call: Syscall) -> Verdict:
        raise error

    result = decide(program, hook)
    assert (result.status, result.stdout) == (Status.VIOLATION, "")
    (violation,) = result.violations
    assert violation.kind == Violation.HOOK
    assert type(error).__name__ in violation.hook_message


@pytest.mark.parametrize(
    "nonsense",
    [None, True, 0, 1, -1, "allow", Verdict, Verdict.errno, [], object(), RaisesInRepr()],
    ids=lambda x: type(x).__name__,
)
def test_a_hook_that_answers_nonsense_denies(program: Path, nonsense: Any) -> None:
    result = decide(program, lambda call: nonsense)
    assert (result.status, result.stdout) == (Status.VIOLATION, "")
    (violation,) = result.violations
    assert violation.kind == Violation.HOOK
    assert "instead of a Verdict" in violation.hook_message


def test_what_a_hook_says_is_escaped(program: Path) -> None:
    def hook(call: Syscall) -> Verdict:
        raise ValueError("\x1b[2J\nforged")

    (violation,) = decide(program, hook).violations
    assert "\x1b" not in violation.hook_message + violation.summary
    assert "\n" not in violation.hook_message + violation.summary


def test_a_hook_that_takes_too_long_ends_the_run(program: Path) -> None:
    never, entered = threading.Event(), threading.Event()

    def hook(call: Syscall) -> Verdict:
        entered.set()
        never.wait()
        return Verdict.ALLOW

    try:
        result = decide(program, hook, hook_timeout=0.01)
        assert entered.is_set()
        assert not never.is_set()
        assert (result.status, result.returncode, result.stdout) == (Status.VIOLATION, -31, "")
        (violation,) = result.violations
        assert violation.kind == result.reason.violation == Violation.HOOK_TIMEOUT
        assert (violation.syscall, violation.hook) == ("getppid", "decide")
        # The thread that is stuck is not missed.
        assert decide(program, lambda call: Verdict.ALLOW).stdout == "1;"
    finally:
        never.set()


def test_a_started_process_with_a_stuck_hook_can_be_closed(program: Path) -> None:
    never = threading.Event()

    def hook(call: Syscall) -> Verdict:
        never.wait()
        return Verdict.ALLOW

    policy = static_builder(program).trace("getppid", "decide").build()
    try:
        process = Executor(policy, hooks={"decide": hook}, hook_timeout=0.01).start([program])
        assert process.wait() == -31
        process.close()
        assert process.result.status is Status.VIOLATION
    finally:
        never.set()


def test_closing_while_a_hook_is_busy_does_not_wait_for_it_for_ever(program: Path) -> None:
    never, entered = threading.Event(), threading.Event()

    def hook(call: Syscall) -> Verdict:
        entered.set()
        never.wait()
        return Verdict.ALLOW

    policy = static_builder(program).trace("getppid", "decide").build()
    try:
        process = Executor(policy, hooks={"decide": hook}, hook_timeout=0.01).start([program])
        entered.wait()
        process.close()
        assert process.result.status in (Status.VIOLATION, Status.EXTERNAL_KILL)
    finally:
        never.set()


def test_a_hook_within_its_time_may_wait_for_others(program: Path) -> None:
    """Neighbour of the hook that takes too long: what counts is the time, not that it waits."""
    ready = threading.Event()

    def hook(call: Syscall) -> Verdict:
        threading.Thread(target=ready.set).start()
        ready.wait()
        return Verdict.ALLOW

    assert decide(program, hook, hook_timeout=600).status is Status.OK


MEMORY = r"""
char *page = mmap(0, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
munmap(page + 4096, 4096);
strcpy(page, "hello");
memset(page + 4096 - 3, 'z', 3);
raw(SYS_getppid, (long)page, (long)page + 4096 - 3, (long)page + 4096, 0, -1, 0x7000000000000000);
"""


def test_memory_of_the_caller(compile_c: CCompiler) -> None:
    program = main_program(compile_c, MEMORY)
    found: dict[str, Any] = {}

    def attempt(read: Callable[[], bytes]) -> bytes | int | None:
        try:
            return read()
        except OSError as error:
            return error.errno

    def hook(call: Syscall) -> Verdict:
        good, end, hole, null, high, odd = call.args
        found["string"] = call.read_string(good)
        found["memory"] = call.read_memory(good, 8)
        found["none"] = call.read_memory(good, 0)
        found["short string"] = call.read_string(good, 3)
        found["up to the hole"] = attempt(lambda: call.read_memory(end, 100))
        found["unterminated"] = attempt(lambda: call.read_string(end))
        for name, address in (("hole", hole), ("null", null), ("high", high), ("odd", odd)):
            found[name] = attempt(lambda address=address: call.read_memory(address, 8))  # type: ignore[misc]
            found[f"{name} string"] = attempt(lambda address=address: call.read_string(address))  # type: ignore[misc]
        return Verdict.ALLOW

    policy = static_builder(program).allow_system_malloc().trace("getppid", "look").allow_syscalls("munmap", "mmap")
    result = Executor(policy.build(), hooks={"look": hook}).run([program])
    assert result.status is Status.OK
    assert found["string"] == b"hello"
    assert found["memory"] == b"hello\0\0\0"
    assert (found["none"], found["short string"]) == (b"", b"hel")
    assert found["up to the hole"] == b"zzz"
    assert found["unterminated"] in (b"zzz", errno.EFAULT)
    for name in ("hole", "null", "high", "odd"):
        assert found[name] == found[f"{name} string"] == errno.EFAULT, name
    assert list(result.to_proto().advisory_hooks) == ["look"]


@pytest.mark.parametrize(
    ("verdict", "advisory"), [(Verdict.ALLOW, ["decide"]), (Verdict.errno(1), []), (Verdict.KILL, [])], ids=repr
)
def test_only_a_hook_that_reads_memory_and_then_allows_is_advisory(
    program: Path, verdict: Verdict, advisory: list[str]
) -> None:
    def hook(call: Syscall) -> Verdict:
        assert call.read_memory(call.stack_pointer, 8)
        return verdict

    assert list(decide(program, hook).to_proto().advisory_hooks) == advisory


def test_hooks_are_asked_by_argument_and_by_name(compile_c: CCompiler) -> None:
    body = """
    char text[64];
    for (int family = 1; family <= 3; family++) {
        snprintf(text, sizeof text, "%d ", socket(family, SOCK_STREAM, 0) < 0 ? errno : 0);
        say(text);
    }
    """
    program = main_program(compile_c, body)
    policy = (
        static_builder(program)
        .trace("socket", "first", arg(0) == "AF_UNIX")
        .trace("socket", "second", arg(0) == "AF_INET")
        .block_syscall_with_errno("socket", "EAFNOSUPPORT")
        .build()
    )
    asked = []

    def first(call: Syscall) -> Verdict:
        asked.append(("first", call.args[0]))
        return Verdict.errno(errno.EMFILE)

    def second(call: Syscall) -> Verdict:
        asked.append(("second", call.args[0]))
        return Verdict.errno(errno.ENFILE)

    result = Executor(policy, hooks={"second": second, "first": first}).run([program], text=True)
    assert result.stdout == f"{errno.EMFILE} {errno.ENFILE} {errno.EAFNOSUPPORT} "
    assert asked == [("first", 1), ("second", 2)]


def test_a_default_hook_decides_what_no_rule_decides(program: Path) -> None:
    policy = PolicyBuilder().allow_static_startup().allow_exit().default_trace("rest").add_file(program).build()
    names = []

    def rest(call: Syscall) -> Verdict:
        names.append(call.name)
        return Verdict.ALLOW

    result = Executor(policy, hooks={"rest": rest}).run([program])
    assert (result.status, result.stdout) == (Status.OK, b"1;")
    assert names == ["getppid", "write"]


def test_a_default_hook_is_not_asked_about_what_is_always_refused(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "raw(SYS_ptrace, 0, 0, 0, 0, 0, 0);")
    policy = PolicyBuilder().allow_static_startup().allow_exit().default_trace("rest").add_file(program).build()
    result = Executor(policy, hooks={"rest": lambda call: Verdict.ALLOW}).run([program])
    assert result.status is Status.VIOLATION
    assert result.violations[0].syscall == "ptrace"
    assert result.violations[0].kind == Violation.SYSCALL


def test_a_hook_may_run_another_sandbox(program: Path, compile_c: CCompiler) -> None:
    inner_program = main_program(compile_c, 'say("inner");')
    inner = Executor(static_builder(inner_program).build())

    def hook(call: Syscall) -> Verdict:
        return Verdict.errno(errno.EXDEV) if inner.run([inner_program]).stdout == b"inner" else Verdict.KILL

    assert decide(program, hook).stdout == f"-{errno.EXDEV};"


def test_a_hook_may_run_its_own_executor(program: Path) -> None:
    depth = 0

    def hook(call: Syscall) -> Verdict:
        nonlocal depth
        depth += 1
        if depth < 4:
            assert executor.run([program]).status is Status.OK
        return Verdict.ALLOW

    policy = static_builder(program).trace("getppid", "again").build()
    executor = Executor(policy, hooks={"again": hook})
    assert executor.run([program]).stdout == b"1;"
    assert depth == 4


def test_hooks_of_threads_and_children_are_told_apart(compile_c: CCompiler) -> None:
    before = "static void *work(void *n) { raw(SYS_getppid, 2, 0, 0, 0, 0, 0); return 0; }"
    body = """
    pthread_t t;
    raw(SYS_getppid, 1, 0, 0, 0, 0, 0);
    pthread_create(&t, 0, work, 0);
    pthread_join(t, 0);
    if (fork() == 0) { raw(SYS_getppid, 3, 0, 0, 0, 0, 0); _exit(0); }
    wait(0);
    """
    program = main_program(compile_c, body, before=before)
    policy = (
        static_builder(program).allow_threads().allow_system_malloc().allow_fork().allow_wait().allow_handle_signals()
    )
    seen: dict[int, tuple[int, int]] = {}

    def see(call: Syscall) -> Verdict:
        seen[call.args[0]] = (call.pid, call.tid)
        return Verdict.ALLOW

    result = Executor(policy.trace("getppid", "see").build(), hooks={"see": see}).run([program])
    assert result.status is Status.OK, result.violations
    assert seen[1] == (result.pid, result.pid)
    assert seen[2][0] == result.pid != seen[2][1]
    assert seen[3][0] == seen[3][1] != result.pid


def test_hooks_must_be_the_ones_that_the_policy_names(program: Path) -> None:
    def hook(call: Syscall) -> Verdict:
        return Verdict.ALLOW

    policy = static_builder(program).trace("getppid", "decide").build()
    with pytest.raises(PolicyError, match="'decide'"):
        Executor(policy)
    with pytest.raises(PolicyError, match="did you mean 'decide'"):
        Executor(policy, hooks={"decide": hook, "decided": hook})
    with pytest.raises(PolicyError, match="superfluous"):
        Executor(static_builder(program).build(), hooks={"superfluous": hook})
    with pytest.raises(PolicyError, match="callable"):
        Executor(policy, hooks={"decide": 5})  # type: ignore[dict-item]
    for timeout in (0, -1, float("nan")):
        with pytest.raises(PolicyError, match="hook_timeout"):
            Executor(policy, hooks={"decide": hook}, hook_timeout=timeout)
    assert Executor(policy, hooks={"decide": hook}).run([program]).status is Status.OK


def test_log_rules_allow_and_record(compile_c: CCompiler) -> None:
    body = 'for (int i = 0; i < 7; i++) raw(SYS_getppid, 0, 0, 0, 0, 0, 0); getcwd((char[64]){0}, 64); say("done");'
    program = main_program(compile_c, body)
    policy = static_builder(program).log_syscall("getppid").log_syscall("getcwd").build()
    result = Executor(policy).run([program])
    assert (result.status, result.stdout) == (Status.OK, b"done")
    assert not result.violations
    logged = {call.syscall: (call.count, call.example) for call in result.to_proto().logged}
    assert logged["getppid"] == (7, "getppid()")
    assert logged["getcwd"][0] == 1
    assert logged["getcwd"][1].startswith("getcwd(")
