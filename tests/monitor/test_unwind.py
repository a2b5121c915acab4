"""Stacks: frames of real programs against what the compiler says of them, and stacks that nobody would make."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade import Executor, Limits, Policy, Status
from stockade._proto import report_pb2
from stockade.monitor.maps import MemoryMap
from stockade.monitor.unwind import unwind
from stockade.request import MONITORS
from support.compiler import CCompiler
from support.runs import everything_builder

NESTED = """
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#define OWN __attribute__((noinline, noclone))
static volatile int sink;
static const char *how;
OWN int deepest(volatile int *x) {
    volatile char room[64];
    room[3] = (char)*x;
    if (!strcmp(how, "call")) sink = (int)syscall(SYS_getppid);
    else if (!strcmp(how, "fault")) *(volatile char *)0x10 = 1;
    else if (!strcmp(how, "abort")) abort();
    else if (!strcmp(how, "spin")) for (;;) sink++;
    else pause();
    return room[3] + 1;
}
OWN int middle(volatile int *x) { return deepest(x) + 1; }
OWN int outer(volatile int *x) { return middle(x) + 1; }
OWN void *work(void *x) { return (void *)(long)(outer(x) + 1); }
OWN void handler(int signo) { sink = signo; how = "call"; sink = deepest(&sink) + 1; }
int main(int argc, char **argv) {
    pthread_t thread;
    volatile int x = argc;
    how = argv[1];
    if (argc > 2 && !strcmp(argv[2], "thread")) {
        pthread_create(&thread, 0, work, (void *)&x);
        pthread_join(thread, 0);
    } else if (argc > 2) { signal(SIGUSR1, handler); raise(SIGUSR1); }
    else return outer(&x) & 1;
    return 0;
}
"""
BUILDS = {
    "static": (True, ("-fno-omit-frame-pointer",)),
    "dynamic": (False, ("-fno-omit-frame-pointer",)),
    "static without frame pointers": (True, ("-fomit-frame-pointer", "-O2")),
    "dynamic without frame pointers": (False, ("-fomit-frame-pointer", "-O2")),
}
WITH_FRAME_POINTERS = ["static", "dynamic"]


def program_of(compile_c: CCompiler, build: str) -> Path:
    static, options = BUILDS[build]
    options = (*options, "-pthread", "-fno-optimize-sibling-calls", "-Wno-array-bounds", "-Wno-unused-result")
    return compile_c(NESTED, static=static, options=options)


def functions(program: Path, frames: Sequence[report_pb2.Frame]) -> list[str]:
    """The functions of the program itself that the frames are in, innermost first, as addr2line tells."""
    command = ["addr2line", "-f", "-e", str(program)]
    base = 0
    headers = subprocess.run(["readelf", "-lW", program], capture_output=True, text=True, check=True).stdout
    loads = [line.split() for line in headers.splitlines() if line.strip().startswith("LOAD")]
    names = []
    for frame in frames:
        if frame.module != str(program):
            continue
        for load in loads:
            start, address, size = (int(load[column], 16) for column in (1, 2, 4))
            if start <= frame.offset < start + size:
                base = address - start
        # A return address is behind its call.
        place = frame.offset + base - (frame.found_by not in ("pc", "signal frame"))
        names.append(
            subprocess.run([*command, hex(place)], capture_output=True, text=True, check=True).stdout.split("\n")[0]
        )
    return names


def is_in_order(wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Whether `found` has all of `wanted` in that order, others between."""
    rest = iter(found)
    return all(name in rest for name in wanted)


@pytest.mark.parametrize("monitor", MONITORS)
@pytest.mark.parametrize("build", BUILDS)
def test_the_stack_of_a_violation(compile_c: CCompiler, build: str, monitor: str) -> None:
    program = program_of(compile_c, build)
    policy = everything_builder(program).kill_syscall("getppid").build()
    for arguments, wanted in (
        (["call"], ["deepest", "middle", "outer", "main"]),
        (["call", "thread"], ["deepest", "middle", "outer", "work"]),
        (["call", "signal"], ["deepest", "handler", "main"]),
    ):
        violation = Executor(policy, monitor=monitor).run([program, *arguments]).violations[0]
        found = functions(program, violation.stack)
        assert is_in_order(wanted, found), (found, violation.stack)
        assert violation.stack[0].address == violation.instruction_pointer
        assert violation.stack[0].found_by == "pc"
        if build in WITH_FRAME_POINTERS:
            # Nothing is invented between frames that are chained.
            assert [name for name in found if name in wanted] == wanted
            sources = {frame.found_by for frame in violation.stack}
            assert "frame pointer" in sources
            assert ("signal frame" in sources) == ("signal" in arguments)


