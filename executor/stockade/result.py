"""What comes back from a run."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stockade._proto import report_pb2
from stockade.errors import LimitError, MonitorError, SandboxError, ViolationError
from stockade.monitor.outcome import Outcome, Status

if TYPE_CHECKING:
    from stockade.limits import Limits
    from stockade.monitor.readback import Readback
    from stockade.policy.policy import Policy

Violation = report_pb2.Violation
Layer = report_pb2.Layer
Usage = report_pb2.Usage

__all__ = ["Layer", "Result", "RunFacts", "Status", "Usage", "Violation", "layers_of"]

SCHEMA_VERSION = 1
_NAMESPACE_NAMES = {"user": "user", "mnt": "mount", "pid": "pid", "net": "network", "ipc": "ipc", "uts": "uts"}
_NOT_ASKED = ("landlock", "cgroup", "apparmor", "selinux")
_IN_FORCE, _DEGRADED, _NONE = Layer.IN_FORCE, Layer.DEGRADED, Layer.NOT_ASKED


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the executor knows of a run besides its outcome."""

    policy: Policy
    mode: str
    limits: Limits
    pid: int
    started_at: float
    readback: Readback | None
    shared_network: bool
    host_network: bool
    setup_hint: str = ""


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
        """Mode of the run: enforce, refuse."""
        return self._facts.mode

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
        """What the policy refused, in order of first occurrence; repetitions are counted in `count`."""
        if self._outcome.violations and not self._explained:
            self._explained = True
            self._explain_violations()
        return tuple(self._outcome.violations)

    def _explain_violations(self) -> None:
        """Add the nearest rule and the smallest change of policy to each violation; done when first asked for."""
        from stockade.policy.suggest import Call, nearest_rule, patch, wider_patch

        for violation in self._outcome.violations:
            if violation.kind in (Violation.SYSCALL, Violation.ARCHITECTURE):
                call = Call(violation.syscall, violation.number, violation.architecture, tuple(violation.raw_arguments))
                violation.nearest_rule.CopyFrom(nearest_rule(self._facts.policy, call))
                violation.patch.CopyFrom(patch(self._facts.policy, call))
                if (wider := wider_patch(self._facts.policy, call)) is not None:
                    violation.wider_patch.CopyFrom(wider)
            else:
                violation.patch.refused_because = f"the hook {violation.hook!r} decides this call, not a rule"

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
        return f"<Result {self.status.name} returncode={self.returncode} args={self.args!r}>"


def _program(args: Any) -> str:
    return str(args[0] if isinstance(args, (list, tuple)) and args else args)


def layers_of(facts: RunFacts, dangers: Sequence[str] = ()) -> list[Layer]:
    """The list of layers from what was read back. Without a reading (the program never started) nothing is claimed.

    `dangers` are the protections that the policy has given up by name.
    """
    readback, mode = facts.readback, facts.mode
    if readback is None:
        return []
    status = readback.status
    layers = []
    for name, inode in readback.namespaces.items():
        detail, state = inode, _IN_FORCE
        if name == "user":
            detail += f", uid {status['Uid'].split()[0]} on the host"
        elif name == "net" and facts.host_network:
            detail, state = "the host's network, by danger_allow_host_network()", _NONE
        elif name == "net" and facts.shared_network:
            detail += ", empty, shared with runs of the same file system: nothing inside can have a socket"
        layers.append(Layer(name=f"{_NAMESPACE_NAMES.get(name, name)} namespace", state=state, detail=detail))
    enforced = mode == "enforce"
    filters = f"{status['Seccomp_filters']} filter" + (
        f"; the policy gives up: {', '.join(dangers)}" if dangers else ""
    )
    layers += [
        Layer(name="root file system", state=_IN_FORCE, detail="empty read-only tmpfs; the host's root is detached"),
        Layer(
            name="seccomp",
            state=_IN_FORCE if enforced else _DEGRADED,
            detail=filters if enforced else f"{filters}; {mode}: violations are answered with EPERM, not fatal",
        ),
        Layer(name="no_new_privs", state=_IN_FORCE, detail="1"),
        Layer(name="capabilities", state=_IN_FORCE, detail="all five sets empty"),
        _groups_layer(status.get("Groups", "").split()),
        Layer(name="monitor", state=_IN_FORCE, detail="ptrace"),
        Layer(name="resource limits", state=_IN_FORCE, detail=f"{len(readback.rlimits)} set"),
    ]
    layers += [Layer(name=name, state=_NONE, detail="not asked for") for name in _NOT_ASKED]
    return layers


def _groups_layer(groups: list[str]) -> Layer:
    if not groups:
        return Layer(name="supplementary groups", state=_IN_FORCE, detail="none")
    detail = f"an unprivileged caller cannot drop them; kept: {', '.join(groups)}"
    return Layer(name="supplementary groups", state=_DEGRADED, detail=detail)
