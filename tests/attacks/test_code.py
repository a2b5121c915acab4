"""Class A, code: made in memory, started by the loader or by an interpreter."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import Executor, Policy, PolicyBuilder, PolicyError, Result, SetupError, Status, arg
from stockade.policy.groups import GROUPS
from support.attacks import (
    SUCCEEDED,
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

LOADER = "/lib64/ld-linux-x86-64.so.2"
ORDINARY = sorted(name for name, group in GROUPS.items() if not name.startswith("danger_"))
OTHER_ROUTES = ["pkey_mprotect", "shmat", "remap_file_pages", "personality"]
# What is decisive in each way to run code of one's own.
CALLS = {"shmat": "shmget"}


@pytest.fixture
def code(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "code")


def every_ordinary_group(program: Path) -> Policy:
    """All groups at once that are not named dangerous."""
    message = PolicyBuilder().add_file(program).add_tmpfs("/tmp").build().message
    for name in ORDINARY:
        if GROUPS[name].parameter is None:
            message.syscalls.groups.add(name=name)
    return Policy.from_message(message)


# --- A16: executable memory ---


@pytest.mark.attack("A16")
@pytest.mark.parametrize("what", ["mmap", "mprotect", "memfd", *OTHER_ROUTES])
def test_no_ordinary_group_makes_memory_executable(attack: Attempt, code: Path, what: str) -> None:
    attack.control(succeeds(code, what), "the kernel has no such way")
    call = {"memfd": "memfd_create", **CALLS}.get(what, what)
    assert_killed(Executor(every_ordinary_group(code)).run([code, what]), call)
    # malloc has no shared memory, with which this one begins.
    first = "mmap" if what == "remap_file_pages" else call
    assert_killed(Executor(small(code).allow_system_malloc().build()).run([code, what]), first)
    refused = Executor(every_ordinary_group(code), mode="refuse").run([code, what])
    assert_refused(refused, errno.EPERM)


@pytest.mark.attack("A16")
def test_a_file_that_was_just_written_cannot_be_mapped_executable(
    attack: Attempt, code: Path, public_tmp: Path
) -> None:
    """Loading libraries is allowed, so the mapping itself is: the mount refuses it."""
    attack.control(succeeds(code, "file", public_tmp / "code"), "it cannot be mapped even there")
    assert_refused(Executor(every_ordinary_group(code)).run([code, "file", "/tmp/code"]), errno.EPERM)
    assert_refused(Executor(open_wide(code).add_tmpfs("/tmp").build()).run([code, "file", "/tmp/code"]), errno.EPERM)


@pytest.mark.attack("A16")
@pytest.mark.parametrize("what", OTHER_ROUTES)
def test_the_other_routes_belong_to_no_group_at_all(attack: Attempt, code: Path, what: str) -> None:
    """But for pkey_mprotect, of which one group allows what is not executable and a dangerous one the rest."""
    attack.control(succeeds(code, what), "the kernel has no such way")
    call = CALLS.get(what, what)
    message = small(code).build().message
    for name, group in GROUPS.items():
        if group.parameter is None and name != "danger_pkey_mprotect_with_exec":
            message.syscalls.groups.add(name=name)
    assert_killed(Executor(Policy.from_message(message)).run([code, what]), call)


@pytest.mark.attack("A16")
def test_the_memory_file_is_not_there_without_proc_and_read_only_with_it(attack: Attempt, code: Path) -> None:
    """/proc/self/mem writes to memory that is not writable: a rule about mappings is none about it."""
    attack.control(succeeds(code, "proc-mem"), "the kernel refuses to write there")
    assert_refused(Executor(every_ordinary_group(code)).run([code, "proc-mem"]), errno.ENOENT)
    message = every_ordinary_group(code).message
    message.filesystem.mounts.add(target="/proc").proc.SetInParent()
    assert_refused(Executor(Policy.from_message(message)).run([code, "proc-mem"]), errno.EROFS)
    reading = small(code).allow_open_for_reading().allow_syscall("pwrite64").add_proc().build()
    assert_killed(Executor(reading).run([code, "proc-mem"]), "openat")


def test_memory_that_is_not_executable_stays_allowed(code: Path) -> None:
    assert_allowed(Executor(every_ordinary_group(code)).run([code, "data"]))
    assert_allowed(Executor(small(code).allow_system_malloc().build()).run([code, "data"]))


# --- A18: programs that are on no disk ---


@pytest.mark.attack("A18")
@pytest.mark.parametrize(
    ("what", "call"),
    [("in-memory-execveat", "execveat"), ("in-memory-fexecve", "execveat"), ("in-memory-path", "execve")],
)
def test_a_program_in_memory_is_judged_like_any_other(attack: Attempt, code: Path, what: str, call: str) -> None:
    attack.control(succeeds(code, what), "the kernel executes nothing in memory")
    builder = small(code).allow_syscalls("memfd_create", "openat", "read", "close").add_proc()
    result = Executor(builder.build()).run([code, what])
    found = assert_killed(result, call)
    if call == "execveat":
        assert "memfd:nowhere on disk" in found.arguments[0].text
        assert "memfd:nowhere on disk" in result.report()
        # A rule about execve is none about its sibling, and one about a plain execveat none about an empty path.
        assert_killed(Executor(builder.allow_syscall("execve").build()).run([code, what]), call)
        assert_killed(Executor(builder.allow_syscall("execveat", arg(4) == 0).build()).run([code, what]), call)
    allowed = open_wide(code).add_proc()
    assert_refused(
        Executor(allowed.block_syscall_with_errno(call, "EACCES").build()).run([code, what]), errno.EACCES, errno.ENOENT
    )


def test_a_program_in_memory_runs_where_exec_is_allowed(code: Path) -> None:
    assert_allowed(Executor(open_wide(code).build()).run([code, "in-memory-execveat"]))


# --- A19: the loader as a launcher ---


@pytest.fixture
def dropped(compile_c: Callable[..., Path], public_tmp: Path) -> Path:
    """A dynamic program in a directory of its own."""
    source = '#include <stdio.h>\nint main(void) { puts("started"); return 0; }'
    shutil.copy(compile_c(source, static=False, name="dropped"), public_tmp / "dropped")
    return public_tmp / "dropped"


def with_loader() -> PolicyBuilder:
    """Everything allowed; of the host's files those of one dynamic program, and with them the loader."""
    return PolicyBuilder().danger_default_allow_all().add_libraries_for_binary("/bin/cat")


