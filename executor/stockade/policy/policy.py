"""A finished policy: immutable, hashable, ready to be resolved and compiled for an architecture and a mode."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import ARCHITECTURES, Architecture, native
from stockade.policy.box.paths import canonical_text
from stockade.policy.caching import cache
from stockade.policy.caching.compiled import Compiled, compiled, syscall_key
from stockade.policy.finding import beneath, closest
from stockade.policy.places import Places
from stockade.policy.text.origin import DIGEST_SIZE, digest_of
from stockade.policy.unsupported import unsupported_features
from stockade.policy.validate_files import filesystem_findings

# What reads, validates, resolves and compiles is imported where it is used: a policy from the disk cache needs none of
# it, and loading it takes longer than anything else that such a policy needs.
if TYPE_CHECKING:
    from stockade.policy.evaluate import Verdict
    from stockade.policy.meaning.diff import PolicyDiff
    from stockade.policy.meaning.explain import CallExplanation, Explanation
    from stockade.policy.meaning.merge import Merged
    from stockade.policy.rules import ResolvedPolicy
    from stockade.policy.text.reading import ParsedText
    from stockade.policy.text.variables import Given

__all__ = ["DIGEST_SIZE", "Policy", "ProgramVersion", "unsupported_features"]


class ProgramVersion(NamedTuple):
    """A program that a policy is known to fit: its path, the version that it prints, and the distribution."""

    path: str
    version: str
    platform: str


class Policy:
    """What a sandboxee may do. Made by `PolicyBuilder.build()`, `Policy.load`, `from_text`, `from_message`, `profile`.

    Two policies are equal when their messages are; where they were written does not count.
    """

    __slots__ = ("_compiled", "_digest", "_key", "_lock", "_message", "_on_disk", "_places", "_resolved", "_serialized")

    def __init__(self, message: policy_pb2.Policy, places: Places | None = None) -> None:
        """Take a copy of `message`; `places` says where its rules were written. Raises as `from_message` does."""
        from stockade.policy.text.reading import unlocated
        from stockade.policy.validate import architectures_of, findings

        for finding in findings(message):
            raise unlocated(finding)
        self._take(message, places or Places(), on_disk=False)
        # Contradictions between rules show on every machine, not only on one that has the call.
        for architecture in architectures_of(message) or (native(),):
            self.resolve(architecture)

    def _take(self, message: policy_pb2.Policy, places: Places, *, on_disk: bool) -> None:
        """Fill the object from a message in which nothing is wrong. `on_disk`: its programs are kept in the cache."""
        self._message = policy_pb2.Policy()
        self._message.CopyFrom(message)
        self._places, self._on_disk = places, on_disk
        self._serialized = self._message.SerializeToString(deterministic=True)
        self._digest = digest_of(self._serialized)
        self._key = syscall_key(self._message)
        self._resolved: dict[tuple[str, str], ResolvedPolicy] = {}
        self._compiled: dict[tuple[str, str], Compiled] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: str | os.PathLike[str], variables: Given | None = None) -> Policy:
        """Read a text policy from a file; `variables` are values for those that it declares, by name.

        Raises PolicyError with file, line and column, and for an unreadable file.
        """
        given = {name: canonical_text(value) for name, value in (variables or {}).items()}
        found = cache.load_text(path, given)
        if found is not None:
            policy = cls.__new__(cls)
            policy._take(found.message, found.places, on_disk=True)
            return policy
        from stockade.policy.text import reading as text

        parsed = text.read(path, given)
        policy = cls._parsed(parsed)
        policy._on_disk = cache.save_text(path, parsed, given)
        return policy

    @classmethod
    def from_text(cls, policy: str, source: str = "<text>", variables: Given | None = None) -> Policy:
        """Read a text policy; `source` names it in errors and reports, `variables` are as for `load`.

        It can include ready-made policies and absolute paths. Raises PolicyError with line and column.
        """
        from stockade.policy.text import reading as text

        return cls._parsed(text.parse(policy, source, variables))

    @classmethod
    def _parsed(cls, parsed: ParsedText) -> Policy:
        try:
            return cls(parsed.message, parsed.places)
        except PolicyError as error:
            raise parsed.explain(error) from None

    @classmethod
    def from_message(cls, message: policy_pb2.Policy) -> Policy:
        """Take a policy message. Raises PolicyError, with the path of the field, for what is wrong in it."""
        return cls(message)

    @classmethod
    def profile(cls, name: str, variables: Given | None = None) -> Policy:
        """Load a ready-made policy by its name; `variables` are as for `load`.

        Raises PolicyError, with the closest known name, if there is none.
        """
        from stockade.policy import profiles

        return cls.load(profiles.find(name), variables)

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

    @property
    def tested_with(self) -> tuple[ProgramVersion, ...]:
        """The programs, with versions and platforms, that the policy was tested with. Nothing is allowed by it."""
        return tuple(ProgramVersion(each.path, each.version, each.platform) for each in self._message.tested_with)

    def to_text(self) -> str:
        """Give the policy as text protobuf in canonical form, which `from_text` reads back as an equal policy."""
        from stockade.policy.text.reading import format_policy

        return format_policy(self._message)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_text()` to a file, which `load` reads back as an equal policy.

        A file that is there is replaced as a whole, or stays as it is when something fails; it keeps its permissions.
        Raises PolicyError when the file cannot be written.
        """
        from stockade.policy.text.file import write_file

        write_file(os.fspath(path), self.to_text())

    def resolve(self, architecture: Architecture | str | None = None, mode: str = "enforce") -> ResolvedPolicy:
        """Give the rules as they hold on `architecture` (this machine's unless given), in decision order. Cached.

        Raises PolicyError for rules that contradict one another or that cannot hold.
        """
        from stockade.policy.resolve import resolve

        chosen = _architecture(architecture)
        key = (chosen.name, mode)
        with self._lock:
            if key not in self._resolved:
                self._resolved[key] = resolve(self._message, chosen, mode, self._places)
            return self._resolved[key]

    def with_filesystem(self, filesystem: policy_pb2.FileSystem) -> Policy:
        """Give this policy with other mounts. Raises PolicyError for what is wrong in them.

        Only the mounts are looked at: the rules were judged when this policy was made.
        """
        message = self.message
        message.filesystem.CopyFrom(filesystem)
        length = message.ByteSize()
        message.DiscardUnknownFields()
        if message.ByteSize() != length:
            raise PolicyError("the mounts have fields that this version does not know: they were made by a newer one")
        for finding in beneath(("filesystem", 0), filesystem_findings(filesystem)):
            from stockade.policy.text.reading import unlocated

            raise unlocated(finding)
        policy = Policy.__new__(Policy)
        policy._take(message, self._places, on_disk=self._on_disk)
        policy._resolved, policy._compiled = dict(self._resolved), dict(self._compiled)
        return policy

    def compile(self, architecture: Architecture | str | None = None, mode: str = "enforce") -> bytes:
        """Give the seccomp filter (array of struct sock_filter) for `architecture` and `mode`. Cached.

        The finished program was compared with the rules on their boundary values. Raises PolicyError when it would be
        longer than the kernel takes, MonitorError when the comparison fails.
        """
        return self.compiled(architecture, mode).program

    def compiled(self, architecture: Architecture | str | None = None, mode: str = "enforce") -> Compiled:
        """Give the filter with the facts about the rules that a run needs. Cached, and raises, as `compile`."""
        chosen = _architecture(architecture)
        name = (chosen.name, mode)
        if name not in self._compiled:
            found = cache.load_program(self._key, self._places, *name) if self._on_disk else None
            if found is None:
                # Resolved first: that two policies have one program does not say that both may be used.
                resolved = self.resolve(chosen, mode)
                found = compiled(self._key, resolved)
                if self._on_disk:
                    cache.save_program(self._key, self._places, *name, found)
            self._compiled[name] = found
        return self._compiled[name]

    def evaluate(
        self, syscall: str | int, args: Sequence[int | str] = (), architecture: Architecture | str | None = None
    ) -> Verdict:
        """Say what the policy decides about a call, by which rule and why, in enforce mode.

        `syscall` is a name or a number, `args` are up to six numbers or constants ("TCGETS"), missing ones are 0.
        Raises PolicyError for a name that the architecture does not have, or an unknown constant.
        """
        from stockade.policy.evaluate import evaluate

        chosen = _architecture(architecture)
        return evaluate(self.resolve(chosen), _number(syscall, chosen), [_register(arg, chosen) for arg in args])

    @overload
    def explain(self, *, architecture: Architecture | str | None = None) -> Explanation: ...

    @overload
    def explain(
        self,
        syscall: str | int,
        args: Sequence[int | str | None] = (),
        architecture: Architecture | str | None = None,
    ) -> CallExplanation: ...

    def explain(
        self,
        syscall: str | int | None = None,
        args: Sequence[int | str | None] = (),
        architecture: Architecture | str | None = None,
    ) -> Explanation | CallExplanation:
        """Say in words what the policy allows; with `syscall`, what it decides about it and what would change that.

        Arguments that are missing, None or "_" are left open: then there is a case for each rule that can decide.
        `to_text()` is for people. Raises PolicyError for unknown names and constants, and for surplus arguments.
        """
        from stockade.policy.meaning import explain

        if syscall is not None:
            return explain.explain_call(self, syscall, args, architecture)
        if args:
            raise PolicyError("arguments without a system call: name the call first")
        return explain.explain(self, architecture)

    def diff(self, other: Policy, architecture: Architecture | str | None = None) -> PolicyDiff:
        """Compare in meaning with another policy: what it allows and this one does not, what it refuses, and the rest.

        Each difference between rules has a call that shows it. `empty`: there is no difference; `to_text()` is for
        people.
        """
        from stockade.policy.meaning.diff import diff

        return diff(self, other, architecture)

    def merge(self, other: Policy) -> Merged:
        """Give the policy that allows what either policy allows (`.policy`), and where the two disagreed (`.notes`).

        Raises PolicyError, naming both, where there is no such policy: different files at one place, for example.
        """
        from stockade.policy.meaning.merge import merge

        return merge(self, other)

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
    from stockade.kernel import constants

    try:
        return constants.parse(value, architecture.name)
    except (LookupError, ValueError) as error:
        raise PolicyError(str(error)) from error
