"""The flight recorder: the last events of a run, attached to results that are not OK."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stockade import Executor, Limits, PolicyBuilder, PolicyError, Result, Status, Verdict
from stockade.executor import DEFAULT_RECORDER_SIZE
from stockade.kernel.signatures import known_calls
from stockade.monitor.plain_calls import format_plain
from stockade.monitor.recorder import MAXIMUM_EVENTS, TEXT_LIMIT, FlightRecorder, answer_words
from stockade.request import MONITORS
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, static_builder

# Makes getppid as often as the first argument says, then what the second one says.
BODY = """
for (long i = 0; i < number_of(argv[1]); i++) raw(SYS_getppid, i, 0, 0, 0, 0, 0);
if (!strcmp(argv[2], "crash")) *(volatile int *)8 = 1;
if (!strcmp(argv[2], "wait")) for (;;) raw(SYS_pause, 0, 0, 0, 0, 0, 0);
if (!strcmp(argv[2], "violate")) raw(SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
if (!strcmp(argv[2], "write")) for (;;) say("0123456789");
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY)


BOTH_MONITORS = pytest.mark.parametrize("default_monitor", MONITORS, indirect=True)


def hooked(program: Path) -> PolicyBuilder:
    return static_builder(program).trace("getppid", "ask").allow_syscall("pause")


def run(program: Path, count: int, end: str, verdict: Verdict = Verdict.ALLOW, **options: object) -> Result:
    executor = Executor(hooked(program).build(), hooks={"ask": lambda call: verdict}, **options)  # type: ignore[arg-type]
    return executor.run([program, str(count), end])


def texts(result: Result) -> list[str]:
    return [f"{event.name}|{event.text}|{event.answer}" for event in result.flight_recorder]


# --- attached to what ended badly ---


def test_a_crash(program: Path) -> None:
    result = run(program, 2, "crash")
    assert result.status is Status.SIGNALED
    assert texts(result) == [
        "getppid|getppid()|ask: allowed",
        "getppid|getppid()|ask: allowed",
        "signal|SIGSEGV, by the kernel (code 1)|delivered",
        "exit|SIGSEGV|",
    ]
    times = [event.at for event in result.flight_recorder]
    assert times == sorted(times) and times[0] > 0
    assert {event.tid for event in result.flight_recorder} == {result.pid}


@BOTH_MONITORS
def test_a_violation(program: Path) -> None:
    result = run(program, 1, "violate")
    assert result.status is Status.VIOLATION
    assert texts(result) == ["getppid|getppid()|ask: allowed", "socket|socket(AF_INET, SOCK_STREAM, IPPROTO_IP)|killed"]


@BOTH_MONITORS
def test_a_time_out(program: Path) -> None:
    result = run(program, 1, "wait", limits=Limits(wall_time=0.3))
    assert (result.status, texts(result)) == (Status.TIMEOUT, ["getppid|getppid()|ask: allowed"])


@BOTH_MONITORS
def test_a_limit(program: Path) -> None:
    result = run(program, 1, "write", limits=Limits(output=1000))
    assert (result.status, texts(result)) == (Status.LIMIT, ["getppid|getppid()|ask: allowed"])


@BOTH_MONITORS
def test_a_kill(program: Path) -> None:
    executor = Executor(hooked(program).build(), hooks={"ask": lambda call: Verdict.errno(errno.EIO)})
    process = executor.start([program, "1", "wait"])
    process.kill()
    assert process.result.status is Status.EXTERNAL_KILL
    assert set(texts(process.result)) <= {"getppid|getppid()|ask: EIO"}
    process.close()


@BOTH_MONITORS
def test_a_program_that_ends_by_itself_has_none(program: Path) -> None:
    for mode in ("enforce", "refuse", "permissive"):
        result = run(program, 3, "violate" if mode != "enforce" else "", mode=mode)
        assert (result.status, result.flight_recorder) == (Status.OK, ())
        assert not result.to_proto().flight_recorder_dropped


# --- how many ---


@pytest.mark.parametrize(("size", "kept"), [(1, 1), (5, 5), (None, DEFAULT_RECORDER_SIZE), (1000, 103), (0, 0)])
def test_the_last_ones_are_kept(program: Path, size: int | None, kept: int) -> None:
    options: dict[str, object] = {} if size is None else {"flight_recorder": size}
    result = run(program, 101, "crash", Verdict.ALLOW, **options)
    events = result.flight_recorder
    assert len(events) == kept
    assert result.to_proto().flight_recorder_dropped == 103 - kept
    assert len(result.to_proto().flight_recorder) == kept
    if kept > 1:
        assert [event.name for event in events[-2:]] == ["signal", "exit"]


@pytest.mark.parametrize("size", [-1, MAXIMUM_EVENTS + 1, 1.5, "3", None, True])
def test_sizes_that_make_no_sense(program: Path, size: object) -> None:
    with pytest.raises(PolicyError, match="flight_recorder is"):
        Executor(hooked(program).build(), hooks={"ask": lambda call: Verdict.ALLOW}, flight_recorder=size)  # type: ignore[arg-type]


