"""Events of a run and the class whose methods are told about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stockade.monitor.hooks import Syscall, Verdict

if TYPE_CHECKING:
    from stockade._proto.report_pb2 import Violation


@dataclass(frozen=True, slots=True)
class SignalEvent:
    """A signal that is about to be delivered: to which thread, and what siginfo_t says (si_code; address or value)."""

    pid: int
    tid: int
    signo: int
    code: int
    value: int


@dataclass(frozen=True, slots=True)
class SignalVerdict:
    """Answer to a signal: `DELIVER`, `SUPPRESS`, or `SignalVerdict.replace(signo)`."""

    signo: int

    @classmethod
    def replace(cls, signo: int) -> SignalVerdict:
        """Deliver `signo` (1 to 64) instead. ValueError for anything else."""
        if not isinstance(signo, int) or not 1 <= signo <= 64:
            raise ValueError(f"a signal number is from 1 to 64, not {signo!r}")
        return cls(signo)


DELIVER = SignalVerdict(-1)
SUPPRESS = SignalVerdict(0)


@dataclass(frozen=True, slots=True)
class ProcessEvent:
    """Something that happened to a task.

    started: the program stands before its first instruction. exec: it runs another program now (`program`). fork: it
    made the task `child` (`is_thread` says which kind). exit: it ends (`status` as wait(2) would give it).
    """

    pid: int
    tid: int
    program: str = ""
    child: int = 0
    is_thread: bool = False
    status: int = 0


@dataclass(frozen=True, slots=True)
class QuotaEvent:
    """A limit was reached: its name, the allowed and the measured value."""

    name: str
    allowed: float
    measured: float


class Notify:
    """Is told what happens in a run; override what you need. One object may serve many runs, from many threads.

    Methods that return a verdict may return None for "go on". One that raises, or answers something else, denies: the
    run ends as a violation of the kind HOOK; one that takes longer than the executor's `hook_timeout` ends it too.
    Under monitor="unotify" only `started`, `syscall`, `violation`, `quota` and `finished` exist; overriding another is
    a PolicyError.
    """

    def started(self, event: ProcessEvent) -> Verdict | None:
        """The program is about to execute its first instruction, under its policy."""

    def syscall(self, call: Syscall) -> Verdict | None:
        """A call that a `trace` rule hands to a hook for which no callable was given. None denies, as in `hooks`."""

    def syscall_return(self, call: Syscall, value: int) -> Verdict | None:
        """A call that was answered with Verdict.INSPECT has returned `value` (negative: an error number)."""

    def violation(self, violation: Violation) -> None:
        """Something was refused; before the run ends, if it ends for it."""

    def signal(self, event: SignalEvent) -> SignalVerdict | Verdict | None:
        """A signal is about to be delivered. None delivers it."""

    def exec(self, event: ProcessEvent) -> Verdict | None:
        """A task of the program executes another program."""

    def fork(self, event: ProcessEvent) -> Verdict | None:
        """A task of the program has made another."""

    def exit(self, event: ProcessEvent) -> None:
        """A task of the program ends."""

    def quota(self, event: QuotaEvent) -> None:
        """A limit ends the run."""

    def finished(self, result: object) -> None:
        """The run has its verdict: a `Result` without the captured streams. Called once, on every path."""


EVENTS = frozenset(name for name, value in vars(Notify).items() if callable(value) and not name.startswith("_"))
# What only a tracer sees.
PTRACE_EVENTS = frozenset({"signal", "syscall_return", "exec", "fork", "exit"})


def overridden(notify: Notify | None) -> frozenset[str]:
    """Names of the methods of Notify that the object overrides."""
    if notify is None:
        return frozenset()
    own = vars(notify) if hasattr(notify, "__dict__") else {}
    return frozenset(name for name in EVENTS if name in own or getattr(type(notify), name) is not getattr(Notify, name))
