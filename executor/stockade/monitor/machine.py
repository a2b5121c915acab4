"""The state machine of a run: what each event means, whichever driver reports it."""

from __future__ import annotations

import enum
import errno
import os
import resource
import time
from collections.abc import Callable

from stockade._proto import report_pb2
from stockade.kernel.ptrace import SignalInfo
from stockade.monitor.hooks import Syscall, Verdict
from stockade.monitor.outcome import Cause, KillReason, Outcome, SetupFailure, Status
from stockade.monitor.supervision import Supervision
from stockade.monitor.violations import Call, ViolationLog
from stockade.policy.verdicts import DATA_LOG, DATA_VIOLATION, HOOK_BASE

SIGKILL = 9
# Si_codes up to here say that a process sent the signal; above, the kernel did.
SI_USER = 0

Kind = report_pb2.Violation


class Answer(enum.Enum):
    """What the driver does with a stopped call, beside answering an error number."""

    CONTINUE = enum.auto()
    KILL = enum.auto()


class Machine:
    """Follows one run from Go to its outcome."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._job = supervision.job
        supervision.on_lost = self._events_lost
        self._log = ViolationLog(time.monotonic())
        self._logged: dict[str, report_pb2.LoggedCall] = {}
        self._advisory: dict[str, None] = {}
        self._fatal: report_pb2.Violation.Kind = Kind.KIND_UNSPECIFIED
        self._last_signal: SignalInfo | None = None
        self._torn_down = False
        self.processes = 1
        self.threads = 1

    # Events.

    def killed_by_filter(self, tid: int, call: Call) -> None:
        """The kernel killed the task `tid`, which stands at its exit stop, for `call`."""
        self._breach(tid, call, Kind.ARCHITECTURE if call.is_foreign else Kind.SYSCALL, "seccomp")

    def traced_call(self, tid: int, data: int, call: Call) -> Answer | int:
        """A call that the filter hands to us: what to do with it, or the error number to answer."""
        if self._job.judge is not None:
            own = self._job.judge(call.number, call.args)
            if own is None:
                # A filter of the program's own asks for a tracer, and there is none for it: seccomp(2).
                return errno.ENOSYS
            data = own
        if data == DATA_VIOLATION:
            self._log.record(tid, call, Kind.SYSCALL, "seccomp")
            return errno.EPERM
        if data == DATA_LOG:
            self._record_allowed(tid, call)
            return Answer.CONTINUE
        index = data - HOOK_BASE
        if 0 <= index < len(self._job.hook_names):
            return self._ask_hook(self._job.hook_names[index], tid, call)
        # Data that no rule of this policy produces, the one free exec among it.
        self._breach(tid, call, Kind.SYSCALL, "seccomp")
        return Answer.KILL

    def signal(self, tid: int, info: SignalInfo | None) -> None:
        """A signal is about to be delivered to a task of the program."""
        self._last_signal = info

    def killed(self, *, box_is_dying: bool) -> None:
        """The program ends by SIGKILL. When its init was ending before it, and not by us, the box was torn down."""
        self._torn_down = box_is_dying

    def program_ended(self, status: int, rusage: resource.struct_rusage) -> None:
        """The program (its whole first process) has been reaped with the wait status `status`."""
        self._supervision.announce(outcome=self._finish(self._conclude(status), rusage))

    def setup_failed(self, failure: SetupFailure) -> None:
        """A step before the program's first instruction failed."""
        reason = self._supervision.kill_reason
        outcome = self._killed(reason) if reason else Outcome(Status.SETUP_ERROR, setup=failure)
        self._supervision.kill_tree()
        self._supervision.announce(outcome=self._finish(outcome, None))

    def failed(self, what: str) -> None:
        """We failed ourselves."""
        self._supervision.kill_tree()
        self._supervision.announce(outcome=self._finish(Outcome(Status.INTERNAL_ERROR, internal=what), None))

    def _events_lost(self) -> None:
        """The run was killed, and its end was not reported to us."""
        what = "another part of this process waits for any child (os.wait()) and took what was meant for the monitor"
        self._supervision.announce(outcome=self._finish(Outcome(Status.INTERNAL_ERROR, internal=what), None))

    # Decisions.

    def _breach(
        self,
        tid: int,
        call: Call,
        kind: report_pb2.Violation.Kind,
        layer: str,
        *,
        hook: str = "",
        message: str = "",
    ) -> None:
        """A violation that ends the run."""
        if self._fatal == Kind.KIND_UNSPECIFIED:
            self._fatal = kind
        try:
            self._log.record(tid, call, kind, layer, hook=hook, message=message)
        finally:
            self._supervision.kill_tree()

    def _record_allowed(self, tid: int, call: Call) -> None:
        known = self._logged.get(call.name)
        if known is None:
            from stockade.monitor.decode import decode_arguments, format_call
            from stockade.monitor.memory import TaskMemory

            arguments = decode_arguments(call.name, call.architecture, call.args, TaskMemory(tid))
            known = report_pb2.LoggedCall(syscall=call.name, example=format_call(call.name, arguments))
            self._logged[call.name] = known
        known.count += 1

    def _ask_hook(self, name: str, tid: int, call: Call) -> Answer | int:
        """Let the hook decide. One that raises or answers nonsense denies (and so ends the run)."""
        event = Syscall(
            call.name, call.number, call.architecture, call.args, tid, call.instruction_pointer, call.stack_pointer
        )
        message = ""
        self._supervision.begin_hook(lambda: self._hook_overrun(name, tid, call))
        try:
            verdict: object = self._job.hooks[name](event)
        except BaseException as error:  # SystemExit too: nobody but the hook's caller may end this thread
            verdict, message = Verdict.KILL, f"it raised {type(error).__name__}: {_text_of(str, error)}"
        if self._supervision.end_hook():
            return Answer.KILL
        if verdict is Verdict.ALLOW:
            if event.memory_was_read:
                self._advisory[name] = None
            return Answer.CONTINUE
        if isinstance(verdict, Verdict) and verdict.kind == "errno":
            return verdict.error
        if verdict is not Verdict.KILL:
            message = f"it answered {_text_of(repr, verdict)} instead of a Verdict"
        self._breach(tid, call, Kind.HOOK, "hook", hook=name, message=message)
        return Answer.KILL

    def _hook_overrun(self, name: str, tid: int, call: Call) -> None:
        """The hook takes too long: record it, end the run, and give the verdict without the thread that is stuck."""
        self._breach(tid, call, Kind.HOOK_TIMEOUT, "hook", hook=name)
        outcome = Outcome(Status.VIOLATION, violation_kind=Kind.HOOK_TIMEOUT)
        self._supervision.announce(outcome=self._finish(outcome, None))

    def _conclude(self, status: int) -> Outcome:
        """Blame, in this order: violation, what we killed for, the program itself."""
        if self._fatal != Kind.KIND_UNSPECIFIED:
            return Outcome(Status.VIOLATION, violation_kind=self._fatal)
        reason = self._supervision.kill_reason
        if os.WIFSIGNALED(status):
            signo = os.WTERMSIG(status)
            if reason is not None and signo == SIGKILL:
                return self._killed(reason)
            if self._torn_down and signo == SIGKILL:
                return Outcome(Status.INTERNAL_ERROR, internal="the forkserver, the template or init was killed")
            outcome = Outcome(Status.SIGNALED, signal=signo, core=os.WCOREDUMP(status))
            if self._last_signal is not None and self._last_signal.signo == signo:
                outcome.si_code = self._last_signal.code
                outcome.fault_address = self._last_signal.address if outcome.si_code > SI_USER else 0
            return outcome
        return Outcome(Status.OK, exit_code=os.WEXITSTATUS(status))

    @staticmethod
    def _killed(reason: KillReason) -> Outcome:
        status = {Cause.TIMEOUT: Status.TIMEOUT, Cause.LIMIT: Status.LIMIT}.get(reason.cause, Status.EXTERNAL_KILL)
        return Outcome(status, kill=reason)

    def _finish(self, outcome: Outcome, rusage: resource.struct_rusage | None) -> Outcome:
        """Add what every outcome carries."""
        supervision, now = self._supervision, time.monotonic()
        outcome.violations = self._log.violations
        outcome.violations_dropped = self._log.dropped
        outcome.logged = list(self._logged.values())
        outcome.advisory_hooks = list(self._advisory)
        outcome.rusage = rusage
        outcome.processes, outcome.threads = self.processes, self.threads
        outcome.setup_time = (supervision.go_at or now) - self._job.asked_at
        outcome.wall_time = now - supervision.go_at if supervision.go_at else 0.0
        return outcome


def _text_of(convert: Callable[[object], str], value: object) -> str:
    """Text of something that a hook gave, whose own conversion may fail."""
    try:
        return convert(value)
    except Exception as error:
        return f"<{type(value).__name__} without text: {type(error).__name__}>"
