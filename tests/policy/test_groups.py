"""The group table as a whole, and start-up groups against real programs. test_group_cases.py has what each permits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stockade.errors import PolicyError
from stockade.kernel.architectures import AARCH64, X86_64
from stockade.policy.builder import PolicyBuilder, arg
from stockade.policy.families import FAMILIES
from stockade.policy.groups import GROUPS, check_group, expand
from stockade.policy.policy import Policy
from stockade.policy.rules import Kind
from support.compiler import CCompiler

BOTH = ("x86_64", "aarch64")
RX, RWX = "PROT_READ|PROT_EXEC", "PROT_READ|PROT_WRITE|PROT_EXEC"
PRIVATE = "MAP_PRIVATE|MAP_ANONYMOUS"


def group_policy(name: str, *arguments: str) -> Policy:
    """A policy with this group and nothing else."""
    given = " ".join(f"argument: {argument!r}" for argument in arguments)
    return Policy.from_text(f'schema_version: 1 syscalls {{ groups {{ name: "{name}" {given} }} }}')


def example_arguments(name: str) -> tuple[str, ...]:
    parameter = GROUPS[name].parameter
    return (parameter.example,) if parameter else ()


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_resolves_and_compiles_on_both_architectures(name: str) -> None:
    policy = group_policy(name, *example_arguments(name))
    for architecture in BOTH:
        policy.compile(architecture)
    assert GROUPS[name].meaning.endswith(".")


@pytest.mark.parametrize("name", GROUPS)
def test_every_rule_of_a_group_decides_something(name: str) -> None:
    """Nothing in a group is always refused, and no row names a call that no architecture has."""
    for rule in expand(name, example_arguments(name)):
        for call in rule.syscall:
            assert call in X86_64.syscalls or call in AARCH64.syscalls, call
    policy = group_policy(name, *example_arguments(name))
    permitted = {rule.syscall for rule in policy.resolve("x86_64").rules if rule.action.kind is Kind.ALLOW}
    answered = {rule.syscall for rule in policy.resolve("x86_64").rules if rule.action.kind is Kind.ERRNO}
    for rule in expand(name, example_arguments(name)):
        for call in set(rule.syscall) & set(X86_64.syscalls):
            assert call in permitted | answered


@pytest.mark.parametrize("name", [name for name in GROUPS if not name.startswith("danger_")])
def test_no_group_without_a_warning_in_its_name_lets_code_be_made(name: str) -> None:
    """No executable memory that was writable or anonymous, no other program, no new namespace."""
    policy = group_policy(name, *example_arguments(name))
    for architecture in BOTH:
        for flags in (PRIVATE, "MAP_SHARED|MAP_ANONYMOUS", f"{PRIVATE}|MAP_FIXED"):
            for prot in (RX, RWX, "PROT_EXEC"):
                assert not policy.evaluate("mmap", (0, 4096, prot, flags), architecture).permits
        assert not policy.evaluate("mmap", (0, 4096, RWX, "MAP_PRIVATE"), architecture).permits
        assert not policy.evaluate("mmap", (0, 4096, RX, "MAP_SHARED"), architecture).permits
        for call in ("mprotect", "pkey_mprotect"):
            for prot in (RX, RWX, "PROT_EXEC"):
                assert not policy.evaluate(call, (0, 4096, prot), architecture).permits
        for call in FAMILIES["exec"]:
            assert not policy.evaluate(call, (), architecture).permits
        for flag in ("CLONE_NEWUSER", "CLONE_NEWNS", "CLONE_UNTRACED"):
            assert not policy.evaluate("clone", (f"{flag}|SIGCHLD",), architecture).permits


def test_groups_with_old_forms_have_them_on_x86_64() -> None:
    for name, call in [("open", "creat"), ("stat", "lstat"), ("unlink", "rmdir"), ("poll", "poll"), ("dup", "dup2")]:
        assert group_policy(name).evaluate(call, (), "x86_64").permits
        assert call not in AARCH64.syscalls


def test_futex_operations_are_compared_without_their_modifiers() -> None:
    policy = group_policy("futex_op", "FUTEX_WAIT_BITSET", "FUTEX_WAKE")
    assert policy.evaluate("futex", (0, "FUTEX_WAIT_BITSET|FUTEX_PRIVATE_FLAG|FUTEX_CLOCK_REALTIME")).permits
    assert policy.evaluate("futex", (0, "FUTEX_WAKE")).permits
    assert not policy.evaluate("futex", (0, "FUTEX_WAIT")).permits
    assert not policy.evaluate("futex", (0, 1 | 0x200)).permits


def test_answers_of_a_group_give_way_to_any_other_rule() -> None:
    startup = group_policy("static_startup")
    assert startup.evaluate("readlinkat").action.kind is Kind.ERRNO
    for order in (("static_startup", "readlink"), ("readlink", "static_startup")):
        text = " ".join(f'groups {{ name: "{name}" }}' for name in order)
        assert Policy.from_text(f"schema_version: 1 syscalls {{ {text} }}").evaluate("readlinkat").permits


def test_refused_calls_that_a_group_answers_are_not_run() -> None:
    verdict = group_policy("tc_malloc").evaluate("process_vm_readv")
    assert verdict.action.kind is Kind.ERRNO


def test_unknown_groups_and_wrong_arguments_are_errors() -> None:
    with pytest.raises(PolicyError) as caught:
        check_group("reed")
    assert caught.value.suggestion == "read"
    with pytest.raises(PolicyError, match="takes no argument"):
        expand("read", ["x"])
    with pytest.raises(PolicyError, match="FUTEX_WAKE"):
        expand("futex_op")


def test_expanding_gives_included_groups_first_and_each_row_once() -> None:
    rules = expand("dynamic_startup")
    texts = [rule.SerializeToString(deterministic=True) for rule in rules]
    assert len(texts) == len(set(texts))
    assert rules[: len(expand("static_startup"))] == expand("static_startup")


# --- real programs under the compiled filter ---

TRUE = "int main(void) { return 0; }"
ALLOCATE = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void *work(void *unused) {
  for (int i = 0; i < 64; i++) { void *p = malloc(1 << (i % 20)); memset(p, 1, 1 << (i % 20)); if (i % 3) free(p); }
  return unused;
}
int main(void) {
  void *blocks[64];
  for (int i = 0; i < 64; i++) blocks[i] = malloc(1 << (i % 24));
  blocks[3] = realloc(blocks[23], 1 << 25);
  for (int i = 24; i < 64; i++) free(blocks[i]);
#ifdef THREADS
  pthread_t threads[10];
  for (int i = 0; i < 10; i++) if (pthread_create(&threads[i], NULL, work, NULL)) return 3;
  for (int i = 0; i < 10; i++) pthread_join(threads[i], NULL);
#else
  work(NULL);
#endif
  puts("done");
  return 7;
}
"""
# Installs the filter that lies in the first file and becomes the program, as the sandboxee does.
LAUNCHER = """
import ctypes, sys
from stockade.kernel.seccomp import prepare_filter
libc = ctypes.CDLL(None, use_errno=True)
argv = [word.encode() for word in sys.argv[2:]]
arguments = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
environment = (ctypes.c_char_p * 2)(b"HOME=/", None)
with open(sys.argv[1], "rb") as file:
    install = prepare_filter(file.read())
libc.prctl(38, 1, 0, 0, 0)
execve, path = libc.execve, argv[0]
install()
execve(path, arguments, environment)
"""
KILLED = -31


