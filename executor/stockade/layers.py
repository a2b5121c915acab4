"""The isolation mechanisms of a run and their states, from what was read back of the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stockade._proto import report_pb2

if TYPE_CHECKING:
    from stockade.limits import Limits
    from stockade.monitor.readback import Readback
    from stockade.policy.policy import Policy

Layer = report_pb2.Layer

_NAMESPACE_NAMES = {"user": "user", "mnt": "mount", "pid": "pid", "net": "network", "ipc": "ipc", "uts": "uts"}
_NOT_ASKED = ("landlock", "cgroup", "apparmor", "selinux")
# What a mode takes from the filter.
_MODE_DETAILS = {
    "refuse": "violations are answered with EPERM, not fatal",
    "permissive": "violations happen and are recorded, but for calls that are always refused",
}
_IN_FORCE, _DEGRADED, _NONE = Layer.IN_FORCE, Layer.DEGRADED, Layer.NOT_ASKED


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the executor knows of a run besides its outcome."""

    policy: Policy
    mode: str
    limits: Limits
    pid: int
    started_at: float
    readback: Readback | None
    shared_network: bool
    host_network: bool
    setup_hint: str = ""
    monitor: str = "ptrace"
    # The program has installed the filter itself, by a call of its own.
    self_installed: bool = False


def layers_of(facts: RunFacts, dangers: Sequence[str] = ()) -> list[Layer]:
    """The list of layers from what was read back. Without a reading (the program never started) nothing is claimed.

    `dangers` are the protections that the policy has given up by name.
    """
    readback, mode = facts.readback, facts.mode
    if readback is None:
        return []
    status = readback.status
    layers = []
    for name, inode in readback.namespaces.items():
        detail, state = inode, _IN_FORCE
        if name == "user":
            detail += f", uid {status['Uid'].split()[0]} on the host"
        elif name == "net" and facts.host_network:
            detail, state = "the host's network, by danger_allow_host_network()", _NONE
        elif name == "net" and facts.shared_network:
            detail += ", empty, shared with runs of the same file system: nothing inside can have a socket"
        layers.append(Layer(name=f"{_NAMESPACE_NAMES.get(name, name)} namespace", state=state, detail=detail))
    filters = f"{status['Seccomp_filters']} filter" + (
        f"; the policy gives up: {', '.join(dangers)}" if dangers else ""
    )
    if facts.self_installed:
        filters = f"{filters}; installed by the program itself, which ran without it up to then"
    layers += [
        Layer(name="root file system", state=_IN_FORCE, detail="empty read-only tmpfs; the host's root is detached"),
        Layer(
            name="seccomp",
            state=_DEGRADED if mode in _MODE_DETAILS else _IN_FORCE,
            detail=filters + (f"; {mode}: {_MODE_DETAILS[mode]}" if mode in _MODE_DETAILS else ""),
        ),
        Layer(name="no_new_privs", state=_IN_FORCE, detail="1"),
        Layer(name="capabilities", state=_IN_FORCE, detail="all five sets empty"),
        _groups_layer(status.get("Groups", "").split()),
        Layer(name="monitor", state=_IN_FORCE, detail=facts.monitor),
        Layer(name="resource limits", state=_IN_FORCE, detail=f"{len(readback.rlimits)} set"),
    ]
    layers += [Layer(name=name, state=_NONE, detail="not asked for") for name in _NOT_ASKED]
    return layers


def _groups_layer(groups: list[str]) -> Layer:
    if not groups:
        return Layer(name="supplementary groups", state=_IN_FORCE, detail="none")
    detail = f"an unprivileged caller cannot drop them; kept: {', '.join(groups)}"
    return Layer(name="supplementary groups", state=_DEGRADED, detail=detail)
