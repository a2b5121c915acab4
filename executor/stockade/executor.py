"""The executor: configures runs, and starts them."""

from __future__ import annotations

import contextlib
import difflib
import functools
import math
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from stockade._proto.lean import Command, Launch
from stockade._proto.wire import encode
from stockade.comms.channel import Channel
from stockade.errors import PolicyError, SandboxError, UnsupportedError
from stockade.failures import error_of
from stockade.host import forkserver, spares
from stockade.host.groups import check_groups
from stockade.host.kernel_version import check_kernel
from stockade.kernel.architectures import X86_64, native
from stockade.limits import Limits
from stockade.monitor import tracer
from stockade.monitor.hooks import Hook
from stockade.monitor.job import Job
from stockade.monitor.notify import Notify
from stockade.monitor.outcome import Cause, Outcome, SetupFailure, Status
from stockade.monitor.supervision import Supervision
from stockade.policy.box.filesystem import Plan, plan
from stockade.policy.box.sources import check_sources
from stockade.policy.caching.guard import check_writable_mounts
from stockade.policy.policy import Policy
from stockade.policy.unsupported import unsupported_features
from stockade.process import Process, TextMode
from stockade.request import check_mode, compiled_program, fork_request, make_launch, reachable_rlimits
from stockade.result import Result, RunFacts
from stockade.streams import PIPE, Stream, Streams

if TYPE_CHECKING:
    from _typeshed import StrOrBytesPath

MODES = ("enforce", "refuse")
MONITORS = ("ptrace",)
DEFAULT_HOOK_TIMEOUT = 10.0
DEFAULT_RECORDER_SIZE = 32
# Filters that the sandboxee installs: the compiled policy.
FILTERS = 1

# Serialised ForkRequests, by [for a spare][shares the template's network namespace].
_Requests = tuple[tuple[bytes, bytes], tuple[bytes, bytes]]


