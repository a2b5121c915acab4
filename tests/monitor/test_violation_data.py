"""What a violation says beyond the call: registers, mapping, parents, phase, stack, descriptors, bounds."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection

from stockade import Executor, Violation
from stockade.monitor.build_id import build_id
from stockade.request import MONITORS
from support.compiler import CCompiler
from support.runs import everything_builder, file_offset_of, main_program

GETPPID = "raw(SYS_getppid, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66);"


@pytest.fixture(params=MONITORS)
def monitor(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def violation_of(program: Path, monitor: str, *arguments: str, mode: str = "enforce", also: str = "") -> Violation:
    """Run the program under a policy that refuses getppid alone, and give the one violation."""
    builder = everything_builder(program).kill_syscall("getppid")
    if also:
        builder = builder.add_libraries_for_binary(also)
    result = Executor(builder.build(), monitor=monitor, mode=mode).run([program, *arguments])
    assert len(result.violations) == 1, result.report()
    return result.violations[0]


def own_build_id(program: Path) -> str:
    """The build id that is written in the file, read by another reader than ours; "" when there is none."""
    with open(program, "rb") as file:
        for section in ELFFile(file).iter_sections():
            if isinstance(section, NoteSection):
                for note in section.iter_notes():
                    if note["n_type"] == "NT_GNU_BUILD_ID":
                        return str(note["n_desc"])
    return ""


@pytest.mark.parametrize("mode", ["enforce", "refuse", "permissive"])
def test_registers_by_name(compile_c: CCompiler, monitor: str, mode: str) -> None:
    violation = violation_of(main_program(compile_c, GETPPID), monitor, mode=mode)
    registers = dict(violation.registers)
    assert [registers[name] for name in ("rdi", "rsi", "rdx", "r10", "r8", "r9")] == [
        0x11,
        0x22,
        0x33,
        0x44,
        0x55,
        0x66,
    ]
    assert registers["orig_rax"] == violation.number == 110
    assert registers["rip"] == violation.instruction_pointer
    assert registers["rsp"] == violation.stack_pointer
    assert violation.allowed == (mode == "permissive")


@pytest.mark.parametrize("static", [True, False])
def test_the_mapping_of_the_code_has_its_build_id(compile_c: CCompiler, monitor: str, static: bool) -> None:
    source = compile_c(
        "#include <unistd.h>\nint main(void) { return getppid() == 0; }\n",
        static=static,
        options=("-Wl,--build-id=sha1",),
    )
    violation = violation_of(source, monitor)
    mapping = violation.mapping
    assert mapping.start <= violation.instruction_pointer < mapping.end
    assert mapping.permissions == "r-xp"
    assert mapping.path == violation.module
    assert violation.module_offset == mapping.offset + violation.instruction_pointer - mapping.start
    assert mapping.build_id == own_build_id(Path(violation.module))
    assert re.fullmatch("[0-9a-f]{40}", mapping.build_id)


def test_a_file_without_a_build_id_has_none(compile_c: CCompiler) -> None:
    program = main_program(compile_c, GETPPID)
    stripped = program.with_name("without")
    subprocess.run(["objcopy", "--remove-section=.note.gnu.build-id", program, stripped], check=True)
    violation = violation_of(stripped, "ptrace")
    assert violation.mapping.path == str(stripped)
    assert violation.mapping.build_id == ""


class Image:
    """Memory that holds one file at 0x10000."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_memory(self, address: int, size: int) -> bytes:
        found = self.data[address - 0x10000 :][:size] if address >= 0x10000 else b""
        if not found:
            raise OSError(14, "nothing there")
        return found


def test_the_header_of_an_elf_file_may_be_anything(compile_c: CCompiler) -> None:
    program = main_program(compile_c, GETPPID)
    data = program.read_bytes()
    assert build_id(Image(data), 0x10000) == own_build_id(program) != ""
    data = data[:0x1000]
    for place in range(0x300):
        for value in (0, 0x7F, 0xFF):
            found = build_id(Image(data[:place] + bytes([value]) + data[place + 1 :]), 0x10000)
            assert len(found) <= 128
    for length in range(0, 0x300, 7):
        build_id(Image(data[:length]), 0x10000)
    for start in (0, 0x20000, 2**63, 2**64 - 1):
        assert build_id(Image(data[:64]), start) == ""


