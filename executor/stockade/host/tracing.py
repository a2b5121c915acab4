"""Why a process of our own may not be traced, in words. Sources: ptrace(2), "Ptrace access mode checking" and Yama."""

from __future__ import annotations

from pathlib import Path

from stockade.text import escape

PROC = Path("/proc")
_YAMA = Path("sys/kernel/yama/ptrace_scope")
_SCOPES = {
    1: "kernel.yama.ptrace_scope is 1: only descendants may be traced",
    2: "kernel.yama.ptrace_scope is 2: only a process with CAP_SYS_PTRACE may trace",
    3: "kernel.yama.ptrace_scope is 3: nothing may be traced until the machine is started again",
}


def explain_refused_tracing(pid: int, proc: Path = PROC) -> str:
    """Return the likely reason as a clause, safe to print; empty when nothing can be seen. Never raises.

    `proc` is where proc(5) is mounted.
    """
    tracer = _tracer_of(pid, proc)
    if tracer:
        name = escape(_read(proc / str(tracer) / "comm").strip()) or "a process that cannot be seen from here"
        return f"the program is traced already, by {name} (pid {tracer}), and a process has one tracer only"
    scope = _read(proc / _YAMA).strip()
    return _SCOPES.get(int(scope), "") if scope.isdigit() else ""


def _tracer_of(pid: int, proc: Path) -> int:
    for line in _read(proc / str(pid) / "status").splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