def test_threads_that_end_together_push_nothing_out(compile_c: CCompiler) -> None:
    before = "static void *wait_for_ever(void *n) { for (;;) pause(); }"
    body = """
    for (int i = 0; i < 60; i++) { pthread_t t; pthread_create(&t, 0, wait_for_ever, 0); }
    raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    abort();
    """
    program = main_program(compile_c, body, before=before)
    policy = everything_builder(program).trace("getppid", "ask").build()
    result = Executor(policy, hooks={"ask": lambda call: Verdict.ALLOW}).run([program])
    assert result.status is Status.SIGNALED
    assert "getppid|getppid()|ask: allowed" in texts(result)
    assert [event.name for event in result.flight_recorder].count("exit") == 1


# --- what they say ---


def test_tasks_programs_and_signals(compile_c: CCompiler) -> None:
    body = r"""
    if (argc > 1) { signal(SIGUSR1, SIG_IGN); raise(SIGUSR1); return 3; }
    if (fork() == 0) execl(argv[0], argv[0], "child", NULL);
    wait(0);
    abort();
    """
    program = main_program(compile_c, body, name="pro\x1bgram\u202e")
    result = Executor(everything_builder(program).build()).run([program])
    assert result.status is Status.SIGNALED
    found = texts(result)
    kinds = [text.split("|")[0] for text in found]
    assert kinds == ["fork", "exec", "exit", "signal", "signal", "exit"] or kinds[:2] == ["fork", "exec"]
    assert found[0].startswith("fork|process ")
    (executed,) = [text for text in found if text.startswith("exec|")]
    assert executed.endswith("/pro\\x1bgram\\u202e|")
    assert "exit|exit code 3|" in found
    assert "signal|SIGCHLD, by the kernel (code 1)|delivered" in found
    assert found[-1] == "exit|SIGABRT|"
    assert all(text.isprintable() for text in found)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.ALLOW, "allowed"),
        (Verdict.INSPECT, "allowed, and inspected"),
        (Verdict.errno(13), "EACCES"),
        (Verdict.errno(4000), "error 4000"),
        (Verdict.returning(-5000), "returned -5000"),
        (Verdict.KILL, "killed"),
        (Verdict.finish("a\x1bb"), "ended the run: a\x1bb"),
    ],
)
def test_answers_in_words(verdict: Verdict, words: str) -> None:
    assert answer_words(verdict) == words


@BOTH_MONITORS
def test_a_hook_that_kills_is_one_event(program: Path) -> None:
    result = run(program, 1, "", Verdict.KILL)
    assert (result.status, texts(result)) == (Status.VIOLATION, ["getppid|getppid()|ask: killed"])


def test_calls_are_told_without_memory() -> None:
    flags, path = 0o2000000, id("a path that could be read")
    expected = f"openat(AT_FDCWD, {path:#x}, O_RDONLY|O_CLOEXEC)"
    assert format_plain("openat", "x86_64", ((1 << 64) - 100, path, flags, 0, 0, 0)) == expected
    assert format_plain("read", "x86_64", (1, 0, 5, 0, 0, 0)) == "read(1, NULL, 5)"
    assert format_plain("syscall_9999", "x86_64", (1, 2, 3, 4, 5, 6)).startswith("syscall_9999(")


@pytest.mark.parametrize("value", [0, 1, 1 << 31, 1 << 47, (1 << 64) - 1, id(MAXIMUM_EVENTS)])
def test_any_registers_can_be_told(value: int) -> None:
    for name in known_calls():
        for architecture in ("x86_64", "i386"):
            text = format_plain(name, architecture, [value] * 6)
            assert text.startswith(f"{name}(") and text.isprintable() and len(text) < 2000, text


def test_nothing_is_put_into_words_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def tell(name: str, *_: object) -> str:
        told.append(name)
        return name

    monkeypatch.setattr("stockade.monitor.plain_calls.format_plain", tell)
    recorder = FlightRecorder(2)
    for name in ("read", "write", "close"):
        recorder.record(1, name, "x86_64", (0,) * 6, Verdict.ALLOW)
    assert not told
    assert [event.name for event in recorder.events()] == told == ["write", "close"]
    assert (recorder.seen, recorder.dropped) == (3, 1)


def test_texts_are_cut_and_escaped() -> None:
    recorder = FlightRecorder(3)
    recorder.event(1, "exec", "\x1b" * 5000)
    recorder.record(1, "read", "x86_64", (0,) * 6, Verdict.finish("\u202e" * 5000), "ask")
    recorder.event(1, "signal", "x", "y")
    first, second, third = recorder.events()
    assert first.text == "\\x1b" * TEXT_LIMIT
    assert second.answer.isprintable() and len(second.answer) < 10 * TEXT_LIMIT
    assert (third.text, third.answer) == ("x", "y")
