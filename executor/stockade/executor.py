"""The executor: configures runs, and starts them."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from stockade._proto.lean import Command, Launch
from stockade._proto.wire import encode
from stockade.attachments import Attachments, NamedDescriptor
from stockade.callbacks import checked_hooks, finished_callback
from stockade.comms.channel import Channel
from stockade.errors import PolicyError, SandboxError, UnsupportedError
from stockade.failures import error_of
from stockade.host import forkserver, spares
from stockade.host.groups import check_groups
from stockade.host.kernel_version import check_kernel
from stockade.kernel.architectures import X86_64, native
from stockade.limits import SERVER_RLIMITS, Limits
from stockade.monitor import tracer
from stockade.monitor.decisions import Decisions
from stockade.monitor.hooks import Hook, is_seconds
from stockade.monitor.job import Job
from stockade.monitor.notify import Notify
from stockade.monitor.outcome import Outcome, SetupFailure, Status
from stockade.monitor.supervision import Supervision
from stockade.policy.box.filesystem import Plan, plan
from stockade.policy.box.sources import check_sources
from stockade.policy.caching.guard import check_writable_mounts
from stockade.policy.policy import Policy
from stockade.policy.unsupported import unsupported_features
from stockade.process import Process, TextMode
from stockade.request import (
    AT_CLIENT,
    AT_EXEC,
    check_client,
    check_mode,
    check_monitor,
    check_recording,
    compiled_program,
    fork_request,
    make_launch,
    reachable_rlimits,
)
from stockade.result import Result, RunFacts
from stockade.streams import PIPE, Stream, Streams

if TYPE_CHECKING:
    import logging

    from _typeshed import StrOrBytesPath

    from stockade.fork_server import ForkServer

MODES = ("enforce", "refuse", "permissive")
DEFAULT_HOOK_TIMEOUT = 10.0
DEFAULT_RECORDER_SIZE = 32
# Seconds that a fork server may take to initialise itself.
DEFAULT_START_TIMEOUT = 60.0
# Filters that the sandboxee installs: the compiled policy.
FILTERS = 1

# Serialised ForkRequests, by [for a spare][shares the template's network namespace].
Requests = tuple[tuple[bytes, bytes], tuple[bytes, bytes]]


class Executor:
    """Runs programs under one policy. Never changes after construction; may be used from many threads at once.

    `limits` are upper bounds of each run, on top of the policy's own: the tighter one holds. `hooks` maps the hook
    names of the policy's `trace` rules to callables. `mode` is "enforce" (a violation ends the run), "refuse"
    (violations are answered with EPERM and recorded, so that one run shows them all) or "permissive" (violations happen
    and are recorded, but for calls that are always refused: for programs that are trusted while their policy is
    written). `notify` is told what happens in the runs, and serves the hook names that `hooks` does not have. A
    callback that takes longer than `hook_timeout` seconds ends the run, unless it is a hook declared slow.

    `monitor` is "ptrace", or "unotify": hooks cost less and the program is free of ptrace, but signals, children and
    what calls return are not seen; what needs these is a PolicyError.

    `flight_recorder` is how many of the last events are kept for a result that is not OK, 0 for none. With
    `trace_summary` the calls that the monitor sees are followed to their return, counted and timed.

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
        self._listener_flags = check_monitor(monitor)
        check_recording(flight_recorder, trace_summary, monitor)
        check_kernel()
        message = policy.message
        if unsupported := unsupported_features(message):
            raise UnsupportedError("policy", f"this version does not enforce: {'; '.join(unsupported)}")
        if native() is not X86_64:
            raise UnsupportedError("monitor", f"the {monitor} monitor of this version does not know {native().name}")
        if not is_seconds(hook_timeout):
            raise PolicyError(f"hook_timeout is a number of seconds, more than 0 and finite, not {hook_timeout!r}")
        self.policy, self.mode, self.monitor, self.hook_timeout = policy, mode, monitor, hook_timeout
        self._notify, self._recorder_size, self._trace_summary = notify, flight_recorder, trace_summary
        self.limits = Limits.from_policy(message.limits).tightened_by(limits or Limits())
        self.limits.check_enforceable()
        compiled = policy.compiled(native(), mode)
        self._hook_names = compiled.hooks
        self._host_network = message.network.mode == message.network.DANGER_HOST
        self._needs_network = compiled.admits_sockets or message.network.mode != message.network.NONE
        forgeable = "filters" in compiled.reopened and monitor == "ptrace"
        self._judge = _judge_of(policy, mode) if forgeable else None
        self._decisions = Decisions(compiled.program) if monitor == "unotify" else None
        self._hooks = checked_hooks(self._hook_names, hooks, notify, monitor)
        self._program = compiled_program(policy, mode, monitor)
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
        named_fds: Mapping[str, NamedDescriptor] | None = None,
        forward_logs: bool | logging.Logger = False,
        sandbox_at: str = AT_EXEC,
    ) -> Result:
        """Run a program to its end, as `subprocess.run` does, and return its `Result`.

        The names mean what they mean there, with these differences, all for safety: both streams are captured unless
        something else is asked (None is /dev/null); `stdin` is empty and `env` is empty unless given; `args[0]` and
        `cwd` are paths inside the box; nothing else is inherited. `executable` may be an open descriptor. There is no
        shell.

        `named_fds` are descriptors that the program finds by name (`stockade.client`): they get free numbers, which the
        variable STOCKADE_FDS announces. With `forward_logs` what the program logs by `stockade.client` arrives in
        that logger, or with True in "stockade.sandboxee".

        `sandbox_at` is "exec", or "client" for a program that calls `Client.sandbox_me_here()` of `stockade.client`
        when it has initialised itself. DANGER: up to that call it runs without the policy's filter, and its code must
        be trusted; it is in its box, and all limits hold. One that ends before the call is a SetupError.

        Raises SetupError (the program never ran), UnsupportedError, PolicyError, MonitorError;
        subprocess.TimeoutExpired after `timeout` seconds; and with `check` ViolationError, LimitError or
        subprocess.CalledProcessError. Those that come from a run carry its `.result`.
        """
        if input is not None:
            if stdin is not None:
                raise ValueError("stdin and input may not both be given")
            stdin = PIPE
        attachments = Attachments(named_fds, forward_logs=forward_logs, keeps_ends=False)
        mode = TextMode.asked(text, encoding, errors)
        process = self._launch(
            args,
            stdin,
            stdout,
            stderr,
            mode,
            env,
            cwd,
            executable,
            pass_fds,
            False,
            attachments=attachments,
            sandbox_at=sandbox_at,
        )
        return process.run_to_end(input, timeout, check=check)

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
        named_fds: Mapping[str, NamedDescriptor] | None = None,
        comms: bool = False,
        forward_logs: bool | logging.Logger = False,
        sandbox_at: str = AT_EXEC,
    ) -> Process:
        """Start a program and return its `Process`, as `subprocess.Popen` does, once its exec has succeeded.

        As `run`, but the streams are /dev/null (stdin: empty) unless something else is asked. Raises as `run` does.

        For a name in `named_fds` that is SOCKETPAIR the program gets one end of a pair of connected sockets, and
        `Process.sockets` has the other. `comms` gives program and `Process.comms` a connection for typed values.

        With `sandbox_at="client"` the program is not sandboxed yet when this returns: see `run`,
        `Process.is_sandboxed` and `Process.wait_until_sandboxed`.
        """
        attachments = Attachments(named_fds, comms=comms, forward_logs=forward_logs)
        mode = TextMode.asked(text, encoding, errors)
        process = self._launch(
            args,
            stdin,
            stdout,
            stderr,
            mode,
            env,
            cwd,
            executable,
            pass_fds,
            True,
            attachments=attachments,
            sandbox_at=sandbox_at,
        )
        return process.begin()

    def start_fork_server(
        self,
        args: StrOrBytesPath | Sequence[StrOrBytesPath],
        *,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        cwd: StrOrBytesPath = "/",
        executable: StrOrBytesPath | int | IO[Any] | None = None,
        start_timeout: float | None = DEFAULT_START_TIMEOUT,
    ) -> ForkServer:
        """Start a program that initialises itself once and then forks a sandboxed copy of itself for each request.

        The program calls `Client.become_fork_server()` of `stockade.client`, which returns in each copy. DANGER: the
        program itself runs in a box of its own but without the policy's filter and limits, and its code up to that call
        must be trusted; the copies are under the policy like any other run. Its output goes to /dev/null unless
        something else is asked; `stderr` is kept for error messages then.

        Raises as `run` does; a program that ends before it serves, or has not come to it after `start_timeout` seconds,
        is a SetupError.
        """
        from stockade.fork_server import ForkServer, server_request

        check_client(AT_CLIENT, self.monitor)
        if start_timeout is not None and not is_seconds(start_timeout):
            raise PolicyError(f"start_timeout is a number of seconds, more than 0 and finite, not {start_timeout!r}")
        used, _, _ = self._current_plan()
        check_sources(used)
        launch = make_launch(self.policy, self._program, self.limits, SERVER_RLIMITS, args, env, cwd, executable)
        launch.deferred = True
        if PIPE in (stdout, stderr):
            raise ValueError("a fork server has nobody who reads its streams; ForkServer.stderr has the last of one")
        request = server_request(self.policy.message, used)
        streams = Streams(None, stdout, PIPE if stderr is None else stderr)
        try:
            channel = _send(launch, request, None, streams, executable)
        except BaseException:
            streams.close_own()
            raise
        finally:
            streams.close_child()
        return ForkServer(self, used, channel, streams, launch.argv[0], start_timeout)

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
        *,
        attachments: Attachments,
        sandbox_at: str = AT_EXEC,
        server: ForkServer | None = None,
    ) -> Process:
        """What run and start share: everything up to a run that is being followed, in a copy of `server` if given."""
        asked_at, started_at = time.monotonic(), time.time()
        check_client(sandbox_at, self.monitor)
        deferred = sandbox_at == AT_CLIENT
        rlimits = reachable_rlimits(self.limits)
        argv = args if server is None else server.argv(args)
        launch = make_launch(self.policy, self._program, self.limits, rlimits, argv, env, cwd, executable)
        launch.deferred, launch.listener_flags = deferred, self._listener_flags
        used, (now, ahead), wants_spares = self._current_plan() if server is None else server.boxes
        if server is None:
            check_sources(used)
        streams = Streams(stdin, stdout, stderr, pass_fds)
        try:
            attachments.open(streams, launch)
            needs_network = self._needs_network or streams.pass_sockets() or deferred
            shared_network = self._host_network or not needs_network
            sources = [source for _, source, _ in used.binds()]
            spare = spares.take(ahead[shared_network], sources) if wants_spares else None
            if server is not None:
                spare = server.begin_copy(now[shared_network])
            elif spare is not None:
                spares.prepare(ahead[shared_network], sources)  # built while this run works
            channel = _send(launch, now[shared_network], spare, streams, executable)
        except BaseException:
            streams.close_own()
            attachments.close()
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
            hook_timeout=self.hook_timeout,
            rlimits=rlimits,
            filters=FILTERS,
            shared_network=shared_network,
            host_network=self._host_network,
            announce_start=announce,
            deferred=deferred,
            asked_at=asked_at,
            recorder_size=self._recorder_size,
            trace_summary=self._trace_summary,
            judge=self._judge,
            decisions=self._decisions,
            forked=server is not None,
            server_is_dying=None if server is None else server.is_dying,
            server_has_in_box=None if server is None else server.has_in_box,
            finished=finished_callback(self._notify, lambda outcome: make(outcome, None, None)),
        )
        supervision = Supervision(job)
        make = functools.partial(self._make_result, args, supervision, used, started_at)
        streams.start_relays()
        attachments.start(lambda: supervision.pid)
        if server is not None:
            server.adopt(supervision)
        tracer.follow(supervision)
        if wants_spares and spare is None:
            spares.prepare(ahead[shared_network], sources)  # after the box that this run waits for
        failed = functools.partial(_error_of, used)
        return Process(args, supervision, streams, self.limits, text, make, failed, attachments)

    def _make_plan(self) -> tuple[Plan, Requests]:
        """The plan, and the requests for a box: now and ahead, each with a private and with the shared network."""
        message = self.policy.message
        made = plan(message)
        check_writable_mounts(made.entries)
        check_groups(source for _, source, _ in made.binds())

        def requests(spare: bool) -> tuple[bytes, bytes]:
            reports = self.monitor == "unotify"
            private = fork_request(message, made, spare=spare, shared_network=False, reports_end=reports)
            return private, fork_request(message, made, spare=spare, shared_network=True, reports_end=reports)

        return made, (requests(spare=False), requests(spare=True))

    def _current_plan(self) -> tuple[Plan, Requests, bool]:
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
            self.monitor,
            supervision.job.deferred,
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


def _judge_of(policy: Policy, mode: str) -> Callable[[int, int, Sequence[int]], int | None]:
    """What the policy itself says that its filter tells the monitor about a call."""
    from stockade.policy.expected import trace_data  # loads the evaluator, which most runs do not need

    resolved = policy.resolve(native(), mode)
    return lambda token, number, registers: trace_data(resolved, number, registers)