class Executor:
    """Runs programs under one policy. Never changes after construction; may be used from many threads at once.

    `limits` are upper bounds of each run, on top of the policy's own: the tighter one holds. `hooks` maps the hook
    names of the policy's `trace` rules to callables. `mode` is "enforce" (a violation ends the run) or "refuse"
    (violations are answered with EPERM and recorded, so that one run shows them all). A hook that takes longer than
    `hook_timeout` seconds ends the run.

    Raises PolicyError when policy, hooks or mode do not fit together, and UnsupportedError when this version or this
    host cannot enforce what is asked.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        limits: Limits | None = None,
        hooks: Mapping[str, Hook] | None = None,
        notify: Notify | None = None,
        mode: str = "enforce",
        monitor: str = "ptrace",
        hook_timeout: float = DEFAULT_HOOK_TIMEOUT,
        flight_recorder: int = DEFAULT_RECORDER_SIZE,
        trace_summary: bool = False,
    ) -> None:
        if not isinstance(policy, Policy):
            raise TypeError(f"a Policy is needed, not {type(policy).__name__}; call build() on a PolicyBuilder")
        check_mode(mode, MODES)
        check_kernel()
        message = policy.message
        if unsupported := unsupported_features(message):
            raise UnsupportedError("policy", f"this version does not enforce: {'; '.join(unsupported)}")
        if native() is not X86_64:
            raise UnsupportedError("monitor", f"the ptrace monitor of this version does not know {native().name}")
        if not 0 < hook_timeout < math.inf:
            raise PolicyError(f"hook_timeout must be more than 0 seconds and finite, not {hook_timeout!r}")
        if monitor not in MONITORS:
            raise PolicyError(f"monitor {monitor!r} is none of {', '.join(MONITORS)}")
        self.policy, self.mode, self.monitor, self.hook_timeout = policy, mode, monitor, hook_timeout
        self._notify, self._recorder_size, self._trace_summary = notify, flight_recorder, trace_summary
        self.limits = Limits.from_policy(message.limits).tightened_by(limits or Limits())
        self.limits.check_enforceable()
        compiled = policy.compiled(native(), mode)
        self._hook_names = compiled.hooks
        self._host_network = message.network.mode == message.network.DANGER_HOST
        self._needs_network = compiled.admits_sockets or message.network.mode != message.network.NONE
        self._judge = _judge_of(policy, mode) if "filters" in compiled.reopened else None
        self._hooks = _checked_hooks(self._hook_names, hooks or {})
        self._program = compiled_program(policy, mode)
        self._plan_lock = threading.Lock()
        self._has_run = False
        self._plan, self._requests = self._make_plan()

    def run(
        self,
        args: StrOrBytesPath | Sequence[StrOrBytesPath],
        *,
        input: Any = None,
        stdin: Stream = None,
        stdout: Stream = PIPE,
        stderr: Stream = PIPE,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        cwd: StrOrBytesPath = "/",
        timeout: float | None = None,
        check: bool = False,
        executable: StrOrBytesPath | int | IO[Any] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Result:
        """Run a program to its end, as `subprocess.run` does, and return its `Result`.

        The names mean what they mean there, with these differences, all for safety: both streams are captured unless
        something else is asked (None is /dev/null); `stdin` is empty and `env` is empty unless given; `args[0]` and
        `cwd` are paths inside the box; nothing else is inherited. `executable` may be an open descriptor. There is no
        shell.

        Raises SetupError (the program never ran), UnsupportedError, PolicyError, MonitorError;
        subprocess.TimeoutExpired after `timeout` seconds; and with `check` ViolationError, LimitError or
        subprocess.CalledProcessError. Those that come from a run carry its `.result`.
        """
        if input is not None:
            if stdin is not None:
                raise ValueError("stdin and input may not both be given")
            stdin = PIPE
        process = self._launch(
            args, stdin, stdout, stderr, _text_mode(text, encoding, errors), env, cwd, executable, pass_fds, False
        )
        try:
            process.communicate(input, timeout)
            result = process.result
        except BaseException as error:
            process.abandon(Cause.INTERRUPT)
            if isinstance(error, subprocess.TimeoutExpired):
                error.result = process.result  # type: ignore[attr-defined]
            raise
        process.release()
        if check:
            result.check_returncode()
        return result

    def start(
        self,
        args: StrOrBytesPath | Sequence[StrOrBytesPath],
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        cwd: StrOrBytesPath = "/",
        executable: StrOrBytesPath | int | IO[Any] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Start a program and return its `Process`, as `subprocess.Popen` does, once its exec has succeeded.

        As `run`, but the streams are /dev/null (stdin: empty) unless something else is asked. Raises as `run` does.
        """
        process = self._launch(
            args, stdin, stdout, stderr, _text_mode(text, encoding, errors), env, cwd, executable, pass_fds, True
        )
        try:
            process.wait_until_started()
        except BaseException:
            process.abandon(Cause.INTERRUPT)
            raise
        process.open_files()
        process.watch()
        return process

    def describe(self) -> list[str]:
        """The plan of mounts, one line for each step, safe to print."""
        return plan(self.policy.message).describe()

    def _launch(
        self,
        args: StrOrBytesPath | Sequence[StrOrBytesPath],
        stdin: Stream,
        stdout: Stream,
        stderr: Stream,
        text: TextMode | None,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None,
        cwd: StrOrBytesPath,
        executable: StrOrBytesPath | int | IO[Any] | None,
        pass_fds: Sequence[int],
        announce: bool,
    ) -> Process:
        """What run and start share: everything up to a run that is being followed."""
        asked_at, started_at = time.monotonic(), time.time()
        rlimits = reachable_rlimits(self.limits)
        launch = make_launch(self.policy, self._program, self.limits, rlimits, args, env, cwd, executable)
        used, (now, ahead), wants_spares = self._current_plan()
        check_sources(used)
        streams = Streams(stdin, stdout, stderr, pass_fds)
        try:
            needs_network = self._needs_network or streams.pass_sockets()
            shared_network = self._host_network or not needs_network
            sources = [source for _, source, _ in used.binds()]
            spare = spares.take(ahead[shared_network], sources) if wants_spares else None
            if spare is not None:
                spares.prepare(ahead[shared_network], sources)  # built while this run works
            channel = _send(launch, now[shared_network], spare, streams, executable)
        except BaseException:
            streams.close_own()
            raise
        finally:
            streams.close_child()
        job = Job(
            channel=channel,
            mode=self.mode,
            monitor=self.monitor,
            hook_names=self._hook_names,
            hooks=self._hooks,
            notify=self._notify,
            rlimits=rlimits,
            filters=FILTERS,
            shared_network=shared_network,
            host_network=self._host_network,
            announce_start=announce,
            deferred=False,
            asked_at=asked_at,
            recorder_size=self._recorder_size,
            trace_summary=self._trace_summary,
            judge=self._judge,
        )
        supervision = Supervision(job)
        streams.start_relays()
        tracer.follow(supervision)
        if wants_spares and spare is None:
            spares.prepare(ahead[shared_network], sources)  # after the box that this run waits for
        make = functools.partial(self._make_result, args, supervision, used, started_at)
        return Process(
            args, supervision, streams, self.limits, self.hook_timeout, text, make, functools.partial(_error_of, used)
        )

    def _make_plan(self) -> tuple[Plan, _Requests]:
        """The plan, and the requests for a box: now and ahead, each with a private and with the shared network."""
        message = self.policy.message
        made = plan(message)
        check_writable_mounts(made.entries)
        check_groups(source for _, source, _ in made.binds())

        def requests(spare: bool) -> tuple[bytes, bytes]:
            private = fork_request(message, made, spare=spare, shared_network=False)
            return private, fork_request(message, made, spare=spare, shared_network=True)

        return made, (requests(spare=False), requests(spare=True))

    def _current_plan(self) -> tuple[Plan, _Requests, bool]:
        """The plan, made again when a file that it rests on (a binary, a library) has changed; its requests; and
        whether spare boxes are worth while: an executor that ran twice will run again.
        """
        with self._plan_lock:
            if not self._plan.is_current():
                self._plan, self._requests = self._make_plan()
            has_run, self._has_run = self._has_run, True
            return self._plan, self._requests, has_run

    def _make_result(
        self,
        args: Any,
        supervision: Supervision,
        used: Plan,
        started_at: float,
        outcome: Outcome,
        stdout: Any,
        stderr: Any,
    ) -> Result:
        error = error_of(outcome.setup, used) if outcome.setup else None
        hint = getattr(error, "hint", None) or getattr(error, "remedy", None) or ""
        facts = RunFacts(
            self.policy,
            self.mode,
            self.limits,
            supervision.pid,
            started_at,
            supervision.readback,
            supervision.job.shared_network,
            supervision.job.host_network,
            hint,
        )
        return Result(args, stdout, stderr, outcome, facts)


