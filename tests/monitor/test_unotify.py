"""The unotify monitor: what it does in its own way, next to the ptrace monitor where that matters."""

from __future__ import annotations

import errno
import os
import signal
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stockade import (
    Executor,
    Layer,
    Limits,
    MonitorError,
    Notify,
    PolicyBuilder,
    PolicyError,
    SetupError,
    Status,
    Syscall,
    UnsupportedError,
    Verdict,
    Violation,
    hook,
)
from stockade.host import spares
from stockade.kernel import seccomp_notify
from stockade.kernel.architectures import X86_64
from stockade.kernel.seccomp_constants import FREE_EXEC_COOKIE
from stockade.monitor import held, listener
from stockade.monitor.unotify_driver import UnotifyDriver
from stockade.monitor.violations import call_of_notification
from stockade.request import MONITORS
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, open_descriptors, static_builder

ASK = "raw(SYS_getppid, 0, 0, 0, 0, 0, 0);"


@pytest.fixture(params=MONITORS)
def monitor(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, f'{ASK} say("done"); return 3;')


def asking(program: Path, decide: Callable[[Syscall], Any], **options: Any) -> Executor:
    policy = static_builder(program).trace("getppid", "decide").build()
    return Executor(policy, hooks={"decide": decide}, **{"monitor": "unotify", **options})


def test_results_and_layers_name_the_monitor(program: Path, monitor: str) -> None:
    result = asking(program, lambda call: Verdict.ALLOW, monitor=monitor).run([program])
    assert (result.status, result.exit_code, result.stdout) == (Status.OK, 3, b"done")
    layer = next(layer for layer in result.layers if layer.name == "monitor")
    assert (layer.state, layer.detail) == (Layer.IN_FORCE, monitor)
    assert result.monitor == result.to_proto().monitor == monitor


def test_the_program_is_free_of_ptrace_and_never_has_the_listener(program: Path, monitor: str) -> None:
    seen: list[tuple[str, list[str]]] = []

    def look(call: Syscall) -> Verdict:
        status = Path(f"/proc/{call.tid}/status").read_text()
        tracer = next(line.split()[1] for line in status.splitlines() if line.startswith("TracerPid"))
        seen.append((tracer, sorted(os.listdir(f"/proc/{call.tid}/fd"))))
        return Verdict.ALLOW

    assert asking(program, look, monitor=monitor).run([program]).status is Status.OK
    ((tracer, descriptors),) = seen
    assert (tracer == "0") == (monitor == "unotify")
    assert descriptors == ["0", "1", "2"]


def test_what_the_run_used_is_reported_by_init(compile_c: CCompiler, monitor: str) -> None:
    body = """
    mmap(0, 50 << 20, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE, -1, 0);
    struct rusage usage;
    do getrusage(RUSAGE_SELF, &usage); while (usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec < 20000);
    """
    program = main_program(compile_c, body)
    result = Executor(everything_builder(program).build(), monitor=monitor).run([program])
    assert result.status is Status.OK
    usage = result.usage
    assert usage.user_time >= 0.02
    assert usage.peak_rss >= 50 << 20
    assert usage.minor_faults > 0
    assert (usage.processes, usage.threads) == ((0, 0) if monitor == "unotify" else (1, 1))


@pytest.mark.parametrize("signo", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL, signal.SIGSYS])
def test_a_signal_and_its_core_flag(compile_c: CCompiler, monitor: str, signo: int) -> None:
    program = main_program(compile_c, "kill(getpid(), number_of(argv[1])); pause();")
    result = Executor(everything_builder(program).build(), monitor=monitor).run([program, str(int(signo))])
    assert (result.status, result.signal, result.violations) == (Status.SIGNALED, signo, ())
    reasons = [
        Executor(everything_builder(program).build(), monitor=each).run([program, str(int(signo))]).reason.core
        for each in MONITORS
    ]
    assert reasons[0] == reasons[1]


# --- the start ---


