"""The part of `PolicyBuilder` about other policies: going on from one, and taking in the content of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import native
from stockade.policy.building.base import BuilderBase, call_text
from stockade.policy.finding import FieldPath, path_text
from stockade.policy.meaning.space import unreachable
from stockade.policy.places import Places
from stockade.policy.policy import Policy
from stockade.policy.resolve_rule import resolve_rule, split_place
from stockade.policy.rules import ResolvedRule
from stockade.policy.text.combine import Part, combine
from stockade.policy.validate import architectures_of


class IncludeMethods(BuilderBase):
    """Other policies. What is said here comes first; see `stockade.policy.text.combine` for how they are joined."""

    @classmethod
    def from_policy(cls, policy: Policy) -> Self:
        """Make a builder that goes on from a finished policy, as if the calls that made it had been made here.

        The places of its lines are kept. A further rule that one of the policy leaves nothing to decide is an error in
        `build`; to override rules of a policy, `include` it in a new builder.
        """
        builder = cls()
        message, places = policy.message, policy.places
        for index, mount in enumerate(message.filesystem.mounts):
            builder._mounts.setdefault(mount.target, (mount, places.field(f"filesystem.mounts[{index}]")))
        builder._message.CopyFrom(message)
        del builder._message.filesystem.mounts[:]
        if not message.HasField("filesystem"):
            builder._message.ClearField("filesystem")
        syscalls = message.syscalls
        builder._rule_calls = [places.rule(index) for index in range(len(syscalls.rules))]
        builder._group_calls = [places.group(index) for index in range(len(syscalls.groups))]
        builder._raw_calls = [places.raw_filter(index) for index in range(len(syscalls.raw_filters))]
        builder._reopen_calls = [places.reopening(index) for index in range(len(syscalls.danger_reopened))]
        if syscalls.HasField("default_action"):
            builder._default_call = places.default or "syscalls.default_action"
        builder._continued = len(syscalls.rules)
        return builder

    def include(self, policy: Policy | str) -> Self:
        """Take in the content of another policy, or of a ready-made one by its name.

        Rules made here are tried before those that are taken in, in whatever order the calls are made; of several
        policies the one that is included first comes first. The default action, the network, and each limit and option
        hold as they are set here, else as the included policies agree; mounts must not differ. Name, description and
        tested programs stay those of this builder. The same policy twice counts once.
        """
        call = call_text("include", policy)
        if isinstance(policy, str):
            policy = _profile(policy, call)
        if not isinstance(policy, Policy):
            raise PolicyError(f"{policy!r} is no policy, and no name of a ready-made one", source=call)
        if all(policy != other for other, _ in self._includes):
            self._includes.append((policy, call))
        return self

    def _combined(self, message: policy_pb2.Policy, mount_calls: Sequence[str]) -> Policy:
        """Make the policy of `message`, what the calls of this builder say, and of the included ones."""
        included = [_Included(policy, call) for policy, call in self._includes]
        calls = {
            ("syscalls", "rules"): self._rule_calls,
            ("syscalls", "groups"): self._group_calls,
            ("syscalls", "raw_filters"): self._raw_calls,
            ("syscalls", "danger_reopened"): self._reopen_calls,
            ("syscalls", "default_action"): [self._default_call],
            ("filesystem", "mounts"): mount_calls,
            ("include",): [call for _, call in self._includes],
        }
        combined = combine(_Own(message, calls, included))
        self._check_continued(message)
        return Policy(combined.message, combined.places())

    def _check_continued(self, message: policy_pb2.Policy) -> None:
        """Refuse a rule made here that one of the policy this builder goes on from leaves nothing to decide.

        Where both were written in the same source, this is found with all other contradictions; but the lines of a text
        policy are a source of their own, as those of an included one.
        """
        if self._continued in (0, len(message.syscalls.rules)):
            return
        for architecture in architectures_of(message) or (native(),):
            together: dict[tuple[int, bool], list[tuple[int, ResolvedRule]]] = {}
            for index, rule in enumerate(message.syscalls.rules):
                for line in resolve_rule(rule, architecture, self._rule_calls[index]):
                    together.setdefault((line.rule.number, line.overridable), []).append((index, line.rule))
            for entries in together.values():
                for hidden in unreachable([each for _, each in entries]):
                    if hidden.covered_by and entries[hidden.index][0] >= self._continued:
                        covering = [entries[index][1] for index in hidden.covered_by]
                        raise _unreached(entries[hidden.index][1], covering)


def _profile(name: str, call: str) -> Policy:
    try:
        return Policy.profile(name)
    except PolicyError as error:
        if error.source is not None:
            raise
        raise PolicyError(error.message, source=call, suggestion=error.suggestion) from None


def _unreached(rule: ResolvedRule, covering: Sequence[ResolvedRule]) -> PolicyError:
    places = " and ".join(f"{each.origin.place} ({each.action})" for each in covering)
    return PolicyError(
        f"this rule for {rule.syscall} is never reached: all such calls are decided by {places}. To override rules of "
        "a policy, include() it in a new builder",
        source=rule.origin.place,
        syscall=rule.syscall,
    )


class _Own(Part):
    """What the calls of a builder say. `calls` are their texts, by the names of the list that they add to."""

    def __init__(
        self, message: policy_pb2.Policy, calls: dict[tuple[str, ...], Sequence[str]], includes: Sequence[Part]
    ) -> None:
        self.message, self.includes, self._calls = message, includes, calls

    def place(self, path: FieldPath) -> str:
        for length in range(len(path), 0, -2):
            names, index = tuple(str(name) for name in path[:length:2]), path[length - 1]
            if names in self._calls:
                return self._calls[names][int(index)]
        return path_text(path)

    def error(
        self, path: FieldPath, message: str, suggestion: str | None = None, syscall: str | None = None
    ) -> PolicyError:
        return PolicyError(message, source=self.place(path), suggestion=suggestion, syscall=syscall)


class _Included(Part):
    """A finished policy that a builder includes."""

    def __init__(self, policy: Policy, call: str) -> None:
        self.message, self.includes = policy.message, ()
        self._places, self._call = policy.places, call

    def place(self, path: FieldPath) -> str:
        place = _listed(self._places, path)
        if split_place(place)[1] is not None and not place.startswith("<"):
            return place
        # Calls, and lines of a text without a name, are not unique among policies.
        return f"{self._call}: {place}"

    def error(
        self, path: FieldPath, message: str, suggestion: str | None = None, syscall: str | None = None
    ) -> PolicyError:
        return PolicyError(message, source=self._call, suggestion=suggestion, syscall=syscall)


def _listed(places: Places, path: FieldPath) -> str:
    names, index = path[:4:2], int(path[3]) if len(path) > 3 else 0
    lists = {
        ("syscalls", "rules"): places.rule,
        ("syscalls", "groups"): places.group,
        ("syscalls", "raw_filters"): places.raw_filter,
        ("syscalls", "danger_reopened"): places.reopening,
    }
    if names in lists:
        return lists[names](index)
    if names == ("syscalls", "default_action"):
        return places.default or "syscalls.default_action"
    return places.field(path_text(path))
