"""Calling the user's own functions: hooks and the methods of Notify, all under the same guard.

One that raises, answers nonsense or takes too long ends the run; what it answers is acted upon here. A slow hook runs
in a worker, and its verdict comes back through the mailbox of the thread that follows the run.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from stockade._proto import report_pb2
from stockade.monitor import hooks, notify
from stockade.monitor.hooks import Declaration, Hook, Verdict, declaration_of
from stockade.monitor.lost import report_lost
from stockade.monitor.notify import SignalVerdict
from stockade.monitor.opener import BoxOpener
from stockade.monitor.recorder import FlightRecorder
from stockade.monitor.supervision import Supervision
from stockade.monitor.syscall_event import PinnedTask, Syscall, close, watch
from stockade.monitor.violations import Call
from stockade.monitor.workers import Turns, run_within

# The answer comes later, from another thread, through the driver's `answer`.
LATER = Verdict("later")
# Told of what has happened, whether or not the run is ending for it already.
OBSERVERS = frozenset({"violation", "exit", "quota", "finished"})
# Nothing else is told of the set-up, and after the program's end.
BEFORE_PROGRAM = frozenset({"violation", "quota"})
AFTER_PROGRAM = frozenset({"quota"})

Kind = report_pb2.Violation


class Decider(Protocol):
    """What the state machine does about answers."""

    @property
    def is_ending(self) -> bool:
        """Whether the run is ending already, for a violation or because it was killed."""

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

    def finish_for_user(self, word: str) -> None:
        """A callback gave a verdict of its own: end the run."""

    def overran(self, tid: int, call: Call | None, hook: str) -> None:
        """A callback takes too long and holds the thread that follows the run: end the run without that thread."""


class _Asked(NamedTuple):
    """A call, and the hook that decides it."""

    name: str
    hook: Hook
    declared: Declaration
    tid: int
    call: Call
    event: Syscall


def event_of(
    tid: int,
    call: Call,
    hook: str,
    still_there: Callable[[], bool] | None = None,
    opener: BoxOpener | None = None,
) -> Syscall:
    """The call as it is shown to the user."""
    pointers = call.instruction_pointer, call.stack_pointer
    return Syscall(call.name, call.number, call.architecture, call.args, tid, *pointers, hook, still_there, opener)


class Callbacks:
    """The callbacks of one run.

    `answer` hands a verdict that came late to the driver; `still_waits` says whether that very call of the task still
    waits for one. `checks_reads`: a task may end while a hook looks at it, so that each reading has to be checked.
    """

    def __init__(
        self,
        supervision: Supervision,
        decider: Decider,
        recorder: FlightRecorder,
        answer: Callable[[int, Call, Verdict], None],
        still_waits: Callable[[int, Call], bool],
        opener: BoxOpener,
    ) -> None:
        job = supervision.job
        self._clock, self._mailbox = supervision.callbacks, supervision.mailbox
        self._decider, self._recorder, self._answer, self._still_waits = decider, recorder, answer, still_waits
        self._opener = opener
        self._notify, self._overridden = job.notify, notify.overridden(job.notify)
        self._told = self._overridden & BEFORE_PROGRAM
        self._hooks = [(name, job.hooks[name], declaration_of(job.hooks[name])) for name in job.hook_names]
        self._checks_reads = job.monitor != "ptrace"
        self._timeout = job.hook_timeout
        self._turns = Turns()
        self.advisory: dict[str, None] = {}
        self._left_behind = 0

    @property
    def abandoned(self) -> int:
        """How many threads are inside a callback that nobody waits for any more, now that the run is over."""
        return self._left_behind + self._clock.count

    # Hooks.

    def ask(self, index: int, tid: int, call: Call) -> Verdict:
        """Let hook number `index` decide. LATER when it is slow."""
        name, hook, declared = self._hooks[index]
        if declared.slow:
            return self._ask_slowly(name, hook, declared, tid, call)
        still_there = functools.partial(self._still_waits, tid, call) if self._checks_reads else None
        asked = _Asked(name, hook, declared, tid, call, self._event_of(tid, call, name, still_there))
        running = self._clock.begin(lambda: self._decider.overran(tid, call, name))
        verdict, error = _guarded(hook, asked.event)
        close(asked.event, _descriptor_of(verdict))
        if self._clock.end(running):
            _drop(verdict, error, name)
            return Verdict.KILL
        return self._settle(asked, verdict, error)

    def _event_of(self, tid: int, call: Call, hook: str, still_there: Callable[[], bool] | None) -> Syscall:
        return event_of(tid, call, hook, still_there, self._opener)

    def _settle(self, asked: _Asked, verdict: object, error: BaseException | None) -> Verdict:
        """Act upon what a hook answered, and return what its call gets. One that raised or answers nonsense denies."""
        name, _, declared, tid, call, event = asked
        message = "" if error is None else _words_of(error)
        if error is not None:
            verdict = Verdict.KILL
        elif not isinstance(verdict, Verdict) or not hooks.may_answer(declared, verdict):
            _drop(verdict, None, name)
            message = f"it answered {_text_of(repr, verdict)} instead of a Verdict that it may give"
            verdict = Verdict.KILL
        if verdict.kind == "kill":
            self._decider.breach(tid, call, Kind.HOOK, "hook", hook=name, message=message)
            return verdict
        self._recorder.record(tid, call.name, call.architecture, call.args, verdict, name)
        if verdict.kind == "finish":
            self._decider.finish_for_user(verdict.word)
        elif verdict.kind in ("allow", "inspect") and event.memory_was_read:
            self.advisory[name] = None
        return verdict

    def _ask_slowly(self, name: str, hook: Hook, declared: Declaration, tid: int, call: Call) -> Verdict:
        """Have a worker ask the hook; the task stays where it is meanwhile."""
        asked = _Asked(name, hook, declared, tid, call, self._event_of(tid, call, name, None))
        running = self._clock.begin_slow(declared.timeout, lambda: self._post_overrun(asked))

        def work() -> None:
            verdict, error = self._decide_aside(asked)
            in_time = not self._clock.end(running)
            if not (in_time and self._mailbox.post(lambda: self._settle_late(asked, verdict, error))):
                _drop(verdict, error, name)

        if self._turns.start(work):
            return LATER
        self._clock.end(running)
        self._decider.breach(tid, call, Kind.HOOK, "hook", hook=name, message="too many calls wait for its verdict")
        return Verdict.KILL

    def _decide_aside(self, asked: _Asked) -> tuple[object, BaseException | None]:
        """Ask a slow hook, in a worker whose turn it is. Without a task that waits there is nothing to ask about."""
        try:
            pin = None if self._checks_reads else PinnedTask(asked.tid)
        except FileNotFoundError:
            return None, None
        except OSError as failure:
            return None, failure
        try:
            # After it was pinned: what waits now was not reaped, so that the number is its own.
            if self._mailbox.closed or not self._still_waits(asked.tid, asked.call):
                return None, None
            still_there = pin or functools.partial(self._still_waits, asked.tid, asked.call)
            watch(asked.event, still_there)
            verdict, error = _guarded(asked.hook, asked.event)
            close(asked.event, _descriptor_of(verdict))
            return verdict, error
        finally:
            if pin is not None:
                pin.close()

    def _settle_late(self, asked: _Asked, verdict: object, error: BaseException | None) -> None:
        """The verdict of a slow hook has come. Its task may have ended meanwhile: then it means nothing."""
        if self._still_waits(asked.tid, asked.call):
            self._answer(asked.tid, asked.call, self._settle(asked, verdict, error))
        else:
            _drop(verdict, error, asked.name)

    def _post_overrun(self, asked: _Asked) -> None:
        self._mailbox.post(lambda: self._slow_overran(asked))

    def _slow_overran(self, asked: _Asked) -> None:
        if self._still_waits(asked.tid, asked.call):
            self._decider.breach(asked.tid, asked.call, Kind.HOOK_TIMEOUT, "hook", hook=asked.name)

    # Methods of Notify.

    def program_begins(self) -> None:
        """From here on what happens is the program's doing."""
        self._told = self._overridden

    def program_ends(self) -> None:
        """The program has its verdict. What is left of it is not told of."""
        self._told = self._overridden & AFTER_PROGRAM

    def wants(self, name: str) -> bool:
        """Whether the user's Notify is told of the event `name`."""
        return name in self._told

    def tell(self, name: str, tid: int, make: Callable[[], Sequence[Any]]) -> Verdict | SignalVerdict:
        """Tell the user's Notify of an event that concerns the task `tid`; `make` gives its arguments.

        Returns the answer, acted upon already when it ends the run; Verdict.ALLOW when there is none.
        """
        if name not in self._told:
            return Verdict.ALLOW
        where = f"Notify.{name}"
        arguments = make()
        running = self._clock.begin(lambda: self._decider.overran(tid, None, where))
        answer, error = _guarded(getattr(self._notify, name), *arguments)
        for argument in arguments:
            if isinstance(argument, Syscall):
                close(argument)
        if self._clock.end(running):
            if error is not None:
                report_lost(error, where)
            return Verdict.KILL
        if answer is None and error is None:
            return Verdict.ALLOW
        return self._act_upon(name, tid, answer, error)

    def _act_upon(self, name: str, tid: int, answer: object, error: BaseException | None) -> Verdict | SignalVerdict:
        where = f"Notify.{name}"
        if error is None:
            if isinstance(answer, (Verdict, SignalVerdict)) and notify.may_answer(name, answer):
                if answer.kind == "finish" and isinstance(answer, Verdict):
                    self._decider.finish_for_user(answer.word)
                elif answer.kind == "kill" and not (name in OBSERVERS and self._decider.is_ending):
                    self._decider.breach(tid, None, Kind.HOOK, "hook", hook=where)
                return answer
            _drop(answer, None, where)
            error = TypeError(f"it answered {_text_of(repr, answer)}, which this event cannot be answered with")
            message = str(error)
        else:
            message = _words_of(error)
        if name in OBSERVERS and self._decider.is_ending:
            report_lost(error, where)
        else:
            self._decider.breach(tid, None, Kind.HOOK, "hook", hook=where, message=message)
        return Verdict.KILL

    def tell_finished(self, tell: Callable[[], None]) -> None:
        """Tell that the run is over, in the thread that follows it: nothing that happens there changes anything."""
        running = self._clock.begin(lambda: self._decider.overran(0, None, "Notify.finished"))
        _, error = _guarded(tell)
        self._clock.end(running)
        if error is not None:
            report_lost(error, "Notify.finished")

    def tell_aside(self, name: str, tell: Callable[[], object]) -> None:
        """Have a method called in a worker, because the thread that follows the run cannot; its answer counts nothing.

        Waits for it as long as it may take.
        """

        def work() -> None:
            answer, error = _guarded(tell)
            _drop(answer, error, f"Notify.{name}")

        if not run_within(self._timeout, work):
            self._left_behind += 1


def _guarded(function: Callable[..., object], *arguments: object) -> tuple[object, BaseException | None]:
    """What the function returned, or what it raised: SystemExit too, since only its caller may end this thread."""
    try:
        return function(*arguments), None
    except BaseException as error:
        return None, error


def _descriptor_of(answer: object) -> int:
    """The descriptor that an answer hands over, -1 for none."""
    return answer.value if isinstance(answer, Verdict) and answer.kind == "descriptor" else -1


def _drop(answer: object, error: BaseException | None, where: str) -> None:
    """An answer that changes nothing any more: close the descriptor that it hands over, tell what was raised."""
    if (descriptor := _descriptor_of(answer)) >= 0:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    if error is not None:
        report_lost(error, where)


def _words_of(error: BaseException) -> str:
    return f"it raised {type(error).__name__}: {_text_of(str, error)}"


def _text_of(convert: Callable[[object], str], value: object) -> str:
    """Text of something that the user's code gave, whose own conversion may fail."""
    try:
        return convert(value)
    except Exception as error:
        return f"<{type(value).__name__} without text: {type(error).__name__}>"
