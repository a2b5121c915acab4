"""The dangerous switches of a policy: every field, value and group that is named so that review sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from stockade._proto import policy_pb2
from stockade.policy.finding import FieldPath, path_text
from stockade.policy.groups import GROUPS
from stockade.policy.places import Places
from stockade.policy.refused import DANGERS
from stockade.policy.text.format import is_repeated

_PREFIX = "danger_"
# What switches and values mean; a test names each of the schema.
MEANINGS = {
    "danger_allow_all": "every call that nothing decides is allowed",
    "danger_executable": "what is written there can be executed",
    "danger_share_namespace": "it is shared with the host",
    "danger_speculation": "the mitigation of speculative store bypass is left out",
    "DANGER_HOST": "the program reaches the network of the host, and what listens on it",
}


@dataclass(frozen=True, slots=True)
class Danger:
    """A switch that is set: its place (of the field, or of what it belongs to), and what it says, for people."""

    place: str
    text: str


def dangers_in(message: policy_pb2.Policy, places: Places) -> Iterator[Danger]:
    """Find all switches in a policy by their names, so that none is forgotten that the schema gets later."""
    for index, group in enumerate(message.syscalls.groups):
        if group.name.startswith(_PREFIX):
            yield Danger(places.group(index), f"the group {group.name}: {GROUPS[group.name].meaning}")
    for index, name in enumerate(message.syscalls.danger_reopened):
        yield Danger(places.reopening(index), f"danger_reopened {name}: the program can {DANGERS[name]}")
    for path, text in _switches(message, ()):
        yield Danger(_place(path, places), text)


def _switches(message: Message, path: FieldPath) -> Iterator[tuple[FieldPath, str]]:
    """Walk over all fields that are set: those with the prefix, and enum values with it."""
    for field, value in message.ListFields():
        values = list(value) if is_repeated(field) else [value]
        for index, each in enumerate(values):
            here = (*path, field.name, index)
            if isinstance(each, Message):
                yield from _switches(each, here)
            elif field.name.startswith(_PREFIX) and field.name != "danger_reopened":
                value_text = "" if isinstance(each, bool) else f" {each}"
                yield here, f"{field.name}{value_text}: {MEANINGS[field.name]}"
            elif field.enum_type is not None:
                name = field.enum_type.values_by_number[each].name
                if name.lower().startswith(_PREFIX):
                    yield here, f"{field.name} is {name}: {MEANINGS[name]}"


def _place(path: FieldPath, places: Places) -> str:
    """Return the place of the nearest field around a path that has one."""
    if path[:4] == ("syscalls", 0, "default_action", 0) and places.default:
        return places.default
    for length in range(len(path), 0, -2):
        found = places.field(path_text(path[:length]))
        if found != path_text(path[:length]):
            return found
    return path_text(path)
