"""Class G: configuration, and the supervisor in Python."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import Executor, Limits, Policy, PolicyBuilder, PolicyError, Result, SetupError, Status, UnsupportedError
from support.attacks import Attempt, open_wide, run_script, small, succeeds, unsandboxed

ECHO = r"""
#include <stdio.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv) {
    char text[4096];
    int used = 0;
    for (char **each = argv; *each; each++)
        used += snprintf(text + used, sizeof text - used, "argument %s\n", *each);
    for (char **each = environ; *each; each++)
        used += snprintf(text + used, sizeof text - used, "variable %s\n", *each);
    return write(1, text, used) != used;
}
"""


@pytest.fixture
def echo(compile_c: Callable[..., Path]) -> Path:
    program: Path = compile_c(ECHO, name="echo")
    return program


# --- G1: arguments that look like options ---

OPTIONS = ("--help", "--version", "-c", "--", "-", "--policy=/etc/passwd", "$(id)", ";id", "`id`", "")


@pytest.mark.attack("G1")
@pytest.mark.parametrize("option", OPTIONS)
def test_an_argument_is_never_an_option_of_ours(attack: Attempt, echo: Path, option: str) -> None:
    # A launcher that does not care takes the first argument for one of its own options.
    naive = unsandboxed("setpriv", "--version", echo).stdout
    attack.control(b"util-linux" in naive, "setpriv takes no options")
    executor = Executor(small(echo).build())
    result = executor.run([echo, option, option], env={"NAME": option}, text=True)
    assert result.stdout == f"argument {echo}\nargument {option}\nargument {option}\nvariable NAME={option}\n"
    result = executor.run([option or "x", "last"], executable=echo, text=True)
    assert result.stdout == f"argument {option or 'x'}\nargument last\n"


@pytest.mark.attack("G1")
@pytest.mark.parametrize("name", ["--version", "-c", "--", "-"])
def test_a_program_or_directory_may_be_named_like_an_option(
    attack: Attempt, echo: Path, public_tmp: Path, name: str
) -> None:
    program = public_tmp / name
    shutil.copy(echo, program)
    attack.control(b"util-linux" in unsandboxed("setpriv", "--version").stdout, "setpriv takes no options")
    executor = Executor(small(program).build())
    result = executor.run([name, "last"], env={"PATH": str(public_tmp)}, text=True)
    assert result.stdout == f"argument {name}\nargument last\nvariable PATH={public_tmp}\n"
    with pytest.raises(SetupError) as caught:
        executor.run([program], cwd=name)
    assert caught.value.step == "cwd"
    with pytest.raises(SetupError) as caught:
        executor.run([name])
    assert caught.value.step == "find_program"


# --- G3: misspelt keys ---

RIGHT = 'schema_version: 1 syscalls { groups { name: "read" } rules { syscall: "getpid" action: ALLOW } }'
WRONG = {
    "syscals": 'schema_version: 1 syscals { groups { name: "read" } }',
    "grups": 'schema_version: 1 syscalls { grups { name: "read" } }',
    "raed": 'schema_version: 1 syscalls { groups { name: "raed" } }',
    "getpidd": 'schema_version: 1 syscalls { rules { syscall: "getpidd" action: ALLOW } }',
    "KIL": 'schema_version: 1 syscalls { rules { syscall: "getpid" action: KIL } }',
    "limts": 'schema_version: 1 limts { wall_time: "5s" }',
    "wall_tme": 'schema_version: 1 limits { wall_tme: "5s" }',
}
MEANT = {
    "syscals": "syscalls",
    "grups": "groups",
    "raed": "read",
    "getpidd": "getpid",
    "KIL": "KILL",
    "limts": "limits",
    "wall_tme": "wall_time",
}


@pytest.mark.attack("G3")
@pytest.mark.parametrize("key", WRONG)
def test_a_misspelt_key_is_an_error_with_a_suggestion(attack: Attempt, key: str) -> None:
    attack.control(Policy.from_text(RIGHT).evaluate("getpid").permits, "the right spelling is not understood")
    with pytest.raises(PolicyError) as caught:
        Policy.from_text(WRONG[key], "my.textproto")
    assert (caught.value.source, caught.value.line) == ("my.textproto", 1)
    assert key in str(caught.value)
    assert caught.value.suggestion == MEANT[key]


def test_misspelt_names_of_the_api_are_errors(echo: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        small(echo).allow_syscall("opennat").build()
    assert caught.value.suggestion == "openat"
    with pytest.raises(TypeError):
        Limits(wall_tme=5)  # type: ignore[call-arg]
    with pytest.raises(PolicyError, match="mode 'enforced'"):
        Executor(small(echo).build(), mode="enforced")


# --- G4: asked for, but not to be had ---

# In a user namespace of its own, as an unprivileged user of it; there the namespaces are used up.
NO_NAMESPACES = """
import ctypes, os, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
program, knob = sys.argv[1:]
uid, gid = os.geteuid(), os.getegid()
assert libc.unshare(0x10000000) == 0, os.strerror(ctypes.get_errno())
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"{uid or 61234} {uid} 1")
Path("/proc/self/gid_map").write_text(f"{gid or 61234} {gid} 1")
if knob != "-":
    Path("/proc/sys/user", knob).write_text("0")
