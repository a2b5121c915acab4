"""Upper bounds of a run, and the mechanism that enforces each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from stockade._proto import policy_pb2
from stockade.errors import PolicyError, UnsupportedError
from stockade.units import parse_duration, parse_size

Size = int | str
Duration = float | str

DEFAULT_OPEN_FILES = 1024
DEFAULT_OUTPUT = 64 * 1024 * 1024
# setrlimit(2). A core limit of 1, because a piped core_pattern ignores 0 and would run a helper as host root.
RLIMIT_CORE, CORE_LIMIT = 4, 1
RLIMIT_NPROC = 6
# Of a fork server, whose copies cannot have more than it has itself.
SERVER_RLIMITS = {RLIMIT_CORE: (CORE_LIMIT, CORE_LIMIT)}
_RLIMITS = {
    "open_files": 7,
    "file_size": 1,
    "address_space": 9,
    "stack": 3,
    "data": 2,
    "locked_memory": 8,
    "processes": RLIMIT_NPROC,
}
_DURATIONS = frozenset(("wall_time", "cpu_time", "idle_time"))
_COUNTS = frozenset(("open_files", "processes", "nice", "cpu_percent", "cpus"))
_MAXIMUM_NICE = 19
_CGROUP = "needs a cgroup, which this version of stockade does not make yet"
_UNENFORCED = {
    "cpu_time": "CPU time of the whole tree is not measured by this version of stockade",
    "idle_time": "idle time is not measured by this version of stockade",
    "memory": _CGROUP,
    "disk": "there is no quota over all writable mounts in this version of stockade",
    "cpu_percent": _CGROUP,
    "cpus": _CGROUP,
    "io_bandwidth": _CGROUP,
}
_INSTEAD = {
    "memory": "use address_space, which bounds each process",
    "disk": "use the size of each tmpfs, and file_size",
    "cpu_time": "use wall_time",
    "idle_time": "use wall_time",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper bounds of a run. None: not limited, but for the two defaults named below.

    Durations are seconds, or text with a unit ("500ms", "5s", "2m"). Sizes are bytes, or text ("64M", "1.5GiB").

    - `wall_time`: clock time from the first instruction. The run ends with status TIMEOUT.
    - `output`: captured bytes of stdout and stderr together, 64 MiB by default. The run ends with status LIMIT.
    - `open_files`: highest descriptor number plus one, 1024 by default (RLIMIT_NOFILE).
    - `processes`: processes and threads in the box (RLIMIT_NPROC, counted in the run's own user namespace).
    - `file_size`, `address_space`, `stack`, `data`, `locked_memory`: resource limits of each process, setrlimit(2); the
      program sees the kernel's own answer (ENOMEM, SIGXFSZ …).
    - `nice`: scheduling niceness, 0 to 19; never less than the caller's.

    The others are not enforced by this version: an executor that is given one raises UnsupportedError.
    Raises PolicyError for a value that is no such amount; nothing is clipped.
    """

    wall_time: Duration | None = None
    cpu_time: Duration | None = None
    idle_time: Duration | None = None
    memory: Size | None = None
    address_space: Size | None = None
    processes: int | None = None
    open_files: int | None = None
    file_size: Size | None = None
    output: Size | None = None
    disk: Size | None = None
    stack: Size | None = None
    data: Size | None = None
    locked_memory: Size | None = None
    nice: int | None = None
    cpu_percent: int | None = None
    cpus: int | None = None
    io_bandwidth: Size | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                object.__setattr__(self, field.name, _amount(field.name, value))

    @classmethod
    def from_policy(cls, message: policy_pb2.Limits) -> Limits:
        """The limits of a policy message, in which empty text and 0 say nothing."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: getattr(message, name) for name in names if getattr(message, name)})

    def tightened_by(self, other: Limits) -> Limits:
        """The lower of both bounds for each limit (the higher niceness)."""

        def choose(name: str) -> float | None:
            values = [value for value in (self.value(name), other.value(name)) if value is not None]
            better: Callable[[list[float]], float] = max if name == "nice" else min
            return better(values) if values else None

        chosen = {field.name: choose(field.name) for field in dataclasses.fields(self)}
        return Limits(**{name: value for name, value in chosen.items() if value is not None})  # type: ignore[arg-type]

    def value(self, name: str) -> float | None:
        """The amount of one limit in seconds, bytes or a count, or None."""
        value: float | None = getattr(self, name)
        return value

    def check_enforceable(self) -> None:
        """Raise UnsupportedError for the first limit that this version cannot enforce."""
        for name, reason in _UNENFORCED.items():
            if getattr(self, name) is not None:
                raise UnsupportedError(f"limit {name}", reason, _INSTEAD.get(name))

    def rlimits(self) -> dict[int, tuple[int, int]]:
        """Resource limits, by RLIMIT_ number, that the sandboxee sets (soft equals hard)."""
        values = {RLIMIT_CORE: CORE_LIMIT, _RLIMITS["open_files"]: DEFAULT_OPEN_FILES}
        for name, resource in _RLIMITS.items():
            value = self.value(name)
            if value is not None:
                # init lives in the same user namespace and is counted with the program's processes
                values[resource] = int(value) + (resource == RLIMIT_NPROC)
        return {resource: (value, value) for resource, value in values.items()}

    def in_force(self) -> list[tuple[str, float, str]]:
        """(name, value, mechanism) of every limit that holds."""
        held = [("open_files", float(self.open_files or DEFAULT_OPEN_FILES), "rlimit")]
        held += [("output", float(self.output_bytes), "reader"), ("core", float(CORE_LIMIT), "rlimit")]
        for name in _RLIMITS:
            value = self.value(name)
            if value is not None and name != "open_files":
                held.append((name, value, "rlimit"))
        if self.wall_time is not None:
            held.append(("wall_time", float(self.wall_time), "clock"))
        if self.nice is not None:
            held.append(("nice", float(self.nice), "priority"))
        return held

    @property
    def output_bytes(self) -> int:
        """Bytes of output that may be captured."""
        return DEFAULT_OUTPUT if self.output is None else int(self.output)


def _amount(name: str, value: object) -> float | int:
    """`value` as seconds, bytes or a count."""
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(f"{value!r} is no amount")
        if name in _DURATIONS:
            amount: float | int = parse_duration(value) if isinstance(value, str) else float(value)
        elif name in _COUNTS:
            if not isinstance(value, int):
                raise ValueError(f"{value!r} is no whole number")
            amount = value
        else:
            amount = parse_size(value) if isinstance(value, str) else _whole(value)
    except ValueError as error:
        raise PolicyError(f"limit {name}: {error}") from error
    if not math.isfinite(amount) or amount < 0 or (amount == 0 and name not in ("nice", "output")):
        raise PolicyError(f"limit {name}: {value!r} is out of range; it must be more than 0")
    if name == "nice" and amount > _MAXIMUM_NICE:
        raise PolicyError(f"limit nice: {value!r} is out of range; the highest is {_MAXIMUM_NICE}")
    if amount >= 1 << 63:
        raise PolicyError(f"limit {name}: {value!r} is out of range; it does not fit 63 bits")
    return amount


def _whole(value: float) -> int:
    if not math.isfinite(value) or value != int(value):
        raise ValueError(f"{value!r} is no whole number of bytes")
    return int(value)