@pytest.fixture
def not_executable(public_tmp: Path) -> dict[str, Path]:
    """Files that no exec takes, by why."""
    found = {name: public_tmp / name for name in ("garbage", "script", "directory", "mode", "nothing")}
    found["garbage"].write_bytes(b"\x7fELF and then nothing that is ELF")
    found["script"].write_text("#!/no/such/interpreter\n")
    found["mode"].write_bytes(b"")
    found["directory"].mkdir()
    for name in ("garbage", "script"):
        found[name].chmod(0o755)
    return found


@pytest.mark.parametrize("name", ["garbage", "script", "directory", "mode", "nothing"])
def test_a_failed_exec_is_the_same_set_up_error(not_executable: dict[str, Path], name: str) -> None:
    path = not_executable[name]
    policy = PolicyBuilder().allow_static_startup().add_directory(path.parent).build()
    found = []
    for monitor in MONITORS:
        with pytest.raises(SetupError) as caught:
            Executor(policy, monitor=monitor).run([path])
        error = caught.value
        found.append((error.step, error.errno, str(error), error.hint, error.path))
        assert error.result is not None
        assert error.result.status is Status.SETUP_ERROR
    assert found[0] == found[1]
    assert found[0][1] in (errno.ENOEXEC, errno.ENOENT, errno.EACCES)


def test_spare_boxes_are_made_for_this_monitor_and_used(program: Path) -> None:
    executor = asking(program, lambda call: Verdict.ALLOW)
    taken: list[object] = []
    real = spares.take

    def take(*arguments: Any) -> Any:
        taken.append(found := real(*arguments))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spares, "take", take)
        for _ in range(4):
            assert executor.run([program]).exit_code == 3
    assert [found is not None for found in taken[-2:]] == [True, True]
    # A run with the other monitor is not given one of these.
    assert asking(program, lambda call: Verdict.ALLOW, monitor="ptrace").run([program]).exit_code == 3
    spares.drop_all()


def test_the_one_free_exec_is_closed_for_good(compile_c: CCompiler, monitor: str) -> None:
    body = """
    char *arguments[] = {argv[0], 0};
    if (argc < 2) { say("executed again"); return 0; }
    raw(SYS_execveat, AT_FDCWD, (long)argv[0], (long)arguments, 0, 0, number_of(argv[1]));
    """
    program = main_program(compile_c, body)
    executor = Executor(everything_builder(program).build(), monitor=monitor)
    assert executor.run([program, "0"]).stdout == b"executed again"
    result = executor.run([program, hex(FREE_EXEC_COOKIE)])
    assert (result.status, result.stdout) == (Status.VIOLATION, b"")
    assert [violation.syscall for violation in result.violations] == ["execveat"]