def run_filtered(builder: PolicyBuilder, directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a program under the filter of a policy, with execve allowed besides, and without any namespace."""
    program = directory / "filter"
    program.write_bytes(builder.allow_syscall("execve").build().compile())
    source = Path(sys.modules["stockade.errors"].__file__ or "").parent.parent
    command = [sys.executable, "-S", "-c", LAUNCHER, str(program), *argv]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(source)}, timeout=60
    )


@pytest.mark.parametrize("options", [("-static",), ("-static-pie",)], ids=["static", "static-pie"])
def test_static_startup_suffices(compile_c: CCompiler, public_tmp: Path, options: tuple[str, ...]) -> None:
    program = str(compile_c(TRUE, static=False, options=options))
    done = run_filtered(PolicyBuilder().allow_static_startup().allow_exit(), public_tmp, program)
    assert (done.returncode, done.stderr) == (0, "")
    assert run_filtered(PolicyBuilder().allow_static_startup(), public_tmp, program).returncode == KILLED


def test_dynamic_startup_suffices(compile_c: CCompiler, public_tmp: Path) -> None:
    program = str(compile_c(TRUE, static=False))
    done = run_filtered(PolicyBuilder().allow_dynamic_startup().allow_exit(), public_tmp, program)
    assert (done.returncode, done.stderr) == (0, "")
    assert run_filtered(PolicyBuilder().allow_static_startup().allow_exit(), public_tmp, program).returncode == KILLED


def test_system_malloc_suffices(compile_c: CCompiler, public_tmp: Path) -> None:
    program = str(compile_c(ALLOCATE, static=False))
    started = PolicyBuilder().allow_dynamic_startup().allow_exit().allow_write()
    done = run_filtered(started.allow_system_malloc(), public_tmp, program)
    assert (done.returncode, done.stdout) == (7, "done\n")
    without = PolicyBuilder().allow_dynamic_startup().allow_exit().allow_write()
    assert run_filtered(without, public_tmp, program).returncode == KILLED


def test_threads_and_system_malloc_suffice(compile_c: CCompiler, public_tmp: Path) -> None:
    program = str(compile_c(ALLOCATE, static=False, options=("-pthread", "-DTHREADS")))

    def started() -> PolicyBuilder:
        return PolicyBuilder().allow_dynamic_startup().allow_exit().allow_write().allow_system_malloc()

    done = run_filtered(started().allow_threads(), public_tmp, program)
    assert (done.returncode, done.stdout) == (7, "done\n")
    assert run_filtered(started(), public_tmp, program).returncode == KILLED


def test_the_interpreter_of_this_test_starts(public_tmp: Path) -> None:
    builder = (
        PolicyBuilder()
        .allow_dynamic_startup()
        .allow_exit()
        .allow_write()
        .allow_system_malloc()
        .allow_mmap_without_exec()
        .allow_threads()
        .allow_readdir()
        .allow_readlink()
        .allow_working_directory()
        .allow_dup()
        .allow_tcgets()
        .allow_safe_fcntl()
        .allow_handle_signals()
        .allow_get_ids()
        .allow_get_pids()
        .allow_system_information()
        .allow_syscall("ioctl", arg(1) == "FIOCLEX")
    )
    code = "import json, threading; t = threading.Thread(target=print, args=(json.dumps([1]),)); t.start(); t.join()"
    done = run_filtered(builder, public_tmp, sys.executable, "-I", "-c", code)
    assert (done.returncode, done.stdout) == (0, "[1]\n")
    opened = run_filtered(
        PolicyBuilder().allow_dynamic_startup().allow_exit(), public_tmp, sys.executable, "-I", "-c", code
    )
    assert opened.returncode == KILLED
