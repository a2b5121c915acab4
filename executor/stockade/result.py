"""What comes back from a run."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from stockade._proto import report_pb2
from stockade.errors import LimitError, MonitorError, SandboxError, ViolationError
from stockade.layers import Layer, RunFacts, layers_of
from stockade.monitor.outcome import Outcome, Status

Violation = report_pb2.Violation
Usage = report_pb2.Usage
FlightEvent = report_pb2.FlightEvent
ThreadStack = report_pb2.ThreadStack
TraceSummary = report_pb2.TraceSummary

__all__ = ["Layer", "Result", "RunFacts", "Status", "Usage", "Violation", "layers_of"]

SCHEMA_VERSION = 1


class Result(subprocess.CompletedProcess[Any]):
    """A finished run; a `subprocess.CompletedProcess` with more.

    `args`, `returncode`, `stdout`, `stderr` as there. `returncode` is 0 only when `status` is OK: -signal for SIGNALED,
    -31 for VIOLATION, -9 for TIMEOUT, LIMIT, EXTERNAL_KILL.
    """

    def __init__(self, args: Any, stdout: Any, stderr: Any, outcome: Outcome, facts: RunFacts) -> None:
        super().__init__(args, outcome.returncode, stdout, stderr)
        self._outcome, self._facts = outcome, facts
        self._explained = False

    @property
    def status(self) -> Status:
        """How the run ended."""
        return self._outcome.status

    @property
    def pid(self) -> int:
        """Pid of the program as the host saw it, 0 when it never started."""
        return self._facts.pid

    @property
    def mode(self) -> str:
        """Mode of the run: enforce, refuse, permissive."""
        return self._facts.mode

    @property
    def monitor(self) -> str:
        """Monitor that followed the run: ptrace, unotify."""
        return self._facts.monitor

    @property
    def user_verdict(self) -> str | None:
        """What a hook or callback said when it ended the run with `Verdict.finish`, else None."""
        return self._outcome.user_verdict or None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the program, None unless it ended by itself."""
        return self._outcome.exit_code if self.status is Status.OK else None

    @property
    def signal(self) -> int | None:
        """Signal that the program died of, None unless the status is SIGNALED."""
        return self._outcome.signal if self.status is Status.SIGNALED else None

    @property
    def limit(self) -> str | None:
        """Name of the limit that ended the run (status TIMEOUT or LIMIT), else None."""
        return self._outcome.kill.name if self.status in (Status.TIMEOUT, Status.LIMIT) and self._outcome.kill else None

    @property
    def limits(self) -> Mapping[str, float]:
        """Every limit that held: seconds, bytes or counts by name."""
        return {name: value for name, value, _ in self._facts.limits.in_force()}

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What the policy refuses, in order of first occurrence; repetitions are counted in `count`.

        Those with `allowed` happened all the same: the mode was permissive.
        """
        if self._outcome.violations and not self._explained:
            from stockade.policy.suggestions import add_suggestions

            self._explained = True
            add_suggestions(self._facts.policy, self._outcome.violations)
        return tuple(self._outcome.violations)

    @property
    def stacks(self) -> tuple[ThreadStack, ...]:
        """The stacks of the program's threads when it crashed, or was killed for a limit or from outside."""
        return tuple(self._outcome.stacks)

    @property
    def flight_recorder(self) -> tuple[FlightEvent, ...]:
        """The last calls that hooks decided, violations, signals and ends of tasks, oldest first.

        Empty when the status is OK. `Executor(flight_recorder=n)` says how many are kept.
        """
        return tuple(self._outcome.recorder.events()) if self._outcome.recorder is not None else ()

    @property
    def trace_summary(self) -> TraceSummary | None:
        """Counts and times of the calls that the monitor saw; None without `Executor(trace_summary=True)`."""
        return self._outcome.trace_summary

    @property
    def advisory_hooks(self) -> tuple[str, ...]:
        """Hooks that read the program's memory and then let the kernel go on, which may have seen something else."""
        return tuple(self._outcome.advisory_hooks)

    @property
    def abandoned_threads(self) -> int:
        """How many threads of this process, up to this run, are left behind in hooks that did not return."""
        return self._outcome.abandoned_threads

    @property
    def usage(self) -> Usage:
        """What the program, and the children that it waited for, used."""
        outcome = self._outcome
        usage = Usage(wall_time=outcome.wall_time, setup_time=outcome.setup_time)
        usage.processes, usage.threads = outcome.processes, outcome.threads
        usage.output_bytes = sum(len(stream) for stream in (self.stdout, self.stderr) if stream is not None)
        if outcome.rusage is not None:
            rusage = outcome.rusage
            usage.user_time, usage.system_time = rusage.ru_utime, rusage.ru_stime
            usage.peak_rss = rusage.ru_maxrss * 1024
            usage.minor_faults, usage.major_faults = rusage.ru_minflt, rusage.ru_majflt
            usage.voluntary_switches, usage.involuntary_switches = rusage.ru_nvcsw, rusage.ru_nivcsw
            usage.blocks_read, usage.blocks_written = rusage.ru_inblock, rusage.ru_oublock
        return usage

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every isolation mechanism and its state, as the kernel said before the program's first instruction."""
        policy = self._facts.policy
        # From the compiled form, which the run has made: resolving the rules would be work that nobody else needs.
        dangers = sorted(policy.compiled(mode=self.mode).reopened)
        if policy.message.syscalls.default_action.danger_allow_all:
            dangers.append("default deny")
        return tuple(layers_of(self._facts, dangers))

    @property
    def reason(self) -> report_pb2.Reason:
        """The exact reason within the status."""
        outcome, reason = self._outcome, report_pb2.Reason()
        match self.status:
            case Status.OK:
                reason.exit_code = outcome.exit_code
            case Status.SIGNALED:
                reason.signal, reason.si_code = outcome.signal, outcome.si_code
                reason.fault_address, reason.core = outcome.fault_address, outcome.core
            case Status.VIOLATION:
                reason.violation = outcome.violation_kind
            case Status.TIMEOUT | Status.LIMIT:
                reason.limit = self.limit or ""
            case Status.EXTERNAL_KILL:
                reason.killed_by = outcome.kill.cause.value if outcome.kill else "kill"
            case Status.SETUP_ERROR:
                reason.step = outcome.setup.step if outcome.setup else ""
            case Status.INTERNAL_ERROR:
                reason.internal = outcome.internal
        return reason

    def to_proto(self) -> report_pb2.Report:
        """The whole run as the message of report.proto, without the captured output."""
        from stockade import __version__
        from stockade.text import escape

        facts, outcome = self._facts, self._outcome
        arguments = self.args if isinstance(self.args, Sequence) and not isinstance(self.args, str) else [self.args]
        report = report_pb2.Report(
            schema_version=SCHEMA_VERSION,
            status=self.status.message_value,
            reason=self.reason,
            returncode=self.returncode,
            argv=[escape(argument if isinstance(argument, bytes) else str(argument)) for argument in arguments],
            pid=self.pid,
            policy_name=facts.policy.name,
            policy_digest=facts.policy.digest.hex(),
            mode=self.mode,
            violations=self.violations,
            violations_dropped=outcome.violations_dropped,
            layers=self.layers,
            usage=self.usage,
            logged=outcome.logged,
            advisory_hooks=outcome.advisory_hooks,
            started_at=facts.started_at,
            version=__version__,
            monitor=self.monitor,
            user_verdict=escape(self.user_verdict or ""),
            flight_recorder=self.flight_recorder,
            flight_recorder_dropped=outcome.recorder.dropped if outcome.recorder is not None else 0,
            trace_summary=self.trace_summary,
            stacks=self.stacks,
            abandoned_threads=self.abandoned_threads,
        )
        for name, value, mechanism in facts.limits.in_force():
            report.limits.add(name=name, value=value, mechanism=mechanism)
        if outcome.kill is not None and self.limit:
            kill = outcome.kill
            report.limit.name, report.limit.allowed, report.limit.measured = kill.name, kill.allowed, kill.measured
        if outcome.setup is not None:
            setup = outcome.setup
            report.setup_failure.step, report.setup_failure.errno = setup.step, setup.errno
            report.setup_failure.path, report.setup_failure.hint = escape(setup.path), escape(facts.setup_hint)
        return report

    def to_json(self) -> str:
        """The protobuf JSON form of `to_proto`, one object with the field names of report.proto."""
        from google.protobuf import json_format

        return json_format.MessageToJson(
            self.to_proto(), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )

    def report(self, width: int = 100) -> str:
        """The run as text for people: how it ended, what was refused, and how to allow it."""
        from stockade.report.text import format_report

        return format_report(self.to_proto(), width)

    def check_returncode(self) -> None:
        """Raise ViolationError, LimitError or CalledProcessError unless the program ended with exit code 0.

        Each carries this result as `result`.
        """
        if self.status is Status.OK and self.returncode == 0:
            return
        if self.status is Status.VIOLATION:
            first = self.violations[0].summary if self.violations else "the policy was breached"
            raise ViolationError(self, f"{_program(self.args)}: {first}")
        if self.status in (Status.TIMEOUT, Status.LIMIT) and self._outcome.kill is not None:
            kill = self._outcome.kill
            raise LimitError(self, f"{_program(self.args)}: limit {kill.name} of {kill.allowed:g} reached")
        error = subprocess.CalledProcessError(self.returncode, self.args, self.stdout, self.stderr)
        error.result = self  # type: ignore[attr-defined]
        raise error

    def attach_to(self, error: SandboxError) -> SandboxError:
        """Give an error of this run its result and pid."""
        error.result = self
        error.pid = self.pid or None
        return error

    def internal_error(self) -> MonitorError:
        """The error of a run that we failed ourselves."""
        error = MonitorError(f"the run was ended because stockade failed: {self._outcome.internal}")
        self.attach_to(error)
        return error

    def __repr__(self) -> str:
        verdict = f" user_verdict={self.user_verdict!r}" if self.user_verdict is not None else ""
        return f"<Result {self.status.name} returncode={self.returncode}{verdict} args={self.args!r}>"


def _program(args: Any) -> str:
    return str(args[0] if isinstance(args, (list, tuple)) and args else args)
