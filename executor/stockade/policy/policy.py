"""A finished policy: immutable, hashable, ready to be resolved and compiled for an architecture and a mode."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel import constants
from stockade.kernel.architectures import ARCHITECTURES, Architecture, native
from stockade.policy import profiles, text
from stockade.policy.bpf.compile import compile as compile_rules
from stockade.policy.evaluate import Verdict, evaluate
from stockade.policy.finding import closest
from stockade.policy.places import Places
from stockade.policy.resolve import resolve
from stockade.policy.rules import ResolvedPolicy
from stockade.policy.selfcheck import check_program
from stockade.policy.unsupported import unsupported_features
from stockade.policy.validate import architectures_of, findings

__all__ = ["DIGEST_SIZE", "Policy", "unsupported_features"]

DIGEST_SIZE = 32


class Policy:
    """What a sandboxee may do. Made by `PolicyBuilder.build()`, `Policy.load`, `from_text`, `from_message`, `profile`.

    Two policies are equal when their messages are; where they were written does not count.
    """

    __slots__ = ("_digest", "_lock", "_message", "_places", "_programs", "_resolved", "_serialized")

    def __init__(self, message: policy_pb2.Policy, places: Places | None = None) -> None:
        """Take a copy of `message`; `places` says where its rules were written. Raises as `from_message` does."""
        for finding in findings(message):
            raise text.unlocated(finding)
        self._message = policy_pb2.Policy()
        self._message.CopyFrom(message)
        self._places = places or Places()
        self._serialized = self._message.SerializeToString(deterministic=True)
        self._digest = hashlib.blake2b(self._serialized, digest_size=DIGEST_SIZE).digest()
        self._resolved: dict[tuple[str, str], ResolvedPolicy] = {}
        self._programs: dict[tuple[str, str], bytes] = {}
        self._lock = threading.Lock()
        # Contradictions between rules show on every machine, not only on one that has the call.
        for architecture in architectures_of(message) or (native(),):
            self.resolve(architecture)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a text policy from a file. Raises PolicyError with file, line and column, and for an unreadable file."""
        parsed = text.read(path)
        return cls(parsed.message, parsed.places)

    @classmethod
    def from_text(cls, policy: str, source: str = "<text>") -> Policy:
        """Read a text policy; `source` names it in errors and reports. Raises PolicyError with line and column."""
        parsed = text.parse(policy, source)
        return cls(parsed.message, parsed.places)

    @classmethod
    def from_message(cls, message: policy_pb2.Policy) -> Policy:
        """Take a policy message. Raises PolicyError, with the path of the field, for what is wrong in it."""
        return cls(message)

    @classmethod
    def profile(cls, name: str) -> Policy:
        """Load a ready-made policy by its name. Raises PolicyError, with the closest known name, if there is none."""
        return cls.load(profiles.find(name))

    @property
    def message(self) -> policy_pb2.Policy:
        """A copy of the policy's message."""
        copy = policy_pb2.Policy()
        copy.CopyFrom(self._message)
        return copy

    @property
    def name(self) -> str:
        """Name of the policy; may be empty."""
        return self._message.name

    @property
    def serialized(self) -> bytes:
        """The message in its deterministic serialisation: equal policies, equal bytes."""
        return self._serialized

    @property
    def digest(self) -> bytes:
        """Blake2b-256 of `serialized`, 32 bytes."""
        return self._digest

    @property
    def places(self) -> Places:
        """Where rules and groups were written, for reports."""
        return self._places

    def to_text(self) -> str:
        """Give the policy as text protobuf in canonical form, which `from_text` reads back as an equal policy."""
        return text.format_policy(self._message)

    def resolve(self, architecture: Architecture | str | None = None, mode: str = "enforce") -> ResolvedPolicy:
        """Give the rules as they hold on `architecture` (this machine's unless given), in decision order. Cached.

        Raises PolicyError for rules that contradict one another or that cannot hold.
        """
        chosen = _architecture(architecture)
        key = (chosen.name, mode)
        with self._lock:
            if key not in self._resolved:
                self._resolved[key] = resolve(self._message, chosen, mode, self._places)
            return self._resolved[key]

    def compile(self, architecture: Architecture | str | None = None, mode: str = "enforce") -> bytes:
        """Give the seccomp filter (array of struct sock_filter) for `architecture` and `mode`. Cached.

        The finished program was compared with the rules on their boundary values. Raises PolicyError when it would be
        longer than the kernel takes, MonitorError when the comparison fails.
        """
        resolved = self.resolve(architecture, mode)
        key = (resolved.architecture.name, mode)
        with self._lock:
            if key not in self._programs:
                program = compile_rules(resolved)
                check_program(resolved, program)
                self._programs[key] = program
            return self._programs[key]

    def evaluate(
        self, syscall: str | int, args: Sequence[int | str] = (), architecture: Architecture | str | None = None
    ) -> Verdict:
        """Say what the policy decides about a call, by which rule and why, in enforce mode.

        `syscall` is a name or a number, `args` are up to six numbers or constants ("TCGETS"), missing ones are 0.
        Raises PolicyError for a name that the architecture does not have, or an unknown constant.
        """
        chosen = _architecture(architecture)
        return evaluate(self.resolve(chosen), _number(syscall, chosen), [_register(arg, chosen) for arg in args])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self._serialized == other._serialized

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"<Policy {self.name or 'without a name'} {self._digest.hex()[:12]}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickle, (self._serialized, self._places)


def _unpickle(serialized: bytes, places: Places) -> Policy:
    return Policy(policy_pb2.Policy.FromString(serialized), places)


def _architecture(given: Architecture | str | None) -> Architecture:
    if given is None:
        return native()
    if isinstance(given, Architecture):
        return given
    if given not in ARCHITECTURES:
        raise PolicyError(f"unknown architecture {given!r}", suggestion=closest(given, ARCHITECTURES))
    return ARCHITECTURES[given]


def _number(syscall: str | int, architecture: Architecture) -> int:
    if isinstance(syscall, int):
        return syscall
    number = architecture.syscalls.get(syscall)
    if number is None:
        near = closest(syscall, architecture.syscalls)
        raise PolicyError(f"{architecture.name} has no system call named {syscall!r}", suggestion=near, syscall=syscall)
    return number


def _register(value: int | str, architecture: Architecture) -> int:
    if isinstance(value, int):
        return value
    try:
        return constants.parse(value, architecture.name)
    except (LookupError, ValueError) as error:
        raise PolicyError(str(error)) from error