def test_a_listener_that_cannot_be_had_ends_the_run_before_it_begins(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pidfd: int, number: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(listener, "take_descriptor", refuse)
    with pytest.raises(SetupError) as caught:
        asking(program, lambda call: Verdict.ALLOW).run([program])
    assert (caught.value.step, caught.value.errno) == ("listener", errno.EMFILE)
    monkeypatch.undo()
    assert asking(program, lambda call: Verdict.ALLOW).run([program]).exit_code == 3


def test_nothing_of_ours_is_left_open(program: Path, not_executable: dict[str, Path]) -> None:
    executor = asking(program, lambda call: Verdict.KILL)
    before = open_descriptors()
    with executor.start([program]) as process:
        process.wait()
    with pytest.raises(SetupError):
        executor.run([not_executable["nothing"]])
    assert open_descriptors() == before


def test_a_kernel_without_notification_is_named(monkeypatch: pytest.MonkeyPatch, program: Path) -> None:
    monkeypatch.setattr(seccomp_notify, "listener_flags", lambda: 0)
    with pytest.raises(UnsupportedError, match='monitor="ptrace"'):
        Executor(static_builder(program).build(), monitor="unotify")
    assert Executor(static_builder(program).build()).run([program]).status is Status.VIOLATION


# --- what it cannot do is refused when the executor is made ---


@pytest.mark.parametrize("name", ["signal", "syscall_return", "exec", "fork", "exit"])
def test_events_that_only_a_tracer_sees(program: Path, name: str) -> None:
    notify = type("Mine", (Notify,), {name: lambda self, *arguments: None})()
    with pytest.raises(PolicyError, match=rf"Notify\.{name}"):
        Executor(static_builder(program).build(), notify=notify, monitor="unotify")
    assert Executor(static_builder(program).build(), notify=notify).monitor == "ptrace"


def test_answers_that_only_a_tracer_can_give(program: Path) -> None:
    class Inspecting(Notify):
        def syscall_return(self, call: Syscall, value: int) -> None:
            return None

    @hook(inspects=True)
    def inspecting(call: Syscall) -> Verdict:
        return Verdict.INSPECT

    policy = static_builder(program).trace("getppid", "decide").build()
    for options in ({"hooks": {"decide": inspecting}, "notify": Inspecting()}, {"trace_summary": True}):
        with pytest.raises(PolicyError, match=r"unotify|ptrace"):
            Executor(policy, monitor="unotify", **{"hooks": {"decide": lambda call: Verdict.ALLOW}, **options})  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match=r"did you mean 'unotify'|none of"):
        Executor(policy, hooks={"decide": lambda call: Verdict.ALLOW}, monitor="notify")


# --- violations ---


def test_a_violation_has_registers_and_a_stack(compile_c: CCompiler, monitor: str) -> None:
    program = main_program(compile_c, "raw(SYS_getppid, 0x1111, 2, 3, 4, 5, 6);")
    (violation,) = Executor(static_builder(program).build(), monitor=monitor).run([program]).violations
    assert violation.registers["rdi"] == 0x1111
    assert violation.registers["orig_rax"] == 110
    assert violation.registers["rip"] == violation.instruction_pointer > 0
    assert violation.registers["rsp"] == violation.stack_pointer > 0
    assert "rbx" in violation.registers
    assert len(violation.stack) > 1


def test_a_violation_of_a_task_that_cannot_be_traced_is_recorded_all_the_same(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, options: int) -> None:
        raise PermissionError(errno.EPERM, "not permitted")

    executor = Executor(static_builder(program).build(), monitor="unotify")
    monkeypatch.setattr(held, "ptrace", types.SimpleNamespace(seize=refuse, PTRACE_O_TRACEEXIT=0))
    result = executor.run([program])
    (violation,) = result.violations
    assert (result.status, violation.syscall, violation.kind) == (Status.VIOLATION, "getppid", Violation.SYSCALL)
    assert violation.instruction_pointer > 0
    assert "rbx" not in violation.registers


def test_errors_and_repetitions_are_answered_without_a_stop(compile_c: CCompiler) -> None:
    body = f'int bad = 0; for (int i = 0; i < 100; i++) bad += {ASK.rstrip(";")} != -1; if (!bad) say("all");'
    program = main_program(compile_c, body)
    result = Executor(static_builder(program).build(), mode="refuse", monitor="unotify").run([program])
    assert (result.status, result.stdout) == (Status.OK, b"all")
    assert [(violation.syscall, violation.count) for violation in result.violations] == [("getppid", 100)]
    assert result.violations[0].stack_pointer > 0


# --- the end ---


@pytest.fixture
def gate() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        os.close(descriptor)


def test_a_call_that_waits_when_the_program_ends(compile_c: CCompiler, gate: tuple[int, int]) -> None:
    """One thread waits for its answer for ever, while another ends the program."""
    before = f"static void *ask(void *nothing) {{ {ASK} for (;;) pause(); }}"
    body = "pthread_t t; char c; pthread_create(&t, 0, ask, 0); read(number_of(argv[1]), &c, 1); _exit(5);"
    program = main_program(compile_c, body, before=before)
    released = threading.Event()
    reader, writer = gate

    @hook(slow=True)
    def decide(call: Syscall) -> Verdict:
        os.write(writer, b"x")
        released.wait()
        return Verdict.ALLOW

    policy = everything_builder(program).trace("getppid", "decide").build()
    try:
        executor = Executor(policy, hooks={"decide": decide}, monitor="unotify")
        result = executor.run([program, str(reader)], pass_fds=[reader])
        assert (result.status, result.exit_code) == (Status.OK, 5)
    finally:
        released.set()


