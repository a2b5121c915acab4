"""The union of two policies apart from rules and groups: default action, dangers, files, network, limits, options.

The wider of the two holds everywhere. Where neither is wider (two things at one place, two host names) there is no
union, which is a PolicyError. A field that nothing here knows must be the same in both.
"""

from __future__ import annotations

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import X86_64
from stockade.policy.meaning.diff_fields import default_of, destination_text
from stockade.policy.meaning.limit_values import limit_names, limit_text, looseness
from stockade.policy.meaning.merge_mounts import merge_mounts
from stockade.policy.meaning.merge_raw import merge_raw_filters
from stockade.policy.meaning.merge_rules import wider
from stockade.policy.meaning.words import action_words, errno_name
from stockade.policy.policy import Policy
from stockade.policy.resolve import resolve
from stockade.policy.rules import Action, Kind
from stockade.policy.unsupported import INNER_ID
from stockade.text import quote

_Policy = policy_pb2.Policy
_Network = policy_pb2.Network
# From the network that reaches least to the one that reaches most; LOOPBACK and BROKERED have no order.
_REACH = {_Network.NONE: 0, _Network.LOOPBACK: 1, _Network.BROKERED: 1, _Network.DANGER_HOST: 2}


def merge_fields(first: Policy, second: Policy) -> tuple[policy_pb2.Policy, list[str]]:
    """Give a message with everything but schema version, name, rules and groups, and notes for people."""
    one, other = first.message, second.message
    merged, notes = policy_pb2.Policy(), list[str]()
    for part in (_default_action, _dangers, _files, _network, _limits, _options):
        part(one, other, merged, notes)
    merged.syscalls.raw_filters.extend(merge_raw_filters(first, second))
    for message in (one, other):
        for name in (
            "schema_version",
            "name",
            "description",
            "tested_with",
            "filesystem",
            "network",
            "limits",
            "options",
        ):
            message.ClearField(name)
        for name in ("rules", "groups", "default_action", "raw_filters", "danger_reopened"):
            message.syscalls.ClearField(name)
        if not message.syscalls.ListFields():
            message.ClearField("syscalls")
        if message.ListFields():
            raise PolicyError(f"policies with {message.ListFields()[0][0].name} cannot be merged")
    return merged, notes


def _default_action(one: _Policy, other: _Policy, merged: _Policy, notes: list[str]) -> None:
    actions = default_of(one), default_of(other)
    chosen = wider(*actions)
    source = one if chosen == actions[0] else other
    if source.syscalls.HasField("default_action"):
        merged.syscalls.default_action.CopyFrom(source.syscalls.default_action)
    if actions[0].kind is actions[1].kind and actions[0] != actions[1]:
        notes.append(
            f"a call that nothing decides is {action_words(actions[0])} in the first policy and "
            f"{action_words(actions[1])} in the second; the first one holds"
        )
    _unknown_numbers(one, other, merged, notes)


def _unknown_numbers(one: _Policy, other: _Policy, merged: _Policy, notes: list[str]) -> None:
    """Choose what happens to numbers above the table: a policy can only say ENOSYS, or leave it to the default."""
    wanted = wider(_unknown(one), _unknown(other))
    if _unknown(merged) == wanted:
        return
    merged.options.unknown_syscalls_enosys = True
    if _unknown(merged) == wanted:
        return
    if wanted.kind is not Kind.ERRNO:
        raise PolicyError(
            f"numbers above the newest known call would be {action_words(wanted)}, which no policy can say whose "
            f"default is {action_words(default_of(merged))}"
        )
    notes.append(
        f"numbers above the newest known call are answered with ENOSYS instead of {errno_name(wanted.errno)}: beside "
        "this default action a policy can say nothing else"
    )


def _unknown(message: _Policy) -> Action:
    """Give what a policy says about numbers above the table."""
    bare = policy_pb2.Policy(schema_version=1, options=message.options)
    if message.syscalls.HasField("default_action"):
        bare.syscalls.default_action.CopyFrom(message.syscalls.default_action)
    return resolve(bare, X86_64).unknown


def _dangers(one: _Policy, other: _Policy, merged: _Policy, notes: list[str]) -> None:
    both = dict.fromkeys((*one.syscalls.danger_reopened, *other.syscalls.danger_reopened))
    merged.syscalls.danger_reopened.extend(both)


