"""A program of the user's that initialises itself once, and forks a sandboxed copy of itself for each request."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from stockade._proto import comms_pb2, policy_pb2
from stockade.attachments import Attachments, NamedDescriptor
from stockade.comms.channel import Channel
from stockade.errors import SandboxError, SetupError
from stockade.failures import error_of
from stockade.host.spares import has_hung_up
from stockade.limits import SERVER_RLIMITS
from stockade.monitor.admission import SetupFailedError
from stockade.monitor.outcome import Cause, KillReason
from stockade.monitor.server_process import LONGEST_END, STEP, ServerProcess
from stockade.monitor.supervision import Supervision
from stockade.policy.box.filesystem import Plan
from stockade.policy.box.mounts import BIND_DIRECTORY, BIND_FILE
from stockade.process import Process, TextMode
from stockade.request import box_options
from stockade.result import Result
from stockade.streams import PIPE, Stream, Streams
from stockade.text import escape

if TYPE_CHECKING:
    from _typeshed import StrOrBytesPath

    from stockade.executor import Executor, Requests

# Bytes of what the server writes to its stderr that are kept.
KEPT = 64 * 1024
_SHOWN_LINES = 5


class ForkServer:
    """A program that has initialised itself, and waits to fork copies. Made by `Executor.start_fork_server`.

    `run` and `start` work like those of the executor, in a copy: what they call `args` is `Client.args` there. Each
    copy has a box of its own, with its own empty tmpfs and proc, and neither sees nor reaches another. May be used from
    many threads at once. As a context manager it is closed at the end.
    """

    def __init__(
        self,
        executor: Executor,
        plan: Plan,
        channel: Channel,
        streams: Streams,
        name: bytes,
        start_timeout: float | None,
    ) -> None:
        """Take over the connection to a program that was launched, and its streams, and wait until it serves."""
        self._executor, self._plan, self._streams, self._name = executor, plan, streams, name
        self._copies: weakref.WeakSet[Supervision] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._ahead: dict[bytes, Channel] = {}
        self._closed = False
        self._owner = os.getpid()
        self._tail = _Tail(streams.stderr) if streams.stderr >= 0 else None
        self._process = ServerProcess(channel)
        self._requests = _copy_requests(executor.policy.message, plan)
        streams.start_relays()
        try:
            self._process.boot(start_timeout, SERVER_RLIMITS, host_network=plan.template.host_network)
        except SetupFailedError as error:
            self.close()
            raise self._explained(error) from error
        except BaseException:
            self.close()
            raise

    def _explained(self, error: SetupFailedError) -> SandboxError:
        made = error_of(error.failure, self._plan)
        lines = self.stderr.decode(errors="backslashreplace").strip().splitlines()[-_SHOWN_LINES:]
        if isinstance(made, SetupError) and lines and made.step == STEP:
            shown = "\n".join(escape(line) for line in lines)
            detail = f"{made.detail}; it wrote:\n{shown}"
            return SetupError(made.step, made.errno or 0, made.path, made.hint, detail=detail)
        return made

    @property
    def pid(self) -> int:
        """Pid of the program as the host sees it."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether copies can be had."""
        return not self._process.is_dying()

    @property
    def stderr(self) -> bytes:
        """The last 64 KiB that the program itself wrote to its stderr; empty when that was sent elsewhere."""
        return self._tail.content if self._tail is not None else b""

    def run(
        self,
        args: Sequence[StrOrBytesPath] = (),
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
        pass_fds: Sequence[int] = (),
        named_fds: Mapping[str, NamedDescriptor] | None = None,
        forward_logs: bool | logging.Logger = False,
    ) -> Result:
        """Have a copy run to its end, and return its `Result`. As `Executor.run`; `args` may be empty."""
        if input is not None:
            if stdin is not None:
                raise ValueError("stdin and input may not both be given")
            stdin = PIPE
        attachments = Attachments(named_fds, forward_logs=forward_logs, keeps_ends=False)
        mode = TextMode.asked(text, encoding, errors)
        process = self._executor._launch(
            args,
            stdin,
            stdout,
            stderr,
            mode,
            env,
            cwd,
            None,
            pass_fds,
            False,
            attachments=attachments,
            server=self,
        )
        return process.run_to_end(input, timeout, check=check)

    def start(
        self,
        args: Sequence[StrOrBytesPath] = (),
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        cwd: StrOrBytesPath = "/",
        pass_fds: Sequence[int] = (),
        named_fds: Mapping[str, NamedDescriptor] | None = None,
        comms: bool = False,
        forward_logs: bool | logging.Logger = False,
    ) -> Process:
        """Start a copy and return its `Process` once it is under its policy. As `Executor.start`."""
        attachments = Attachments(named_fds, comms=comms, forward_logs=forward_logs)
        mode = TextMode.asked(text, encoding, errors)
        process = self._executor._launch(
            args,
            stdin,
            stdout,
            stderr,
            mode,
            env,
            cwd,
            None,
            pass_fds,
            True,
            attachments=attachments,
            server=self,
        )
        return process.begin()

    def close(self) -> None:
        """Kill copies that still run, end the program, and wait until nothing of it is left."""
        with self._lock:
            self._closed = True
            while self._ahead:
                self._ahead.popitem()[1].close()
        if os.getpid() != self._owner:  # a forked copy of this process has neither the threads nor the right
            self._process.forget()
            return
        for supervision in list(self._copies):
            supervision.kill(KillReason(Cause.KILL))
        self._process.close()
        if self._tail is not None:
            self._tail.join(LONGEST_END)
        self._streams.finish_relays()

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ForkServer pid={self.pid} {'running' if self.is_running else 'ended'} {os.fsdecode(self._name)!r}>"

    # For the executor.

    @property
    def boxes(self) -> tuple[Plan, Requests, bool]:
        """What a run in a copy is made from, as for any other run: its plan, its requests, and no spare boxes."""
        return self._plan, (self._requests, self._requests), False

    def argv(self, args: StrOrBytesPath | Sequence[StrOrBytesPath]) -> list[StrOrBytesPath]:
        """The arguments of a copy with a zeroth one, as a Launch has them."""
        return [self._name, *([args] if isinstance(args, (str, bytes, os.PathLike)) else args)]

    def begin_copy(self, request: bytes) -> Channel:
        """The connection to a copy in its box, which waits for its Launch. SetupError when the program has ended.

        The next one is asked for at once, and made while this one works.
        """
        with self._lock:
            ahead = self._ahead.pop(request, None)
        if ahead is not None and has_hung_up(ahead):
            ahead.close()
            ahead = None
        channel = ahead or self._ask(request)
        with contextlib.suppress(SetupError):  # the next run has somebody to tell
            self._prepare(request)
        return channel

    def _ask(self, request: bytes) -> Channel:
        if os.getpid() != self._owner:
            raise SetupError(STEP, detail="the fork server belongs to the process that this one was forked from")
        channel, its = Channel.pair()
        try:
            self._process.ask(request, its.fileno())
        except BrokenPipeError as error:
            channel.close()
            raise SetupError(STEP, detail="the fork server has ended, or was closed") from error
        except BaseException:
            channel.close()
            raise
        finally:
            its.close()
        return channel

    def _prepare(self, request: bytes) -> None:
        with self._lock:
            if self._closed or request in self._ahead:
                return
            self._ahead[request] = self._ask(request)

    def is_dying(self) -> bool:
        """Whether the program is ending, and so its copies with it."""
        return self._process.is_dying()

    def has_in_box(self, pid: int) -> bool:
        """Whether a process is in the program's box, as its copies are."""
        return self._process.has_in_box(pid)

    def adopt(self, supervision: Supervision) -> None:
        """A run that ends, at the latest, when this is closed."""
        self._copies.add(supervision)