def started(result: Result) -> bool:
    assert result.status is Status.OK, result.status
    return (result.returncode, result.stdout) == (SUCCEEDED, b"started\n")


@pytest.mark.attack("A19")
def test_the_loader_starts_nothing_from_a_writable_directory(attack: Attempt, dropped: Path) -> None:
    attack.control(unsandboxed(LOADER, dropped).stdout == b"started\n", "the loader starts nothing")
    executor = Executor(with_loader().add_directory(dropped.parent, writable=True).build())
    result = executor.run([LOADER, dropped])
    assert not started(result)
    assert (result.returncode, b"failed to map segment" in result.stderr) == (127, True)
    # As by its own name, but then before anything runs.
    with pytest.raises(SetupError, match="writable and therefore not executable"):
        executor.run([dropped])


@pytest.mark.attack("A19")
def test_the_loader_starts_nothing_that_is_not_in_the_box(attack: Attempt, dropped: Path) -> None:
    attack.control(unsandboxed(LOADER, dropped).stdout == b"started\n", "the loader starts nothing")
    result = Executor(with_loader().build()).run([LOADER, dropped])
    assert not started(result)
    assert b"cannot open shared object file" in result.stderr


def test_the_loader_starts_what_is_mounted_to_be_executed(dropped: Path) -> None:
    for builder in (
        with_loader().add_directory(dropped.parent),
        with_loader().danger_add_writable_executable_directory(dropped.parent),
    ):
        assert started(Executor(builder.build()).run([LOADER, dropped]))


def test_the_loader_does_not_ask_for_the_permission_to_execute(dropped: Path) -> None:
    """What a read-only mount means: everything that can be read there can be started. Permission bits are no fence."""
    dropped.chmod(0o644)
    executor = Executor(with_loader().add_directory(dropped.parent).build())
    assert started(executor.run([LOADER, dropped]))
    with pytest.raises(SetupError, match="Permission denied"):
        executor.run([dropped])


@pytest.mark.attack("A19")
def test_a_program_without_an_exec_rule_cannot_start_the_loader(attack: Attempt, code: Path, dropped: Path) -> None:
    attack.control(unsandboxed(code, "execve", LOADER, dropped).stdout == b"started\n", "the loader starts nothing")
    builder = small(code).add_libraries_for_binary("/bin/cat").add_directory(dropped.parent)
    assert_killed(Executor(builder.build()).run([code, "execve", LOADER, dropped]), "execve")
    # Only where exec is allowed and the program is there for it.
    allowed = open_wide(code).add_libraries_for_binary("/bin/cat").add_directory(dropped.parent)
    assert started(Executor(allowed.build()).run([code, "execve", LOADER, dropped]))


# --- A20: interpreters as launchers ---

