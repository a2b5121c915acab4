"""Tools for experts: architectures, compiled filters and what they mean, kernel bindings.

Stable in meaning, not in every name; `stockade` itself is the interface for running programs.
"""

from __future__ import annotations

from stockade.kernel import capabilities, mount, process, ptrace, seccomp
from stockade.kernel.architectures import AARCH64, I386, X86_64, Architecture, native
from stockade.policy.bpf.assemble import assemble
from stockade.policy.bpf.compile import compile as compile_filter
from stockade.policy.bpf.disassemble import disassemble
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.bpf.interpreter import run as run_filters
from stockade.policy.evaluate import evaluate
from stockade.policy.resolve import resolve
from stockade.policy.selfcheck import check_program

__all__ = [
    "AARCH64",
    "I386",
    "X86_64",
    "Architecture",
    "Interpreter",
    "SeccompData",
    "assemble",
    "capabilities",
    "check_program",
    "compile_filter",
    "disassemble",
    "evaluate",
    "mount",
    "native",
    "process",
    "ptrace",
    "resolve",
    "run_filters",
    "seccomp",
]
