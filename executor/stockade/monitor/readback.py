"""Reading back from the kernel what is in force, before the program's first instruction.

Nothing is assumed: a filter, capability set, namespace or identity that is not as it must be ends the run before it
starts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from stockade.kernel.process import get_resource_limit, read_small_file

NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
SECCOMP_FILTER = "2"
# The filter has killed the task, which makes no further call.
SECCOMP_DEAD = "3"


class ReadbackError(Exception):
    """A layer is not in force."""


@dataclass(frozen=True, slots=True)
class Readback:
    """What the kernel said at the stop of the first exec."""

    status: dict[str, str]
    namespaces: dict[str, str]
    rlimits: dict[int, tuple[int, int]]


def _status(pid: int) -> dict[str, str]:
    pairs = (line.partition(":\t") for line in read_small_file(f"/proc/{pid}/status").decode().splitlines())
    return {name: value for name, _, value in pairs}


def _namespace_links(pid: int | str) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES}


_own: tuple[int, dict[str, str], int] = (0, {}, 0)


def _of_this_process() -> tuple[dict[str, str], int]:
    """Namespaces and number of filters of this process, read once: every sandboxee inherits the latter."""
    global _own
    if _own[0] != os.getpid():
        filters = int(_status(os.getpid())["Seccomp_filters"])
        _own = (os.getpid(), _namespace_links("self"), filters)
    return _own[1], _own[2]


def read_namespaces(pid: int) -> dict[str, str]:
    """Namespaces of the sandboxee. It has all of them, for good, when it is handed over: no need to read them later."""
    return _namespace_links(pid)


def read_back(
    pid: int,
    namespaces: dict[str, str],
    filters: int,
    rlimits: dict[int, tuple[int, int]],
    *,
    host_network: bool = False,
) -> Readback:
    """Check the stopped task `pid` and return what was read. Raises ReadbackError naming the layer that is missing.

    `namespaces` is what `read_namespaces` gave; `filters` the number of seccomp filters that the task must have beyond
    those of this process; `rlimits` what was asked. With `host_network` the network namespace has to be the host's.
    """
    status = _status(pid)
    own, _ = _of_this_process()
    present = _of_task(status, filters)
    shared = {"net"} if host_network else set()
    present.update({f"{name} namespace": (namespaces[name] == own[name]) is (name in shared) for name in NAMESPACES})
    limits = {resource: get_resource_limit(pid, resource) for resource in rlimits}
    present["resource limits"] = limits == rlimits
    _check(present)
    return Readback(status, namespaces, limits)


def check_task(tid: int, filters: int) -> None:
    """Check what each task of a box must have for itself. As `read_back`; FileNotFoundError when the task is gone."""
    _check(_of_task(_status(tid), filters), f" in the task {tid}")


def _of_task(status: dict[str, str], filters: int) -> dict[str, bool]:
    expected = filters + _of_this_process()[1]
    return {
        "seccomp": not expected or status.get("Seccomp") in (SECCOMP_FILTER, SECCOMP_DEAD),
        "number of seccomp filters": status.get("Seccomp_filters") == str(expected),
        "no_new_privs": status.get("NoNewPrivs") == "1",
        "capabilities": all(int(status[name], 16) == 0 for name in CAPABILITY_SETS),
        "unprivileged host uid": "0" not in status["Uid"].split() and "0" not in status["Gid"].split(),
    }


def _check(present: dict[str, bool], where: str = "") -> None:
    missing = [name for name, found in present.items() if not found]
    if missing:
        raise ReadbackError(f"not in force{where} although asked for: {', '.join(missing)}")
