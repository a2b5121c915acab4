"""Hypothesis strategies for whole policies: valid ones, with every field of the schema.

Left out are what only texts have (includes and variables), and phases, which no policy may have.
"""

from __future__ import annotations

from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from stockade._proto import policy_pb2
from stockade.policy.groups import GROUPS

_Rule = policy_pb2.Rule
_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
_PRINTABLE = st.text(alphabet=st.characters(categories=["L", "N", "P"]), max_size=20)
# Calls with three arguments of 64, 64 and 64 bits or 32: numbers below fit them all.
_CALLS = ("read", "write", "sendfile", "copy_file_range", "sched_setaffinity", "getpriority", "lseek", "ioctl")

_EVIDENCE = policy_pb2.Evidence(origin=policy_pb2.Evidence.OBSERVED, count=2**64 - 1, example="read(0, …)")


def conditions() -> st.SearchStrategy[policy_pb2.Condition]:
    """Conditions on the arguments 0 and 1, one test each."""
    value = st.sampled_from(["1", "5", "0x10", "O_CREAT|O_EXCL", "S_IFREG", "0o755"])
    argument = st.integers(0, 1)

    def build(index: int, test: str, number: str, other: str) -> policy_pb2.Condition:
        condition = policy_pb2.Condition(argument=index)
        if test == "one_of":
            condition.one_of.value.extend([number, other])
        elif test == "masked":
            condition.masked.mask = condition.masked.value = number
        else:
            setattr(condition, test, number)
        return condition

    tests = ("equal", "not_equal", "less", "less_or_equal", "greater", "greater_or_equal", "one_of", "masked")
    return st.builds(build, argument, st.sampled_from([*tests, "no_bits_outside"]), value, value)


def _rules() -> st.SearchStrategy[list[policy_pb2.Rule]]:
    """At most one rule for each call, so that none hides another."""

    def build(
        call: str, action: int, when: policy_pb2.Condition | None, reason: str, overridable: bool
    ) -> policy_pb2.Rule:
        rule = _Rule(syscall=[call], action=_Rule.Action.Name(action), reason=reason)
        if when is not None:
            rule.when.append(when)
        if action == _Rule.ERRNO:
            rule.errno = "ENOENT"
        if action == _Rule.TRACE:
            rule.hook = "ask"
        rule.overridable = overridable
        if overridable:
            rule.evidence.CopyFrom(_EVIDENCE)
        return rule

    actions = st.sampled_from([_Rule.ALLOW, _Rule.ERRNO, _Rule.LOG, _Rule.TRAP, _Rule.TRACE, _Rule.KILL])
    one = st.builds(build, st.sampled_from(_CALLS), actions, st.none() | conditions(), _TEXT, st.booleans())
    return st.lists(one, max_size=5, unique_by=lambda rule: rule.syscall[0])


def _mounts() -> st.SearchStrategy[list[policy_pb2.Mount]]:
    name = st.text(
        alphabet=st.characters(categories=["L", "N", "Cc", "Zs", "Sc"], exclude_characters="\0/"), min_size=1
    )
    dollars = st.sampled_from(["$", "$$", "$HOME", "${PWD}", "a$b", "$$$x"])
    target = (name | dollars).filter(lambda text: text not in (".", "..") and len(text.encode()) < 200).map("/".__add__)
    kinds = [
        policy_pb2.Mount(tmpfs=policy_pb2.Tmpfs(size="16M", mode=0o700)),
        policy_pb2.Mount(tmpfs=policy_pb2.Tmpfs(inodes=2**63, danger_executable=True)),
        policy_pb2.Mount(bind=policy_pb2.Bind(source="/srv", kind=policy_pb2.Bind.DIRECTORY, writable=True)),
        policy_pb2.Mount(bind=policy_pb2.Bind(source="/srv/$x", kind=policy_pb2.Bind.FILE, if_exists=True)),
        policy_pb2.Mount(
            bind=policy_pb2.Bind(source="/$", kind=policy_pb2.Bind.FILE, writable=True, danger_executable=True)
        ),
        policy_pb2.Mount(proc=policy_pb2.Proc(full=True)),
        policy_pb2.Mount(dev=policy_pb2.Dev(pts=True, shm=True)),
        policy_pb2.Mount(overlay=policy_pb2.Overlay(source="/srv/$$", keep_in="/var/$HOME", size="1G")),
        policy_pb2.Mount(symlink=policy_pb2.Symlink(points_to="usr/$LIB")),
        policy_pb2.Mount(generated=policy_pb2.Generated(content=b"\0\xff$HOME\n", mode=0o400)),
        policy_pb2.Mount(mask=policy_pb2.Mask()),
        policy_pb2.Mount(mqueue=policy_pb2.Mqueue()),
    ]

    def build(path: str, kind: policy_pb2.Mount) -> policy_pb2.Mount:
        mount = policy_pb2.Mount(target=path)
        mount.MergeFrom(kind)
        return mount

    return st.lists(st.builds(build, target, st.sampled_from(kinds)), max_size=4, unique_by=lambda mount: mount.target)