CHILDREN = f"""
int depth = number_of(argv[1]);
if (!depth) {{ {GETPPID} return 0; }}
if (!fork()) {{
    char text[16];
    snprintf(text, sizeof text, "%d", depth - 1);
    execl(argv[0], argv[0], text, "x\\x1b[2Jy", (char *)0);
    _exit(9);
}}
wait(0);
"""


def test_the_chain_of_parents_ends_at_the_program_that_was_started(compile_c: CCompiler, monitor: str) -> None:
    program = main_program(compile_c, CHILDREN)
    violation = violation_of(program, monitor, "3")
    assert list(violation.command_line) == [str(program), "0", "x\\x1b[2Jy"]
    assert [list(parent.command_line)[1] for parent in violation.parents] == ["1", "2", "3"]
    assert {parent.program for parent in violation.parents} == {str(program)}
    assert [parent.inner_pid for parent in violation.parents] == [4, 3, 2]
    assert violation.inner_pid == 5
    assert len({parent.pid for parent in violation.parents} | {violation.pid}) == 4


def test_the_started_program_has_no_parents(compile_c: CCompiler, monitor: str) -> None:
    assert not violation_of(main_program(compile_c, CHILDREN), monitor, "0").parents


def test_a_long_chain_is_cut(compile_c: CCompiler) -> None:
    violation = violation_of(main_program(compile_c, CHILDREN), "ptrace", "24")
    assert [int(list(parent.command_line)[1]) for parent in violation.parents] == list(range(1, 17))


def test_a_process_whose_parent_has_ended_has_none_that_is_told(compile_c: CCompiler, monitor: str) -> None:
    body = f"""
    int ready[2];
    char byte;
    pipe(ready);
    if (!fork()) {{
        if (!fork()) {{ close(ready[1]); read(ready[0], &byte, 1); {GETPPID} for (;;) pause(); }}
        _exit(0);
    }}
    wait(0);
    write(ready[1], "x", 1);
    for (;;) pause();
    """
    violation = violation_of(main_program(compile_c, body), monitor)
    assert violation.inner_pid > 2
    assert not violation.parents


PHASES = {
    "a constructor": ("before main", "", f"__attribute__((constructor)) static void early(void) {{ {GETPPID} }}"),
    "main": ("start-up", GETPPID, ""),
    "after a child": ("steady", f"if (!fork()) _exit(0); wait(0); {GETPPID}", ""),
    "beside a thread": (
        "steady",
        f"pthread_t thread; pthread_create(&thread, 0, work, 0); {GETPPID}",
        "static void *work(void *unused) { for (;;) pause(); return unused; }",
    ),
    "in a thread": (
        "steady",
        "pthread_t thread; pthread_create(&thread, 0, work, 0); pthread_join(thread, 0);",
        f"static void *work(void *unused) {{ {GETPPID} return unused; }}",
    ),
    "after some work": (
        "steady",
        f"work(); {GETPPID}",
        """
        static void work(void) {
            struct rusage used;
            do {
                for (volatile int i = 0; i < 2000000; i++);
                getrusage(RUSAGE_SELF, &used);
            } while (!used.ru_utime.tv_sec && used.ru_utime.tv_usec < 150000);
        }
        """,
    ),
}


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("name", PHASES)
def test_phases(compile_c: CCompiler, monitor: str, name: str, static: bool) -> None:
    phase, body, before = PHASES[name]
    program = main_program(compile_c, body, before=before, static=static)
    assert violation_of(program, monitor).phase == phase


def test_the_dynamic_loader_works_before_main(compile_c: CCompiler, monitor: str) -> None:
    program = main_program(compile_c, "", static=False)
    builder = everything_builder(program).kill_syscall("mmap")
    result = Executor(builder.build(), monitor=monitor).run([program])
    assert result.violations[0].syscall == "mmap"
    assert "/ld-linux" in result.violations[0].module
    assert result.violations[0].phase == "before main"


