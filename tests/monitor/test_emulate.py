"""Files that are opened for the program: as it would have got them itself, errors and all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stockade import Executor, PolicyBuilder, PolicyError, Result, Status, Syscall, Verdict, Violation, hook
from stockade.monitor.emulate import ARGUMENTS, OpenRequest
from support.attacks import PATIENCE, descendants, wait_for_end
from support.compiler import CCompiler
from support.runs import main_program

PROGRAMS = Path(__file__).resolve().parent / "programs"


def box(program: Path, folder: Path, *, hooked: bool = True) -> PolicyBuilder:
    """A policy in which a program may do everything; the hook "open" decides what it opens."""
    builder = PolicyBuilder("opens").add_file(program).add_tmpfs("/data").add_proc().add_dev()
    builder.add_directory(folder / "ro", inside="/ro").add_directory(folder / "rw", inside="/rw", writable=True)
    for name in ARGUMENTS if hooked else ():
        builder.trace(name, "open")
    return builder.danger_default_allow_all()


@pytest.fixture
def folder(public_tmp: Path) -> Iterator[Callable[[str], Path]]:
    """Makes equal folders to mount: one to read, with things that the program has no right to, and one to write."""

    def make(name: str) -> Path:
        top = public_tmp / name
        for each in ("ro/secrets", "rw"):
            (top / each).mkdir(parents=True)
        for path, mode in (("ro/file", 0o644), ("ro/secret", 0o600), ("ro/secrets/file", 0o644), ("rw/file", 0o644)):
            (top / path).write_text(path)
            (top / path).chmod(mode if os.geteuid() == 0 or mode != 0o600 else 0)
        (top / "ro/secrets").chmod(0o700 if os.geteuid() == 0 else 0o000)
        return top

    yield make
    for closed in public_tmp.glob("*/ro/secrets"):
        closed.chmod(0o700)


def run(program: Path, folder: Path, decide: Callable[[Syscall], Any], *arguments: str, **options: Any) -> Result:
    """Run the program with `decide` opening its files."""
    executor = Executor(
        box(program, folder).build(), hooks={"open": hook(opens=True)(lambda call: decide(call))}, monitor="unotify"
    )
    return executor.run([program, *arguments], text=True, **options)


@pytest.fixture
def opens(compile_c: CCompiler) -> Path:
    return compile_c((PROGRAMS / "opens.c").read_text(), name="opens", options=("-pthread", "-Wno-unused"))


# Directories that the program opens with O_PATH to begin at; everything else with O_PATH is refused.
BARE = (b"/ro", b"/data")


def by_name(output: str) -> dict[str, str]:
    """What the program says of each open, by the name of the case."""
    return {line[:32].strip(): line[33:] for line in output.splitlines()}


def test_every_way_of_opening_gives_what_the_kernel_gives(opens: Path, folder: Callable[[str], Path]) -> None:
    asked: list[str] = []

    def decide(call: Syscall) -> Verdict:
        asked.append(call.name)
        request = call.open_request()
        is_bare = request.flags & os.O_PATH and request.path in BARE
        return Verdict.ALLOW if is_bare else request.open()

    native = Executor(box(opens, folder("native"), hooked=False).build()).run(
        [opens], text=True, errors="backslashreplace"
    )
    emulated = run(opens, folder("emulated"), decide, errors="backslashreplace")
    assert (native.status, native.returncode) == (Status.OK, 0), native.stdout
    assert (emulated.status, emulated.returncode) == (Status.OK, 0), emulated.stdout
    expected, found = by_name(native.stdout), by_name(emulated.stdout)
    # The kernel hands no descriptor over that was opened with O_PATH.
    bare = {name for name, said in expected.items() if re.search(r" getfl=1\d{7} ", said)}
    assert bare == {"path", "path, no rights", "path, link", "path, more flags", "path, directory", "proc, link itself"}
    expected |= dict.fromkeys(bare, "EOPNOTSUPP")
    assert found == expected
    assert len(expected) > 180
    assert len(asked) >= len(expected)
    assert set(asked) == set(ARGUMENTS)
    assert not emulated.violations


# --- what a rule may look at ---

# Opens each argument with the flags (a number) that stand before it, from the directory /data.
OPENER = r"""
if (chdir("/data")) return 4;
for (int i = 1; i + 1 < argc; i += 2) {
    char text[128];
    int got = raw(SYS_openat, AT_FDCWD, (long)argv[i + 1], number_of(argv[i]), 0600, 0, 0);
    if (got >= 0 && (number_of(argv[i]) & O_ACCMODE) == O_WRONLY && write(got, "written", 7) != 7) return 4;
    snprintf(text, sizeof text, "%d ", got);
    say(text);
}
"""


@pytest.fixture
def opener(compile_c: CCompiler) -> Path:
    return main_program(compile_c, OPENER)


def opening(opener: Path, decide: Callable[[Syscall], Any], *cases: tuple[int, str], **options: Any) -> Result:
    """Let the program open files, given as (flags, path), with `decide` deciding."""
    arguments = [str(part) for case in cases for part in case]
    builder = PolicyBuilder().add_file(opener).add_tmpfs("/data").add_symlink("/links/to_data", "/data").add_proc()
    policy = builder.trace("openat", "open").danger_default_allow_all().build()
    declared = hook(opens=True)(lambda call: decide(call))
    return Executor(policy, hooks={"open": declared}, monitor="unotify", **options).run([opener, *arguments], text=True)


MAKE = os.O_CREAT | os.O_WRONLY


@pytest.mark.parametrize(
    ("path", "full"),
    [
        ("/a/b", b"/a/b"),
        ("//a///./b/", b"/a/b"),
        ("/a/../../b", b"/b"),
        ("x", b"/data/x"),
        (".", b"/data"),
        ("../../x", b"/x"),
        ("/", b"/"),
        ("//", b"/"),
        ("", b""),
    ],
)
def test_what_is_asked_for(opener: Path, path: str, full: bytes) -> None:
    seen = []

    def decide(call: Syscall) -> Verdict:
        request = call.open_request()
        seen.append((request.path, request.full_path, request.flags, request.mode, request.resolve, request.writes))
        return Verdict.errno(errno.EACCES)

    assert opening(opener, decide, (os.O_CREAT | os.O_CLOEXEC | 0x40000000, path)).stdout == f"-{errno.EACCES} "
    assert seen == [(path.encode(), full, os.O_CREAT | os.O_CLOEXEC, 0o600, 0, True)]


@pytest.mark.parametrize(
    ("flags", "writes"),
    [
        (os.O_RDONLY, False),
        (os.O_WRONLY, True),
        (os.O_RDWR, True),
        (3, True),
        (os.O_RDONLY | os.O_TRUNC, True),
        (os.O_RDONLY | os.O_CREAT, True),
        (os.O_RDWR | os.O_TMPFILE, True),
        (os.O_PATH | os.O_RDWR | os.O_CREAT, False),
        (os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, False),
    ],
)
def test_what_counts_as_writing(opener: Path, flags: int, writes: bool) -> None:
    seen = []

    def decide(call: Syscall) -> Verdict:
        seen.append(call.open_request().writes)
        return Verdict.errno(errno.EACCES)

    opening(opener, decide, (flags, "/data"))
    assert seen == [writes]


def test_where_it_leads_and_whether_links_count(opener: Path) -> None:
    found = []

    def decide(call: Syscall) -> Verdict:
        request = call.open_request()
        if request.writes:
            return request.open()
        followed, strict = request.open(), request.open(follow_links=False)
        found.append((followed.kind, request.opened_path() if strict.kind == "descriptor" else b"", strict))
        return strict

    result = opening(opener, decide, (MAKE, "file"), (0, "/data/file"), (0, "/links/to_data/file"), (0, "/nothing"))
    assert result.stdout == f"3 4 -{errno.ELOOP} -{errno.ENOENT} "
    assert [(kind, path) for kind, path, _ in found] == [
        ("descriptor", b"/data/file"),
        ("descriptor", b""),
        ("errno", b""),
    ]


def test_the_path_of_what_was_opened_is_the_one_behind_the_links(opener: Path) -> None:
    paths = []

    def decide(call: Syscall) -> Verdict:
        request = call.open_request()
        assert request.opened_path() == b""
        verdict = request.open()
        paths.append((request.full_path, request.opened_path()))
        return verdict

    opening(opener, decide, (MAKE, "file"), (0, "/links/to_data/../data/./file"), (0, "/proc/self/exe"))
    assert paths == [
        (b"/data/file", b"/data/file"),
        (b"/links/data/file", b"/data/file"),
        (b"/proc/self/exe", os.fsencode(opener)),
    ]


def test_what_the_program_writes_arrives(opener: Path, public_tmp: Path) -> None:
    """The descriptor leads to the open file itself, of which we keep nothing."""
    kept = []

    def decide(call: Syscall) -> Verdict:
        verdict = call.open()
        kept.append(os.dup(verdict.value))
        return verdict

    assert opening(opener, decide, (os.O_CREAT | os.O_WRONLY, "file")).stdout == "3 "
    (copy,) = kept
    assert os.fstat(copy).st_size == 7
    assert os.lseek(copy, 0, os.SEEK_CUR) == 7
    os.close(copy)


# --- what remains, and what goes wrong ---


def held_files() -> list[str]:
    """Where the descriptors of this process lead to."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return found


