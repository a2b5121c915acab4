"""What differs between two policies apart from what the rules decide: files, network, limits, options, dangers.

Every part is compared by a function that knows what it means and takes it off the messages. What is left over then and
differs is reported as changed with the name of its field: nothing that this module does not know counts as equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from stockade._proto import policy_pb2
from stockade.policy.meaning.diff_mounts import mount_changes
from stockade.policy.meaning.limit_values import limit_names, limit_text, looseness
from stockade.policy.meaning.words import action_words
from stockade.policy.resolve_rule import action_of
from stockade.policy.rules import KILL, Action
from stockade.policy.unsupported import INNER_ID
from stockade.text import quote

_Policy = policy_pb2.Policy
_Network = policy_pb2.Network

# Parts of a policy that mean the same absent and empty.
_PARTS = ("syscalls", "filesystem", "network", "limits", "options")

# Networks from which one reaches no more than from a later one. BROKERED and LOOPBACK have no order.
_NARROWER = {
    (_Network.NONE, _Network.LOOPBACK),
    (_Network.NONE, _Network.BROKERED),
    (_Network.NONE, _Network.DANGER_HOST),
    (_Network.LOOPBACK, _Network.DANGER_HOST),
    (_Network.BROKERED, _Network.DANGER_HOST),
}


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A difference that is not about single calls.

    `kind` is "allowed" (the new policy gives more), "refused" (it gives less) or "changed". `what` is the path of the
    field, `text` says what is different; all that a policy chose in it is escaped.
    """

    kind: str
    what: str
    text: str


def field_changes(old: policy_pb2.Policy, new: policy_pb2.Policy) -> tuple[FieldChange, ...]:
    """Compare everything in two policies but the rules. The messages are used up."""
    found: list[FieldChange] = []
    for compare in _COMPARED:
        found += compare(old, new)
    for message in (old, new):
        # What rules mean is compared elsewhere, the rest are words for people.
        for name in ("schema_version", "name", "description", "tested_with"):
            message.ClearField(name)
        for name in ("rules", "groups", "raw_filters"):
            message.syscalls.ClearField(name)
    found += _leftovers(old, new, "")
    return tuple(found)


def _default_action(old: _Policy, new: _Policy) -> Iterator[FieldChange]:
    before, after = default_of(old), default_of(new)
    if before != after:
        permits = (before.kind.permits, after.kind.permits)
        kind = {(False, True): "allowed", (True, False): "refused"}.get(permits, "changed")
        text = f"a call that nothing decides was {action_words(before)}, and is {action_words(after)}"
        yield FieldChange(kind, "syscalls.default_action", text)
    for message in (old, new):
        message.syscalls.ClearField("default_action")
        # What it answers is compared with the calls: one number above the highest one is among them.
        message.options.ClearField("unknown_syscalls_enosys")


def default_of(message: policy_pb2.Policy) -> Action:
    """Give the default action of a policy in which nothing is wrong."""
    default = message.syscalls.default_action
    return (
        action_of(default.action, default.errno, default.hook) if message.syscalls.HasField("default_action") else KILL
    )


def _reopened(old: _Policy, new: _Policy) -> Iterator[FieldChange]:
    yield from _sets(
        old.syscalls.danger_reopened,
        new.syscalls.danger_reopened,
        "syscalls.danger_reopened",
        "the always-refused family {} is reopened",
        "the always-refused family {} is no longer reopened",
    )
    for message in (old, new):
        message.syscalls.ClearField("danger_reopened")


def _files(old: _Policy, new: _Policy) -> Iterator[FieldChange]:
    for kind, what, text in mount_changes(list(old.filesystem.mounts), list(new.filesystem.mounts)):
        yield FieldChange(kind, what, text)
    for name, words in (
        ("libraries_for_binary", "the program {} with its libraries"),
        ("python", "the Python interpreter {} with what it needs"),
    ):
        before, after = getattr(old.filesystem, name), getattr(new.filesystem, name)
        yield from _sets(before, after, f"filesystem.{name}", f"{words} is shown", f"{words} is no longer shown")
    yield from _flags(old.filesystem, new.filesystem, "filesystem", {"writable_root": "a writable root"})
    for message in (old, new):
        for name in ("mounts", "libraries_for_binary", "python"):
            message.filesystem.ClearField(name)


def _network(old: _Policy, new: _Policy) -> Iterator[FieldChange]:
    before, after = old.network.mode, new.network.mode
    if before != after:
        kind = "allowed" if (before, after) in _NARROWER else "refused" if (after, before) in _NARROWER else "changed"
        names = [_Network.Mode.Name(mode) for mode in (before, after)]
        yield FieldChange(kind, "network.mode", f"the network was {names[0]}, and is {names[1]}")
    yield from _sets(
        [destination_text(each) for each in old.network.allow],
        [destination_text(each) for each in new.network.allow],
        "network.allow",
        "connections to {} are allowed",
        "connections to {} are no longer allowed",
    )
    if old.network.refuse_quietly != new.network.refuse_quietly:
        how = "answered with EACCES" if new.network.refuse_quietly else "a violation"
        yield FieldChange("changed", "network.refuse_quietly", f"a refused connection is now {how}")
    for message in (old, new):
        message.network.Clear()


