"""What hooks decide with: the public names of the monitor's hook interface."""

from __future__ import annotations

from stockade.monitor.emulate import OpenRequest
from stockade.monitor.hooks import Hook, Verdict, hook
from stockade.monitor.notify import Notify, ProcessEvent, QuotaEvent, SignalEvent, SignalVerdict
from stockade.monitor.syscall_event import Syscall

__all__ = [
    "Hook",
    "Notify",
    "OpenRequest",
    "ProcessEvent",
    "QuotaEvent",
    "SignalEvent",
    "SignalVerdict",
    "Syscall",
    "Verdict",
    "hook",
]
