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


@pytest.mark.parametrize(
    ("builder", "admitted"),
    [
        (base(), True),
        (PolicyBuilder().default_errno("EPERM"), False),
        (PolicyBuilder().default_errno("EPERM").kill_syscall("socketpair"), True),
        (PolicyBuilder().default_errno("EPERM").kill_syscall("getcwd"), False),
        (PolicyBuilder().default_errno("EPERM").add_policy_on_syscall("socket", "ret kill"), True),
        (PolicyBuilder().default_errno("EPERM").add_policy_on_syscall("socket", "ret errno EIO"), False),
        (PolicyBuilder().default_errno("EPERM").add_policy_on_syscall("getcwd", "ret kill"), False),
    ],
)
def test_violations_that_are_let_happen_count(builder: PolicyBuilder, admitted: bool) -> None:
    policy = builder.build()
    assert admits_sockets(policy.resolve(X86_64, "permissive")) == admitted
    assert not admits_sockets(policy.resolve(X86_64, "refuse"))


def test_refusing_rules_do_not_count() -> None:
    policy = base().block_syscall_with_errno("socket", "EACCES").kill_syscall("socketpair").build()
    assert not admits_sockets(policy.resolve(X86_64, "enforce"))