def destination_text(destination: policy_pb2.Destination) -> str:
    """Write a destination so that equal ones have equal texts."""
    ports = f" port {', '.join(sorted(destination.port))}" if destination.port else ""
    return f"{destination.protocol or 'tcp'} {destination.address}{ports}"


def _limits(old: _Policy, new: _Policy) -> Iterator[FieldChange]:
    for name in limit_names():
        texts = limit_text(old.limits, name), limit_text(new.limits, name)
        try:
            before, after = looseness(old.limits, name), looseness(new.limits, name)
        except ValueError:
            continue  # text that no run accepts: left for the comparison of the field as it is written
        if before != after:
            kind = "allowed" if after > before else "refused"
            yield FieldChange(kind, f"limits.{name}", f"the limit {name} was {texts[0]}, and is {texts[1]}")
        for message in (old, new):
            message.limits.ClearField(name)


def _options(old: _Policy, new: _Policy) -> Iterator[FieldChange]:
    before, after = old.options, new.options
    for name, default in (("hostname", "stockade"), ("domainname", "(none)")):
        values = getattr(before, name) or default, getattr(after, name) or default
        yield from _value(f"options.{name}", *values)
    for name in ("uid", "gid"):
        ids = [0 if each.fake_root else getattr(each, name) or INNER_ID for each in (before, after)]
        yield from _value(f"options.{name}", *map(str, ids))
    yield from _flags(before, after, "options", {"danger_speculation": "speculation without its mitigation"})
    yield from _sets(
        before.danger_share_namespace,
        after.danger_share_namespace,
        "options.danger_share_namespace",
        "the namespace {} is shared with the host",
        "the namespace {} is no longer shared with the host",
    )
    yield from _sets(
        before.optional_layer,
        after.optional_layer,
        "options.optional_layer",
        "the layer {} may be missing",
        "the layer {} may no longer be missing",
    )
    for options in (before, after):
        for field in ("hostname", "domainname", "uid", "gid", "danger_share_namespace", "optional_layer"):
            options.ClearField(field)


_COMPARED: tuple[Callable[[_Policy, _Policy], Iterator[FieldChange]], ...] = (
    _default_action,
    _reopened,
    _files,
    _network,
    _limits,
    _options,
)


def _value(what: str, before: str, after: str) -> Iterator[FieldChange]:
    if before != after:
        yield FieldChange("changed", what, f"{what} was {quote(before)}, and is {quote(after)}")


def _flags(old: Message, new: Message, where: str, flags: dict[str, str]) -> Iterator[FieldChange]:
    """Compare switches that give more when they are on, and take them off."""
    for name, meaning in flags.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            kind, text = ("allowed", meaning) if after else ("refused", f"no longer {meaning}")
            yield FieldChange(kind, f"{where}.{name}", text)
        for message in (old, new):
            message.ClearField(name)


def _sets(before: Iterable[str], after: Iterable[str], what: str, added: str, removed: str) -> Iterator[FieldChange]:
    """Compare lists in which neither order nor repetition means anything, and more entries allow more."""
    old, new = dict.fromkeys(before), dict.fromkeys(after)
    for value in new:
        if value not in old:
            yield FieldChange("allowed", what, added.format(quote(value)))
    for value in old:
        if value not in new:
            yield FieldChange("refused", what, removed.format(quote(value)))


def _leftovers(old: Message, new: Message, path: str) -> Iterator[FieldChange]:
    """Report every field that is still there and not the same, by its path; a message is looked into."""
    names = dict.fromkeys(field.name for message in (old, new) for field, _ in message.ListFields())
    for name in names:
        before, after = getattr(old, name), getattr(new, name)
        where = f"{path}{name}"
        if isinstance(before, Message):
            yield from _leftovers(before, after, f"{where}.")
            emptied = not before.ListFields() and not after.ListFields()
            # One that only one policy has, and that says nothing more, can mean something: a root without a source.
            if emptied and old.HasField(name) != new.HasField(name) and where not in _PARTS:
                yield FieldChange("changed", where, f"{where} is different")
        elif before != after:
            plain = isinstance(before, (str, int))
            text = f"was {_shown(before)}, and is {_shown(after)}" if plain else "is different"
            yield FieldChange("changed", where, f"{where} {text}")


def _shown(value: object) -> str:
    return quote(value) if isinstance(value, str) else str(value).lower()
