"""A running sandboxee, under the names of `subprocess.Popen`."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from stockade.attachments import Attachments
from stockade.clocks import Clocks, grace_seconds
from stockade.comms.values import Comms
from stockade.communicate import Communication
from stockade.errors import PolicyError, SandboxError
from stockade.limits import Duration, Limits
from stockade.monitor.outcome import Cause, KillReason, Outcome, Status
from stockade.monitor.supervision import Supervision
from stockade.result import Result, ThreadStack
from stockade.streams import Streams

if TYPE_CHECKING:
    import socket

SIGKILL = 9
# Seconds between SIGTERM and SIGKILL.
DEFAULT_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class TextMode:
    """How streams are decoded; None for bytes."""

    encoding: str | None = None
    errors: str | None = None

    @classmethod
    def asked(cls, text: bool | None, encoding: str | None, errors: str | None) -> TextMode | None:
        """What these arguments ask for, as in subprocess."""
        return cls(encoding, errors) if text or encoding or errors else None

    def wrap(self, raw: IO[bytes], *, write_through: bool = False) -> IO[Any]:
        """Make a text stream of a binary one."""
        return io.TextIOWrapper(raw, encoding=self.encoding, errors=self.errors, write_through=write_through)

    def decode(self, data: bytes | None) -> str | None:
        """Decode captured output, with universal newlines as in subprocess."""
        if data is None:
            return None
        text = data.decode(self._codec(), self.errors or "strict")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def encode(self, data: str) -> bytes:
        """Encode input."""
        return data.encode(self._codec(), self.errors or "strict")

    def _codec(self) -> str:
        """The encoding by its name: that of the locale unless another was asked for."""
        return self.encoding or io.TextIOWrapper(io.BytesIO()).encoding


class Process:
    """A started program. Made by `Executor.start`.

    `args`, `pid`, `stdin`, `stdout`, `stderr`, `returncode` and the methods mean what they mean for `subprocess.Popen`.
    As a context manager it waits for the program; an exception inside kills it. The run's verdict is in `result`.
    """

    def __init__(
        self,
        args: Any,
        supervision: Supervision,
        streams: Streams,
        limits: Limits,
        text: TextMode | None,
        make_result: Callable[[Outcome, Any, Any], Result],
        make_error: Callable[[Outcome, Result], SandboxError],
        attachments: Attachments,
    ) -> None:
        self.args = args
        self._supervision, self._streams, self._limits, self._text = supervision, streams, limits, text
        self._make_result, self._make_error = make_result, make_error
        self._attachments = attachments
        self._clocks = Clocks(supervision, limits.value("wall_time"))
        self._communication: Communication | None = None
        self._result: Result | None = None
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None

    # Made by the executor.

    def open_files(self) -> None:
        """Give the caller's ends of pipes as file objects, as `start` promises."""
        streams = self._streams
        for name, mode in (("stdin", "wb"), ("stdout", "rb"), ("stderr", "rb")):
            descriptor = getattr(streams, name)
            if descriptor >= 0:
                raw = os.fdopen(descriptor, mode)
                setattr(self, name, self._text.wrap(raw, write_through=name == "stdin") if self._text else raw)

    def watch(self) -> None:
        """Keep the clocks in a thread, because nobody may ever wait for this process."""
        if self._limits.wall_time is not None or self._supervision.job.has_callbacks:
            self._clocks.keep()

    # As in subprocess.Popen.

    @property
    def pid(self) -> int:
        """Pid of the program as the host sees it."""
        return self._supervision.pid

    @property
    def returncode(self) -> int | None:
        """None while the program runs; then as `Result.returncode`."""
        outcome = self._supervision.outcome
        return None if outcome is None else outcome.returncode

    def poll(self) -> int | None:
        """The return code when the verdict is there, else None."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the verdict and return the return code. subprocess.TimeoutExpired after `timeout` seconds.

        With a pipe that fills up this never ends: use `communicate`, as in subprocess.
        """
        if not self._supervision.wait(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        returncode = self.returncode
        assert returncode is not None
        return returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Send `input`, read both streams to their end, wait for the verdict. Returns (stdout, stderr).

        subprocess.TimeoutExpired after `timeout` seconds, with the output so far; call again to go on.
        """
        if self._communication is None:
            self._take_files_back()
            self._communication = Communication(
                self._supervision, self._streams, self._clocks, self._limits.output_bytes
            )
        elif input is not None:
            raise ValueError("cannot send input after communication has started")
        data = self._text.encode(input) if self._text and isinstance(input, str) else input
        self._communication.run(data, timeout, self.args)
        self._supervision.wait()
        return self._output("stdout"), self._output("stderr")

    def _take_files_back(self) -> None:
        """communicate works on the descriptors themselves."""
        if self.stdin is not None:
            # The program may have closed its end, or the caller this one.
            with contextlib.suppress(BrokenPipeError, ValueError):
                self.stdin.flush()
        for name in ("stdin", "stdout", "stderr"):
            file = getattr(self, name)
            if file is not None:
                own = -1 if file.closed else os.dup(file.fileno())
                setattr(self._streams, name, own)
                if not file.closed:
                    _close_quietly(file)

    def _output(self, name: str) -> Any:
        data = self._communication.output(name) if self._communication else None
        return self._text.decode(data) if self._text else data

    def send_signal(self, signo: int) -> None:
        """Send a signal to the program. Nothing happens when it has ended."""
        if signo == SIGKILL:
            self.kill()
        else:
            self._supervision.send_signal(signo)

    def terminate(self, grace: Duration | None = DEFAULT_GRACE) -> None:
        """Send SIGTERM to the program, which may handle it, and come back at once.

        When it has not ended after `grace` (seconds, or text like "500ms") everything in the box is killed; None:
        never, as in subprocess. The status becomes EXTERNAL_KILL when the program ends by one of these signals, with
        the return code -15 or -9; a program that handles SIGTERM and exits is OK with its exit code. Nothing happens
        when it has ended. ValueError for a grace that is no time.
        """
        seconds = None if grace is None else grace_seconds(grace)
        self._supervision.terminate()
        if seconds is not None and self._supervision.outcome is None:
            self._clocks.kill_after(seconds)

    def kill(self) -> None:
        """Kill everything in the box. The status becomes EXTERNAL_KILL unless the verdict is already there."""
        self._supervision.kill(KillReason(Cause.KILL))

    # Beyond subprocess.Popen.

    def dump_stack_trace(self, timeout: float = 5.0) -> tuple[ThreadStack, ...]:
        """Return the stacks of all threads of all processes of the running program, without disturbing it.

        Each says how its frames were found, and why there are none if there are none; with very many threads some are
        left out. Empty when the program has not started yet or has ended. Waits `timeout` seconds at most for threads
        that do not stop; TimeoutError when the monitor is busy with a hook for that long.
        """
        from stockade.monitor.stack_dump import dump_stacks

        return dump_stacks(self._supervision, timeout)

    def set_wall_time(self, limit: Duration | None) -> None:
        """Change the wall-clock limit of this run: seconds or text like "5s" since the start; None for none.

        The policy's own wall time still holds.
        """
        allowed = Limits(wall_time=limit).value("wall_time")
        if self._limits.wall_time is not None and allowed is not None:
            allowed = min(allowed, float(self._limits.wall_time))
        self._clocks.set_wall_time(allowed if allowed is not None else self._limits.value("wall_time"))

    @property
    def comms(self) -> Comms:
        """The connection for typed values to the program. PolicyError when `start` was not asked for it."""
        if self._attachments.comms is None:
            raise PolicyError("there is no connection for values to this program: pass comms=True to start()")
        return self._attachments.comms

    @property
    def sockets(self) -> Mapping[str, socket.socket]:
        """Our ends of the sockets that `named_fds` asked for, by name. They are closed with the process."""
        return self._attachments.sockets

    @property
    def result(self) -> Result:
        """The result, waiting for the verdict. Raises MonitorError when we failed ourselves.

        stdout and stderr in it are None unless `communicate` has read them.
        """
        self._supervision.wait()
        if self._result is None:
            outcome = self._supervision.outcome
            assert outcome is not None
            self._result = self._make_result(outcome, self._output("stdout"), self._output("stderr"))
        if self._result.status in (Status.SETUP_ERROR, Status.INTERNAL_ERROR):
            outcome = self._supervision.outcome
            assert outcome is not None
            raise self._make_error(outcome, self._result)
        return self._result

    @property
    def is_sandboxed(self) -> bool:
        """Whether the program has been found to be under its policy, with every layer in force.

        Always so when `start` has returned, but for a program with `sandbox_at="client"`, which sees to it itself.
        """
        return self._supervision.is_sandboxed

    def wait_until_sandboxed(self, timeout: float | None = None) -> None:
        """Wait until a program with `sandbox_at="client"` is under its policy.

        Raises subprocess.TimeoutExpired after `timeout` seconds, and SetupError when it has ended before by itself or
        could not be checked in. Returns when it was ended before by something else, such as `kill` or a limit.
        """
        if not self._supervision.wait(timeout, for_sandbox=True):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        if not self.is_sandboxed:
            self.result  # noqa: B018  (raises for a failure of the set-up)

    def begin(self) -> Process:
        """What `start` returns: this, once the program stands before its first instruction. Raises as it does."""
        try:
            self.wait_until_started()
        except BaseException:
            self.abandon(Cause.INTERRUPT)
            raise
        self.open_files()
        self.watch()
        return self

    def run_to_end(self, input: Any, timeout: float | None, *, check: bool) -> Result:
        """What `run` returns: the result, once the program has ended. Raises as it does."""
        try:
            self.communicate(input, timeout)
            result = self.result
        except BaseException as error:
            self.abandon(Cause.INTERRUPT)
            if isinstance(error, subprocess.TimeoutExpired):
                error.result = self.result  # type: ignore[attr-defined]
            raise
        self.release()
        if check:
            result.check_returncode()
        return result

    def wait_until_started(self) -> None:
        """Wait until the program's first instruction. Raises SetupError, UnsupportedError or MonitorError."""
        self._supervision.wait(for_start=True)
        if not self._supervision.started:
            self.result  # noqa: B018  (raises)

    def abandon(self, cause: Cause) -> None:
        """Kill what still runs for `cause`, and close."""
        self._supervision.kill(KillReason(cause))
        self.close()

    def close(self) -> None:
        """Kill what still runs, wait until nothing is left of it, and close every descriptor."""
        if self._supervision.outcome is None:
            self.kill()
        # The clocks go on: the thread that sees the end may be inside a hook.
        while not self._supervision.is_abandoned():
            if self._supervision.wait(self._clocks.check(), for_end=True):
                break
        self.release()

    def release(self) -> None:
        """Close every descriptor of ours. What is left of a run after its verdict is cleaned up without waiting."""
        self._streams.finish_relays(at_once=self._supervision.is_abandoned())
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                _close_quietly(file)
        if self._communication is not None or (self.stdin is None and self.stdout is None and self.stderr is None):
            self._streams.close_own()
        self._attachments.finish()
        self._supervision.close_event()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            # As in subprocess: a program that writes what nobody reads must not hold us up.
            for file in (self.stdout, self.stderr, self.stdin):
                if file is not None:
                    _close_quietly(file)
            self._supervision.wait()
        self.close()

    def __repr__(self) -> str:
        return f"<Process pid={self.pid} returncode={self.returncode} args={self.args!r}>"


def _close_quietly(file: IO[Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # unwritten input of a program that has gone
        file.close()