PYTHON, PERL, SHELL = "/usr/bin/python3", "/usr/bin/perl", "/bin/sh"


@pytest.fixture
def script(public_tmp: Path) -> Path:
    path = public_tmp / "script"
    path.write_text(f"#!{SHELL}\necho started\n")
    path.chmod(0o755)
    return path


@pytest.mark.attack("A20")
def test_a_script_in_a_writable_directory_is_no_program(attack: Attempt, code: Path, script: Path) -> None:
    attack.control(unsandboxed(code, "execve", script).stdout == b"started\n", "scripts cannot be executed")
    builder = open_wide(code).add_libraries_for_binary(SHELL)
    writable = Executor(builder.add_directory(script.parent, writable=True).build())
    assert_refused(writable.run([code, "execve", script]), errno.EACCES)
    with pytest.raises(SetupError, match="writable and therefore not executable"):
        writable.run([script])


def test_an_interpreter_reads_a_script_from_anywhere(code: Path, script: Path) -> None:
    """What `noexec` does not mean: the interpreter is the program, and the script is data that it reads."""
    builder = open_wide(code).add_libraries_for_binary(SHELL).add_directory(script.parent, writable=True)
    assert started(Executor(builder.build()).run([SHELL, script]))
    assert started(Executor(builder.build()).run([code, "execve", SHELL, script]))


def test_a_script_in_a_directory_to_be_executed_is_a_program(code: Path, script: Path) -> None:
    builder = open_wide(code).add_libraries_for_binary(SHELL).add_directory(script.parent)
    assert started(Executor(builder.build()).run([code, "execve", script]))


@pytest.mark.attack("A20")
def test_a_script_is_started_by_the_same_rule_as_its_interpreter(attack: Attempt, code: Path, script: Path) -> None:
    """One execve is judged, that of the script; the kernel starts the interpreter in the same call."""
    attack.control(unsandboxed(code, "execve", script).stdout == b"started\n", "scripts cannot be executed")
    builder = small(code).add_libraries_for_binary(SHELL).add_directory(script.parent)
    assert_killed(Executor(builder.build()).run([code, "execve", script]), "execve")


# Text that an interpreter runs is no program of its own: it does what the policy allows the interpreter.
ONE_LINERS = {
    "python": (PYTHON, "-c", "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo started'])"),
    "perl": (PERL, "-e", "exec '/bin/sh', '-c', 'echo started'"),
    "shell": (SHELL, "-c", "exec /bin/sh -c 'echo started'"),
}


def interpreting(program: str) -> PolicyBuilder:
    builder = PolicyBuilder().danger_default_allow_all().add_libraries_for_binary(SHELL).add_dev()
    if program == PYTHON:
        return builder.add_python(program)
    builder.add_libraries_for_binary(program)
    return builder


@pytest.mark.attack("A20")
@pytest.mark.parametrize("name", ONE_LINERS)
def test_what_an_interpreter_is_told_to_run_is_judged_by_its_calls(attack: Attempt, name: str) -> None:
    argv = ONE_LINERS[name]
    attack.control(unsandboxed(*argv).stdout == b"started\n", "the interpreter executes nothing")
    denied = interpreting(argv[0]).block_syscalls_with_errno(["execve", "execveat"], "EACCES").build()
    result = Executor(denied).run(argv)
    assert (result.status, result.stdout) == (Status.OK, b"")
    # The neighbour: where exec is allowed, it is allowed to text given on a command line as well.
    assert started(Executor(interpreting(argv[0]).build()).run(argv))


@pytest.mark.parametrize(
    "argv", [(PYTHON, "-c", "print('started')"), (PERL, "-e", r'print "started\n"'), (SHELL, "-c", "echo started")]
)
def test_text_that_an_interpreter_runs_itself_needs_no_exec(argv: tuple[str, ...]) -> None:
    denied = interpreting(argv[0]).block_syscalls_with_errno(["execve", "execveat"], "EACCES").build()
    assert started(Executor(denied).run(argv))


@pytest.mark.attack("A20")
def test_no_interpreter_can_be_registered_with_the_kernel(attack: Attempt, code: Path) -> None:
    """binfmt_misc: not there in the box's /proc, and it cannot be mounted."""
    attack.control(Path("/proc/sys").is_dir(), "there is no /proc")
    builder = interpreting(SHELL).add_proc(full=True)
    listing = Executor(builder.build()).run([SHELL, "-c", "echo /proc/sys/fs/binfmt_misc/*"])
    assert listing.stdout == b"/proc/sys/fs/binfmt_misc/*\n"
    with pytest.raises(PolicyError, match="mount is always refused"):
        small(code).allow_syscall("mount").build()
