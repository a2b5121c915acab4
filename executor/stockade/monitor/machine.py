"""The state machine of a run: what each event means, whichever driver reports it."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from stockade._proto import report_pb2
from stockade.kernel.ptrace import SignalInfo
from stockade.monitor.callbacks import Callbacks, event_of
from stockade.monitor.conclusion import Conclusion
from stockade.monitor.hooks import Verdict
from stockade.monitor.memory import TaskMemory
from stockade.monitor.notify import ProcessEvent, SignalEvent, SignalVerdict
from stockade.monitor.opener import BoxOpener
from stockade.monitor.outcome import Cause, KillReason, Outcome, SetupFailure, Status
from stockade.monitor.recorder import FlightRecorder, signal_words
from stockade.monitor.stacks import LastStacks
from stockade.monitor.supervision import Supervision
from stockade.monitor.trace_summary import TraceSummary
from stockade.monitor.violations import Call, ViolationLog
from stockade.policy.verdicts import DATA_LOG, DATA_REFUSED, DATA_VIOLATION, HOOK_BASE

SIGKILL, SIGTERM = 9, 15
# Si_codes up to here say that a process sent the signal; above, the kernel did.
SI_USER = 0
REFUSED = Verdict.errno(errno.EPERM)
NO_TRACER = Verdict.errno(errno.ENOSYS)
Kind = report_pb2.Violation


class Machine:
    """Follows one run from Go to its outcome.

    `answer` is how a driver is told a verdict that came late; `still_waits` tells whether that very call of a task
    still waits for its verdict. It is also asked after each reading of a hook when the task may end meanwhile
    (unotify).
    """

    def __init__(
        self,
        supervision: Supervision,
        answer: Callable[[int, Call, Verdict], None],
        still_waits: Callable[[int, Call], bool],
    ) -> None:
        self._supervision = supervision
        self._job = supervision.job
        supervision.on_lost = self._events_lost
        self._log = ViolationLog(time.monotonic(), lambda: supervision.pid)
        self._recorder = FlightRecorder(self._job.recorder_size)
        self._summary = TraceSummary() if self._job.trace_summary else None
        self._logged: dict[str, report_pb2.LoggedCall] = {}
        self._opener = BoxOpener()
        self._callbacks = Callbacks(supervision, self, self._recorder, answer, still_waits, self._opener)
        self._fatal: report_pb2.Violation.Kind = Kind.KIND_UNSPECIFIED
        self._fatal_signal: SignalInfo | None = None
        self._torn_down = False
        self._last_stacks = LastStacks()
        self._conclusion = Conclusion(supervision, self._callbacks, self._complete)
        # Set by a driver under which tasks are not stopped: ends everything, and holds this task where all of it can be
        # seen, while its violation is recorded.
        self.hold: Callable[[int, Call], AbstractContextManager[None]] = lambda tid, call: contextlib.nullcontext()
        self.processes = 1
        self.threads = 1

    # Events.

    def started(self, tid: int) -> bool:
        """The program stands before its first instruction. Whether it may go on."""
        self._callbacks.program_begins()
        return self._tell("started", tid, lambda: ProcessEvent(tid, tid, TaskMemory(tid).program()))

    def program_executed(self, tid: int) -> bool:
        """The process `tid` runs another program now. Whether it may go on."""
        self._log.makers.discard(tid)
        if self._recorder.keeps:
            self._recorder.event(tid, "exec", TaskMemory(tid).program())
        return self._tell("exec", tid, lambda: ProcessEvent(tid, tid, TaskMemory(tid).program()))

    def task_made(self, tid: int, child: int, *, is_thread: bool) -> bool:
        """`tid` has made the task `child`. Whether it may go on."""
        self._recorder.event(tid, "fork", f"{'thread' if is_thread else 'process'} {child}")
        self._log.makers.add(tid)
        self.threads += 1
        if not is_thread:
            self.processes += 1
        return self._tell(
            "fork", tid, lambda: ProcessEvent(TaskMemory(tid).pid(), tid, child=child, is_thread=is_thread)
        )

    def task_ends(self, tid: int, status: int) -> None:
        """The task `tid` ends with `status`."""
        self._log.makers.discard(tid)
        if self._summary is not None:
            self._summary.ended(tid)
        if self._fatal == Kind.KIND_UNSPECIFIED and self._supervision.kill_reason is None:
            self._recorder.exit(tid, status)
        if self._fatal == Kind.KIND_UNSPECIFIED:
            self._last_stacks.task_ends(tid, status, self._supervision.pid)
        self._tell("exit", tid, lambda: ProcessEvent(TaskMemory(tid).pid(), tid, status=status))

    def killed_by_filter(self, tid: int, call: Call) -> None:
        """The kernel killed the task `tid`, which stands at its exit stop, for `call`."""
        self.breach(tid, call, Kind.ARCHITECTURE if call.is_foreign else Kind.SYSCALL, "seccomp")

    def traced_call(self, tid: int, data: int, call: Call) -> Verdict:
        """A call that the filter hands to us: what to do with it. LATER when that is told through `answer`."""
        if self._summary is not None:
            self._summary.asked(tid)
        if self._job.judge is not None:
            own = self._job.judge(call.token, call.number, call.args)
            if own is None:
                # A filter of the program's own asks for a tracer, and there is none for it: seccomp(2).
                return NO_TRACER
            data = own
        if data in (DATA_VIOLATION, DATA_REFUSED):
            return self._go_on(tid, call, allowed=data == DATA_VIOLATION and self._job.mode == "permissive")
        if data == DATA_LOG:
            self._record_allowed(tid, call)
            return Verdict.ALLOW
        index = data - HOOK_BASE
        if 0 <= index < len(self._job.hook_names):
            return self._callbacks.ask(index, tid, call)
        # Data that no rule of this policy produces, the one free exec among it.
        self.breach(tid, call, Kind.SYSCALL, "seccomp")
        return Verdict.KILL

    def answered(self, tid: int, call: Call, verdict: Verdict) -> bool:
        """The verdict about a call is known, and the driver about to act on it. Whether `call_returned` is wanted."""
        if self._summary is None:
            return verdict.kind == "inspect"
        return self._summary.answered(tid, call, verdict)

    def call_returned(self, tid: int, call: Call, value: int) -> bool:
        """A call answered with INSPECT has returned `value`. Whether the task may go on."""
        let_go = self._summary.returned(tid, call, value) if self._summary is not None else None
        if let_go is not None and let_go.kind != "inspect":
            return True
        return self._callbacks.tell("syscall_return", tid, lambda: (event_of(tid, call, ""), value)).kind == "allow"

    def signal(self, tid: int, info: SignalInfo) -> int | None:
        """A signal is about to be delivered to a task of the program: the one to deliver, 0 for none.

        None leaves the task where it is, because the run ends.
        """
        signo, words = info.signo, "delivered"
        if self._callbacks.wants("signal"):
            answer = self._callbacks.tell("signal", tid, lambda: (_signal_event(tid, info),))
            if answer.kind in ("kill", "finish"):
                return None
            if answer.kind == "suppress":
                signo, words = 0, "suppressed"
            elif isinstance(answer, SignalVerdict) and answer.kind == "replace":
                signo, words = answer.signo, f"replaced by {signal_words(answer.signo)}"
        if signo:
            self._last_stacks.signalled(tid, signo)
        self._recorder.event(tid, "signal", signal_words(info.signo, info.code), words)
        return signo

    def dies_of(self, signo: int, info: SignalInfo) -> None:
        """A task of the program's first process ends of the signal `signo`; it was brought what `info` says."""
        self._fatal_signal = info if info.signo == signo else None  # a hook has put another in its place

    def killed(self, *, box_is_dying: bool) -> None:
        """The program ends by SIGKILL. When its init was ending before it, and not by us, the box was torn down."""
        self._torn_down = box_is_dying

    def stack_before_kill(self, stack: report_pb2.ThreadStack) -> None:
        """The program is about to be killed, and this is its stack: for a driver that does not see its end."""
        self._last_stacks.stacks.append(stack)

    def program_ended(self, status: int, rusage: resource.struct_rusage | None) -> None:
        """The program (its whole first process) has been reaped with the wait status `status`."""
        outcome = self._conclude(status)
        outcome.rusage = rusage
        self._conclusion.reach(outcome)

    def setup_failed(self, failure: SetupFailure) -> None:
        """A step before the program's first instruction failed."""
        reason = self._supervision.kill_reason
        if self._fatal != Kind.KIND_UNSPECIFIED:  # under the filter already, but not verified yet
            outcome = Outcome(Status.VIOLATION, violation_kind=self._fatal)
        else:
            outcome = self._killed(reason) if reason else Outcome(Status.SETUP_ERROR, setup=failure)
        try:
            self._supervision.kill_tree()
        finally:
            self._conclusion.reach(outcome)

    def failed(self, what: str) -> None:
        """We failed ourselves."""
        try:
            self._supervision.kill_tree()
        finally:
            self._conclusion.reach(Outcome(Status.INTERNAL_ERROR, internal=what))

    def _events_lost(self) -> None:
        """The run was killed, and its end was not reported to us. Called by a waiting thread."""
        what = "another part of this process waits for any child (os.wait()) and took what was meant for the monitor"
        self._conclusion.reach(Outcome(Status.INTERNAL_ERROR, internal=what), aside=True)

    # Decisions.

    def _go_on(self, tid: int, call: Call, *, allowed: bool) -> Verdict:
        """A violation that does not end the run: it is answered with an error, or let happen."""
        verdict = Verdict.ALLOW if allowed else REFUSED
        self._recorder.record(tid, call.name, call.architecture, call.args, verdict)
        self._record(tid, call, Kind.SYSCALL, "seccomp", allowed=allowed)
        return verdict if not self.is_ending else Verdict.KILL

    @property
    def is_ending(self) -> bool:
        """Whether the run is ending already, for a violation or because it was killed."""
        return self._fatal != Kind.KIND_UNSPECIFIED or self._supervision.kill_reason is not None

    def breach(
        self,
        tid: int,
        call: Call | None,
        kind: report_pb2.Violation.Kind,
        layer: str,
        *,
        hook: str = "",
        message: str = "",
        aside: bool = False,
    ) -> None:
        """A violation that ends the run. `aside`: not in the thread that follows it."""
        if self._fatal == Kind.KIND_UNSPECIFIED:
            self._fatal = kind
        if call is not None:
            self._recorder.record(tid, call.name, call.architecture, call.args, "killed", hook)
        else:
            self._recorder.event(tid, hook, message, "killed")
        held = contextlib.nullcontext() if call is None or aside else self.hold(tid, call)
        try:
            self._log.look_around(tid)
            with held:
                self._record(tid, call, kind, layer, hook=hook, message=message, aside=aside)
        finally:
            self._supervision.kill_tree()

    def _record(
        self,
        tid: int,
        call: Call | None,
        kind: report_pb2.Violation.Kind,
        layer: str,
        *,
        hook: str = "",
        message: str = "",
        allowed: bool = False,
        aside: bool = False,
    ) -> None:
        """Record a violation, and tell the user's Notify of it when it is not the repetition of another."""
        kept = self._log.record(tid, call, kind, layer, hook=hook, message=message, allowed=allowed)
        notify = self._job.notify
        if kept is None or notify is None or not self._callbacks.wants("violation") or hook == "Notify.violation":
            return
        if self._fatal != Kind.KIND_UNSPECIFIED:
            self._supervision.kill_tree()
        copy = report_pb2.Violation()
        copy.CopyFrom(kept)
        if aside:
            self._callbacks.tell_aside("violation", lambda: notify.violation(copy))
        else:
            self._callbacks.tell("violation", tid, lambda: (copy,))

    def _record_allowed(self, tid: int, call: Call) -> None:
        self._recorder.record(tid, call.name, call.architecture, call.args, "allowed, logged")
        known = self._logged.get(call.name)
        if known is None:
            from stockade.monitor.decode import decode_arguments, format_call

            arguments = decode_arguments(call.name, call.architecture, call.args, TaskMemory(tid))
            known = report_pb2.LoggedCall(syscall=call.name, example=format_call(call.name, arguments))
            self._logged[call.name] = known
        known.count += 1

    def overran(self, tid: int, call: Call | None, hook: str) -> None:
        """A callback takes too long: end the run, and give the verdict without the thread that is stuck in it."""
        if self._conclusion.outcome is None and (not self.is_ending or call is not None):
            self.breach(tid, call, Kind.HOOK_TIMEOUT, "hook", hook=hook, aside=True)
        self._conclusion.reach(self._conclude(SIGKILL), aside=True)

    def _tell(self, name: str, tid: int, make: Callable[[], ProcessEvent]) -> bool:
        """Tell the user's Notify of an event, if it wants to know. Whether the task may go on."""
        return self._callbacks.tell(name, tid, lambda: (make(),)).kind == "allow"

    def finish_for_user(self, word: str) -> None:
        """A callback gave a verdict of its own: end the run."""
        self._conclusion.user_verdict = self._conclusion.user_verdict or word
        self._supervision.kill(KillReason(Cause.VERDICT))
        self._supervision.kill_tree()

    def _conclude(self, status: int) -> Outcome:
        """Blame, in this order: violation, what we killed for, the program itself."""
        if self._fatal != Kind.KIND_UNSPECIFIED:
            return Outcome(Status.VIOLATION, violation_kind=self._fatal)
        reason = self._supervision.kill_reason
        if reason is not None and reason.cause is Cause.VERDICT:
            return self._killed(reason)
        if os.WIFSIGNALED(status):
            signo = os.WTERMSIG(status)
            if reason is not None and signo == SIGKILL:
                return self._killed(reason)
            if self._torn_down and signo == SIGKILL:
                server = self._job.server_is_dying
                server_ended = server is not None and server()
                killed = (
                    "the fork server has ended" if server_ended else "the forkserver, the template or init was killed"
                )
                return Outcome(Status.INTERNAL_ERROR, internal=killed)
            if signo == SIGTERM and self._supervision.is_terminating:
                return Outcome(Status.EXTERNAL_KILL, signal=signo, kill=KillReason(Cause.TERMINATE))
            outcome = Outcome(Status.SIGNALED, signal=signo, core=os.WCOREDUMP(status))
            if self._fatal_signal is not None and self._fatal_signal.signo == signo:
                outcome.si_code = self._fatal_signal.code
                outcome.fault_address = self._fatal_signal.address if outcome.si_code > SI_USER else 0
            return outcome
        return Outcome(Status.OK, exit_code=os.WEXITSTATUS(status))

    @staticmethod
    def _killed(reason: KillReason) -> Outcome:
        status = {Cause.TIMEOUT: Status.TIMEOUT, Cause.LIMIT: Status.LIMIT}.get(reason.cause, Status.EXTERNAL_KILL)
        return Outcome(status, kill=reason)

    def _complete(self, outcome: Outcome) -> None:
        """Add what every outcome carries."""
        supervision, now = self._supervision, time.monotonic()
        self._opener.close()
        outcome.violations = list(self._log.violations)
        outcome.violations_dropped = self._log.dropped
        outcome.logged = list(self._logged.values())
        outcome.advisory_hooks = list(self._callbacks.advisory)
        outcome.trace_summary = self._summary.message() if self._summary is not None else None
        if outcome.status is not Status.OK:
            outcome.recorder = self._recorder
        if outcome.status not in (Status.OK, Status.VIOLATION, Status.SETUP_ERROR):
            outcome.stacks = self._last_stacks.stacks
        outcome.processes, outcome.threads = self.processes, self.threads
        outcome.setup_time = (supervision.go_at or now) - self._job.asked_at
        outcome.wall_time = now - supervision.go_at if supervision.go_at else 0.0


def _signal_event(tid: int, info: SignalInfo) -> SignalEvent:
    pid = TaskMemory(tid).pid()
    return SignalEvent(pid, tid, info.signo, info.code, info.address, info.sender, info.value)