class _Tail(threading.Thread):
    """Reads a descriptor to its end, which closes it, and keeps the last bytes."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="stockade-server-output", daemon=True)
        self._descriptor = descriptor
        self.content = b""
        self.start()

    def run(self) -> None:
        try:
            while part := os.read(self._descriptor, KEPT):
                self.content = (self.content + part)[-KEPT:]
        finally:
            os.close(self._descriptor)


def server_request(message: policy_pb2.Policy, plan: Plan) -> bytes:
    """A serialised ForkRequest for the box of a fork server, in which a proc can be had for the id maps of copies."""
    box = box_options(message, shared_network=plan.template.host_network)
    template = comms_pb2.TemplatePlan()
    template.CopyFrom(plan.template)
    template.leaves_host_root = False
    box.keeps_proc = box.reports_end = True
    request = comms_pb2.ForkRequest(
        template=template.SerializeToString(deterministic=True), run_mounts=plan.run_mounts, box=box
    )
    return request.SerializeToString()


def _copy_requests(message: policy_pb2.Policy, plan: Plan) -> tuple[bytes, bytes]:
    """Serialised Commands for a copy: with a network namespace of its own, and with that of the fork server."""
    operations = []
    for planned in plan.run_mounts:
        operation = comms_pb2.MountOperation()
        operation.CopyFrom(planned)
        if operation.kind in (BIND_FILE, BIND_DIRECTORY):
            operation.source = operation.target  # in the box of the server, where it is mounted already
        operations.append(operation)
    uid, gid = plan.template.uid, plan.template.gid

    def request(*, shared: bool) -> bytes:
        box = box_options(message, shared_network=shared)
        fork = comms_pb2.Fork(run_mounts=operations, box=box, uid=uid, gid=gid)
        return comms_pb2.Command(fork=fork).SerializeToString()

    return request(shared=False), request(shared=True)
