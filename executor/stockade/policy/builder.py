"""Building a policy in Python, call by call.

    policy = (
        PolicyBuilder("gzip")
        .allow_dynamic_startup()
        .allow_system_malloc()
        .allow_write()
        .allow_exit()
        .allow_syscall("ioctl", arg(1) == "TCGETS")
        .add_libraries_for_binary("/usr/bin/gzip")
        .build()
    )

Every mistake is a PolicyError at the call that makes it. Methods that undo a protection have names beginning with
`danger_`. What is not allowed is refused.
"""

from __future__ import annotations

from typing import Self

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.building.base import call_text, raise_first
from stockade.policy.building.dangers import DangerMethods
from stockade.policy.building.files import FileMethods
from stockade.policy.building.groups import GroupMethods
from stockade.policy.building.include import IncludeMethods
from stockade.policy.building.raw import RawMethods
from stockade.policy.building.syscalls import SyscallMethods
from stockade.policy.conditions import arg
from stockade.policy.finding import Finding
from stockade.policy.policy import Policy
from stockade.policy.validate_files import uts_problem

__all__ = ["PolicyBuilder", "arg"]


class PolicyBuilder(SyscallMethods, GroupMethods, DangerMethods, RawMethods, FileMethods, IncludeMethods):
    """Collects what a sandboxee may do; `build()` makes the immutable `Policy`. All other methods return the builder.

    `name` and `description` are for messages and lists.
    """

    def allow_loopback(self) -> Self:
        """Give the box a loopback interface of its own; the calls to use it must be allowed as well."""
        return self._set_network("allow_loopback()", policy_pb2.Network.LOOPBACK)

    def danger_allow_host_network(self) -> Self:
        """Leave the box in the network of the host: all that listens there can be reached, abstract unix sockets too.

        The calls to use it must be allowed as well.
        """
        return self._set_network("danger_allow_host_network()", policy_pb2.Network.DANGER_HOST)

    def set_hostname(self, name: str) -> Self:
        """Set the host name that the sandboxee sees; "stockade" unless set."""
        self._message.options.hostname = _checked_name(name, "set_hostname", self._message.options.hostname)
        return self

    def set_domainname(self, name: str) -> Self:
        """Set the NIS domain name that the sandboxee sees."""
        self._message.options.domainname = _checked_name(name, "set_domainname", self._message.options.domainname)
        return self

    def danger_allow_speculation(self) -> Self:
        """Leave out the mitigation of speculative store bypass: faster, and weaker against side channels."""
        self._message.options.danger_speculation = True
        return self

    def add_tested_program(self, path: str, version: str, platform: str = "") -> Self:
        """Note for people with which program the policy was tested. Nothing is allowed by it."""
        self._message.tested_with.append(policy_pb2.TestedProgram(path=path, version=version, platform=platform))
        return self

    def _set_network(self, call: str, mode: policy_pb2.Network.Mode) -> Self:
        present = self._message.network.mode
        if present not in (policy_pb2.Network.NONE, mode):
            name = policy_pb2.Network.Mode.Name(present)
            raise PolicyError(f"the network was chosen already: {name}", source=call)
        self._message.network.mode = mode
        return self

    def build(self) -> Policy:
        """Make the policy. The builder can go on and build again.

        Raises PolicyError for rules that contradict or hide one another, naming both calls.
        """
        message = policy_pb2.Policy()
        message.CopyFrom(self._message)
        ordered = self._ordered_mounts()
        if ordered:
            message.filesystem.mounts.extend([mount for mount, _ in ordered])
        return self._combined(message, [call for _, call in ordered])


def _checked_name(name: str, method: str, present: str) -> str:
    """Check a host or domain name, and that no other was set before."""
    call = call_text(method, name)
    problem = uts_problem(name) if name else "the name is empty"
    if problem:
        raise_first([Finding((), problem)], call)
    if present not in ("", name):
        raise PolicyError(f"the name was set already, to {present!r}", source=call)
    return name
