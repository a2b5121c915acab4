"""Only a policy under which no socket can be made may run without a network namespace of its own."""

from __future__ import annotations

import pytest

from stockade import PolicyBuilder, arg
from stockade.kernel.architectures import X86_64
from stockade.policy.sockets import admits_sockets


def base() -> PolicyBuilder:
    return PolicyBuilder().allow_static_startup().allow_exit().allow_read()


@pytest.mark.parametrize("mode", ["enforce", "refuse"])
def test_a_policy_without_socket_calls(mode: str) -> None:
    assert not admits_sockets(base().build().resolve(X86_64, mode))


@pytest.mark.parametrize(
    "builder",
    [
        base().allow_syscall("socket"),
        base().allow_syscall("socket", arg(0) == "AF_UNIX"),
        base().allow_syscall("socketpair"),
        base().log_syscall("socket"),
        base().trace("socket", "hook"),
        base().default_trace("hook"),
        base().danger_default_allow_all(),
    ],
)
def test_policies_with(builder: PolicyBuilder) -> None:
    assert admits_sockets(builder.build().resolve(X86_64, "enforce"))


def test_refusing_rules_do_not_count() -> None:
    policy = base().block_syscall_with_errno("socket", "EACCES").kill_syscall("socketpair").build()
    assert not admits_sockets(policy.resolve(X86_64, "enforce"))
