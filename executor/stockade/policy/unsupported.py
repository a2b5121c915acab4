"""What a policy can say and this version does not enforce. Such a policy is refused as a whole, never run with less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stockade._proto import policy_pb2
from stockade.text import quote

_Policy = policy_pb2.Policy
_Network = policy_pb2.Network

# Uid and gid that a sandboxee has inside, whatever it is on the host. 0 in a policy means this.
INNER_ID = 1000
# Mounts that this version makes.
_MOUNTS = ("bind", "tmpfs", "proc", "dev", "symlink")


@dataclass(frozen=True, slots=True)
class _Feature:
    """A field that is not enforced: its path, what it would do, and whether a policy uses it."""

    path: str
    meaning: str
    used: Callable[[policy_pb2.Policy], object]


_FEATURES = (
    _Feature("syscalls.phases", "narrower rules after start-up", lambda policy: policy.syscalls.phases),
    _Feature("filesystem.writable_root", "a writable root", lambda policy: policy.filesystem.writable_root),
    _Feature("filesystem.root", "a host directory as root", lambda policy: policy.filesystem.HasField("root")),
    _Feature("network.mode: BROKERED", "brokered connections", lambda policy: policy.network.mode == _Network.BROKERED),
    _Feature("network.allow", "brokered connections", lambda policy: policy.network.allow),
    _Feature("network.refuse_quietly", "brokered connections", lambda policy: policy.network.refuse_quietly),
    _Feature("options.uid", f"a uid other than {INNER_ID}", lambda policy: policy.options.uid not in (0, INNER_ID)),
    _Feature("options.gid", f"a gid other than {INNER_ID}", lambda policy: policy.options.gid not in (0, INNER_ID)),
    _Feature("options.fake_root", "appearing as root", lambda policy: policy.options.fake_root),
    _Feature("options.without_init", "running as pid 1", lambda policy: policy.options.without_init),
    _Feature(
        "options.danger_share_namespace", "namespaces of the host", lambda policy: policy.options.danger_share_namespace
    ),
    _Feature("options.optional_layer", "layers that may be missing", lambda policy: policy.options.optional_layer),
    _Feature("options.apparmor_profile", "an AppArmor profile", lambda policy: policy.options.apparmor_profile),
    _Feature("options.selinux_context", "an SELinux context", lambda policy: policy.options.selinux_context),
)


def unsupported_features(message: policy_pb2.Policy) -> list[str]:
    """List the fields of a policy that this version does not enforce, each with what it would do; [] if it has none.

    Limits are not looked at; `stockade.limits` judges them.
    """
    return [f"{feature.path} ({feature.meaning})" for feature in _FEATURES if feature.used(message)] + list(
        _unsupported_mounts(message.filesystem)
    )


def _unsupported_mounts(filesystem: policy_pb2.FileSystem) -> Iterator[str]:
    for index, mount in enumerate(filesystem.mounts):
        kind = mount.WhichOneof("kind")
        path = f"filesystem.mounts[{index}]"
        if kind is not None and kind not in _MOUNTS:
            yield f"{path}.{kind} (at {quote(mount.target)})"
        elif kind == "dev" and mount.dev.pts:
            yield f"{path}.dev.pts (pseudo-terminals, at {quote(mount.target)})"
