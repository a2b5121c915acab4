"""`stockade policy check`: everything that is wrong or risky in policies, each in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stockade.cli.answers import ENVIRONMENT, FINDING, OK, guarded, one_line
from stockade.cli.findings import ERROR, HINT, LEVELS, WARNING, Finding, of_error
from stockade.cli.help import SET_HELP
from stockade.cli.output import print_answer, say
from stockade.cli.policy_argument import PolicyArgument, PolicyUnreadableError, architecture_of, share, variables_of
from stockade.cli.usage import UsageError
from stockade.cli.words import Parser
from stockade.errors import PolicyError, SandboxError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

COMMAND = "stockade policy check"
DESCRIPTION = """\
Read policies as a run would, resolve and compile them for
every architecture and mode, compare each filter with the
rules and with libseccomp, and print what is found: errors
(the policy cannot be used), warnings (somebody should look)
and hints, one a line.
"""
EPILOG = """\
warnings are about rules that never decide, reopened dangers
and other danger_ switches, rules of high risk without a
reason, programs without tested_with, and architectures that
the policy cannot be used on.

exit codes:
  0    no errors; with --strict no warnings either
  1    a finding
  3    a policy cannot be read
  125  wrong usage, or an error of stockade

examples:
  stockade policy check my.textproto
  stockade policy check --strict policies/*.textproto
  stockade policy check --json gzip | jq .message
"""


def parser() -> Parser:
    """Return the options of the command."""
    parser = Parser(COMMAND, "[OPTION ...] POLICY ...", DESCRIPTION, EPILOG)
    parser.add_switch("--strict", help="let warnings count as findings")
    parser.add_switch("--verbose", help="list the calls about which libseccomp could not be asked")
    parser.add_option("--set", metavar="NAME=VALUE", repeated=True, help=SET_HELP)
    parser.add_option("--arch", metavar="NAME", help="check for this architecture only; for both unless given")
    parser.add_switch("--json", help="print one JSON object a line for each finding, and nothing else")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command with the words after its name; the exit code. Raises UsageError."""
    read = parser().read(arguments)
    if read is None:
        return OK
    options, words = read
    if not words:
        raise UsageError(COMMAND, "POLICY is missing")
    variables = variables_of(options.set, COMMAND)
    architectures = ("x86_64", "aarch64") if options.arch is None else (architecture_of(options.arch, COMMAND),)
    return guarded(lambda: _check(words, variables, architectures, options))


def _check(
    words: Sequence[str], variables: Mapping[str, str], architectures: Sequence[str], options: argparse.Namespace
) -> int:
    unreadable = 0
    counts = dict.fromkeys(LEVELS, 0)
    for word, own in zip(words, share(words, variables, COMMAND), strict=True):
        try:
            for finding in _findings(PolicyArgument(word), own, architectures, verbose=options.verbose):
                counts[finding.level] += 1
                _print(finding, word, as_json=options.json)
        except PolicyUnreadableError as error:
            unreadable += 1
            say(f"stockade: {one_line(error)}")
    if not options.json:
        print_answer(_summary(len(words) - unreadable, counts))
    if unreadable:
        return ENVIRONMENT
    return FINDING if counts[ERROR] or (options.strict and counts[WARNING]) else OK


def _findings(
    argument: PolicyArgument, variables: Mapping[str, str], architectures: Sequence[str], *, verbose: bool
) -> Iterator[Finding]:
    """Give the findings about one policy, by line."""
    try:
        policy = argument.load_as_it_is(variables)
    except PolicyUnreadableError:
        raise
    except SandboxError as error:
        yield _with_columns([of_error(error, "invalid", argument.source)], argument)[0]
        return
    from stockade.cli.review import Review

    found = list(Review(policy, argument.source, architectures, verbose=verbose).findings())
    found += _layout(argument)
    yield from sorted(_with_columns(found, argument), key=lambda each: (each.file, each.line, each.column))


def _layout(argument: PolicyArgument) -> Iterator[Finding]:
    from stockade.policy.text.source import format_source

    text = argument.text()
    try:
        formatted = format_source(text, argument.source)
    except PolicyError as error:
        yield Finding(HINT, "layout", error.message, argument.source)
        return
    if formatted != text:
        command = f"stockade policy format {argument.word}" if argument.path == argument.word else "policy format"
        yield Finding(HINT, "layout", f"it is not in canonical layout: {command} would change it", argument.source)


def _with_columns(found: Sequence[Finding], argument: PolicyArgument) -> list[Finding]:
    """Add the columns of findings in the main file that know only their line: that of the first thing on it."""
    try:
        lines = argument.text().split("\n")
    except PolicyError:
        return list(found)  # what is wrong with it is among the findings
    return [_with_column(finding, lines) if finding.file == argument.source else finding for finding in found]


def _with_column(finding: Finding, lines: Sequence[str]) -> Finding:
    if finding.column or not 0 < finding.line <= len(lines):
        return finding
    line = lines[finding.line - 1]
    return replace(finding, column=len(line) - len(line.lstrip()) + 1)


def _print(finding: Finding, word: str, *, as_json: bool) -> None:
    from stockade.wrap import printable

    if as_json:
        import json

        print_answer(json.dumps(finding.data(word)) + "\n")
    else:
        print_answer(printable(finding.text()) + "\n")


def _summary(policies: int, counts: Mapping[str, int]) -> str:
    found = [f"{count} {level}{'s' if count != 1 else ''}" for level, count in counts.items() if count]
    return f"{policies} {'policies' if policies != 1 else 'policy'} checked: {', '.join(found) or 'nothing found'}\n"
