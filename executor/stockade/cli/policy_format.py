"""`stockade policy format`: text policies in their one canonical layout, comments kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stockade.cli.answers import ENVIRONMENT, FINDING, OK, guarded, one_line
from stockade.cli.output import print_answer, print_data, say
from stockade.cli.policy_argument import STDIN, STDIN_SOURCE, PolicyArgument, PolicyUnreadableError
from stockade.cli.usage import UsageError, exclusive
from stockade.cli.words import Parser
from stockade.errors import PolicyError

if TYPE_CHECKING:
    import argparse

COMMAND = "stockade policy format"
DESCRIPTION = """\
Write text policies anew in the canonical layout. What they
say, and their comments, stay the same. Files are replaced
in place, with their owner and mode; a file with an error is
left as it is. "-" stands for standard input, and prints.
"""
EPILOG = """\
exit codes:
  0    done; with --check and --diff: nothing to do
  1    with --check and --diff: not formatted; always: it is
       no text policy
  3    a file cannot be read, or cannot be replaced
  125  wrong usage, or an error of stockade

examples:
  stockade policy format my.textproto
  stockade policy format --check policies/*.textproto
  stockade policy format - < old.textproto > new.textproto
"""


def parser() -> Parser:
    """Return the options of the command."""
    parser = Parser(COMMAND, "[OPTION ...] FILE ...", DESCRIPTION, EPILOG)
    parser.add_switch("--check", help="change nothing; print the names of files that are not formatted")
    parser.add_switch("--diff", help="change nothing; print what would be changed")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command with the words after its name; the exit code. Raises UsageError."""
    read = parser().read(arguments)
    if read is None:
        return OK
    options, files = read
    if not files:
        raise UsageError(COMMAND, "FILE is missing")
    if files.count(STDIN) > 1:
        raise UsageError(COMMAND, "standard input can be read once only")
    exclusive(COMMAND, {"--check": options.check, "--diff": options.diff})
    return guarded(lambda: _format(files, options))


def _format(files: Sequence[str], options: argparse.Namespace) -> int:
    """Format each file, whatever becomes of the others; the exit code of the worst."""
    from stockade.cli.files import FileError

    codes = set()
    for name in files:
        try:
            codes.add(_stdin(options) if name == STDIN else _file(name, options))
        except (PolicyUnreadableError, FileError) as error:
            say(f"stockade: {one_line(error)}")
            codes.add(ENVIRONMENT)
        except PolicyError as error:
            say(f"stockade: {one_line(error)}")
            codes.add(FINDING)
    return max(codes)


def _file(name: str, options: argparse.Namespace) -> int:
    from stockade.cli.files import KnownFile
    from stockade.policy.text.source import format_source
    from stockade.policy.text.syntax import MAX_TEXT, decode

    file = KnownFile(name, MAX_TEXT)
    text = decode(file.data, name)
    formatted = format_source(text, name)
    if formatted == text:
        return OK
    if options.check or options.diff:
        return _report(name, text, formatted, options)
    file.replace(formatted.encode())
    return OK


def _stdin(options: argparse.Namespace) -> int:
    from stockade.policy.text.source import format_source

    text = PolicyArgument(STDIN).text()
    formatted = format_source(text, STDIN_SOURCE)
    if options.check or options.diff:
        return OK if formatted == text else _report(STDIN_SOURCE, text, formatted, options)
    print_data(formatted)
    return OK


def _report(name: str, text: str, formatted: str, options: argparse.Namespace) -> int:
    from stockade.wrap import printable

    shown = printable(name)
    if options.check:
        print_answer(f"{shown}\n")
        return FINDING
    import difflib

    lines = difflib.unified_diff(_lines(text), _lines(formatted), shown, f"{shown} (formatted)")
    print_data("".join(lines))
    return FINDING


def _lines(text: str) -> list[str]:
    """Return lines with their ends, as a diff has them."""
    lines = text.split("\n")
    ended = [f"{line}\n" for line in lines[:-1]]
    return [*ended, f"{lines[-1]}\n\\ No newline at end of file\n"] if lines[-1] else ended