# Raw filters that tighten: "close" is in no rule above, and the filter is for one architecture or for both.
_RAW = (
    policy_pb2.RawFilter(syscall=["close", "dup"], assembly="ld nr\n  # why\nret allow\n"),
    policy_pb2.RawFilter(syscall=["close"], assembly="ret kill"),
    policy_pb2.RawFilter(syscall=["dup"], architecture="x86_64", program=b"\x06\0\0\0\0\0\xff\x7f"),
)
_NETWORKS = (
    policy_pb2.Network(),
    policy_pb2.Network(mode=policy_pb2.Network.LOOPBACK),
    policy_pb2.Network(mode=policy_pb2.Network.DANGER_HOST),
    policy_pb2.Network(
        mode=policy_pb2.Network.BROKERED,
        allow=[policy_pb2.Destination(address="10.0.0.0/8", port=["443", "8000-8080"], protocol="udp")],
        refuse_quietly=True,
    ),
)
_OPTIONS = policy_pb2.Options(
    hostname="box",
    domainname="example",
    uid=7,
    gid=8,
    fake_root=True,
    without_init=True,
    danger_share_namespace=["ipc", "uts"],
    optional_layer=["landlock"],
    apparmor_profile="a",
    selinux_context="b",
    danger_speculation=True,
    unknown_syscalls_enosys=True,
)


def _subset(message: policy_pb2.Options, keep: set[str]) -> policy_pb2.Options:
    """A copy of a message with only some of its fields."""
    copy = policy_pb2.Options()
    copy.CopyFrom(message)
    for field, _ in message.ListFields():
        if field.name not in keep:
            copy.ClearField(cast(Any, field.name))
    return copy


@st.composite
def _limits(draw: st.DrawFn) -> policy_pb2.Limits:
    limits = policy_pb2.Limits()
    for field in draw(st.sets(st.sampled_from([field.name for field in limits.DESCRIPTOR.fields]))):
        kind = limits.DESCRIPTOR.fields_by_name[field].cpp_type
        text = kind == FieldDescriptor.CPPTYPE_STRING
        setattr(limits, field, draw(_TEXT) if text else draw(st.integers(0, 19)))
    return limits


def _filesystem(draw: st.DrawFn, message: policy_pb2.FileSystem) -> None:
    message.mounts.extend(draw(_mounts()))
    message.libraries_for_binary.extend(draw(st.lists(st.sampled_from(["/bin/true", "/opt/$x"]), max_size=2)))
    message.python.extend(draw(st.lists(st.sampled_from(["/usr/bin/python3", "/opt/$v/bin/python"]), max_size=2)))
    message.writable_root = draw(st.booleans())
    if draw(st.booleans()):
        message.root.source = "/srv/$root"


@st.composite
def policies(draw: st.DrawFn) -> policy_pb2.Policy:
    """A policy that is accepted as it is."""
    message = policy_pb2.Policy(schema_version=1, name=draw(_PRINTABLE), description=draw(_TEXT))
    syscalls = message.syscalls
    syscalls.rules.extend(draw(_rules()))
    names = [name for name, group in GROUPS.items() if group.parameter is None]
    for name in draw(st.lists(st.sampled_from(names), max_size=3, unique=True)):
        syscalls.groups.add(name=name)
    if draw(st.booleans()):
        syscalls.groups.add(name="futex_op", argument=["FUTEX_WAKE", "7"])
    if draw(st.booleans()):
        syscalls.default_action.CopyFrom(
            draw(
                st.sampled_from(
                    [
                        policy_pb2.DefaultAction(action=_Rule.ERRNO, errno="13"),
                        policy_pb2.DefaultAction(action=_Rule.TRACE, hook="ask"),
                        policy_pb2.DefaultAction(action=_Rule.ALLOW, danger_allow_all=True),
                    ]
                )
            )
        )
    syscalls.raw_filters.extend(draw(st.lists(st.sampled_from(_RAW), max_size=2)))
    syscalls.danger_reopened.extend(draw(st.lists(st.sampled_from(["ptrace", "bpf"]), max_size=2, unique=True)))
    if draw(st.booleans()):
        _filesystem(draw, message.filesystem)
    if draw(st.booleans()):
        message.limits.CopyFrom(draw(_limits()))
    if draw(st.booleans()):
        message.network.CopyFrom(draw(st.sampled_from(_NETWORKS)))
    if draw(st.booleans()):
        fields = [field.name for field in _OPTIONS.DESCRIPTOR.fields]
        message.options.CopyFrom(_subset(_OPTIONS, draw(st.sets(st.sampled_from(fields)))))
    for platform in draw(st.lists(st.sampled_from(["", "debian-12"]), max_size=2)):
        message.tested_with.add(path="/usr/bin/gzip", version=draw(_TEXT), platform=platform)
    return message
