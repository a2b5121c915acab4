"""Policies as text protobuf: reading with errors by line and column, and writing in one canonical form.

# Lines that start with # are comments.
schema_version: 1
name: "gzip"
syscalls {
  rules { syscall: "ioctl" when { argument: 1 equal: "TCGETS" } action: ALLOW }
  groups { name: "dynamic_startup" }
}
filesystem { libraries_for_binary: "/usr/bin/gzip" }
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format as protobuf_text
from google.protobuf.descriptor import EnumDescriptor

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.finding import Finding, closest, path_text
from stockade.policy.places import Places
from stockade.policy.text_format import format_message
from stockade.policy.text_locations import Locations
from stockade.policy.validate import findings
from stockade.text import escape

# Larger files are no policies that a person could review.
MAX_TEXT = 4 << 20

_NO_FIELD = re.compile(r'Message type "(?P<type>[^"]+)" has no field named "(?P<name>.*)"')
_NO_VALUE = re.compile(r'Enum type "(?P<type>[^"]+)" has no value named (?P<name>\S+?)\.?$')
_TWICE = re.compile(r'should not have multiple "(?P<name>[^"]+)" fields')
_BOTH = re.compile(r'Field "(?P<name>\w+)" is specified along with field "(?P<other>\w+)"')


@dataclass(frozen=True, slots=True)
class ParsedText:
    """What a text says: the message, and where its rules and groups stand ("gzip.textproto:12")."""

    message: policy_pb2.Policy
    places: Places


def parse(text: str, source: str = "<text>") -> ParsedText:
    """Read a policy and check every name in it.

    `source` names the text in errors. Raises PolicyError with source, line and column for syntax errors, for unknown
    fields, calls, groups and constants (with the closest known name), and for missing or contradictory fields.
    """
    message = policy_pb2.Policy()
    _check_size(text, source)
    try:
        protobuf_text.Parse(text, message)
    except protobuf_text.ParseError as error:
        raise _syntax_error(error, text, source) from None
    locations = Locations(text)
    for finding in findings(message):
        raise located(finding, locations, source)
    return ParsedText(message, _places(message, locations, source))


def read(path: str | os.PathLike[str]) -> ParsedText:
    """Read a policy file. Raises PolicyError as `parse` does, and for a file that cannot be read or is not UTF-8."""
    source = os.fspath(path)
    try:
        with Path(source).open("rb") as file:
            data = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise PolicyError(f"cannot read the policy: {error.strerror}", source=source, path=source) from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError("the policy is not valid UTF-8", source=source, line=line) from error
    return parse(text, source)


def format_policy(message: policy_pb2.Policy) -> str:
    """Write a policy in canonical form: equal messages have equal text, and reading the text gives the message back."""
    return format_message(message)


def located(finding: Finding, locations: Locations, source: str) -> PolicyError:
    """Make the error for a finding, blamed on the place of its field, or of the nearest message around it."""
    line, column = locations.of(finding.path) or (1, 1)
    return PolicyError(
        finding.message,
        source=source,
        line=line,
        column=column,
        suggestion=finding.suggestion,
        syscall=finding.syscall,
    )


def unlocated(finding: Finding, source: str | None = None) -> PolicyError:
    """Make the error for a finding in a message that was not read from text, with the path of its field."""
    path = path_text(finding.path)
    message = f"{path}: {finding.message}" if path else finding.message
    return PolicyError(message, source=source, suggestion=finding.suggestion, syscall=finding.syscall)


def _check_size(text: str, source: str) -> None:
    if len(text) > MAX_TEXT:
        raise PolicyError(f"the policy is longer than {MAX_TEXT >> 20} MiB", source=source)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise PolicyError("the policy holds characters that are not valid Unicode", source=source, line=line) from None


def _places(message: policy_pb2.Policy, locations: Locations, source: str) -> Places:
    def place(*path: str | int) -> str:
        line, _ = locations.of(("syscalls", 0, *path)) or (1, 1)
        return f"{source}:{line}"

    return Places(
        rules=tuple(place("rules", index) for index in range(len(message.syscalls.rules))),
        groups=tuple(place("groups", index) for index in range(len(message.syscalls.groups))),
        default=place("default_action", 0) if message.syscalls.HasField("default_action") else "",
    )


def _syntax_error(error: protobuf_text.ParseError, text: str, source: str) -> PolicyError:
    """Turn an error of the protobuf library into ours: its own place, our words, the closest known name."""
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    message, suggestion = _explain(_bare_message(error, text, line))
    return PolicyError(message, source=source, line=line, column=column, suggestion=suggestion)


def _bare_message(error: protobuf_text.ParseError, text: str, line: int) -> str:
    """Cut the position and the quoted source line off a message of the library."""
    message = str(error)
    message = re.sub(r"^\d+:\d+ : ", "", message)
    lines = text.split("\n")
    quoted = f"'{lines[line - 1]}': " if line <= len(lines) else "'': "
    for prefix in (quoted, "'': "):
        if message.startswith(prefix):
            return message[len(prefix) :]
    return message


def _explain(message: str) -> tuple[str, str | None]:
    """Say in our words what the library complains about, with the closest known name."""
    pool = policy_pb2.DESCRIPTOR.pool
    if match := _NO_FIELD.search(message):
        known = [field.name for field in pool.FindMessageTypeByName(match["type"]).fields]
        where = match["type"].rpartition(".")[2]
        return f'unknown field "{escape(match["name"])}" in {where}', closest(match["name"], known)
    if match := _NO_VALUE.search(message):
        values: EnumDescriptor = pool.FindEnumTypeByName(match["type"])
        known = [value.name for value in values.values if not value.name.endswith("_UNSPECIFIED")]
        return f"unknown value {escape(match['name'])}: it is one of {', '.join(known)}", closest(match["name"], known)
    if match := _TWICE.search(message):
        return f'field "{match["name"]}" is given twice', None
    if match := _BOTH.search(message):
        return f'"{match["name"]}" and "{match["other"]}" exclude each other', None
    return escape(message).removesuffix("."), None
