"""The part of `PolicyBuilder` about raw filters: classic BPF for some calls, which only tightens what the rules say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.building.base import BuilderBase, call_text, raise_first
from stockade.policy.validate import raw_findings


class RawMethods(BuilderBase):
    """A program is text for the assembler (see `stockade.lowlevel.assemble`) or an array of struct sock_filter.

    It is run before the rules. Where it returns `allow` the rules decide; what else it returns holds unless the rules
    say something stronger. So a call needs a rule that allows it as well.
    """

    def add_policy_on_syscall(self, name: str, program: str | bytes, *, architecture: str = "") -> Self:
        """Run a raw filter for one call.

        `program` as bytes needs `architecture`, the one it was written for; on every other one the call is refused.
        Text is assembled for each architecture with its constants. Raises PolicyError for a program that the kernel
        would not take, and for returns that could loosen the policy.
        """
        call = call_text("add_policy_on_syscall", name, _shown(program), architecture=architecture)
        return self._add_raw(call, [name], program, architecture)

    def add_policy_on_syscalls(self, names: Iterable[str], program: str | bytes, *, architecture: str = "") -> Self:
        """Run a raw filter for several calls, which it can tell apart by `ld nr`. As `add_policy_on_syscall`."""
        chosen = [names] if isinstance(names, str) else list(names)
        call = call_text("add_policy_on_syscalls", chosen, _shown(program), architecture=architecture)
        return self._add_raw(call, chosen, program, architecture)

    def add_policy_on_mmap(self, program: str | bytes, *, architecture: str = "") -> Self:
        """Run a raw filter for mmap: prot is argument 2, flags argument 3. As `add_policy_on_syscall`."""
        call = call_text("add_policy_on_mmap", _shown(program), architecture=architecture)
        return self._add_raw(call, ["mmap"], program, architecture)

    def _add_raw(self, call: str, names: list[str], program: str | bytes, architecture: str) -> Self:
        if not isinstance(program, (str, bytes)) or not all(isinstance(name, str) for name in names):
            raise PolicyError("names are text, and a program is text for the assembler or bytes", source=call)
        raw = policy_pb2.RawFilter(syscall=names, architecture=architecture)
        if isinstance(program, str):
            raw.assembly = program
        else:
            raw.program = program
        raise_first(raw_findings(raw), call)
        self._message.syscalls.raw_filters.append(raw)
        self._raw_calls.append(call)
        return self


def _shown(program: str | bytes) -> str:
    """Give what stands for a program in the text of a call: it is too long to show."""
    return "…" if isinstance(program, (str, bytes)) else repr(program)