def opened_and_refused(call: Syscall) -> Verdict:
    call.open()
    return Verdict.errno(errno.EACCES)


def opened_and_raised(call: Syscall) -> Verdict:
    call.open()
    raise RuntimeError("after opening")


def opened_twice(call: Syscall) -> Verdict:
    call.open()
    return call.open()


def opened_and_nonsense(call: Syscall) -> Any:
    return [call.open()]


def opened_and_allowed(call: Syscall) -> Verdict:
    call.open()
    return Verdict.ALLOW


@pytest.mark.parametrize(
    ("decide", "output", "advisory"),
    [
        (opened_and_refused, f"-{errno.EACCES} ", ()),
        (opened_and_raised, "", ()),
        (opened_twice, "3 ", ()),
        (opened_and_nonsense, "", ()),
        (opened_and_allowed, "3 ", ("open",)),
    ],
)
def test_what_is_opened_and_not_handed_over_is_closed(
    opener: Path, decide: Callable[[Syscall], Any], output: str, advisory: tuple[str, ...]
) -> None:
    result = opening(opener, decide, (os.O_CREAT | os.O_RDWR, "/data/of_this_test"))
    assert result.stdout == output
    assert result.advisory_hooks == advisory
    assert (result.status is Status.VIOLATION) == (output == "")
    assert "/data/of_this_test" not in held_files()
    assert "/data" not in held_files()


