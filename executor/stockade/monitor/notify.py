"""Events of a run and the class whose methods are told about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stockade.monitor.hooks import Verdict
from stockade.monitor.syscall_event import Syscall

if TYPE_CHECKING:
    from stockade._proto.report_pb2 import Violation
    from stockade.result import Result

LARGEST_SIGNAL = 64


@dataclass(frozen=True, slots=True)
class SignalEvent:
    """A signal that is about to be delivered to the thread `tid` of the process `pid`. Source: sigaction(2).

    `signo` and `code` (si_code: 0 and less for one that a process has sent). `address` is that of a fault (SIGSEGV,
    SIGBUS, SIGILL, SIGFPE, SIGTRAP), else 0. `sender` is the pid, inside the box, of the process that sent it; 0 for
    one outside of the box and for the kernel. `value` is what sigqueue(3) or a timer sends along, as an unsigned
    number.
    """

    pid: int
    tid: int
    signo: int
    code: int
    address: int = 0
    sender: int = 0
    value: int = 0


class SignalVerdict:
    """The answer to a signal.

    `SignalVerdict.DELIVER`: it is delivered as it is, si_code and value included. `SignalVerdict.SUPPRESS`: the program
    never learns of it. `SignalVerdict.replace(signo)`: that one is delivered instead, as if the monitor had sent it.
    """

    __slots__ = ("kind", "signo")
    DELIVER: SignalVerdict
    SUPPRESS: SignalVerdict

    def __init__(self, kind: str, signo: int = 0) -> None:
        self.kind, self.signo = kind, signo

    @classmethod
    def replace(cls, signo: int) -> SignalVerdict:
        """Deliver `signo` (1 to 64) instead. ValueError for anything else."""
        if not isinstance(signo, int) or not 1 <= signo <= LARGEST_SIGNAL:
            raise ValueError(f"a signal number is from 1 to {LARGEST_SIGNAL}, not {signo!r}")
        return cls("replace", int(signo))

    def __repr__(self) -> str:
        return (
            f"SignalVerdict.replace({self.signo})" if self.kind == "replace" else f"SignalVerdict.{self.kind.upper()}"
        )


SignalVerdict.DELIVER = SignalVerdict("deliver")
SignalVerdict.SUPPRESS = SignalVerdict("suppress")


@dataclass(frozen=True, slots=True)
class ProcessEvent:
    """Something that happened to the thread `tid` of the process `pid`, numbered as the host sees them.

    started: the program (`program`, its path inside the box) stands before its first instruction. exec: the process
    runs another program now. fork: it made the task `child`, a thread of its own process if `is_thread`. exit: the
    thread ends, with the wait status `status` (os.waitstatus_to_exitcode reads it).
    """

    pid: int
    tid: int
    program: str = ""
    child: int = 0
    is_thread: bool = False
    status: int = 0


@dataclass(frozen=True, slots=True)
class QuotaEvent:
    """A limit ended the run: its name, the allowed and the measured value, in seconds, bytes or counts."""

    name: str
    allowed: float
    measured: float


class Notify:
    """Is told what happens in a run; override what you need. One object may serve many runs, from many threads.

    `started`, `syscall`, `syscall_return`, `signal`, `exec` and `fork` are called while the task that they are about is
    stopped. They, `violation`, `exit` and `quota` may answer None or Verdict.ALLOW (go on), Verdict.KILL (the run ends
    as a violation of the kind HOOK) or Verdict.finish(word); `syscall` and `signal` have more. One that raises, or
    answers anything else, ends the run as a violation of the kind HOOK; one that takes longer than the executor's
    `hook_timeout` as one of the kind HOOK_TIMEOUT. What fails when the run is ending anyway goes to
    `sys.unraisablehook`.

    Under monitor="unotify" only `started`, `syscall`, `violation`, `quota` and `finished` can be overridden; overriding
    another is a PolicyError when the executor is made.
    """

    def started(self, event: ProcessEvent) -> Verdict | None:
        """The program is about to execute its first instruction, under its policy."""

    def syscall(self, call: Syscall) -> Verdict | None:
        """A call that a `trace` rule hands to a hook for which no callable was given.

        Answers what a hook does, and may be declared with `hook(...)` as one; None denies.
        """

    def syscall_return(self, call: Syscall, value: int) -> Verdict | None:
        """A call that was answered with Verdict.INSPECT has returned `value`; a negative one is an error number.

        A fork gives the child's pid as the program sees it; an exec gives 0, in the new program. A call that never
        returns (exit, a task that is killed in it) is not told. One that a signal interrupts is told with -EINTR when
        a handler runs, even if the kernel then makes the call again (SA_RESTART): the hook is asked about that one too.
        """

    def violation(self, violation: Violation) -> Verdict | None:
        """Something was refused: a new entry of `Result.violations`, of which repetitions are only counted.

        In mode "enforce" the program is already being killed for it.
        """

    def signal(self, event: SignalEvent) -> SignalVerdict | Verdict | None:
        """A signal is about to be delivered. None delivers it; a SignalVerdict says what else. SIGKILL is not told."""

    def exec(self, event: ProcessEvent) -> Verdict | None:
        """A process of the program runs another program, and stands before its first instruction."""

    def fork(self, event: ProcessEvent) -> Verdict | None:
        """A task of the program has made another, by fork, vfork or clone."""

    def exit(self, event: ProcessEvent) -> Verdict | None:
        """A task of the program ends; its memory is still there."""

    def quota(self, event: QuotaEvent) -> Verdict | None:
        """A limit has ended the run: an amount or a clock. Told before `finished`.

        Captured output is the exception: a program can write too much and end before it is noticed; then `finished` was
        told before.
        """

    def finished(self, result: Result) -> None:
        """The run has its verdict: a `Result` without the captured streams.

        Called once for each run, on every path, also when the program never started (SETUP_ERROR) and when we failed
        (INTERNAL_ERROR); before anybody who waits for the run is told. Its answer counts for nothing.
        """


EVENTS = frozenset(name for name, value in vars(Notify).items() if callable(value) and not name.startswith("_"))
# What only a tracer sees.
PTRACE_EVENTS = frozenset({"signal", "syscall_return", "exec", "fork", "exit"})
# What an event may answer besides None.
_COMMON = frozenset({"allow", "kill", "finish"})
_FURTHER = {"signal": frozenset({"deliver", "suppress", "replace"})}


def overridden(notify: Notify | None) -> frozenset[str]:
    """Names of the methods of Notify that the object overrides."""
    if notify is None:
        return frozenset()
    own = vars(notify) if hasattr(notify, "__dict__") else {}
    return frozenset(name for name in EVENTS if name in own or getattr(type(notify), name) is not getattr(Notify, name))


def may_answer(name: str, answer: Verdict | SignalVerdict) -> bool:
    """Whether the event `name` may be answered with this."""
    return answer.kind in _COMMON or answer.kind in _FURTHER.get(name, ())
