"""Policies and C programs that the end-to-end tests share."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from stockade import Executor, PolicyBuilder
from stockade.host import forkserver, spares
from stockade.monitor.supervision import Supervision
from support.compiler import CCompiler

# raw(number, six arguments) makes exactly that system call and gives back what the kernel put into rax. raw_after is
# the address that the kernel reports as the instruction pointer.
RAW = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
__asm__(
    ".globl raw\n.type raw,@function\nraw:\n"
    "mov %rdi,%rax\n mov %rsi,%rdi\n mov %rdx,%rsi\n mov %rcx,%rdx\n mov %r8,%r10\n mov %r9,%r8\n mov 8(%rsp),%r9\n"
    "syscall\n"
    ".globl raw_after\nraw_after:\n"
    "ret\n"
    ".size raw,.-raw\n");
extern long raw(long number, long a, long b, long c, long d, long e, long f);
static void say(const char *text) { raw(SYS_write, 1, (long)text, strlen(text), 0, 0, 0); }
static inline long number_of(const char *text) { return strtol(text, 0, 0); }
"""


def static_builder(program: Path) -> PolicyBuilder:
    """Return a builder that lets a static program start, write to its streams and exit; nothing else."""
    return PolicyBuilder("test").allow_static_startup().allow_write().allow_exit().add_file(program)


def everything_builder(program: Path) -> PolicyBuilder:
    """Return a builder under which a program and its libraries may do whatever is not always refused."""
    return PolicyBuilder("lenient").danger_default_allow_all().add_libraries_for_binary(program)


def main_program(
    compile_c: CCompiler, body: str, *, before: str = "", static: bool = True, name: str = "program"
) -> Path:
    """Compile `int main(int argc, char **argv) { body; return 0; }` with `raw` and `say` at hand."""
    source = f"{RAW}\n{before}\nint main(int argc, char **argv) {{\n{body}\nreturn 0;\n}}\n"
    return compile_c(source, static=static, name=name, options=("-pthread", "-Wno-unused-function"))


def file_offset_of(program: Path, symbol: str) -> int:
    """Return where in the file of an ELF program the address of a symbol lies."""
    elf = ELFFile(io.BytesIO(program.read_bytes()))
    symbols = elf.get_section_by_name(".symtab")
    assert isinstance(symbols, SymbolTableSection)
    found = (symbols.get_symbol_by_name(symbol) or [])[0]
    address = int(found["st_value"])
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_LOAD" and 0 <= address - segment["p_vaddr"] < segment["p_filesz"]:
            return address - int(segment["p_vaddr"]) + int(segment["p_offset"])
    raise AssertionError(f"{symbol} is in no segment")


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter that finds stockade and these helpers, as a user's own program would.

    Raises AssertionError with what it said when it fails.
    """
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env=python_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def python_environment() -> dict[str, str]:
    """Return the environment for such an interpreter."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def open_descriptors() -> list[str]:
    """Return the descriptors of this process, but for those of boxes that wait for the next run.

    What is left of runs after their verdict is cleaned up without anybody waiting for it, but here.
    """
    spares.drop_all()
    for each in gc.get_objects():
        if isinstance(each, Supervision) and each.outcome is not None and not each.is_abandoned():
            each.wait(60, for_end=True)
            each.announce()  # takes the lock, with which the last descriptors are closed
    return sorted(os.listdir("/proc/self/fd"))


def run_elsewhere(program: str, stop: bool = True) -> int | None:
    """Run a static program that says its argument and returns their number, in whatever process this is called.

    Returns the pid of the forkserver that served, which is then stopped if `stop`.
    """
    result = Executor(static_builder(Path(program)).build()).run([program, "there"])
    assert (result.returncode, result.stdout) == (2, b"there"), result
    pid = forkserver.current_pid()
    if stop:
        forkserver.stop()
    return pid
