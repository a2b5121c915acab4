"""What a violation says: exactly the call that was refused, who made it, and where in the code."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest

from stockade import Executor, PolicyBuilder, Result, Status, Violation, arg
from support.compiler import CCompiler
from support.monitors import assert_counts
from support.runs import everything_builder, file_offset_of, main_program, static_builder

# Makes the call argv[1..7] (a name is looked up by the test), then says "done".
CALLER = """
long value[7] = {0};
for (int i = 1; i < argc && i < 8; i++) value[i - 1] = number_of(argv[i]);
long back = raw(value[0], value[1], value[2], value[3], value[4], value[5], value[6]);
char text[64];
snprintf(text, sizeof text, "done %ld", back);
say(text);
"""


@pytest.fixture(scope="module")
def caller(compile_c: CCompiler) -> Path:
    return main_program(compile_c, CALLER)


def one_violation(result: Result) -> Violation:
    assert result.status is Status.VIOLATION, (result, result.stderr)
    assert result.returncode == -signal.SIGSYS
    assert len(result.violations) == 1
    return result.violations[0]


def test_everything_that_a_violation_says(caller: Path) -> None:
    command = [str(caller), "41", "2", "0x80001", "6", "0x1111", "0x2222", "0x3333"]
    result = Executor(static_builder(caller).build()).run(command)
    violation = one_violation(result)
    assert (violation.kind, violation.syscall, violation.number) == (Violation.SYSCALL, "socket", 41)
    assert violation.architecture == "x86_64"
    assert list(violation.raw_arguments) == [2, 0x80001, 6, 0x1111, 0x2222, 0x3333]
    decoded = [(argument.name, argument.value, argument.text) for argument in violation.arguments]
    assert decoded == [
        ("domain", 2, "AF_INET"),
        ("type", 0x80001, "SOCK_STREAM|SOCK_CLOEXEC"),
        ("protocol", 6, "IPPROTO_TCP"),
    ]
    assert violation.pid == violation.tid == result.pid
    assert violation.inner_pid == 2  # init is 1
    assert violation.program == str(caller)
    assert list(violation.command_line) == command
    assert violation.module == str(caller)
    assert violation.module_offset == file_offset_of(caller, "raw_after")
    assert violation.layer == "seccomp"
    assert violation.count == 1
    assert violation.summary.startswith("socket(")
    assert result.reason.violation == Violation.SYSCALL
    assert result.stdout == b""


def test_the_same_call_is_made_where_a_rule_allows_it(caller: Path) -> None:
    policy = static_builder(caller).allow_syscall("socket", arg(0) == "AF_INET").build()
    executor = Executor(policy)
    allowed = executor.run([caller, "41", "2", "1", "0"])
    assert allowed.status is Status.OK
    assert allowed.stdout.startswith(b"done ")
    assert int(allowed.stdout.split()[1]) >= 0
    assert not allowed.violations
    neighbour = one_violation(executor.run([caller, "41", "1", "1", "0"]))
    assert neighbour.syscall == "socket"
    assert neighbour.nearest_rule.rule.startswith('rules { syscall: "socket"')
    assert "AF_INET" in neighbour.nearest_rule.difference
    assert "AF_UNIX" in neighbour.nearest_rule.difference


def test_a_rule_that_answers_an_error_is_no_violation(caller: Path) -> None:
    policy = static_builder(caller).block_syscall_with_errno("socket", "EAFNOSUPPORT").build()
    result = Executor(policy).run([caller, "41", "2", "1", "0"], text=True)
    assert (result.status, result.stdout) == (Status.OK, f"done {-errno.EAFNOSUPPORT}")
    assert result.violations == ()


def test_a_kill_rule_is_named_as_the_one_that_decided(caller: Path) -> None:
    policy = PolicyBuilder().danger_default_allow_all().kill_syscall("getppid").add_file(caller).build()
    violation = one_violation(Executor(policy).run([caller, "110"]))
    assert violation.syscall == "getppid"
    assert violation.nearest_rule.place == 'kill_syscall("getppid")'
    assert violation.patch.refused_because
    assert not violation.patch.builder_call
    assert Executor(policy).run([caller, "39"]).status is Status.OK


def test_an_unknown_number_has_a_name_all_the_same(caller: Path) -> None:
    violation = one_violation(Executor(static_builder(caller).build()).run([caller, "9999", "7"]))
    assert (violation.syscall, violation.number) == ("syscall_9999", 9999)
    assert violation.raw_arguments[0] == 7
    assert violation.patch.refused_because


def test_a_call_from_a_library_is_placed_in_the_library(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "char b[99]; if (getcwd(b, 99)) say(b);", static=False)
    policy = PolicyBuilder().allow_dynamic_startup().allow_exit().allow_write().add_libraries_for_binary(program)
    violation = one_violation(Executor(policy.build()).run([program]))
    assert violation.syscall == "getcwd"
    assert "/libc.so.6" in violation.module
    assert violation.program == str(program)
    assert 0 < violation.module_offset < Path(violation.module).stat().st_size
    assert Executor(policy.allow_syscall("getcwd").build()).run([program]).stdout == b"/"


def test_a_position_independent_program_gives_the_same_offset(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "raw(SYS_getppid, 0, 0, 0, 0, 0, 0);", static=False)
    policy = PolicyBuilder().allow_dynamic_startup().allow_exit().add_libraries_for_binary(program).build()
    places = set()
    for _ in range(3):
        violation = one_violation(Executor(policy).run([program]))
        places.add((violation.module, violation.module_offset))
    assert places == {(str(program), file_offset_of(program, "raw_after"))}


def test_code_outside_of_every_file_is_named_anonymous(compile_c: CCompiler) -> None:
    body = """
    char *code = mmap(0, 4096, PROT_READ|PROT_WRITE|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
    memcpy(code, "\\xb8\\x6e\\0\\0\\0\\x0f\\x05\\xc3", 8);
    ((void (*)(void))code)();
    """
    program = main_program(compile_c, body)
    policy = static_builder(program).danger_allow_mmap_with_exec().build()
    violation = one_violation(Executor(policy).run([program]))
    assert (violation.syscall, violation.module) == ("getppid", "[anonymous]")
    assert violation.instruction_pointer % 4096 == 7


def test_strings_and_descriptors_are_decoded(compile_c: CCompiler) -> None:
    program = main_program(
        compile_c, 'raw(SYS_openat, AT_FDCWD, (long)"/etc/\\x1b[2Jpasswd", O_RDWR|O_CREAT, 0600, 0, 0);'
    )
    violation = one_violation(Executor(static_builder(program).build()).run([program]))
    texts = [argument.text for argument in violation.arguments]
    assert "O_RDWR|O_CREAT" in texts[2]
    assert "passwd" in texts[1]
    assert "\x1b" not in violation.summary + "".join(texts)
    assert texts[3] == "0o600"


THREADS = """
static pthread_barrier_t barrier;
static void *work(void *number) {
    pthread_barrier_wait(&barrier);
    if ((long)number == 37) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    for (;;) raw(SYS_futex, (long)&barrier, 128 /* FUTEX_WAIT_PRIVATE */, *(int *)&barrier, 0, 0, 0);
}
"""


def test_one_of_fifty_threads(compile_c: CCompiler) -> None:
    body = """
    pthread_t thread;
    pthread_barrier_init(&barrier, 0, 51);
    for (long i = 0; i < 50; i++) if (pthread_create(&thread, 0, work, (void *)i)) return 9;
    pthread_barrier_wait(&barrier);
    pthread_join(thread, 0);
    """
    program = main_program(compile_c, body, before=THREADS)
    policy = everything_builder(program).kill_syscall("getppid").build()
    result = Executor(policy).run([program])
    violation = one_violation(result)
    assert violation.syscall == "getppid"
    assert violation.pid == result.pid != violation.tid
    assert_counts(result, processes=1, threads=51)


@pytest.mark.parametrize("code", [0, 1, 31, 127, 159, 255])
def test_no_exit_code_looks_like_a_violation(compile_c: CCompiler, code: int) -> None:
    program = main_program(compile_c, "_exit(number_of(argv[1]));")
    result = Executor(static_builder(program).build()).run([program, str(code)])
    assert (result.status, result.returncode, result.exit_code) == (Status.OK, code, code)
    assert result.signal is None
    assert not result.violations


SIGNALS = """
int signo = number_of(argv[1]);
struct sigaction plain = {0};
sigaction(signo, &plain, 0);
kill(getpid(), signo);
"""


@pytest.mark.parametrize("signo", [signal.SIGSYS, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGTRAP])
def test_a_signal_that_the_program_sends_to_itself_is_no_violation(compile_c: CCompiler, signo: int) -> None:
    program = main_program(compile_c, SIGNALS)
    policy = static_builder(program).allow_handle_signals().allow_kill().allow_get_pids().build()
    result = Executor(policy).run([program, str(int(signo))])
    assert (result.status, result.signal, result.returncode) == (Status.SIGNALED, signo, -signo)
    assert result.exit_code is None
    assert not result.violations
    assert result.reason.signal == signo
    if signo != signal.SIGKILL:
        assert result.reason.si_code == 0  # SI_USER
        assert result.reason.fault_address == 0


def test_a_fault_tells_its_address(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "*(volatile char *)0xdead000 = 1;")
    result = Executor(static_builder(program).build()).run([program])
    assert (result.status, result.signal) == (Status.SIGNALED, signal.SIGSEGV)
    assert (result.reason.si_code, result.reason.fault_address) == (1, 0xDEAD000)  # SEGV_MAPERR


def test_a_handled_fault_is_not_blamed_for_the_end(compile_c: CCompiler) -> None:
    before = """
    #include <setjmp.h>
    static sigjmp_buf back;
    static void handler(int signo) { siglongjmp(back, 1); }
    """
    body = """
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, 0);
    if (!sigsetjmp(back, 0)) *(volatile char *)0xdead000 = 1;
    say("survived");
    """
    program = main_program(compile_c, body, before=before)
    result = Executor(static_builder(program).allow_handle_signals().build()).run([program])
    assert (result.status, result.returncode, result.stdout) == (Status.OK, 0, b"survived")


def test_a_trap_rule_lets_the_program_handle_it(compile_c: CCompiler) -> None:
    before = 'static void handler(int signo) { say("trapped "); }'
    body = """
    struct sigaction action = {.sa_handler = handler};
    if (argc > 1) sigaction(SIGSYS, &action, 0);
    raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    say("on");
    """
    program = main_program(compile_c, body, before=before)
    executor = Executor(static_builder(program).allow_handle_signals().trap_syscall("getppid").build())
    handled = executor.run([program, "handle"])
    assert (handled.status, handled.stdout) == (Status.OK, b"trapped on")
    plain = executor.run([program])
    assert (plain.status, plain.signal, plain.stdout) == (Status.SIGNALED, signal.SIGSYS, b"")


NEVER = {
    "ptrace": "101",
    "process_vm_readv": "310",
    "bpf": "321",
    "mount": "165",
    "umount2": "166",
    "pivot_root": "155",
    "chroot": "161",
    "setns": "308",
    "unshare": "272 0x10000000",
    "clone": "56 0x10000011",
    "keyctl": "250",
    "add_key": "248",
    "io_uring_setup": "425",
    "userfaultfd": "323",
    "perf_event_open": "298",
    "open_by_handle_at": "304",
    "seccomp": "317 1",
    "prctl": "157 22 2",
    "ioctl": "16 0 0x5412",
    "finit_module": "313",
    "kexec_load": "246",
}


@pytest.mark.parametrize("syscall", NEVER)
def test_what_is_always_refused_is_refused_under_allow_all_and_offers_no_rule(caller: Path, syscall: str) -> None:
    executor = Executor(everything_builder(caller).build())
    result = executor.run([caller, *NEVER[syscall].split()])
    violation = one_violation(result)
    assert violation.syscall == syscall
    assert "always refused" in violation.patch.refused_because
    assert not violation.patch.builder_call
    assert not violation.patch.text_line
    assert violation.nearest_rule.place == "always refused"


HARMLESS_NEIGHBOURS = {
    "unshare of nothing": "272 0",
    "clone of a child": "56 17",
    "seccomp that asks": "317 2 0 0",
    "prctl that asks": "157 21",
    "ioctl that asks": "16 0 0x5401",
}


@pytest.mark.parametrize("name", HARMLESS_NEIGHBOURS)
def test_the_neighbours_of_what_is_always_refused_run(caller: Path, name: str) -> None:
    result = Executor(everything_builder(caller).build()).run([caller, *HARMLESS_NEIGHBOURS[name].split()])
    assert result.status is Status.OK
    assert b"done" in result.stdout


def test_clone3_answers_that_it_does_not_exist(caller: Path) -> None:
    result = Executor(everything_builder(caller).build()).run([caller, "435"], text=True)
    assert (result.status, result.stdout) == (Status.OK, f"done {-errno.ENOSYS}")
