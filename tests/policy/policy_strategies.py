"""Hypothesis strategies for whole policies: valid ones, with every field that this version reads."""

from __future__ import annotations

from hypothesis import strategies as st

from stockade._proto import policy_pb2
from stockade.policy.groups import GROUPS

_Rule = policy_pb2.Rule
_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
_PRINTABLE = st.text(alphabet=st.characters(categories=["L", "N", "P"]), max_size=20)
# Calls with three arguments of 64, 64 and 64 bits or 32: numbers below fit them all.
_CALLS = ("read", "write", "sendfile", "copy_file_range", "sched_setaffinity", "getpriority", "lseek", "ioctl")


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

    def build(call: str, action: int, when: policy_pb2.Condition | None, reason: str) -> policy_pb2.Rule:
        rule = _Rule(syscall=[call], action=_Rule.Action.Name(action), reason=reason)
        if when is not None:
            rule.when.append(when)
        if action == _Rule.ERRNO:
            rule.errno = "ENOENT"
        if action == _Rule.TRACE:
            rule.hook = "ask"
        return rule

    actions = st.sampled_from([_Rule.ALLOW, _Rule.ERRNO, _Rule.LOG, _Rule.TRAP, _Rule.TRACE, _Rule.KILL])
    one = st.builds(build, st.sampled_from(_CALLS), actions, st.none() | conditions(), _TEXT)
    return st.lists(one, max_size=5, unique_by=lambda rule: rule.syscall[0])


def _mounts() -> st.SearchStrategy[list[policy_pb2.Mount]]:
    name = st.text(alphabet=st.characters(categories=["L", "N", "Cc", "Zs"], exclude_characters="\0/"), min_size=1)
    target = name.filter(lambda text: text not in (".", "..") and len(text.encode()) < 200).map("/".__add__)
    kinds = [
        policy_pb2.Mount(tmpfs=policy_pb2.Tmpfs(size="16M", mode=0o700)),
        policy_pb2.Mount(bind=policy_pb2.Bind(source="/srv", kind=policy_pb2.Bind.DIRECTORY, writable=True)),
        policy_pb2.Mount(bind=policy_pb2.Bind(source="/srv/x", kind=policy_pb2.Bind.FILE, if_exists=True)),
        policy_pb2.Mount(proc=policy_pb2.Proc(full=True)),
        policy_pb2.Mount(symlink=policy_pb2.Symlink(points_to="usr/bin")),
        policy_pb2.Mount(mask=policy_pb2.Mask()),
    ]

    def build(path: str, kind: policy_pb2.Mount) -> policy_pb2.Mount:
        mount = policy_pb2.Mount(target=path)
        mount.MergeFrom(kind)
        return mount

    return st.lists(st.builds(build, target, st.sampled_from(kinds)), max_size=4, unique_by=lambda mount: mount.target)


@st.composite
def policies(draw: st.DrawFn) -> policy_pb2.Policy:
    """A policy that is accepted as it is."""
    message = policy_pb2.Policy(schema_version=1, name=draw(_PRINTABLE), description=draw(_TEXT))
    message.syscalls.rules.extend(draw(_rules()))
    names = [name for name, group in GROUPS.items() if group.parameter is None]
    for name in draw(st.lists(st.sampled_from(names), max_size=3, unique=True)):
        message.syscalls.groups.add(name=name)
    if draw(st.booleans()):
        message.syscalls.groups.add(name="futex_op", argument=["FUTEX_WAKE", "7"])
    if draw(st.booleans()):
        message.syscalls.default_action.action = _Rule.ERRNO
        message.syscalls.default_action.errno = "13"
    message.filesystem.mounts.extend(draw(_mounts()))
    message.limits.wall_time = draw(_TEXT)
    message.network.mode = draw(st.sampled_from([policy_pb2.Network.NONE, policy_pb2.Network.LOOPBACK]))
    message.options.hostname = draw(st.sampled_from(["", "box"]))
    message.options.unknown_syscalls_enosys = draw(st.booleans())
    message.tested_with.add(path="/usr/bin/gzip", version=draw(_TEXT))
    return message