@pytest.mark.parametrize("monitor", MONITORS)
def test_what_sigaction_left_on_the_stack_is_no_signal_frame(monitor: str) -> None:
    """system(3) sets signal actions before it forks: the address that handlers return to is on the stack then."""
    script = "import os; os.system('true')"
    (violation,) = Executor(Policy.profile("python3"), monitor=monitor).run(["python3", "-c", script]).violations
    assert violation.syscall in ("clone", "vfork")
    assert len(violation.stack) > 3
    assert [frame for frame in violation.stack if frame.found_by == "signal frame" or not frame.offset] == []


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("how", ["fault", "abort"])
def test_the_stack_of_a_crash(compile_c: CCompiler, build: str, how: str) -> None:
    program = program_of(compile_c, build)
    executor = Executor(everything_builder(program).build())
    for arguments, last in (([how], "main"), ([how, "thread"], "work")):
        result = executor.run([program, *arguments])
        assert result.status is Status.SIGNALED
        assert len(result.stacks) == 1
        stack = result.stacks[0]
        found = functions(program, stack.frames)
        assert is_in_order(["deepest", "middle", "outer", last], found), stack
        assert (stack.pid, stack.tid == stack.pid) == (result.pid, len(arguments) == 1)
        assert stack.name == program.name
        assert stack.registers["rip"] == stack.frames[0].address
        assert not stack.missing
        assert list(result.to_proto().stacks) == [stack]
        assert f"Stack of thread {stack.tid}" in result.report()


@pytest.mark.parametrize("monitor", MONITORS)
@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("how", ["spin", "pause"])
def test_the_stack_at_a_time_out(compile_c: CCompiler, build: str, how: str, monitor: str) -> None:
    program = program_of(compile_c, build)
    with Executor(everything_builder(program).build(), monitor=monitor).start([program, how]) as process:
        while not any("deepest" in functions(program, stack.frames) for stack in process.dump_stack_trace()):
            assert process.poll() is None
        process.set_wall_time(0.001)
    result = process.result
    assert result.status is Status.TIMEOUT
    assert is_in_order(["deepest", "middle", "outer", "main"], functions(program, result.stacks[0].frames))


@pytest.mark.parametrize("monitor", MONITORS)
def test_the_stack_at_a_kill(compile_c: CCompiler, monitor: str) -> None:
    program = program_of(compile_c, "dynamic")
    with Executor(everything_builder(program).build(), monitor=monitor).start([program, "pause"]) as process:
        while not any("deepest" in functions(program, stack.frames) for stack in process.dump_stack_trace()):
            pass
        process.kill()
        result = process.result
    assert result.status is Status.EXTERNAL_KILL
    assert is_in_order(["deepest", "middle", "outer", "main"], functions(program, result.stacks[0].frames))


def test_the_name_of_a_thread_is_escaped(compile_c: CCompiler) -> None:
    head = "#include <stdlib.h>\n#include <sys/prctl.h>\n"
    program = compile_c(head + 'int main(void) { prctl(PR_SET_NAME, "a\\x1b[2J\\nb"); abort(); }\n')
    result = Executor(everything_builder(program).build()).run([program])
    assert [stack.name for stack in result.stacks] == ["a\\x1b[2J\\nb"]


def test_a_good_end_has_no_stack(compile_c: CCompiler) -> None:
    program = compile_c("int main(void) { return 3; }")
    result = Executor(everything_builder(program).build()).run([program])
    assert (result.returncode, result.stacks) == (3, ())


def test_the_crash_of_a_child_is_not_that_of_the_program(compile_c: CCompiler) -> None:
    source = """
    #include <signal.h>
    #include <sys/wait.h>
    #include <unistd.h>
    int main(void) { if (!fork()) raise(SIGSEGV); wait(0); raise(SIGTERM); return 0; }
    """
    program = compile_c(source)
    result = Executor(everything_builder(program).build()).run([program])
    assert (result.status, result.signal) == (Status.SIGNALED, 15)
    assert [stack.tid for stack in result.stacks] == [result.pid]


