"""What a hook learns of a call: structures in memory, paths from the root of the box, numbers inside and outside."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stockade import Executor, Notify, Syscall, Verdict, hook
from stockade.monitor.paths import path_argument
from stockade.monitor.syscall_event import PinnedTask, WatchedMemory
from support.compiler import CCompiler
from support.runs import everything_builder, main_program


def seen_by(program: Path, calls: tuple[str, ...], look: Callable[[Syscall], Any]) -> list[Any]:
    """What `look` finds at each of the calls that the program makes; an OSError is its number."""
    found: list[Any] = []

    def see(call: Syscall) -> Verdict:
        try:
            found.append(look(call))
        except OSError as error:
            found.append(errno.errorcode[error.errno or 0])
        return Verdict.ALLOW

    builder = everything_builder(program).add_tmpfs("/data")
    for name in calls:
        builder.trace(name, "see")
    result = Executor(builder.build(), hooks={"see": see}).run([program])
    assert result.returncode == 0, result.report()
    return found


OPENS = r"""
mkdir("/data/in", 0755); mkdir("/data/gone", 0755); chdir("/data/in");
int dir = open("/data", O_RDONLY | O_DIRECTORY), file = open("/data/f", O_CREAT | O_RDWR, 0600), ends[2];
pipe(ends);
rename("/data/f", "/data/f (deleted)");
char *hole = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
munmap(hole + 4096, 4096);
char *longest = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
memset(longest, 'a', 8191);
#define AT(d, p) raw(SYS_faccessat2, d, (long)(p), 0, AT_EMPTY_PATH, 0, 0)
AT(AT_FDCWD, "/etc/passwd");
AT(AT_FDCWD, "//etc/./x/../passwd/");
AT(AT_FDCWD, "a/../../b");
AT(AT_FDCWD, "/../../..");
AT(dir, "x");
AT(dir, "../../x");
AT(dir, "/absolute");
AT(dir, "");
AT(file, "");
AT(file, "x");
AT(ends[0], "");
AT(77, "x");
AT(-1, "x");
AT(0xffffff00000000 | dir, "x");
AT(AT_FDCWD, "");
AT(AT_FDCWD, 0);
AT(dir, 0);
AT(AT_FDCWD, hole + 4096);
AT(AT_FDCWD, longest);
AT(AT_FDCWD, "\xff\xfe");
chdir("/data/gone"); rmdir("/data/gone");
AT(AT_FDCWD, "x");
AT(AT_FDCWD, "/still");
"""
EXPECTED = [
    "/etc/passwd",
    "/etc/passwd",
    "/data/b",
    "/",
    "/data/x",
    "/x",
    "/absolute",
    "/data",
    "/data/f (deleted)",  # a name like any other: it is still there
    "ENOTDIR",
    "ENOENT",
    "EBADF",
    "EBADF",
    "/data/x",  # the kernel looks at 32 bits only
    "ENOENT",
    "EFAULT",
    "/data",
    "EFAULT",
    "ENAMETOOLONG",
    "/data/in/\udcff\udcfe",
    "ENOENT",
    "/still",
]


def test_paths_are_resolved_against_cwd_and_descriptors(compile_c: CCompiler) -> None:
    program = main_program(compile_c, OPENS)
    assert seen_by(program, ("faccessat2",), lambda call: call.path()) == EXPECTED


TWO_PATHS = r"""
mkdir("/data/in", 0755); chdir("/data/in");
int dir = open("/data", O_RDONLY | O_DIRECTORY);
renameat2(dir, "old", AT_FDCWD, "new", 0);
rename("one", "/two");
symlinkat("its text", dir, "link");
"""


def test_each_path_of_a_call_has_its_own_directory(compile_c: CCompiler) -> None:
    program = main_program(compile_c, TWO_PATHS)

    def both(call: Syscall) -> list[str]:
        if call.name == "symlinkat":
            return [call.path(), call.path("linkpath"), call.path(2)]
        return [call.path("oldpath"), call.path("newpath")]

    found = seen_by(program, ("renameat2", "renameat", "rename", "symlinkat"), both)
    assert found == [["/data/old", "/data/in/new"], ["/data/in/one", "/two"], ["/data/link"] * 3]


IN_ROOT = r"""
mkdir("/data/in", 0755);
int dir = open("/data/in", O_RDONLY | O_DIRECTORY);
struct { uint64_t flags, mode, resolve; } how = {0, 0, 0x10}, plain = {0, 0, 0};
raw(SYS_openat2, dir, (long)"/../x", (long)&how, sizeof how, 0, 0);
raw(SYS_openat2, dir, (long)"/../x", (long)&plain, sizeof plain, 0, 0);
"""


def test_openat2_that_takes_a_directory_for_the_root(compile_c: CCompiler) -> None:
    program = main_program(compile_c, IN_ROOT)
    assert seen_by(program, ("openat2",), lambda call: call.path()) == ["/data/in/x", "/x"]


@pytest.mark.parametrize("argument", [0, 2, "flags", "dirfd", -1, 9, "no such"])
def test_an_argument_that_is_no_path(argument: int | str) -> None:
    with pytest.raises(ValueError, match=r"1 \('path'\)"):
        path_argument("openat", argument)
    assert path_argument("openat", None) == path_argument("openat", 1) == path_argument("openat", "path") == 1


def test_a_call_without_a_path() -> None:
    with pytest.raises(ValueError, match="none"):
        path_argument("getppid", None)


STRUCT = r"""
struct { int32_t a; char b[4]; uint64_t c; } value = {-7, "abc", 1ULL << 60};
char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
munmap(page + 4096, 4096);
raw(SYS_getpgid, (long)&value, (long)page + 4096 - 8, 0, 0, 0, 0);
"""


class Value(ctypes.Structure):
    _fields_ = [("a", ctypes.c_int32), ("b", ctypes.c_char * 4), ("c", ctypes.c_uint64)]


def test_structures(compile_c: CCompiler) -> None:
    program = main_program(compile_c, STRUCT)

    def look(call: Syscall) -> Any:
        good, edge = call.args[:2]
        value = call.read_struct(good, Value)
        errors = []
        for address, layout in ((edge, "<QQ"), (edge, Value), (0, "<i"), (edge + 8, struct.Struct("B"))):
            with pytest.raises(OSError) as raised:
                call.read_struct(address, layout)
            errors.append(raised.value.errno)
        return [
            (value.a, value.b, value.c),
            call.read_struct(good, "<i4sQ"),
            call.read_struct(good, struct.Struct("<i")),
            call.read_struct(edge, "<Q"),
            errors,
        ]

    (found,) = seen_by(program, ("getpgid",), look)
    assert found[0] == (-7, b"abc", 1 << 60)
    assert found[1] == (-7, b"abc\0", 1 << 60)
    assert found[2:4] == [(-7,), (0,)]
    assert found[4] == [errno.EFAULT] * 4


NUMBERS = r"""
raw(SYS_getpgid, getpid(), 0, 0, 0, 0, 0);
pthread_t t; pthread_create(&t, 0, work, 0); pthread_join(t, 0);
if (fork() == 0) { raw(SYS_getpgid, getpid(), 0, 0, 0, 0, 0); _exit(0); }
wait(0);
"""


def test_numbers_inside_and_outside(compile_c: CCompiler) -> None:
    before = "static void *work(void *n) { raw(SYS_getpgid, getpid(), 0, 0, 0, 0, 0); return n; }"
    program = main_program(compile_c, NUMBERS, before=before)

    def look(call: Syscall) -> Any:
        assert call.inner_pid == call.args[0]
        assert call.program == str(program)
        return call.pid, call.tid

    main, thread, child = seen_by(program, ("getpgid",), look)
    assert main[0] == main[1] == thread[0] != thread[1]
    assert child[0] == child[1] not in (main[0], thread[1])


@pytest.mark.parametrize(
    ("look", "advisory"),
    [
        (lambda call: call.args, False),
        (lambda call: (call.pid, call.inner_pid, call.program, call.stack_pointer), False),
        (lambda call: call.read_memory(call.args[1], 1), True),
        (lambda call: call.read_string(call.args[1]), True),
        (lambda call: call.read_struct(call.args[1], "c"), True),
        (lambda call: call.path(), True),
        (lambda call: call.arguments, True),
    ],
    ids=["registers", "numbers", "memory", "string", "struct", "path", "arguments"],
)
def test_what_makes_a_hook_advisory(compile_c: CCompiler, look: Callable[[Syscall], Any], advisory: bool) -> None:
    program = main_program(compile_c, 'raw(SYS_faccessat, AT_FDCWD, (long)"/x", 0, 0, 0, 0);')
    noted: list[bool] = []

    def see(call: Syscall) -> Verdict:
        look(call)
        noted.append(call.memory_was_read)
        return Verdict.ALLOW

    policy = everything_builder(program).trace("faccessat", "see").build()
    result = Executor(policy, hooks={"see": see}).run([program])
    assert noted == [advisory]
    assert list(result.to_proto().advisory_hooks) == (["see"] if advisory else [])


def test_arguments_without_pointers_are_not_advisory(compile_c: CCompiler) -> None:
    """Neighbour: decoding looks only where an argument leads somewhere."""
    program = main_program(compile_c, "raw(SYS_getpgid, 0, 0, 0, 0, 0, 0);")

    def look(call: Syscall) -> Any:
        return [argument.text for argument in call.arguments], call.memory_was_read

    assert seen_by(program, ("getpgid",), look) == [(["0"], False)]


def test_an_event_of_a_return_can_be_looked_at(compile_c: CCompiler) -> None:
    """What a call has written is there when its return is told."""
    program = main_program(compile_c, "char b[64]; getcwd(b, sizeof b); return b[0] != '/';")
    found: list[tuple[int, bytes]] = []

    class Returned(Notify):
        @hook(inspects=True)
        def syscall(self, call: Syscall) -> Verdict | None:
            return Verdict.INSPECT

        def syscall_return(self, call: Syscall, value: int) -> Verdict | None:
            found.append((value, call.read_string(call.args[0])))
            return None

    policy = everything_builder(program).trace("getcwd", "inspect").build()
    result = Executor(policy, notify=Returned()).run([program], cwd="/")
    assert result.returncode == 0
    assert found == [(2, b"/")]


def test_a_task_whose_number_may_be_anothers_is_not_looked_at() -> None:
    """Reading is checked after it is done: what was read of another task is not given."""
    here = ctypes.create_string_buffer(b"here")
    still_there = True
    memory = WatchedMemory(os.getpid(), lambda: still_there)
    assert memory.read_string(ctypes.addressof(here)) == b"here"
    assert memory.describe_fd(0) is not None
    still_there = False
    for look in (lambda: memory.read_string(ctypes.addressof(here)), lambda: memory.describe_fd(0)):
        with pytest.raises(ProcessLookupError):
            look()


def test_a_pinned_task_is_not_taken_for_another() -> None:
    process = subprocess.Popen(["sleep", "1000"])
    pin = PinnedTask(process.pid)
    assert pin()
    process.kill()
    process.wait()
    assert not pin()
    pin.close()
    pin.close()
    assert not pin()
