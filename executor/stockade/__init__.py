"""Run programs that you do not trust, under a policy, and learn what they tried.

    from stockade import Executor, PolicyBuilder

The names below are loaded when they are first used: importing the package costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stockade.errors import (
        LimitError,
        MonitorError,
        PolicyError,
        SandboxError,
        SetupError,
        UnsupportedError,
        ViolationError,
    )
    from stockade.executor import Executor
    from stockade.fork_server import ForkServer
    from stockade.limits import Limits
    from stockade.notify import (
        Notify,
        OpenRequest,
        ProcessEvent,
        QuotaEvent,
        SignalEvent,
        SignalVerdict,
        Syscall,
        Verdict,
        hook,
    )
    from stockade.policy.builder import PolicyBuilder
    from stockade.policy.conditions import arg
    from stockade.policy.policy import Policy
    from stockade.process import Process
    from stockade.result import Layer, Result, Status, Usage, Violation
    from stockade.streams import DEVNULL, INHERIT, PIPE, SOCKETPAIR, STDOUT

__version__ = "0.1.0"

__all__ = [
    "DEVNULL",
    "INHERIT",
    "PIPE",
    "SOCKETPAIR",
    "STDOUT",
    "Executor",
    "ForkServer",
    "Layer",
    "LimitError",
    "Limits",
    "MonitorError",
    "Notify",
    "OpenRequest",
    "Policy",
    "PolicyBuilder",
    "PolicyError",
    "Process",
    "ProcessEvent",
    "QuotaEvent",
    "Result",
    "SandboxError",
    "SetupError",
    "SignalEvent",
    "SignalVerdict",
    "Status",
    "Syscall",
    "UnsupportedError",
    "Usage",
    "Verdict",
    "Violation",
    "ViolationError",
    "arg",
    "hook",
]

_HOMES = {
    "stockade.errors": (
        "LimitError",
        "MonitorError",
        "PolicyError",
        "SandboxError",
        "SetupError",
        "UnsupportedError",
        "ViolationError",
    ),
    "stockade.executor": ("Executor",),
    "stockade.fork_server": ("ForkServer",),
    "stockade.limits": ("Limits",),
    "stockade.notify": (
        "Notify",
        "OpenRequest",
        "ProcessEvent",
        "QuotaEvent",
        "SignalEvent",
        "SignalVerdict",
        "Syscall",
        "Verdict",
        "hook",
    ),
    "stockade.policy.builder": ("PolicyBuilder",),
    "stockade.policy.conditions": ("arg",),
    "stockade.policy.policy": ("Policy",),
    "stockade.process": ("Process",),
    "stockade.result": ("Layer", "Result", "Status", "Usage", "Violation"),
    "stockade.streams": ("DEVNULL", "INHERIT", "PIPE", "SOCKETPAIR", "STDOUT"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            value: object = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'stockade' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