def _files(one: _Policy, other: _Policy, merged: _Policy, notes: list[str]) -> None:
    files, (left, right) = merged.filesystem, (one.filesystem, other.filesystem)
    files.mounts.extend(merge_mounts(list(left.mounts), list(right.mounts), notes))
    files.libraries_for_binary.extend(dict.fromkeys((*left.libraries_for_binary, *right.libraries_for_binary)))
    files.python.extend(dict.fromkeys((*left.python, *right.python)))
    files.writable_root = left.writable_root or right.writable_root
    if left.HasField("root") and right.HasField("root") and left.root != right.root:
        sources = f"{quote(left.root.source)} and {quote(right.root.source)}"
        raise PolicyError(f"the policies have different root trees, {sources}", path=right.root.source)
    if left.HasField("root") or right.HasField("root"):
        files.root.CopyFrom(left.root if left.HasField("root") else right.root)
    if not files.ListFields():
        merged.ClearField("filesystem")


def _network(one: _Policy, other: _Policy, merged: _Policy, notes: list[str]) -> None:
    modes = one.network.mode, other.network.mode
    if modes[0] != modes[1] and _REACH[modes[0]] == _REACH[modes[1]]:
        names = " and ".join(_Network.Mode.Name(mode) for mode in modes)
        raise PolicyError(f"the policies have the networks {names}, of which neither reaches all that the other does")
    mode = max(modes, key=_REACH.__getitem__)
    if mode:
        merged.network.mode = mode
    if mode == _Network.BROKERED:
        both = (*one.network.allow, *other.network.allow)
        merged.network.allow.extend({destination_text(each): each for each in reversed(both)}.values())
    elif one.network.allow or other.network.allow:
        notes.append("the list of destinations is dropped: the other policy has the network of the host")
    if one.network.refuse_quietly or other.network.refuse_quietly:
        merged.network.refuse_quietly = True


def _limits(one: _Policy, other: _Policy, merged: _Policy, notes: list[str]) -> None:
    for name in limit_names():
        values = getattr(one.limits, name), getattr(other.limits, name)
        if values[0] == values[1]:
            chosen = values[0]
        else:
            try:
                amounts = looseness(one.limits, name), looseness(other.limits, name)
            except ValueError as error:
                raise PolicyError(f"limits.{name}: {error}") from None
            chosen = values[0] if amounts[0] >= amounts[1] else values[1]
            if amounts[0] != amounts[1]:
                texts = limit_text(one.limits, name), limit_text(other.limits, name)
                loose, tight = texts if amounts[0] > amounts[1] else texts[::-1]
                notes.append(f"the limit {name} is {loose}, not {tight}: the looser one holds")
        if chosen:
            setattr(merged.limits, name, chosen)


def _options(one: _Policy, other: _Policy, merged: _Policy, notes: list[str]) -> None:
    for name in ("hostname", "domainname"):
        _same_or_only(one, other, merged, name)
    roots = one.options.fake_root, other.options.fake_root
    ids = [[getattr(each.options, name) or INNER_ID for name in ("uid", "gid")] for each in (one, other)]
    if roots[0] != roots[1] or (not roots[0] and ids[0] != ids[1]):
        raise PolicyError("the policies have different identities inside (options.uid, gid, fake_root)")
    for name in ("uid", "gid", "fake_root"):
        setattr(merged.options, name, getattr(one.options, name) or getattr(other.options, name))
    if one.options.without_init != other.options.without_init:
        raise PolicyError("options.without_init is set in one of the policies only")
    merged.options.without_init = one.options.without_init
    merged.options.danger_speculation = one.options.danger_speculation or other.options.danger_speculation
    for name in ("danger_share_namespace", "optional_layer"):
        both = dict.fromkeys((*getattr(one.options, name), *getattr(other.options, name)))
        getattr(merged.options, name).extend(both)
    for name in ("apparmor_profile", "selinux_context"):
        values = getattr(one.options, name), getattr(other.options, name)
        if values[0] != values[1]:
            raise PolicyError(f"options.{name} is {quote(values[0])} in one policy and {quote(values[1])} in the other")
        setattr(merged.options, name, values[0])
    if not merged.options.ListFields():
        merged.ClearField("options")


def _same_or_only(one: _Policy, other: _Policy, merged: _Policy, name: str) -> None:
    values = getattr(one.options, name), getattr(other.options, name)
    if all(values) and values[0] != values[1]:
        raise PolicyError(f"options.{name} is {quote(values[0])} in one policy and {quote(values[1])} in the other")
    if any(values):
        setattr(merged.options, name, values[0] or values[1])