def test_nothing_is_opened_for_a_call_that_was_answered(opener: Path) -> None:
    kept: list[tuple[Syscall, OpenRequest]] = []

    def decide(call: Syscall) -> Verdict:
        kept.append((call, call.open_request()))
        return Verdict.errno(errno.EACCES)

    opening(opener, decide, (MAKE, "file"))
    ((call, request),) = kept
    with pytest.raises(OSError, match="only while a hook decides"):
        request.open()
    with pytest.raises(ProcessLookupError):
        call.open()


def test_another_call_opens_nothing(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "raw(SYS_getppid, 0, 0, 0, 0, 0, 0);")
    policy = PolicyBuilder().add_file(program).trace("getppid", "open").danger_default_allow_all().build()
    declared = hook(opens=True)(lambda call: call.open())
    result = Executor(policy, hooks={"open": declared}, monitor="unotify").run([program])
    (violation,) = result.violations
    assert "getppid does not open a file by its path; creat, open, openat, openat2 do" in violation.hook_message


def test_a_descriptor_of_ones_own_can_be_handed_over(opener: Path, public_tmp: Path) -> None:
    (public_tmp / "ours").write_text("")

    def decide(call: Syscall) -> Verdict:
        return Verdict.descriptor(os.open(public_tmp / "ours", os.O_WRONLY))

    assert opening(opener, decide, (os.O_WRONLY, "whatever")).stdout == "3 "
    assert (public_tmp / "ours").read_text() == "written"
    assert str(public_tmp / "ours") not in held_files()


def test_a_descriptor_that_is_none_makes_the_call_fail(opener: Path) -> None:
    result = opening(opener, lambda call: Verdict.descriptor(12345), (0, "whatever"))
    assert (result.status, result.stdout) == (Status.OK, f"-{errno.EBADF} ")


# --- the process that opens ---


def openers() -> list[int]:
    """The processes that open files for programs, among our own."""
    found = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "stockade-open\n":
                found.append(pid)
    return found


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_opener_is_as_unprivileged_as_the_program_and_goes_with_the_run(opener: Path) -> None:
    seen: list[tuple[dict[str, str], dict[str, str]]] = []
    pidfds: list[int] = []

    def decide(call: Syscall) -> Verdict:
        assert not openers()
        verdict = call.open()
        (pid,) = openers()
        pidfds.append(os.pidfd_open(pid))
        seen.append((status_of(pid), status_of(call.tid)))
        assert Path(f"/proc/{pid}/uid_map").read_text() == Path(f"/proc/{call.tid}/uid_map").read_text()
        for kind in ("mnt", "user") if os.geteuid() == 0 else ():  # it is not dumpable
            assert os.stat(f"/proc/{pid}/ns/{kind}").st_ino == os.stat(f"/proc/{call.tid}/ns/{kind}").st_ino
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):
                os.readlink(f"/proc/{pid}/root")
        return verdict

    result = opening(opener, decide, (MAKE, "file"))
    assert result.stdout == "3 ", result.violations
    ((own, program),) = seen
    for name in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"):
        assert own[name] == program[name], name
    assert own["NSpid"].split()[1:] == []  # in no pid namespace of a box
    wait_for_end(*pidfds)


