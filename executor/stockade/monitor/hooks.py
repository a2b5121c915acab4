"""What a hook may answer, and what it declares about itself.

A hook is a callable that is named in a `trace` rule and decides in Python what happens to a call. It runs while the
calling task is stopped. What it reads from the task's memory can be changed by another thread before the kernel reads
it again: a hook that reads memory and then allows is *advisory*, and the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Never, TypeVar

from stockade.monitor.syscall_event import Syscall

MAXIMUM_ERRNO = 4095


class Verdict:
    """The answer of a hook.

    `Verdict.ALLOW`: the kernel makes the call. `Verdict.INSPECT`: it makes the call, and `Notify.syscall_return` is
    told what it returned. `Verdict.errno(n)`: the call is not made and fails. `Verdict.returning(value)`: the call is
    not made and returns `value`. `Verdict.descriptor(fd)`: the call is not made and returns a new descriptor of the
    program for the open file behind our `fd`. `Verdict.KILL`: a violation. `Verdict.finish(word)`: the run ends, and
    `word` is its `user_verdict`.
    """

    __slots__ = ("close_on_exec", "kind", "value", "word")
    ALLOW: Verdict
    INSPECT: Verdict
    KILL: Verdict

    def __init__(self, kind: str, value: int = 0, word: str = "", *, close_on_exec: bool = False) -> None:
        self.kind, self.value, self.word, self.close_on_exec = kind, value, word, close_on_exec

    @classmethod
    def errno(cls, error: int) -> Verdict:
        """The call is not made and fails with `error`, 1 to 4095. ValueError for anything else."""
        if not isinstance(error, int) or not 1 <= error <= MAXIMUM_ERRNO:
            raise ValueError(f"an error number is from 1 to {MAXIMUM_ERRNO}, not {error!r}")
        return cls("errno", error)

    @classmethod
    def returning(cls, value: int) -> Verdict:
        """The call is not made and returns `value`, a signed 64-bit number that is no error. ValueError otherwise."""
        if not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63 or -MAXIMUM_ERRNO <= value < 0:
            raise ValueError(f"a call cannot return {value!r} as a success; Verdict.errno(n) makes it fail")
        return cls("return", value)

    @classmethod
    def descriptor(cls, fd: int, *, close_on_exec: bool = False) -> Verdict:
        """The call is not made and returns a new descriptor of the program for what our descriptor `fd` has open.

        Ours is closed once it has been handed over. Only for hooks declared with `hook(opens=True)`, and only under the
        unotify monitor. ValueError when `fd` is no descriptor number.
        """
        if not isinstance(fd, int) or fd < 0:
            raise ValueError(f"{fd!r} is no descriptor")
        return cls("descriptor", fd, close_on_exec=close_on_exec)

    @classmethod
    def finish(cls, word: str) -> Verdict:
        """The run ends now, with the status EXTERNAL_KILL and `word` (not empty) as its `user_verdict`."""
        if not isinstance(word, str) or not word:
            raise ValueError(f"a verdict is a word or a sentence, not {word!r}")
        return cls("finish", word=word)

    def __repr__(self) -> str:
        shown = {"errno": self.value, "return": self.value, "descriptor": self.value, "finish": repr(self.word)}
        name = {"return": "returning"}.get(self.kind, self.kind)
        return f"Verdict.{name}({shown[self.kind]})" if self.kind in shown else f"Verdict.{self.kind.upper()}"


Verdict.ALLOW = Verdict("allow")
Verdict.INSPECT = Verdict("inspect")
Verdict.KILL = Verdict("kill")


Hook = Callable[[Syscall], Verdict]
Hooks = Mapping[str, Hook]
_AnyCallable = TypeVar("_AnyCallable", bound=Callable[..., object])
_DECLARATION = "__stockade_hook__"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a hook has declared about itself with `hook(...)`."""

    slow: bool = False
    inspects: bool = False
    opens: bool = False
    timeout: float | None = None


_NOTHING = Declaration()


def is_seconds(value: object) -> bool:
    """Whether `value` is a time that a callback may take: a number of seconds, more than 0 and finite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def hook(
    *without_parentheses: Never,
    slow: bool = False,
    inspects: bool = False,
    opens: bool = False,
    timeout: float | None = None,
) -> Callable[[_AnyCallable], _AnyCallable]:
    """Declare what a hook may do; a decorator for functions and methods.

    `slow`: it runs in a thread of its own, beside other slow hooks, while other tasks of the program go on; the calling
    task waits. `hook_timeout` does not apply to it: it ends with the run's wall time, or after `timeout` seconds of its
    own, which end the run. `inspects`: it may answer Verdict.INSPECT. `opens`: it may answer Verdict.descriptor. What
    is not declared counts as nonsense when answered; what a monitor cannot do is a PolicyError when the executor is
    made.

    ValueError for a `timeout` that is not more than 0 and finite, or that is given for a hook that is not slow.
    """
    if without_parentheses:
        raise TypeError("write @hook(...) with what it declares; a hook that declares nothing needs no decorator")
    if timeout is not None and not slow:
        raise ValueError("only a slow hook has a timeout of its own; the executor's hook_timeout holds for the others")
    if timeout is not None and not is_seconds(timeout):
        raise ValueError(f"a timeout is a number of seconds, more than 0 and finite, not {timeout!r}")

    def declare(function: _AnyCallable) -> _AnyCallable:
        setattr(function, _DECLARATION, Declaration(slow, inspects, opens, timeout))
        return function

    return declare


def declaration_of(function: object) -> Declaration:
    """What `hook(...)` declared about a callable; nothing by default."""
    found = getattr(function, _DECLARATION, None)
    return found if isinstance(found, Declaration) else _NOTHING


# What a hook may answer, and the declaration that some answers need.
_ANSWERS = frozenset({"allow", "kill", "errno", "return", "finish"})
_DECLARED_ANSWERS = {"inspect": "inspects", "descriptor": "opens"}


def may_answer(declared: Declaration, verdict: Verdict) -> bool:
    """Whether a hook may give this verdict: some have to be declared."""
    if verdict.kind in _ANSWERS:
        return True
    name = _DECLARED_ANSWERS.get(verdict.kind)
    return name is not None and bool(getattr(declared, name))
