"""The unotify driver: the kernel tells of the calls that the monitor decides, and the program is free of ptrace.
seccomp_unotify(2).

The installed filter notifies of every call that the policy's own would refuse or trace; which of the two it is, the
policy's own program says when it is run on the call here. Nobody but init sees the end of the program, so init reports
it. All of it runs in one thread of ours that follows one run at a time.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import struct
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stockade._proto.lean import Ended
from stockade._proto.wire import decode
from stockade.kernel import ptrace
from stockade.kernel.seccomp_constants import (
    SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_DATA,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_TRACE,
)
from stockade.kernel.seccomp_notify import Answerer, Receiver
from stockade.monitor.admission import Admission, SetupFailedError
from stockade.monitor.callbacks import LATER
from stockade.monitor.held import held_at_its_end
from stockade.monitor.hooks import Verdict
from stockade.monitor.listener import OPTIONS, WAIT_OPTIONS, Starter
from stockade.monitor.machine import Machine
from stockade.monitor.supervision import Supervision
from stockade.monitor.violations import Call, call_of_notification

if TYPE_CHECKING:
    from stockade.monitor.stack_dump import Dump

SIGKILL = 9
# Descriptors that come with the box: pidfds of init and the sandboxee, and init's pipe.
DESCRIPTORS = 3
MAXIMUM_REPORT = 4096
# Calls that are looked at when the program has ended; more than that come from a child that goes on making them.
MAXIMUM_LAST = 256
# Calls whose verdict is out; beyond that those of tasks that have gone are forgotten.
MANY_WAITING = 4096
MICROSECOND = 1e-6
_RUSAGE = struct.Struct("=18q")


class UnotifyDriver:
    """Follows one run."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._machine = Machine(supervision, self._answer_late, self._still_waits)
        self._machine.hold = self._held
        self._admission = Admission(supervision)
        self._starter = Starter(self._admission)
        self._decisions = supervision.job.decisions
        self._wake, self._waking = -1, threading.Lock()
        self._poll, self._last = select.poll(), select.poll()
        self._listening = False
        self._receiver: Receiver | None = None
        self._answerer: Answerer | None = None
        # Calls that wait for an answer, by their task, with the notification.
        self._waiting: dict[int, tuple[Call, int]] = {}
        self._concluded = False

    def follow(self) -> None:
        """Set the run off and follow it until nothing of it is left. Never raises."""
        supervision, channel = self._supervision, self._supervision.job.channel
        try:
            try:
                self._start()
                self._serve()
            except SetupFailedError as error:
                self._machine.setup_failed(error.failure)
            except Exception as error:
                self._machine.failed(f"{type(error).__name__}: {error}")
            else:
                return
            channel.close()
            self._stop_listening()
            self._drain()
        finally:
            channel.close()
            supervision.mailbox.close()
            self._close()
            supervision.announce(gone=True)

    # The start.

    def _start(self) -> None:
        """From the request for a box to the program's first instruction."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._supervision.mailbox.wake = self._wake_up
        self._admission.receive_box(DESCRIPTORS)
        self._admission.seize(OPTIONS)
        self._admission.go()
        self._starter.start()
        self._supervision.job.channel.close()
        self._receiver, self._answerer = Receiver(self._starter.listener), Answerer(self._starter.listener)
        self._supervision.begin_dump = self._dump
        self._supervision.before_kill = self._look_before_kill
        # Only a tracer could count them.
        self._machine.processes = self._machine.threads = 0
        main = self._admission.main
        self._machine.started(main)  # when it may not go on it was killed
        if self._supervision.job.announce_start:
            self._supervision.announce(started=True)
        try:
            ptrace.resume(main, 0, ptrace.PTRACE_DETACH)
        except ProcessLookupError:
            self._drain_tasks()  # killed while it was stopped

    def _drain_tasks(self) -> None:
        """Let what this thread traces end, deciding nothing any more."""
        while True:
            try:
                tid, status, _ = os.wait4(-1, WAIT_OPTIONS)
            except ChildProcessError:
                return
            if os.WIFSTOPPED(status):
                self._supervision.kill_tree()
                with contextlib.suppress(ProcessLookupError):
                    ptrace.resume(tid)

    def _drain(self) -> None:
        """After a failure: let everything end."""
        self._drain_tasks()
        if self._admission.init >= 0:
            poll = select.poll()
            poll.register(self._admission.init, select.POLLIN)
            poll.poll()

    # Following.

    def _serve(self) -> None:
        listener, ends, init = self._starter.listener, self._admission.ends, self._admission.init
        for descriptor in (listener, ends, init, self._wake):
            self._poll.register(descriptor, select.POLLIN)
        self._last.register(listener, select.POLLIN)
        self._listening = True
        self._supervision.mailbox.run_pending()
        poll, notified = self._poll.poll, self._notified
        while True:
            for descriptor, events in poll():
                if descriptor == listener:
                    if events & select.POLLIN:
                        notified()
                    else:
                        self._stop_listening()  # no task is left under the filter
                elif descriptor == self._wake:
                    os.eventfd_read(self._wake)
                    self._supervision.mailbox.run_pending()
                elif descriptor == ends:
                    self._poll.unregister(ends)
                    self._ended()
                elif not self._concluded:
                    self._ended()
                    return
                else:
                    return

    def _notified(self) -> None:
        """A call waits for us."""
        receiver, decisions = self._receiver, self._decisions
        assert receiver is not None
        assert decisions is not None  # the executor gives them to each run of this driver
        if not receiver.receive():
            return
        notification, tid, _, number, token, instruction_pointer, *args = receiver.fields()
        value = decisions.value(number, token, receiver.words)
        call = call_of_notification(token, number, tuple(args), instruction_pointer)
        action = value & SECCOMP_RET_ACTION_FULL
        if len(self._waiting) >= MANY_WAITING:
            self._waiting = {task: each for task, each in self._waiting.items() if self._still_waits(task, each[0])}
        self._waiting[tid] = call, notification
        if action == SECCOMP_RET_TRACE:
            verdict = self._machine.traced_call(tid, value & SECCOMP_RET_DATA, call)
            if verdict is not LATER:
                self._answer(tid, notification, verdict)
        elif action in (SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD):
            self._machine.killed_by_filter(tid, call)
            self._stop_listening()
        else:
            raise RuntimeError(f"the kernel asks about {call.name}, for which the policy's filter gives {value:#x}")

    def _answer_late(self, tid: int, call: Call, verdict: Verdict) -> None:
        """The verdict has come, for that very call: the task may be in another one, or be another task, by now."""
        waiting = self._waiting.get(tid)
        if waiting is not None and waiting[0] is call:
            self._answer(tid, waiting[1], verdict)

    def _answer(self, tid: int, notification: int, verdict: Verdict) -> None:
        """Do with the call what was decided. A killed one is not answered: it waits until the kill reaches it."""
        answerer, kind = self._answerer, verdict.kind
        assert answerer is not None
        if kind == "allow":
            answerer.let_go_on(notification)
        elif kind == "errno":
            answerer.fail(notification, verdict.value)
        elif kind == "return":
            answerer.give(notification, verdict.value)
        elif kind == "descriptor":
            self._hand_over(answerer, notification, verdict)
        elif kind == "kill":
            self._stop_listening()
            return
        elif kind != "finish":
            raise RuntimeError(f"a verdict that this monitor cannot carry out: {verdict!r}")
        del self._waiting[tid]

    @staticmethod
    def _hand_over(answerer: Answerer, notification: int, verdict: Verdict) -> None:
        """Give the task what our descriptor has open; where it cannot have one, its call fails for that reason."""
        try:
            answerer.give_descriptor(notification, verdict.value, close_on_exec=verdict.close_on_exec)
        except OSError as error:
            answerer.fail(notification, error.errno or 5)
        finally:
            with contextlib.suppress(OSError):
                os.close(verdict.value)

    def _still_waits(self, tid: int, call: Call) -> bool:
        """Whether that very call still waits, so that what was read of the task was read of it. From any thread."""
        waiting, answerer = self._waiting.get(tid), self._answerer
        if waiting is None or waiting[0] is not call or answerer is None:
            return False
        try:
            return answerer.still_waits(waiting[1])
        except OSError:
            return False  # the run is over, and with it the listener

    @contextlib.contextmanager
    def _held(self, tid: int, call: Call) -> Iterator[None]:
        """Kill everything, and hold the task at its end: what is read of it in the block is complete."""
        with held_at_its_end(tid, lambda: self._still_waits(tid, call), self._supervision.kill_tree):
            yield

    def _stop_listening(self) -> None:
        """Something ends the run: no call is answered any more, and so none made, until the kill reaches them all."""
        if self._listening:
            self._listening = False
            self._poll.unregister(self._starter.listener)
        self._waiting.clear()

    def _ended(self) -> None:
        """Init has reported how the program ended, or is gone without a word: then somebody has killed it."""
        self._concluded = True
        self._look_at_the_last()
        report = os.read(self._admission.ends, MAXIMUM_REPORT)
        if report:
            ended = decode(Ended, report)
            self._machine.program_ended(ended.status, _rusage(ended.usage))
        else:
            self._machine.killed(box_is_dying=True)
            self._machine.program_ended(SIGKILL, None)

    def _look_at_the_last(self) -> None:
        """Decide the calls that came before the end was told: a violation of a child is not lost because of it."""
        for _ in range(MAXIMUM_LAST):
            waiting = self._last.poll(0) if self._listening else []
            if not waiting or not waiting[0][1] & select.POLLIN:
                return
            self._notified()

    # What other threads ask.

    def _wake_up(self) -> None:
        with self._waking:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _dump(self, dump: Dump) -> None:
        """Take the stacks of all tasks of the box, in this thread."""
        from stockade.monitor.stack_dump import look_at_untraced, tasks_of_box

        dump.begun = True
        for tid in tasks_of_box(self._admission.main):
            dump.give(tid, look_at_untraced(tid))
        dump.settle()

    def _look_before_kill(self) -> None:
        """Take the stack of the program's main thread, in the thread that is about to kill it."""
        from stockade.monitor.stack_dump import KILL_SECONDS, look_at_untraced

        stack = look_at_untraced(self._admission.main, KILL_SECONDS)
        if self._supervision.send_signal(0):  # it is still there: the number was its
            self._machine.stack_before_kill(stack)

    def _close(self) -> None:
        """Close what is ours. Nobody posts work any more, and nothing of the run is left."""
        self._answerer = None
        with self._waking:
            wake, self._wake = self._wake, -1
        for descriptor in (self._starter.listener, self._admission.ends, wake):
            if descriptor >= 0:
                os.close(descriptor)


def _rusage(raw: bytes) -> resource.struct_rusage | None:
    """From the kernel's struct rusage; None when it is none."""
    if len(raw) != _RUSAGE.size:
        return None
    user, user_fraction, system, system_fraction, *counts = _RUSAGE.unpack(raw)
    times = user + user_fraction * MICROSECOND, system + system_fraction * MICROSECOND
    return resource.struct_rusage((*times, *counts))
