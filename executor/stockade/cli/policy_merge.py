"""`stockade policy merge`: one policy that allows what either of two allows."""

from __future__ import annotations

from collections.abc import Sequence

from stockade.cli.answers import OK, guarded
from stockade.cli.help import SET_HELP
from stockade.cli.output import print_data, say
from stockade.cli.policy_argument import load_both, variables_of
from stockade.cli.usage import UsageError, exactly
from stockade.cli.words import Parser

COMMAND = "stockade policy merge"
DESCRIPTION = """\
Print one policy that allows every call that A or B allows,
and shows every file that A or B shows. Where they
contradict, A decides, and a note on standard error says so.
"""
EPILOG = """\
exit codes:
  0    done
  3    one of them cannot be read, or is wrong; they cannot
       be merged; or FILE cannot be written
  125  wrong usage, or an error of stockade

examples:
  stockade policy merge gzip jq > both.textproto
  stockade policy merge -o both.textproto gzip jq
  stockade policy merge a.textproto b.textproto | \\
    stockade policy diff a.textproto -
"""


def parser() -> Parser:
    """Return the options of the command."""
    parser = Parser(COMMAND, "[OPTION ...] A B", DESCRIPTION, EPILOG)
    parser.add_option("-o", "--output", metavar="FILE", help="write to this new file, and not to standard output")
    parser.add_switch("--force", help="replace the file of --output if there is one")
    parser.add_option("--set", metavar="NAME=VALUE", repeated=True, help=SET_HELP)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command with the words after its name; the exit code. Raises UsageError."""
    read = parser().read(arguments)
    if read is None:
        return OK
    options, words = read
    exactly(COMMAND, words, "A", "B")
    variables = variables_of(options.set, COMMAND)
    if options.output == "":
        raise UsageError(COMMAND, "--output: the path is empty")
    if options.force and options.output is None:
        raise UsageError(COMMAND, "--force is for --output FILE")

    def merge() -> int:
        from stockade.policy.meaning.merge import merge
        from stockade.wrap import printable

        merged = merge(*load_both(words, variables, COMMAND))
        for note in merged.notes:
            say(f"stockade: {printable(note)}")
        _write(merged.policy.to_text(), options.output, force=options.force)
        return OK

    return guarded(merge)


def _write(text: str, path: str | None, *, force: bool) -> None:
    if path is None:
        print_data(text)
        return
    from stockade.cli.files import write_new

    write_new(path, text.encode(), force=force, hint="--force replaces it")