def test_a_call_that_nobody_has_received_when_the_program_ends(compile_c: CCompiler) -> None:
    """The monitor is busy with one call, while another waits and a child of the program ends it all."""
    before = f"static void *ask(void *nothing) {{ {ASK} for (;;) pause(); }}"
    body = "pthread_t t; for (int i = 0; i < 20; i++) pthread_create(&t, 0, ask, 0); pause();"
    program = main_program(compile_c, body, before=before)
    process_of: list[int] = []

    def decide(call: Syscall) -> Verdict:
        process_of.append(call.pid)
        os.kill(call.pid, signal.SIGTERM)
        return Verdict.errno(errno.EPERM)

    policy = everything_builder(program).trace("getppid", "decide").build()
    result = Executor(policy, hooks={"decide": decide}, monitor="unotify").run([program])
    assert (result.status, result.signal) == (Status.SIGNALED, signal.SIGTERM)
    assert process_of


@pytest.mark.parametrize("how", ["kill", "wall time", "verdict"])
def test_a_run_that_is_killed_tells_what_it_used(compile_c: CCompiler, how: str) -> None:
    use = "mmap(0, 30 << 20, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE, -1, 0);"
    body = f"{use} {ASK} for (;;) pause();"
    program = main_program(compile_c, body)
    reached = threading.Event()

    def decide(call: Syscall) -> Verdict:
        reached.set()
        return Verdict.finish("enough") if how == "verdict" else Verdict.ALLOW

    policy = everything_builder(program).trace("getppid", "decide").build()
    limits = Limits(wall_time=0.2) if how == "wall time" else None
    executor = Executor(policy, hooks={"decide": decide}, monitor="unotify", limits=limits)
    with executor.start([program]) as process:
        assert reached.wait(60)
        if how == "kill":
            process.kill()
        process.wait()
    result = process.result
    assert result.status is (Status.TIMEOUT if how == "wall time" else Status.EXTERNAL_KILL)
    assert result.returncode == -signal.SIGKILL
    assert result.usage.peak_rss >= 30 << 20
    assert result.user_verdict == ("enough" if how == "verdict" else None)


def test_an_init_that_is_killed_from_outside(compile_c: CCompiler, monitor: str) -> None:
    program = main_program(compile_c, "pause();")
    with Executor(everything_builder(program).build(), monitor=monitor).start([program]) as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        init = int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid")))
        if os.geteuid() == 0:
            os.kill(init, signal.SIGKILL)
        else:
            pidfd = os.pidfd_open(init)
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except PermissionError:
                process.kill()
                return
            finally:
                os.close(pidfd)
        process.wait()
        with pytest.raises(MonitorError):
            assert process.result


def test_a_late_answer_is_for_the_very_call_that_was_asked_about() -> None:
    """A task that was interrupted, or another one of the same number, may be in an equal call by then."""
    asked, other = (call_of_notification(X86_64.audit_token, 110, (0,) * 6, 0x1000) for _ in range(2))
    assert asked == other
    driver = UnotifyDriver.__new__(UnotifyDriver)
    answered: list[tuple[int, int, Verdict]] = []
    driver._answer = lambda *answer: answered.append(answer)  # type: ignore[method-assign]
    driver._waiting = {7: (other, 41)}
    driver._answer_late(7, asked, Verdict.ALLOW)
    driver._answer_late(8, other, Verdict.ALLOW)
    assert answered == []
    driver._answer_late(7, other, Verdict.ALLOW)
    assert answered == [(7, 41, Verdict.ALLOW)]
