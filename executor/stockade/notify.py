"""What hooks decide with: the public names of the monitor's hook interface."""

from __future__ import annotations

from stockade.monitor.hooks import Hook, Syscall, Verdict

__all__ = ["Hook", "Syscall", "Verdict"]