def _error_of(used: Plan, outcome: Outcome, result: Result) -> SandboxError:
    """The error that a run without a program's verdict ends in."""
    if outcome.status is Status.INTERNAL_ERROR:
        return result.internal_error()
    return result.attach_to(error_of(outcome.setup or SetupFailure("setup"), used))


def _send(
    launch: Launch,
    request: bytes,
    spare: Channel | None,
    streams: Streams,
    executable: StrOrBytesPath | int | IO[Any] | None,
) -> Channel:
    """Tell the sandboxee of a spare box, or of one that is asked for now, what to run. Returns our end to it."""
    launch.descriptors = list(streams.child)
    descriptors = list(streams.child.values())
    if launch.program_descriptor:
        assert executable is not None and not isinstance(executable, (str, bytes, os.PathLike))
        descriptors.append(executable if isinstance(executable, int) else executable.fileno())
    channel = spare
    if channel is None:
        channel, its = Channel.pair()
        try:
            forkserver.request_fork(request, its.fileno())
        except BaseException:
            channel.close()
            raise
        finally:
            its.close()
    try:
        with contextlib.suppress(BrokenPipeError):  # the set-up has failed already; its last words wait to be read
            channel.send(encode(Command(launch=launch)), descriptors)
    except BaseException:
        channel.close()
        raise
    return channel


def _text_mode(text: bool | None, encoding: str | None, errors: str | None) -> TextMode | None:
    return TextMode(encoding, errors) if text or encoding or errors else None


def _judge_of(policy: Policy, mode: str) -> Callable[[int, int, Sequence[int]], int | None]:
    """What the policy itself says that its filter tells the monitor about a call."""
    from stockade.policy.expected import trace_data  # loads the evaluator, which most runs do not need

    resolved = policy.resolve(native(), mode)
    return lambda token, number, registers: trace_data(resolved, number, registers)


def _checked_hooks(wanted: Sequence[str], hooks: Mapping[str, Hook]) -> Mapping[str, Hook]:
    """The hooks, when they are exactly the ones that the policy names."""
    for name in wanted:
        if name not in hooks:
            raise PolicyError(
                f"the policy asks the hook {name!r}, which the executor was not given; pass hooks={{{name!r}: …}}"
            )
    for name, hook in hooks.items():
        if name not in wanted:
            close = difflib.get_close_matches(name, wanted, 1)
            raise PolicyError(f"no rule of the policy asks the hook {name!r}", suggestion=close[0] if close else None)
        if not callable(hook):
            raise PolicyError(f"the hook {name!r} is no callable but a {type(hook).__name__}")
    return dict(hooks)