from stockade import Executor, PolicyBuilder, UnsupportedError
policy = PolicyBuilder().allow_static_startup().allow_write().allow_exit().add_file(program).build()
try:
    result = Executor(policy).run([program])
    print("ran", result.status.name)
except UnsupportedError as error:
    print("unsupported", error.layer)
    print(error)
    print(error.result.status.name, error.result.returncode)
"""


@pytest.mark.attack("G4")
@pytest.mark.parametrize(
    ("knob", "layer"),
    [
        ("max_user_namespaces", "user namespaces"),
        ("max_mnt_namespaces", "user namespaces"),
        ("max_pid_namespaces", "namespaces"),
        ("max_uts_namespaces", "namespaces"),
        ("max_ipc_namespaces", "namespaces"),
        ("max_net_namespaces", "user namespaces"),
        ("max_cgroup_namespaces", "namespaces"),
    ],
)
def test_a_host_without_namespaces_is_refused_with_the_knob(attack: Attempt, echo: Path, knob: str, layer: str) -> None:
    attack.control(run_script(NO_NAMESPACES, echo, "-").stdout == "ran OK\n", "user namespaces cannot be nested")
    said = run_script(NO_NAMESPACES, echo, knob).stdout.splitlines()
    assert said[0] == f"unsupported {layer}"
    assert knob in said[1]
    assert said[2] == "SETUP_ERROR -9"


# A container's filter: namespaces are answered with EPERM, or clone with any namespace flag is.
FILTERED = """
import sys
from stockade.kernel.architectures import native
from stockade.kernel.process import set_no_new_privs
from stockade.kernel.seccomp import install_filter
from stockade.policy.bpf.instructions import JEQ, JMP, JSET, LOAD_WORD, RET_K, Instruction, encode, low_word
program, refused = sys.argv[1:]
EPERM, ALLOW = 0x00050001, 0x7FFF0000
flags = 0x7E020000 if refused in ("clone", "unshare") else 0
if refused != "-":
    set_no_new_privs()
    install_filter(encode([
        Instruction(LOAD_WORD, k=0),
        Instruction(JMP | JEQ, 0, 3, native().number(refused)),
        Instruction(LOAD_WORD, k=4 * low_word(0)),
        Instruction(JMP | JSET, 0, 1, flags) if flags else Instruction(RET_K, k=EPERM),
        Instruction(RET_K, k=EPERM),
        Instruction(RET_K, k=ALLOW),
    ]))
from stockade import Executor, PolicyBuilder, UnsupportedError
policy = PolicyBuilder().allow_static_startup().allow_write().allow_exit().add_file(program).build()
try:
    result = Executor(policy).run([program])
    print("ran", result.status.name)
except UnsupportedError as error:
    print("unsupported", error.layer)
    print(error)
