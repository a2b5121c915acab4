"""Compiled policies: made and checked once in a process for all policies that say the same about system calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stockade._proto import policy_pb2
from stockade.policy.caching.memory import MemoryCache
from stockade.policy.text.origin import digest_of

if TYPE_CHECKING:
    from stockade.policy.rules import ResolvedPolicy

# A program is at most 32 KiB long.
MAX_PROGRAMS = 256
# What cannot change a program. Everything else counts, also what is not known to matter.
_OTHER_FIELDS = ("name", "description", "tested_with", "filesystem", "network", "limits")


@dataclass(frozen=True, slots=True)
class Compiled:
    """The seccomp filter of a policy for one architecture and mode, and what else a run needs to know of its rules.

    `program` is an array of struct sock_filter. `hooks` are the names of the hooks in the order in which the program
    counts them. `admits_sockets` says whether some call that makes a socket may be permitted.
    `reopened` are the always-refused families of which a rule may permit something.
    """

    program: bytes
    hooks: tuple[str, ...]
    admits_sockets: bool
    reopened: frozenset[str]


PROGRAMS: MemoryCache[tuple[bytes, str, str], Compiled] = MemoryCache(MAX_PROGRAMS)


def syscall_key(message: policy_pb2.Policy) -> bytes:
    """Give 32 bytes that are equal for policies that say the same about system calls, whatever they mount."""
    part = policy_pb2.Policy()
    part.CopyFrom(message)
    for name in _OTHER_FIELDS:
        part.ClearField(name)
    return digest_of(part.SerializeToString(deterministic=True))


def compiled(key: bytes, resolved: ResolvedPolicy) -> Compiled:
    """Give the compiled form of the rules of a policy, of which `key` is the syscall key. Compiled once in a process.

    The program was compared with the rules on their boundary values. Raises PolicyError when it would be longer than
    the kernel takes, MonitorError when the comparison fails.
    """
    return PROGRAMS.get((key, resolved.architecture.name, resolved.mode), lambda: _make(resolved))


def _make(resolved: ResolvedPolicy) -> Compiled:
    from stockade.policy.bpf.compile import compile
    from stockade.policy.selfcheck import check_program
    from stockade.policy.sockets import admits_sockets

    program = compile(resolved)
    check_program(resolved, program)
    return Compiled(program, resolved.hooks, admits_sockets(resolved), resolved.reopened)
