"""What undoes a protection is named so: in the builder, in the schema, among the groups. Nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

from policy.calls import mistakes
from stockade._proto import policy_pb2
from stockade.errors import PolicyError, UnsupportedError
from stockade.policy.builder import PolicyBuilder, arg
from stockade.policy.groups import GROUPS
from stockade.policy.policy import Policy
from stockade.policy.refused import DANGERS
from stockade.policy.text.format import is_repeated

RX, RWX = "PROT_READ|PROT_EXEC", "PROT_READ|PROT_WRITE|PROT_EXEC"
PRIVATE = "MAP_PRIVATE|MAP_ANONYMOUS"

# Method of the builder → the fields of the policy that say so in a review, "*" for each member of a list.
METHODS = {
    "danger_default_allow_all": {"syscalls.default_action.danger_allow_all"},
    "danger_allow_speculation": {"options.danger_speculation"},
    "danger_allow_host_network": {"network.mode: DANGER_HOST"},
    "danger_add_executable_tmpfs": {"filesystem.mounts.tmpfs.danger_executable"},
    "danger_add_writable_executable_directory": {"filesystem.mounts.bind.danger_executable"},
    **{f"danger_reopen_{danger}": {f"syscalls.danger_reopened: {danger}"} for danger in DANGERS},
    **{
        f"danger_allow_{name.removeprefix('danger_')}": {f"syscalls.groups: {name}"}
        for name in GROUPS
        if name.startswith("danger_")
    },
}
# Group → calls that it lets through although nothing that is not dangerous may.
GROUP_DANGERS = {
    "danger_mmap_with_exec": f"mmap 0 1 {RWX} {PRIVATE}; mmap 0 1 {RX} {PRIVATE}",
    "danger_mprotect_with_exec": f"mprotect 0 1 {RWX}; mprotect 0 1 {RX}",
    "danger_pkey_mprotect_with_exec": f"pkey_mprotect 0 1 {RWX}",
    "danger_safe_bpf": "bpf BPF_OBJ_GET",
}
# What no group and no method without "danger" in its name may let through.
PROTECTED = f"""
    {"; ".join(GROUP_DANGERS.values())};
    mmap 0 1 {RWX} MAP_PRIVATE; mmap 0 1 {RWX} MAP_SHARED; mmap 0 1 {RX} MAP_SHARED;
    mmap 0 1 PROT_EXEC {PRIVATE}|MAP_FIXED; shmat 0 0 SHM_EXEC; execve; execveat;
    ioctl 0 TIOCSTI; ioctl 0 TIOCLINUX; ioctl 0 TIOCSCTTY; ioctl 0 TCSETS; ioctl 0 0x12345678; ioctl 0 FICLONE;
    prctl PR_SET_SECCOMP; prctl PR_SET_PTRACER; prctl PR_SET_MM; prctl PR_SET_DUMPABLE;
    prctl PR_SET_SYSCALL_USER_DISPATCH;
    prctl 0x12345678; personality; clone CLONE_NEWUSER|SIGCHLD; clone CLONE_NEWNS|SIGCHLD; clone CLONE_UNTRACED|SIGCHLD;
    clone3; unshare CLONE_NEWUSER; setns; ptrace; process_vm_readv; process_vm_writev; pidfd_getfd; kcmp;
    bpf BPF_PROG_LOAD;
    io_uring_setup; io_uring_enter; userfaultfd; perf_event_open; keyctl; add_key; mount; umount2; pivot_root; chroot;
    open_tree; move_mount; fsopen; mount_setattr; init_module; kexec_load; open_by_handle_at; fanotify_init;
    seccomp SECCOMP_SET_MODE_FILTER; setuid; setgroups; capset; memfd_create; socket AF_NETLINK SOCK_RAW;
    socket AF_PACKET SOCK_RAW; socket AF_INET SOCK_RAW