"""


@pytest.mark.attack("G4")
@pytest.mark.parametrize(
    ("refused", "layer", "knob"),
    [
        ("unshare", "user namespaces", "--security-opt seccomp=unconfined"),
        ("clone", "namespaces", "--security-opt seccomp=unconfined"),
        ("fsopen", "mount namespaces", "Linux 5."),
        ("mount_setattr", "mount_setattr", "--security-opt seccomp=unconfined"),
        ("move_mount", "mount namespaces", "--security-opt seccomp=unconfined"),
        ("open_tree", "open_tree", "--security-opt seccomp=unconfined"),
        ("ptrace", "ptrace", "--cap-add SYS_PTRACE"),
        ("seccomp", "seccomp", "--security-opt seccomp=unconfined"),
    ],
)
def test_a_host_whose_own_filter_refuses_a_layer(
    attack: Attempt, echo: Path, refused: str, layer: str, knob: str
) -> None:
    attack.control(run_script(FILTERED, echo, "-").stdout == "ran OK\n", "nothing runs at all")
    said = run_script(FILTERED, echo, refused).stdout
    assert said.startswith(f"unsupported {layer}"), said
    assert knob in said


@pytest.mark.attack("G4")
@pytest.mark.parametrize("limit", ["memory", "cpu_time", "cpus", "disk", "idle_time", "io_bandwidth", "cpu_percent"])
def test_a_limit_that_cannot_be_enforced_is_refused(attack: Attempt, echo: Path, limit: str) -> None:
    policy = small(echo).build()
    attack.control(Executor(policy, limits=Limits(wall_time=60)).run([echo]).returncode == 0, "nothing runs at all")
    with pytest.raises(UnsupportedError, match=limit):
        Executor(policy, limits=Limits(**{limit: 1}))


# --- G7: the environment ---

PRELOADED = """
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) { if (write(1, "preloaded\\n", 10) < 0) _exit(1); }
"""
VARIABLES = (
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "GCONV_PATH",
    "BASH_ENV",
    "ENV",
    "NODE_OPTIONS",
    "AWS_SECRET_ACCESS_KEY",
    "PATH",
    "HOME",
    "LANG",
)


@pytest.mark.attack("G7")
def test_the_environment_is_empty_whatever_the_caller_has(
    attack: Attempt, compile_c: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = compile_c(PRELOADED, static=False, name="preloaded.so", options=("-shared", "-fPIC"))
    program = compile_c(ECHO, static=False, name="dynamic")
    for name in VARIABLES:
        if name != "PATH":
            monkeypatch.setenv(name, str(library) if name == "LD_PRELOAD" else "/nonexistent")
    plain = unsandboxed(program).stdout.decode()
    attack.control("preloaded" in plain and "variable LD_PRELOAD" in plain, "LD_PRELOAD does nothing")
    builder = PolicyBuilder().allow_dynamic_startup().allow_write().allow_exit().add_libraries_for_binary(program)
    executor = Executor(builder.add_file(library).build())
    for _ in range(2):
        assert executor.run([program], text=True).stdout == f"argument {program}\n"
    # What is given is given, and nothing else.
    given = executor.run([program], env={"LD_PRELOAD": str(library)}, text=True)
    assert given.stdout == f"preloaded\nargument {program}\nvariable LD_PRELOAD={library}\n"


# --- G9: many threads ---


@pytest.mark.attack("G9")
def test_thirty_two_threads_start_sandboxes_at_once(attack: Attempt, echo: Path) -> None:
    count = 32
    attack.control(all(succeeds(echo) for _ in range(2)), "the program does not run")
    executors = [Executor(small(echo).build()), Executor(open_wide(echo).set_hostname("other").build())]
    barrier, errors = threading.Barrier(count), list[BaseException]()
    lock = threading.Lock()
    results_by_thread: dict[int, Result] = {}

    def start(index: int) -> None:
        barrier.wait()
        try:
            found = executors[index % 2].run([echo, str(index)], text=True)
        except BaseException as error:
            with lock:
                errors.append(error)
            return
        with lock:
            results_by_thread[index] = found

    threads = [threading.Thread(target=start, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    # Holding a lock that other threads hold too is what makes fork in such a process fatal.
    with lock:
        pass
    for thread in threads:
        thread.join()
    assert not errors
    assert len(results_by_thread) == count
    for index, result in results_by_thread.items():
        assert (result.status, result.stdout) == (Status.OK, f"argument {echo}\nargument {index}\n")