DESCRIPTORS = {
    "file": 'open("/proc/self/exe", O_RDONLY)',
    "directory": 'open("/", O_RDONLY)',
    "pipe": "(pipe(pair), pair[0])",
    "socket": "(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), pair[0])",
    "device": 'open("/dev/null", O_RDONLY)',
    "eventfd": "syscall(SYS_eventfd2, 7, 0)",
    "epoll": "syscall(SYS_epoll_create1, 0)",
    "timerfd": "syscall(SYS_timerfd_create, 1, 0)",
    "signalfd": "syscall(SYS_signalfd4, -1, mask, 8, 0)",
    "inotify": "syscall(SYS_inotify_init1, 0)",
    "memfd": 'syscall(SYS_memfd_create, "x", 0)',
    "pidfd": "syscall(SYS_pidfd_open, getpid(), 0)",
    "fifo": '(mknod("/tmp/fifo", S_IFIFO | 0600, 0), open("/tmp/fifo", O_RDWR))',
    "symbolic link": '(symlink("x", "/tmp/link"), open("/tmp/link", O_PATH | O_NOFOLLOW))',
    "closed": "77",
}


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_kinds_of_descriptors(compile_c: CCompiler, kind: str) -> None:
    body = f"""
    int pair[2], descriptor; unsigned long mask[1] = {{0}};
    (void)pair; (void)mask;
    descriptor = {DESCRIPTORS[kind]};
    if (descriptor < 0) return 9;
    syscall(SYS_fchmod, descriptor, 0);
    """
    program = main_program(compile_c, body, before="#include <sys/stat.h>\n")
    policy = everything_builder(program).kill_syscall("fchmod").add_dev().add_proc().add_tmpfs("/tmp").build()
    result = Executor(policy).run([program])
    assert len(result.violations) == 1, result
    argument = result.violations[0].arguments[0]
    assert (argument.name, argument.descriptor_kind) == ("fd", kind)
    assert result.violations[0].arguments[1].descriptor_kind == ""
    assert ("<" in argument.text) == (kind != "closed")
    if kind in ("eventfd", "timerfd", "signalfd", "pidfd"):
        assert re.search(r" (count|clock|mask|pid) [0-9a-f]+>", argument.text)


def test_a_stack_for_the_first_of_each_kind_where_the_program_goes_on(compile_c: CCompiler, monitor: str) -> None:
    body = "for (int i = 0; i < 300; i++) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);"
    program = main_program(compile_c, body)
    violation = violation_of(program, monitor, mode="refuse")
    assert violation.count == 300
    assert violation.stack[0].address == violation.instruction_pointer
    assert violation.stack[0].offset == file_offset_of(program, "raw_after")
    assert len(violation.stack) > 1


def test_the_number_of_stacks_is_bounded(compile_c: CCompiler) -> None:
    body = "for (int i = 0; i < 300; i++) raw(SYS_socket, i, 1, 0, 0, 0, 0);"
    program = main_program(compile_c, body)
    policy = everything_builder(program).kill_syscall("socket").build()
    result = Executor(policy, mode="refuse").run([program])
    assert len(result.violations) == 300
    assert [bool(violation.stack) for violation in result.violations] == [True] * 100 + [False] * 200
    assert {bool(violation.registers) for violation in result.violations} == {True}


def test_the_layer_and_the_condition_that_failed(compile_c: CCompiler, monitor: str) -> None:
    program = main_program(compile_c, "raw(SYS_socket, AF_INET, 1, 0, 0, 0, 0);")
    for mode in ("enforce", "refuse", "permissive"):
        from stockade import PolicyBuilder, arg

        policy = PolicyBuilder().allow_static_startup().allow_exit().add_file(program)
        policy = policy.allow_syscall("socket", arg(0) == "AF_UNIX", arg(1) == "SOCK_STREAM")
        violation = Executor(policy.build(), monitor=monitor, mode=mode).run([program]).violations[0]
        assert violation.layer == "seccomp"
        assert "AF_INET" in violation.nearest_rule.difference
        assert "AF_UNIX" in violation.nearest_rule.difference
        assert "SOCK_STREAM" not in violation.nearest_rule.difference
        assert "AF_INET" in violation.patch.builder_call


def test_hostile_names_are_escaped_everywhere(compile_c: CCompiler, monitor: str) -> None:
    program = main_program(compile_c, GETPPID, name="evil\x1b[2J\nname")
    violation = violation_of(program, monitor, "\u202e\x07")
    shown = [violation.program, violation.module, violation.mapping.path, *violation.command_line]
    shown += [frame.module for frame in violation.stack]
    assert all(text.isprintable() for text in shown)
    assert os.fsencode(program.name) not in str(violation).encode()
