"""Joining a policy with those that it includes, by the same rules for text files and for `PolicyBuilder.include`.

Rules of the including policy come first, then those of the included ones in the order of the includes; a policy comes
before everything that it includes itself, and one that is reached in two ways counts once. Rules that an earlier policy
leaves nothing to decide are left out: that is how one overrides. What can be said once only
(the default action, the network, each limit and option) is decided by the including policy; included ones that differ
where it says nothing are an error. So are two mounts that differ at one place. Name, description and tested programs of
included policies are left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.box.paths import is_beneath
from stockade.policy.finding import FieldPath, path_text
from stockade.policy.places import Places
from stockade.policy.text.format import is_repeated
from stockade.policy.text.overridden import OwnedRule, remaining
from stockade.policy.validate_files import describe
from stockade.text import quote

# Field names from the policy down: ("limits", "wall_time").
Names: TypeAlias = tuple[str, ...]


class Part(ABC):
    """One policy, before it is joined with those that it includes. `message` says nothing of them."""

    message: policy_pb2.Policy
    includes: Sequence[Part]

    @abstractmethod
    def place(self, path: FieldPath) -> str:
        """Say where a field of `message`, or the include ("include", index), was written: "gzip.textproto:12"."""

    @abstractmethod
    def error(
        self, path: FieldPath, message: str, suggestion: str | None = None, syscall: str | None = None
    ) -> PolicyError:
        """Make an error about a field of `message`, or about an include."""


@dataclass(frozen=True, slots=True)
class Combined:
    """A policy with all that it includes, and where each piece of it comes from."""

    message: policy_pb2.Policy
    origins: dict[FieldPath, tuple[Part, FieldPath]]

    def origin(self, path: FieldPath) -> tuple[Part, FieldPath] | None:
        """Give the part that a field of `message` comes from, with the path of the field there."""
        for length in range(len(path), 0, -2):
            found = self.origins.get(path[:length])
            if found is not None:
                return found[0], found[1] + path[length:]
        return None

    def places(self) -> Places:
        """Give the places of all pieces."""
        places = {path: part.place(there) for path, (part, there) in self.origins.items()}

        def listed(*names: str) -> tuple[str, ...]:
            return tuple(places[path] for path in places if _names(path) == names)

        fields = tuple(
            f"{path_text(path)} {place}"
            for path, place in places.items()
            if _names(path) not in _LISTED and place != path_text(path)
        )
        return Places(
            rules=listed("syscalls", "rules"),
            groups=listed("syscalls", "groups"),
            default=places.get(("syscalls", 0, "default_action", 0), ""),
            raw_filters=listed("syscalls", "raw_filters"),
            reopened=listed("syscalls", "danger_reopened"),
            fields=fields,
        )


def combine(root: Part) -> Combined:
    """Join a policy with all that it includes. Raises PolicyError, naming both places, where they contradict."""
    message = policy_pb2.Policy()
    message.CopyFrom(root.message)
    combined = Combined(message, {})
    parts = order(root)
    for names in _lists():
        _join(combined, parts, names)
    decided: dict[tuple[int, Names], tuple[object, Part] | None] = {}
    for names in _singles():
        found = _decide(root, names, decided)
        if found is not None:
            _set(message, names, found[0])
            combined.origins[_path(names)] = found[1], _path(names)
    return combined


def order(root: Part) -> list[Part]:
    """List a part and all that it includes: each before what it includes, otherwise in the order of the includes."""
    found: list[Part] = []
    seen: set[int] = set()

    def visit(part: Part) -> None:
        if id(part) not in seen:
            seen.add(id(part))
            for each in reversed(part.includes):
                visit(each)
            found.append(part)

    visit(root)
    return found[::-1]


def parents_first(mounts: Sequence[policy_pb2.Mount]) -> list[int]:
    """Give the indices of mounts such that each comes after those above it, otherwise in their order."""
    first = {mount.target: index for index, mount in reversed(list(enumerate(mounts)))}
    chosen: dict[int, None] = {}
    for index, mount in enumerate(mounts):
        above = [place for target, place in first.items() if is_beneath(mount.target, target)]
        for each in sorted(above, key=lambda place: len(mounts[place].target)):
            chosen.setdefault(each)
        chosen.setdefault(index)
    return list(chosen)


# Lists whose places have a field of their own in `Places`.
_LISTED = frozenset(
    ("syscalls", name) for name in ("rules", "groups", "raw_filters", "danger_reopened", "default_action")
)
_RULES = ("syscalls", "rules")
# Lists whose elements have a name, which no two of them may share.
_KEYS = {("filesystem", "mounts"): "target", ("syscalls", "phases"): "name"}
# Messages that are decided field by field; of all others one decides as a whole.
_BY_FIELD = ("syscalls", "filesystem", "limits", "options")
# What is said of the including policy only.
OWN_ONLY = ("schema_version", "name", "description", "tested_with", "include", "variables")


def _lists() -> Iterator[Names]:
    for part in _BY_FIELD:
        yield from ((part, field.name) for field in _fields(part) if is_repeated(field))


def _singles() -> Iterator[Names]:
    for field in policy_pb2.Policy.DESCRIPTOR.fields:
        if field.name in _BY_FIELD:
            yield from ((field.name, each.name) for each in _fields(field.name) if not is_repeated(each))
        elif field.name not in OWN_ONLY:
            yield (field.name,)


def _fields(part: str) -> list[FieldDescriptor]:
    """List the fields of a message of the policy."""
    message = getattr(policy_pb2.Policy(), part)
    return cast(list[FieldDescriptor], list(message.DESCRIPTOR.fields))


def _path(names: Names) -> FieldPath:
    return tuple(each for name in names for each in (name, 0))


def _names(path: FieldPath) -> tuple[str | int, ...]:
    return path[::2]


def _list(message: Message, names: Names) -> Any:
    for name in names:
        message = getattr(message, name)
    return message


def _join(combined: Combined, parts: Sequence[Part], names: Names) -> None:
    """Append the elements of a list of all parts, without those that are there already."""
    above = _path(names[:-1])
    entries: list[tuple[Any, Part, int]] = []
    for part in parts:
        for index, element in enumerate(_list(part.message, names)):
            here = (*above, names[-1], index)
            if part is parts[0] or names == _RULES or not _is_present(entries, element, part, here):
                entries.append((element, part, index))
    if len(parts) > 1 and names == ("filesystem", "mounts"):
        entries = [entries[index] for index in parents_first([mount for mount, _, _ in entries])]
    if len(parts) > 1 and names == _RULES:
        entries = _not_overridden(entries)
    if entries:
        target = _list(combined.message, names)
        del target[:]
        target.extend([element for element, _, _ in entries])
    for index, (_, part, there) in enumerate(entries):
        combined.origins[(*above, names[-1], index)] = part, (*above, names[-1], there)


def _not_overridden(entries: Sequence[tuple[Any, Part, int]]) -> list[tuple[Any, Part, int]]:
    """Leave out rules, and calls of rules, that a rule of an including policy or of an earlier include covers."""
    rules = []
    for rule, part, index in entries:
        path = (*_path(_RULES)[:-1], index)
        rules.append(OwnedRule(rule, id(part), part.place(path), partial(part.error, path)))
    kept = zip(remaining(rules), entries, strict=True)
    return [(rule, part, index) for rule, (_, part, index) in kept if rule is not None]


def _is_present(entries: Sequence[tuple[Any, Part, int]], element: Any, part: Part, path: FieldPath) -> bool:
    """Say whether an element is in a list already. Raises PolicyError when another one of its name is."""
    key = _KEYS.get((str(path[0]), str(path[2])))
    for other, owner, index in entries:
        there = (*path[:-1], index)
        if element == other:
            return True
        if key and owner is not part and getattr(element, key) == getattr(other, key):
            raise part.error((*path, key, 0), _differs_text(element, other, owner.place(there)))
    return False


def _differs_text(element: Any, other: Any, place: str) -> str:
    if isinstance(element, policy_pb2.Mount):
        return f"{describe(element)} is mounted differently at {place}: {describe(other)}"
    return f"there is another one named {quote(element.name)} at {place}"


def _decide(
    part: Part, names: Names, decided: dict[tuple[int, Names], tuple[object, Part] | None]
) -> tuple[object, Part] | None:
    """Give the value of a field that can be said once, with the part that says it; None when none does."""
    key = (id(part), names)
    if key in decided:
        return decided[key]
    own = _value(part.message, names)
    found = None if own is None else (own, part)
    for index, each in enumerate(part.includes):
        theirs = _decide(each, names, decided)
        if own is not None or theirs is None:
            continue
        if found is not None and found[0] != theirs[0]:
            path, what = _path(names), path_text(_path(names))
            places = found[1].place(path), theirs[1].place(path)
            reason = f"the included policies differ in {what}: see {places[0]} and {places[1]}. Say it here to decide"
            raise part.error(("include", index), reason)
        found = found or theirs
    decided[key] = found
    return found


def _value(message: Message, names: Names) -> object | None:
    """Give what a message says in a field; None when it says nothing."""
    for name in names[:-1]:
        message = getattr(message, name)
    if message.DESCRIPTOR.fields_by_name[names[-1]].message_type is not None:
        return getattr(message, names[-1]) if message.HasField(names[-1]) else None
    return getattr(message, names[-1]) or None


def _set(message: Message, names: Names, value: object) -> None:
    for name in names[:-1]:
        message = getattr(message, name)
    if isinstance(value, Message):
        getattr(message, names[-1]).CopyFrom(value)
    else:
        setattr(message, names[-1], value)
