"""`stockade policy diff`: what one policy allows that another refuses, in meaning and not in text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stockade.cli.answers import FINDING, OK, guarded
from stockade.cli.help import ARCH_HELP, JSON_HELP, SET_HELP
from stockade.cli.output import print_answer, width
from stockade.cli.policy_argument import architecture_of, load_both, variables_of
from stockade.cli.usage import exactly
from stockade.cli.words import Parser

if TYPE_CHECKING:
    from stockade.policy.evaluate import Verdict
    from stockade.policy.meaning.diff import Change, PolicyDiff

COMMAND = "stockade policy diff"
DESCRIPTION = """\
Compare two policies in meaning: what becomes allowed, what
becomes refused, and what is decided in another way when B
takes the place of A, each with a call that shows it. How
the policies are written does not count.
"""
EPILOG = """\
exit codes:
  0    the policies mean the same
  1    they differ, or not everything could be compared
  3    one of them cannot be read, or is wrong
  125  wrong usage, or an error of stockade

examples:
  stockade policy diff minimal io-heavy
  stockade policy diff --json old.textproto new.textproto
  stockade policy diff - new.textproto < old.textproto
"""


def parser() -> Parser:
    """Return the options of the command."""
    parser = Parser(COMMAND, "[OPTION ...] A B", DESCRIPTION, EPILOG)
    parser.add_option("--set", metavar="NAME=VALUE", repeated=True, help=SET_HELP)
    parser.add_option("--arch", metavar="NAME", help=ARCH_HELP)
    parser.add_switch("--json", help=JSON_HELP)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command with the words after its name; the exit code. Raises UsageError."""
    read = parser().read(arguments)
    if read is None:
        return OK
    options, words = read
    exactly(COMMAND, words, "A", "B")
    variables = variables_of(options.set, COMMAND)
    architecture = architecture_of(options.arch, COMMAND)

    def compare() -> int:
        from stockade.policy.meaning.diff import diff

        old, new = load_both(words, variables, COMMAND)
        found = diff(old, new, architecture)
        print_answer(_as_json(found) if options.json else found.to_text(width(1)))
        return OK if found.empty else FINDING

    return guarded(compare)


def _as_json(found: PolicyDiff) -> str:
    import json

    data = {
        "old": found.old_name,
        "new": found.new_name,
        "architecture": found.architecture,
        "equal": found.empty,
        "calls": [_change(change) for change in found.changes],
        "fields": [{"kind": each.kind, "field": each.what, "text": each.text} for each in found.fields],
        "undecided": list(found.undecided),
    }
    return json.dumps(data, indent=2) + "\n"


def _change(change: Change) -> dict[str, object]:
    return {
        "kind": change.kind,
        "syscall": change.syscall,
        "any_arguments": change.any_arguments,
        "witness": {"text": change.text, "args": list(change.call.registers)},
        "old": _verdict(change.old),
        "new": _verdict(change.new),
    }


def _verdict(verdict: Verdict) -> dict[str, object]:
    decider = verdict.rule or verdict.raw
    place = decider.origin.place if decider is not None else None
    return {"action": str(verdict.action), "place": place, "reason": verdict.reason}