"""


def dangers_in(message: Message, path: str = "") -> Iterator[str]:
    """Name everything dangerous that a policy says."""
    for field, value in message.ListFields():
        name = f"{path}{field.name}"
        members = list(value) if is_repeated(field) else [value]
        for member in members:
            if isinstance(member, policy_pb2.Group):
                if member.name.startswith("danger_"):
                    yield f"{name}: {member.name}"
            elif isinstance(member, Message):
                yield from dangers_in(member, f"{name}.")
            elif field.enum_type is not None and field.enum_type.values_by_number[member].name.startswith("DANGER_"):
                yield f"{name}: {field.enum_type.values_by_number[member].name}"
            elif field.name.startswith("danger_"):
                yield f"{name}: {member}" if isinstance(member, str) else name


def danger_fields(descriptor: Any, path: str = "") -> Iterator[str]:
    """Name the fields of the schema that begin with danger_."""
    for field in descriptor.fields:
        if field.name.startswith("danger_"):
            yield f"{path}{field.name}"
        if field.message_type is not None:
            yield from danger_fields(field.message_type, f"{path}{field.name}.")


# --- the table is complete ---


def test_each_dangerous_method_of_the_builder_is_in_the_table() -> None:
    assert {name for name in dir(PolicyBuilder) if "danger" in name and not name.startswith("_")} == set(METHODS)


def test_each_dangerous_group_is_in_the_table() -> None:
    assert {name for name in GROUPS if name.startswith("danger_")} == set(GROUP_DANGERS)


def test_each_dangerous_field_of_the_schema_has_a_method_or_is_refused() -> None:
    written = {path.partition(":")[0] for paths in METHODS.values() for path in paths}
    without = set(danger_fields(policy_pb2.Policy.DESCRIPTOR)) - written
    assert without == {"options.danger_share_namespace"}
    message = policy_pb2.Policy(schema_version=1)
    message.options.danger_share_namespace.append("ipc")
    from stockade import Executor

    with pytest.raises(UnsupportedError, match="danger_share_namespace"):
        Executor(Policy.from_message(message))


# --- a dangerous method says so in the policy, and no other does ---

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "danger_add_executable_tmpfs": ("/run",),
    "danger_add_writable_executable_directory": ("/opt",),
    "allow_syscall": ("getcwd",),
    "allow_syscalls": ("getcwd", "chdir"),
    "block_syscall_with_errno": ("getcwd", "EPERM"),
    "block_syscalls_with_errno": (["getcwd"], "EPERM"),
    "trace": ("getcwd", "hook"),
    "log_syscall": ("getcwd",),
    "trap_syscall": ("getcwd",),
    "kill_syscall": ("getcwd",),
    "default_errno": ("ENOSYS",),
    "allow_futex_op": ("FUTEX_WAKE",),
    "add_file": ("/etc/hosts",),
    "add_directory": ("/usr",),
    "add_tmpfs": ("/tmp",),
    "add_symlink": ("/bin", "usr/bin"),
    "add_libraries_for_binary": ("/usr/bin/cat",),
    "set_hostname": ("box",),
    "set_domainname": ("box",),
    "add_tested_program": ("/usr/bin/cat", "9.1"),
}
# Tried elsewhere, because they need files or programs: raw filters, interpreters. A hook decides about default_trace;
# an including method takes what another policy says, dangers too.
ELSEWHERE = {"build", "default_trace", "from_policy", "include", "add_python"}
ELSEWHERE |= {"add_policy_on_mmap", "add_policy_on_syscall", "add_policy_on_syscalls"}
HARMLESS = sorted(
    name for name in dir(PolicyBuilder) if not name.startswith("_") and name not in METHODS and name not in ELSEWHERE
)


def built(method: str) -> Policy:
    builder = PolicyBuilder()
    call: Callable[..., PolicyBuilder] = getattr(builder, method)
    return call(*ARGUMENTS.get(method, ())).build()


@pytest.mark.parametrize("method", METHODS)
def test_a_dangerous_method_leaves_its_name_in_the_policy(method: str) -> None:
    assert set(dangers_in(built(method).message)) == METHODS[method]


@pytest.mark.parametrize("method", HARMLESS)
def test_a_method_that_is_not_dangerous_undoes_no_protection(method: str) -> None:
    policy = built(method)
    assert list(dangers_in(policy.message)) == []
    assert mistakes(policy, "", PROTECTED) == []


@pytest.mark.parametrize("name", GROUP_DANGERS)
def test_a_dangerous_group_deserves_its_name(name: str) -> None:
    message = policy_pb2.Policy(schema_version=1)
    message.syscalls.groups.add(name=name)
    assert mistakes(Policy.from_message(message), GROUP_DANGERS[name], "") == []


@pytest.mark.parametrize("name", GROUPS)
def test_no_group_contains_a_dangerous_one(name: str) -> None:
    def included(group: str) -> set[str]:
        inner = set(GROUPS[group].includes)
        return inner.union(*(included(each) for each in inner))

    assert [each for each in included(name) if each.startswith("danger_") or GROUPS[each].reopens] == []


def test_all_groups_together_undo_no_protection() -> None:
    """Each rule stands for itself: no two harmless ones add up to a dangerous one."""
    message = policy_pb2.Policy(schema_version=1)
    for name, group in GROUPS.items():
        if not name.startswith("danger_"):
            message.syscalls.groups.add(name=name, argument=["FUTEX_WAKE"] if group.parameter else [])
    assert mistakes(Policy.from_message(message), "read; write; openat 0 0 O_RDWR", PROTECTED) == []


# --- switches ---


def test_allowing_everything_by_default_needs_its_own_switch() -> None:
    text = "schema_version: 1 syscalls { default_action { action: ALLOW %s } }"
    with pytest.raises(PolicyError, match="danger_allow_all"):
        Policy.from_text(text % "")
    opened = Policy.from_text(text % "danger_allow_all: true")
    assert mistakes(opened, f"getcwd; mmap 0 1 {RWX} {PRIVATE}", "ptrace; setns; unshare CLONE_NEWUSER") == []


def test_nested_namespaces_need_their_own_switch() -> None:
    calls = "clone CLONE_NEWUSER|SIGCHLD; unshare CLONE_NEWUSER; setns"
    closed = PolicyBuilder().danger_default_allow_all().build()
    opened = PolicyBuilder().danger_default_allow_all().danger_reopen_namespaces().build()
    assert mistakes(closed, "", calls) == []
    assert mistakes(opened, calls, "ptrace; mount; clone CLONE_UNTRACED|SIGCHLD; clone3") == []
    with pytest.raises(PolicyError, match="unshare"):
        PolicyBuilder().allow_syscall("unshare", arg(0) == "CLONE_NEWUSER").build()


def test_nothing_is_written_and_executed_unless_asked_for_by_name() -> None:
    for method in ("add_tmpfs", "add_directory", "add_file"):
        options: dict[str, Any] = {} if method == "add_tmpfs" else {"writable": True}
        made = getattr(PolicyBuilder(), method)("/tmp", **options).build()
        assert "danger_executable" not in made.to_text()
