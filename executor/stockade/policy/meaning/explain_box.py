"""What a policy says about everything but calls, in words: dangers, files, network, limits, identity."""

from __future__ import annotations

from collections.abc import Iterator

from stockade._proto import policy_pb2
from stockade.policy.groups import GROUPS
from stockade.policy.meaning.diff_fields import destination_text
from stockade.policy.meaning.limit_values import limit_names, limit_text
from stockade.policy.refused import DANGERS
from stockade.policy.unsupported import INNER_ID
from stockade.policy.validate_files import describe
from stockade.text import quote

_Network = policy_pb2.Network
_NETWORKS = {
    _Network.NONE: "None: nothing can be reached.",
    _Network.LOOPBACK: "A loopback of its own; nothing outside can be reached.",
    _Network.DANGER_HOST: "The network of the host, with all its services.",
    _Network.BROKERED: "Connections that the broker makes, to these destinations only:",
}


def dangers(message: policy_pb2.Policy) -> Iterator[str]:
    """Say which protections the policy undoes, one sentence each."""
    syscalls, files, options = message.syscalls, message.filesystem, message.options
    if syscalls.default_action.danger_allow_all:
        yield "Every call that nothing refuses is allowed (danger_allow_all)."
    for name in syscalls.danger_reopened:
        yield f"The always-refused family {name} is reopened: rules can let the program {DANGERS[name]}."
    for group in syscalls.groups:
        if group.name.startswith("danger_"):
            yield f"{group.name}: {GROUPS[group.name].meaning}"
    for mount in files.mounts:
        kind = mount.WhichOneof("kind")
        if kind in ("bind", "tmpfs") and getattr(mount, kind).danger_executable:
            yield f"What the program writes beneath {quote(mount.target)} can be executed."
    if message.network.mode == _Network.DANGER_HOST:
        yield "The program has the network of the host."
    for name in options.danger_share_namespace:
        yield f"The namespace {quote(name)} is shared with the host."
    for name in options.optional_layer:
        yield f"The program runs even where the layer {quote(name)} is missing."
    if options.danger_speculation:
        yield "The mitigation of speculative store bypass is left out."


def files(message: policy_pb2.Policy) -> Iterator[str]:
    """Say what the program sees of files."""
    tree = message.filesystem
    root = f"the host's {quote(tree.root.source)}" if tree.HasField("root") else "empty"
    yield f"The root is {root} and {'writable' if tree.writable_root else 'read-only'}."
    for path in tree.libraries_for_binary:
        yield f"{quote(path)} with its loader and libraries, read-only"
    for path in tree.python:
        yield f"the Python interpreter {quote(path)} with all that it needs, read-only"
    for mount in tree.mounts:
        optional = ", if the host has it" if mount.HasField("bind") and mount.bind.if_exists else ""
        yield f"{describe(mount)}{optional}"


def network(message: policy_pb2.Policy) -> Iterator[str]:
    """Say what the program can reach."""
    yield _NETWORKS[message.network.mode]
    for destination in message.network.allow:
        yield quote(destination_text(destination))
    if message.network.refuse_quietly:
        yield "Other connections are answered with EACCES."


def limits(message: policy_pb2.Policy) -> Iterator[str]:
    """List the limits that the policy sets."""
    for name in limit_names():
        if getattr(message.limits, name):
            yield f"{name}: {quote(limit_text(message.limits, name))[1:-1]}"


def options(message: policy_pb2.Policy) -> Iterator[str]:
    """Say what is special about the box."""
    chosen = message.options
    if chosen.hostname:
        yield f"The host name is {quote(chosen.hostname)}."
    if chosen.domainname:
        yield f"The domain name is {quote(chosen.domainname)}."
    if chosen.fake_root:
        yield "The program appears as uid 0 and gid 0 inside, without any privilege."
    elif (chosen.uid or INNER_ID, chosen.gid or INNER_ID) != (INNER_ID, INNER_ID):
        yield f"The program has uid {chosen.uid or INNER_ID} and gid {chosen.gid or INNER_ID} inside."
    if chosen.without_init:
        yield "The program is process 1 of its box."
    if chosen.apparmor_profile:
        yield f"AppArmor profile {quote(chosen.apparmor_profile)}."
    if chosen.selinux_context:
        yield f"SELinux context {quote(chosen.selinux_context)}."
