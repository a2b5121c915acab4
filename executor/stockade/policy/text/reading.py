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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.policy.finding import Finding, path_text
from stockade.policy.places import Places
from stockade.policy.resolve import resolve
from stockade.policy.text.combine import Part, combine, order
from stockade.policy.text.format import format_message
from stockade.policy.text.include import Reader, TextPart, including
from stockade.policy.text.origin import Source
from stockade.policy.text.syntax import MAX_TEXT
from stockade.policy.text.variables import Given, escape_dollars, expand
from stockade.policy.validate import architectures_of, findings

__all__ = ["MAX_TEXT", "ParsedText", "format_policy", "parse", "read", "unlocated"]


@dataclass(frozen=True, slots=True)
class ParsedText:
    """What a text says: the message, and where its rules and groups stand ("gzip.textproto:12").

    The message holds what was included, and the values of variables. `sources` are the files that were read, the main
    one first. `variables` are the values of HOME and PWD, as far as they were taken from the surroundings; all others
    come from the caller and from the files. `via` says for each included file which includes lead to it.
    """

    message: policy_pb2.Policy
    places: Places
    sources: tuple[Source, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    via: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def explain(self, error: PolicyError) -> PolicyError:
        """Give an error about a line of this policy with the includes that lead to it, if that is in another file."""
        return including(error, self.via.get(error.source or "", ()))


def parse(text: str, source: str = "<text>", variables: Given | None = None) -> ParsedText:
    """Read a policy with what it includes, put the values of `variables` in, and check every name in it.

    `source` names the text in errors; relative includes need a file, see `read`. Raises PolicyError with source, line
    and column for syntax errors, for unknown fields, calls, groups and constants (with the closest known name), for
    missing or contradictory fields, and for includes and variables that cannot be resolved.
    """
    reader = Reader()
    return _finished(reader.text(text, source), reader, variables)


def read(path: str | os.PathLike[str], variables: Given | None = None) -> ParsedText:
    """Read a policy file. Raises PolicyError as `parse` does, and for a file that cannot be read or is not UTF-8."""
    reader = Reader()
    return _finished(reader.file(os.fspath(path)), reader, variables)


def format_policy(message: policy_pb2.Policy) -> str:
    """Write a policy in canonical form: equal messages have equal text, and reading the text gives the message back."""
    return format_message(escape_dollars(message))


def unlocated(finding: Finding, source: str | None = None) -> PolicyError:
    """Make the error for a finding in a message that was not read from text, with the path of its field."""
    path = path_text(finding.path)
    message = f"{path}: {finding.message}" if path else finding.message
    return PolicyError(message, source=source, suggestion=finding.suggestion, syscall=finding.syscall)


def _finished(root: TextPart, reader: Reader, given: Given | None) -> ParsedText:
    """Judge each text for itself, then all of them together."""
    parts = [part for part in order(root) if isinstance(part, TextPart)]
    outside = expand(root, parts, given)
    for part in parts:
        for finding in findings(_with_reopened(part)):
            raise _located(finding, part)
        if part is not root:
            _check_rules(part)
    combined = combine(root)
    for finding in findings(combined.message) if len(parts) > 1 else ():
        owner, path = combined.origin(finding.path) or (root, ())
        raise _located(Finding(path, finding.message, finding.suggestion, finding.syscall), owner)
    via = {part.source: part.via for part in parts if part.via}
    return ParsedText(combined.message, combined.places(), tuple(reader.sources), outside, via)


def _check_rules(part: TextPart) -> None:
    """Raise PolicyError for rules of an included text that contradict one another, whatever overrides them."""
    message = _with_reopened(part)
    places = Places(rules=tuple(part.place(("syscalls", 0, "rules", at)) for at in range(len(message.syscalls.rules))))
    for architecture in architectures_of(message):
        try:
            resolve(message, architecture, places=places)
        except PolicyError as error:
            raise including(error, part.via) from None


def _with_reopened(part: TextPart) -> policy_pb2.Policy:
    """Give the message of a part with the dangers that its includes reopen, on which its rules may count."""
    dangers = list(dict.fromkeys(_reopened(part)))
    own = part.message.syscalls.danger_reopened
    if not (more := [danger for danger in dangers if danger not in own]):
        return part.message
    message = policy_pb2.Policy()
    message.CopyFrom(part.message)
    message.syscalls.danger_reopened.extend(more)
    return message


def _reopened(part: TextPart) -> Iterator[str]:
    for each in order(part):
        yield from each.message.syscalls.danger_reopened


def _located(finding: Finding, part: Part) -> PolicyError:
    """Make the error for a finding, blamed on the place of its field, or of the nearest message around it."""
    return part.error(finding.path, finding.message, finding.suggestion, finding.syscall)