def test_without_such_a_hook_there_is_no_opener(opener: Path) -> None:
    seen = []

    def decide(call: Syscall) -> Verdict:
        seen.append(openers())
        return Verdict.ALLOW

    opening(opener, decide, (MAKE, "file"))
    assert seen == [[]]


def test_when_the_opener_is_killed_nothing_is_opened(opener: Path) -> None:
    def decide(call: Syscall) -> Verdict:
        first = call.open()
        assert first.kind == "descriptor"
        (pid,) = openers()
        pidfd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pidfd)
        return call.open()

    result = opening(opener, decide, (MAKE, "file"))
    assert (result.status, result.stdout) == (Status.VIOLATION, "")
    (violation,) = result.violations
    assert "the process that opens files for the program is gone" in violation.hook_message


def test_many_runs_open_at_the_same_time_and_slowly(opener: Path) -> None:
    """Each run has an opener of its own; hooks in threads of their own share it."""
    together = threading.Barrier(4)

    def decide(call: Syscall) -> Verdict:
        verdict = call.open()
        together.wait(PATIENCE)
        return verdict

    policy = PolicyBuilder().add_file(opener).add_tmpfs("/data").trace("openat", "open").danger_default_allow_all()
    declared = hook(opens=True, slow=True)(decide)
    executor = Executor(policy.build(), hooks={"open": declared}, monitor="unotify")
    results: list[Result] = []
    arguments = [str(part) for _ in range(5) for part in (MAKE, "file")]
    threads = [
        threading.Thread(target=lambda: results.append(executor.run([opener, *arguments], text=True))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.stdout for result in results] == ["3 4 5 6 7 "] * 4


def test_under_ptrace_descriptors_cannot_be_handed_over(opener: Path) -> None:
    policy = PolicyBuilder().add_file(opener).trace("openat", "open").danger_default_allow_all().build()
    with pytest.raises(PolicyError, match="only the unotify monitor can hand over descriptors"):
        Executor(policy, hooks={"open": hook(opens=True)(lambda call: call.open())})


def test_a_hook_that_has_not_said_that_it_opens_is_denied(opener: Path) -> None:
    policy = PolicyBuilder().add_file(opener).add_tmpfs("/data").trace("openat", "open").danger_default_allow_all()
    executor = Executor(policy.build(), hooks={"open": lambda call: call.open()}, monitor="unotify")
    result = executor.run([opener, str(MAKE), "/data/of_this_test"])
    assert result.status is Status.VIOLATION
    assert "instead of a Verdict that it may give" in result.violations[0].hook_message
    assert "/data/of_this_test" not in held_files()


def test_a_hook_that_waits_for_the_opener_ends_in_time(opener: Path) -> None:
    """An opener that does not answer, because its file system does not, keeps nobody for ever."""
    stopped: list[int] = []
    woken = threading.Event()

    def decide(call: Syscall) -> Verdict:
        call.open()
        (pid,) = openers()
        stopped.append(os.pidfd_open(pid))
        os.kill(pid, signal.SIGSTOP)
        try:
            return call.open()
        except OSError:
            woken.set()
            return Verdict.errno(errno.EIO)

    result = opening(opener, decide, (MAKE, "file"), hook_timeout=0.2)
    assert (result.status, result.stdout) == (Status.VIOLATION, "")
    assert result.violations[0].kind == Violation.HOOK_TIMEOUT
    assert woken.wait(PATIENCE)
    wait_for_end(*stopped)


IN_OPEN, IN_NONBLOCK = 0x20, 0o4000


def test_a_fifo_is_not_even_opened(opener: Path, public_tmp: Path) -> None:
    """Opening one would wake whoever waits for the other end; opening some devices does more than that."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.mkfifo(public_tmp / "fifo")
    (public_tmp / "file").write_text("")
    policy = PolicyBuilder().add_file(opener).add_tmpfs("/data").add_directory(public_tmp, inside="/shared")
    policy.trace("openat", "open").danger_default_allow_all()
    for path in (public_tmp / "fifo", public_tmp / "file"):
        path.chmod(0o644)
    declared = hook(opens=True)(lambda call: call.open())
    executor = Executor(policy.build(), hooks={"open": declared}, monitor="unotify")
    watch = libc.inotify_init1(IN_NONBLOCK)
    try:
        assert libc.inotify_add_watch(watch, os.fsencode(public_tmp), IN_OPEN) >= 0
        assert executor.run([opener, "0", "/shared/fifo"], text=True).stdout == f"-{errno.ENXIO} "
        with pytest.raises(BlockingIOError):
            os.read(watch, 4096)
        assert executor.run([opener, "0", "/shared/file"], text=True).stdout == "3 "
        assert b"file" in os.read(watch, 4096)
    finally:
        os.close(watch)
