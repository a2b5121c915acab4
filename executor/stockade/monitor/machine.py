"""The state machine of a run: what each event means, whichever driver reports it."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Callable

from stockade._proto import report_pb2
from stockade.kernel.ptrace import SignalInfo
from stockade.monitor import notify as events
from stockade.monitor.hooks import Syscall, Verdict, declaration_of
from stockade.monitor.memory import TaskMemory
from stockade.monitor.outcome import Cause, KillReason, Outcome, SetupFailure, Status
from stockade.monitor.recorder import FlightRecorder
from stockade.monitor.supervision import Supervision
from stockade.monitor.violations import Call, ViolationLog
from stockade.policy.verdicts import DATA_LOG, DATA_VIOLATION, HOOK_BASE

SIGKILL = 9
# Si_codes up to here say that a process sent the signal; above, the kernel did.
SI_USER = 0
# The answer comes later, from another thread, through the driver's `answer`.
LATER = Verdict("later")
REFUSED = Verdict.errno(errno.EPERM)
NO_TRACER = Verdict.errno(errno.ENOSYS)
# What a hook may answer, and the declaration that some answers need.
_ANSWERS = {"allow": None, "kill": None, "errno": None, "return": None, "finish": None}
_DECLARED_ANSWERS = {"inspect": "inspects", "descriptor": "opens"}

Kind = report_pb2.Violation


class Machine:
    """Follows one run from Go to its outcome. `answer` is how a driver is told a verdict that came late."""

    def __init__(self, supervision: Supervision, answer: Callable[[int, Call, Verdict], None]) -> None:
        self._supervision = supervision
        self._answer = answer
        self._job = supervision.job
        supervision.on_lost = self._events_lost
        self._log = ViolationLog(time.monotonic())
        self._recorder = FlightRecorder(self._job.recorder_size)
        self._logged: dict[str, report_pb2.LoggedCall] = {}
        self._advisory: dict[str, None] = {}
        self._fatal: report_pb2.Violation.Kind = Kind.KIND_UNSPECIFIED
        self._user_verdict = ""
        self._last_signal: SignalInfo | None = None
        self._torn_down = False
        self._told = events.overridden(self._job.notify)
        self.processes = 1
        self.threads = 1

    # Events.

    def started(self, tid: int) -> bool:
        """The program stands before its first instruction. Whether it may go on."""
        return self._tell("started", lambda: events.ProcessEvent(tid, tid, TaskMemory(tid).program()))

    def program_executed(self, tid: int) -> bool:
        """The process `tid` runs another program now. Whether it may go on."""
        return self._tell("exec", lambda: events.ProcessEvent(tid, tid, TaskMemory(tid).program()))

    def task_made(self, tid: int, child: int, *, is_thread: bool) -> bool:
        """`tid` has made the task `child`. Whether it may go on."""
        self.threads += 1
        if not is_thread:
            self.processes += 1
        return self._tell(
            "fork", lambda: events.ProcessEvent(TaskMemory(tid).pid(), tid, child=child, is_thread=is_thread)
        )

    def task_ends(self, tid: int, status: int) -> None:
        """The task `tid` ends with `status`."""
        self._tell("exit", lambda: events.ProcessEvent(TaskMemory(tid).pid(), tid, status=status))

    def killed_by_filter(self, tid: int, call: Call) -> None:
        """The kernel killed the task `tid`, which stands at its exit stop, for `call`."""
        self._breach(tid, call, Kind.ARCHITECTURE if call.is_foreign else Kind.SYSCALL, "seccomp")

    def traced_call(self, tid: int, data: int, call: Call) -> Verdict:
        """A call that the filter hands to us: what to do with it. LATER when that is told through `answer`."""
        if self._job.judge is not None:
            own = self._job.judge(call.token, call.number, call.args)
            if own is None:
                # A filter of the program's own asks for a tracer, and there is none for it: seccomp(2).
                return NO_TRACER
            data = own
        if data == DATA_VIOLATION:
            self._refuse(tid, call)
            return REFUSED
        if data == DATA_LOG:
            self._record_allowed(tid, call)
            return Verdict.ALLOW
        index = data - HOOK_BASE
        if 0 <= index < len(self._job.hook_names):
            return self._ask_hook(self._job.hook_names[index], tid, call)
        # Data that no rule of this policy produces, the one free exec among it.
        self._breach(tid, call, Kind.SYSCALL, "seccomp")
        return Verdict.KILL

    def call_returned(self, tid: int, call: Call, value: int) -> bool:
        """A call answered with INSPECT has returned `value`. Whether the task may go on."""
        notify = self._job.notify
        if notify is None or "syscall_return" not in self._told:
            return True
        return self._call_back("syscall_return", tid, lambda: notify.syscall_return(_event_of(tid, call), value))

    def signal(self, tid: int, info: SignalInfo) -> int:
        """A signal is about to be delivered to a task of the program: the one to deliver, 0 for none."""
        self._last_signal = info
        return info.signo

    def killed(self, *, box_is_dying: bool) -> None:
        """The program ends by SIGKILL. When its init was ending before it, and not by us, the box was torn down."""
        self._torn_down = box_is_dying

    def program_ended(self, status: int, rusage: resource.struct_rusage) -> None:
        """The program (its whole first process) has been reaped with the wait status `status`."""
        self._conclude_with(self._conclude(status), rusage)

    def setup_failed(self, failure: SetupFailure) -> None:
        """A step before the program's first instruction failed."""
        reason = self._supervision.kill_reason
        outcome = self._killed(reason) if reason else Outcome(Status.SETUP_ERROR, setup=failure)
        self._supervision.kill_tree()
        self._conclude_with(outcome, None)

    def failed(self, what: str) -> None:
        """We failed ourselves."""
        self._supervision.kill_tree()
        self._conclude_with(Outcome(Status.INTERNAL_ERROR, internal=what), None)

    def _events_lost(self) -> None:
        """The run was killed, and its end was not reported to us."""
        what = "another part of this process waits for any child (os.wait()) and took what was meant for the monitor"
        self._conclude_with(Outcome(Status.INTERNAL_ERROR, internal=what), None)

    # Decisions.

    def _refuse(self, tid: int, call: Call) -> None:
        """A violation that is answered with an error, and the run goes on."""
        self._recorder.record(tid, call.name, call.architecture, call.args, "EPERM")
        self._log.record(tid, call, Kind.SYSCALL, "seccomp")

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
        self._recorder.record(tid, call.name, call.architecture, call.args, "killed")
        try:
            self._log.record(tid, call, kind, layer, hook=hook, message=message)
        finally:
            self._supervision.kill_tree()

    def _record_allowed(self, tid: int, call: Call) -> None:
        known = self._logged.get(call.name)
        if known is None:
            from stockade.monitor.decode import decode_arguments, format_call

            arguments = decode_arguments(call.name, call.architecture, call.args, TaskMemory(tid))
            known = report_pb2.LoggedCall(syscall=call.name, example=format_call(call.name, arguments))
            self._logged[call.name] = known
        known.count += 1

    def _ask_hook(self, name: str, tid: int, call: Call) -> Verdict:
        """Let the hook decide. One that raises or answers nonsense denies (and so ends the run)."""
        event, hook = _event_of(tid, call, name), self._job.hooks[name]
        message = ""
        self._supervision.begin_hook(lambda: self._hook_overrun(name, tid, call))
        try:
            verdict: object = hook(event)
        except BaseException as error:  # SystemExit too: nobody but the hook's caller may end this thread
            verdict, message = Verdict.KILL, f"it raised {type(error).__name__}: {_text_of(str, error)}"
        if self._supervision.end_hook():
            return Verdict.KILL
        if not isinstance(verdict, Verdict) or not _may_answer(hook, verdict):
            message = f"it answered {_text_of(repr, verdict)} instead of a Verdict that it may give"
            verdict = Verdict.KILL
        self._recorder.record(tid, call.name, call.architecture, call.args, repr(verdict))
        if verdict.kind in ("allow", "inspect") and event.memory_was_read:
            self._advisory[name] = None
        elif verdict.kind == "finish":
            self._finish_for_user(verdict.word)
        elif verdict.kind == "kill":
            self._breach(tid, call, Kind.HOOK, "hook", hook=name, message=message)
        return verdict

    def _hook_overrun(self, name: str, tid: int, call: Call) -> None:
        """The hook takes too long: record it, end the run, and give the verdict without the thread that is stuck."""
        self._breach(tid, call, Kind.HOOK_TIMEOUT, "hook", hook=name)
        self._conclude_with(Outcome(Status.VIOLATION, violation_kind=Kind.HOOK_TIMEOUT), None)

    def _tell(self, name: str, make: Callable[[], object]) -> bool:
        """Tell the user's Notify of an event, if it wants to know. Whether the task may go on."""
        if name not in self._told:
            return True
        event = make()
        tid: int = getattr(event, "tid", 0)
        return self._call_back(name, tid, lambda: getattr(self._job.notify, name)(event))

    def _call_back(self, name: str, tid: int, callback: Callable[[], object]) -> bool:
        """Call a method of the user's Notify that may answer None or a verdict that ends the run."""
        try:
            verdict = callback()
        except BaseException:
            return False
        return verdict is None

    def _finish_for_user(self, word: str) -> None:
        """A callback gave a verdict of its own: end the run."""
        self._user_verdict = self._user_verdict or word
        self._supervision.kill(KillReason(Cause.VERDICT))

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

    def _conclude_with(self, outcome: Outcome, rusage: resource.struct_rusage | None) -> None:
        """Add what every outcome carries, and give it to all who wait."""
        supervision, now = self._supervision, time.monotonic()
        outcome.violations = self._log.violations
        outcome.violations_dropped = self._log.dropped
        outcome.logged = list(self._logged.values())
        outcome.advisory_hooks = list(self._advisory)
        outcome.user_verdict = self._user_verdict
        if outcome.status is not Status.OK:
            outcome.recorder = self._recorder
        outcome.rusage = rusage
        outcome.processes, outcome.threads = self.processes, self.threads
        outcome.setup_time = (supervision.go_at or now) - self._job.asked_at
        outcome.wall_time = now - supervision.go_at if supervision.go_at else 0.0
        if self._job.finished is not None:
            self._job.finished(outcome)
        supervision.announce(outcome=outcome)


def _event_of(tid: int, call: Call, hook: str = "") -> Syscall:
    pointers = call.instruction_pointer, call.stack_pointer
    return Syscall(call.name, call.number, call.architecture, call.args, tid, *pointers, hook)


def _may_answer(hook: object, verdict: Verdict) -> bool:
    """Whether the hook may give this verdict: some have to be declared."""
    if verdict.kind in _ANSWERS:
        return True
    declared = _DECLARED_ANSWERS.get(verdict.kind)
    return declared is not None and bool(getattr(declaration_of(hook), declared))


def _text_of(convert: Callable[[object], str], value: object) -> str:
    """Text of something that a hook gave, whose own conversion may fail."""
    try:
        return convert(value)
    except Exception as error:
        return f"<{type(value).__name__} without text: {type(error).__name__}>"
