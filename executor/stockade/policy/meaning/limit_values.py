"""Limits of a policy as amounts that can be compared, whatever unit they were written in."""

from __future__ import annotations

import math

from stockade._proto import policy_pb2
from stockade.units import parse_duration, parse_size

# What holds when a policy says nothing (docs: defaults); every other limit is then unlimited.
_DEFAULTS = {"open_files": 1024.0, "output": float(64 << 20), "nice": 0.0}
_DURATIONS = frozenset(("wall_time", "cpu_time", "idle_time"))


def limit_names() -> list[str]:
    """Give the names of all limits, in the schema's order."""
    return [field.name for field in policy_pb2.Limits.DESCRIPTOR.fields]


def looseness(limits: policy_pb2.Limits, name: str) -> float:
    """Give how much a limit lets through: its amount, infinity when it is not limited; for niceness the negative.

    Raises ValueError for text that is no amount.
    """
    written = getattr(limits, name)
    if not written:
        amount = _DEFAULTS.get(name, math.inf)
    elif isinstance(written, int):
        amount = float(written)
    else:
        amount = parse_duration(written) if name in _DURATIONS else float(parse_size(written))
    return -amount if name == "nice" else amount


def limit_text(limits: policy_pb2.Limits, name: str) -> str:
    """Give a limit as it is written, or what holds without one."""
    written = getattr(limits, name)
    if written:
        return str(written)
    return {"open_files": "1024", "output": "64M", "nice": "0"}.get(name, "unlimited")