def test_the_last_thread_speaks_for_a_main_thread_that_has_ended(compile_c: CCompiler) -> None:
    source = """
    #include <pthread.h>
    #include <unistd.h>
    static void *work(void *x) { for (;;) pause(); return x; }
    int main(void) { pthread_t thread; pthread_create(&thread, 0, work, 0); pthread_exit(0); }
    """
    program = compile_c(source, static=False, options=("-pthread",))
    policy = everything_builder(program).add_file("/lib/x86_64-linux-gnu/libgcc_s.so.1").build()
    result = Executor(policy, limits=Limits(wall_time=2)).run([program])
    assert result.status is Status.TIMEOUT
    assert [stack.tid != stack.pid == result.pid for stack in result.stacks] == [True]
    assert "work" in functions(program, result.stacks[0].frames)


# Memory that a test makes: code, stack, nothing else.

MAXIMUM_FRAMES = 64
CODE, STACK, SIZE = 0x400000, 0x7FFF0000, 0x4000
MAPS = (
    f"{CODE:x}-{CODE + SIZE:x} r-xp 00001000 00:00 1 /code\n{STACK:x}-{STACK + SIZE:x} rw-p 00000000 00:00 0 [stack]\n"
)
# A call in every 16 bytes.
CALLS = (b"\x90" * 11 + b"\xe8\0\0\0\0") * (SIZE // 16)


class Made:
    """Memory of two mappings."""

    def __init__(self, stack: bytes, code: bytes = CALLS, unreadable: frozenset[int] = frozenset()) -> None:
        self.parts = {CODE: code.ljust(SIZE, b"\0"), STACK: stack.ljust(SIZE, b"\0")}
        self.unreadable = unreadable
        self.reads = 0

    def read_memory(self, address: int, size: int) -> bytes:
        self.reads += 1
        for start, data in self.parts.items():
            if start <= address < start + SIZE and address & ~4095 not in self.unreadable:
                return data[address - start :][:size]
        raise OSError(14, "nothing there")


def word(value: int) -> bytes:
    return value.to_bytes(8, "little")


RETURN = CODE + 0x100


def walked(memory: Made, sp: int = STACK, fp: int | None = STACK, pc: int = CODE + 5) -> list[tuple[int, str]]:
    return [(frame.address, frame.found_by) for frame in unwind(memory, MemoryMap(MAPS), pc, sp, fp)]


def test_a_chain_of_frame_pointers() -> None:
    frames = [word(STACK + 16 * (number + 1)) + word(RETURN + 16 * number) for number in range(5)]
    frames[-1] = word(0) + word(RETURN)
    # Below the first frame is what the innermost function keeps there.
    found = walked(Made(b"".join(frames)))
    assert found == [
        (CODE + 5, "pc"),
        *[(RETURN + 16 * number, "frame pointer") for number in range(4)],
        (RETURN, "frame pointer"),
    ]


def test_offsets_are_those_in_the_file() -> None:
    frame = unwind(Made(b""), MemoryMap(MAPS), CODE + 5, STACK, None)[0]
    assert (frame.module, frame.offset) == ("/code", 0x1005)


def test_a_chain_that_turns_back_ends() -> None:
    for target in (STACK, STACK - 16, STACK + 8, STACK + 3, 0, 2**64 - 1, STACK + SIZE, STACK + SIZE - 8, CODE):
        memory = Made(word(target) + word(RETURN))
        assert walked(memory) == [(CODE + 5, "pc"), (RETURN, "frame pointer")]


def test_a_stack_full_of_return_addresses_is_cut() -> None:
    assert len(walked(Made(word(RETURN) * (SIZE // 8)), fp=None)) == MAXIMUM_FRAMES


def test_words_that_are_no_return_addresses_are_passed_over() -> None:
    words = [0, 1, CODE + 5, CODE + 0x101, STACK, 2**64 - 1, CODE - 1, CODE + SIZE, RETURN, CODE]
    assert walked(Made(b"".join(map(word, words))), fp=None) == [(CODE + 5, "pc"), (RETURN, "scan")]


@pytest.mark.parametrize(
    "call",
    ["e800000000", "ffd0", "41ffd3", "ff12", "ff5308", "ff5424f8", "ff1500000000", "ff9300010000", "ff94c800010000"],
)
def test_calls_of_all_kinds(call: str) -> None:
    """Each as the assembler writes it: relative, register, memory with and without offset, index, table."""
    raw = bytes.fromhex(call)
    memory = Made(word(CODE + 64 + len(raw)), code=b"\x90" * 64 + raw + b"\x90" * 64)
    assert walked(memory, fp=None) == [(CODE + 5, "pc"), (CODE + 64 + len(raw), "scan")]


@pytest.mark.parametrize("other", ["ffe0", "ff2500000000", "ff30", "ffc0", "eb00", "e900000000", "9090", "ff5300"])
def test_what_is_no_call(other: str) -> None:
    raw = bytes.fromhex(other)
    end = CODE + 64 + len(raw) + (1 if other == "ff5300" else 0)  # one byte behind a real call
    memory = Made(word(end), code=b"\x90" * 64 + raw + b"\x90" * 64)
    assert walked(memory, fp=None) == [(CODE + 5, "pc")]


def test_unreadable_pages_end_the_walk() -> None:
    stack = b"".join(word(value) for value in [RETURN] + [0] * 600 + [RETURN + 16])
    assert len(walked(Made(stack), fp=None)) == 3
    assert len(walked(Made(stack, unreadable=frozenset({STACK + 4096})), fp=None)) == 2
    assert len(walked(Made(stack, unreadable=frozenset({STACK})), fp=None)) == 1
    assert len(walked(Made(stack, unreadable=frozenset({CODE})), fp=None)) == 1


def test_a_stack_pointer_to_nowhere() -> None:
    for sp in (0, 1, CODE - 8, 2**63, 2**64 - 1, STACK + SIZE):
        assert walked(Made(word(RETURN)), sp=sp) == [(CODE + 5, "pc")]


TRAMPOLINE = bytes.fromhex("48c7c00f0000000f05")


def test_signal_frames_that_lead_to_themselves_end() -> None:
    code = CALLS[:0x200] + TRAMPOLINE
    frame = word(CODE + 0x200).ljust(128, b"\0") + word(0)
    frame = frame.ljust(168, b"\0") + word(STACK) + word(CODE + 5)
    found = walked(Made(frame, code=code), fp=None)
    assert len(found) == MAXIMUM_FRAMES
    assert {found_by for _, found_by in found[1:]} == {"signal frame"}


@given(st.data())
def test_no_memory_breaks_the_walk(data: st.DataObject) -> None:
    pointers = st.sampled_from([RETURN, RETURN + 16, CODE + 0x200, STACK, STACK + 8, STACK + 64, STACK + SIZE - 16, 0])
    values = data.draw(st.lists(pointers | st.integers(0, 2**64 - 1), max_size=80))
    memory = Made(b"".join(map(word, values)), code=CALLS[:0x200] + TRAMPOLINE + CALLS)
    registers = pointers | st.integers(0, 2**64 - 1)
    sp, fp, pc = (data.draw(registers) for _ in range(3))
    text = data.draw(st.sampled_from([MAPS, MAPS[:70], "", MAPS.replace("rw-p", "r-xp")]))
    size = data.draw(st.sampled_from([4, 8]))
    frames = unwind(memory, MemoryMap(text), pc, sp, fp, word=size)
    assert 1 <= len(frames) <= MAXIMUM_FRAMES
    assert all(frame.module.isprintable() for frame in frames)
    assert memory.reads <= 300


def test_python_has_a_stack() -> None:
    """A real program without any of our own code in it: the interpreter sleeps in a call, deep in its own frames."""
    from stockade import PolicyBuilder

    builder = PolicyBuilder().danger_default_allow_all().add_python("/usr/bin/python3")
    script = "import os\nprint(1, flush=True)\nos.read(0, 1)"
    with Executor(builder.build()).start(
        ["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"1\n"
        for _ in range(3):
            (stack,) = process.dump_stack_trace()
        modules = [key for key, _ in itertools.groupby(frame.module for frame in stack.frames)]
        assert re.search(r"python3|libc", modules[0])
        assert any("python3" in module for module in modules)
        assert len(stack.frames) > 5
        process.stdin.write(b"x")
        process.stdin.close()
        assert process.wait() == 0
