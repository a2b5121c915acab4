"""Groups on the real kernel: programs that need exactly what a group gives, and one step further."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from policy.bpf_kernel import run_under
from policy.calls import Call, calls
from policy.group_cases import CASES
from stockade import Executor, PolicyBuilder, Result, Status
from stockade.kernel.architectures import native
from stockade.policy.rules import Kind
from support.compiler import CCompiler
from support.runs import main_program

FAULTS = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int shared;
static void *work(void *unused) { shared++; char *p = malloc(100); memset(p, 1, 100); free(p); return unused; }
int main(int argc, char **argv) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) if (pthread_create(&threads[i], NULL, work, NULL)) return 3;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  int number = 0x7fffffff;
  volatile char *block = malloc(1 << 20);
  block[5] = argc;
  if (argc > 1 && !strcmp(argv[1], "overflow")) number += argc;
  free((void *)block);
  if (argc > 1 && !strcmp(argv[1], "use-after-free")) block[6] = 1;
  puts("done");
  return number == 0;
}
"""


def sanitized(compile_c: CCompiler, kind: str) -> Path:

    return compile_c(FAULTS, static=False, options=(f"-fsanitize={kind}", "-pthread", "-g"))


def run_sanitized(builder: PolicyBuilder, program: Path, *words: str) -> Result:
    builder.allow_dynamic_startup().allow_exit().add_libraries_for_binary(program).add_proc().add_tmpfs("/tmp")
    environment = {"ASAN_OPTIONS": "detect_leaks=0", "LSAN_OPTIONS": "detect_leaks=0"}
    return Executor(builder.build()).run([program, *words], env=environment, text=True)


@pytest.mark.parametrize(
    ("kind", "fault", "report"),
    [
        ("address", "use-after-free", "heap-use-after-free"),
        ("undefined", "overflow", "signed integer overflow"),
        ("address,undefined", "overflow", "signed integer overflow"),
        ("thread", "none", "data race"),
    ],
)
def test_sanitizers_run_and_report(compile_c: CCompiler, kind: str, fault: str, report: str) -> None:
    program = sanitized(compile_c, kind)
    result = run_sanitized(PolicyBuilder().allow_llvm_sanitizers(), program, fault)
    assert result.status is Status.OK, [found.summary for found in result.violations]
    assert report in result.stderr
    without = run_sanitized(PolicyBuilder().allow_system_malloc().allow_threads().allow_write(), program, fault)
    if kind != "undefined":  # which needs nothing of its own until it prints colours
        assert without.status is Status.VIOLATION


def test_coverage_data_is_written(compile_c: CCompiler, public_tmp: Path) -> None:
    place = public_tmp / "data"
    place.mkdir()
    place.chmod(0o777)
    program = compile_c("int main(void) { return 0; }", static=False, options=("--coverage",))

    def run(builder: PolicyBuilder) -> Result:
        builder.allow_dynamic_startup().allow_exit().add_libraries_for_binary(program)
        builder.add_directory(place, inside="/data", writable=True)
        environment = {"GCOV_PREFIX": "/data", "GCOV_PREFIX_STRIP": "99"}
        return Executor(builder.build()).run([program], env=environment)

    result = run(PolicyBuilder().allow_llvm_coverage())
    assert (result.status, result.returncode) == (Status.OK, 0), [found.summary for found in result.violations]
    (written,) = place.iterdir()
    assert written.suffix == ".gcda" and written.stat().st_size > 0
    assert run(PolicyBuilder().allow_system_malloc()).status is Status.VIOLATION


PROCESSORS = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
  char text[256];
  int cpus = open("/sys/devices/system/cpu/possible", O_RDONLY | O_CLOEXEC), self = open("/proc/self/maps", O_RDONLY);
  if (cpus < 0 || self < 0 || read(cpus, text, sizeof text) <= 0 || read(self, text, sizeof text) <= 0) return 1;
  if (syscall(SYS_membarrier, 0, 0, 0) < 0) return 2;
  cpu_set_t set;
  if (argc > 1 && (sched_getaffinity(0, sizeof set, &set) || sched_setaffinity(0, sizeof set, &set))) return 3;
  return 0;
}
"""


def test_restartable_sequences_with_what_they_read(compile_c: CCompiler) -> None:
    program = compile_c(PROCESSORS)

    def run(builder: PolicyBuilder, *words: str) -> Result:
        return Executor(builder.allow_static_startup().allow_exit().add_file(program).build()).run([program, *words])

    def fast() -> PolicyBuilder:
        return PolicyBuilder().allow_restartable_sequences()

    assert run(fast().add_processor_information()).returncode == 0
    assert run(fast()).returncode == 1
    slow = PolicyBuilder().allow_restartable_sequences_with_slow_fences().add_processor_information()
    assert run(slow, "slow").returncode == 0
    refused = run(fast().add_processor_information(), "slow")
    assert (refused.status, refused.violations[0].syscall) == (Status.VIOLATION, "sched_getaffinity")


# --- single calls ---

IMPORTANT = (
    "open_for_reading",
    "get_rlimit",
    "safe_fcntl",
    "tcgets",
    "make_fifo",
    "futex_op",
    "inet_sockets",
    "get_random",
    "prctl_set_name",
    "danger_safe_bpf",
)
# What must not be made in a child of the test.
KEPT = {"kill", "tgkill", "tkill", "fork", "vfork", "pause", "exit", "exit_group", "wait4", "close_range"}


@pytest.mark.parametrize("name", IMPORTANT)
def test_the_kernel_decides_as_the_table_says(name: str) -> None:
    """Each call of a group's row, in a child of its own: the kernel kills for the neighbours, and for nothing else."""
    builder = PolicyBuilder().allow_exit()
    method = f"danger_allow_{name[7:]}" if name.startswith("danger_") else f"allow_{name}"
    getattr(builder, method)(*(["FUTEX_WAKE"] if name == "futex_op" else []))
    policy = builder.build()
    program = policy.compile()

    def end_of(*made: Call) -> int:
        numbered = [(native().number(call.name), call.registers(native().name)) for call in made]
        return run_under([program], numbered).killed_by

    allowed, refused = (
        [call for call in calls(text) if call.exists_on(native().name) and call.name not in KEPT]
        for text in CASES[name]
    )
    assert end_of(*(call for call in allowed if call.name not in KEPT)) == 0
    for call in refused:
        verdict = policy.evaluate(call.name, call.registers(native().name))
        assert (end_of(call) == signal.SIGSYS) is (verdict.action.kind is Kind.KILL), str(call)


def test_a_call_that_only_changes_upper_bits_of_an_int_is_the_same_call(compile_c: CCompiler) -> None:
    """The kernel ignores them; a filter that compared them could be walked around."""
    program = main_program(
        compile_c, "long result = raw(SYS_socket, strtoul(argv[1], 0, 0), SOCK_STREAM, 0, 0, 0, 0); return result < 0;"
    )
    policy = PolicyBuilder().allow_static_startup().allow_exit().allow_unix_sockets().add_file(program).build()
    for domain in ("1", "0x100000001", "0xdeadbeef00000001"):
        assert Executor(policy).run([program, domain]).status is Status.OK
    for domain in ("2", "0x100000002", "0x1ffffffff"):
        result = Executor(policy).run([program, domain])
        assert (result.status, result.violations[0].syscall) == (Status.VIOLATION, "socket")
